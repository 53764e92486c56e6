//! Axes, lines, points and words of a drawing.

use std::fmt::Write;

use super::{colour, escaped};

/// Space for the numbers of the vertical axis, and above, right and below.
const LEFT: f64 = 64.0;
const TOP: f64 = 14.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 46.0;
const LEGEND: f64 = 24.0;

/// From values to places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// Equal distances are equal differences; with some air above and, where it does not begin at zero, below.
    pub(super) fn linear(low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, is_log: false }
    }

    /// Equal distances are equal factors.
    pub(super) fn log(low: f64, high: f64) -> Self {
        let low = low.max(1e-6);
        Self { low, high: if high > low { high } else { low * 10.0 }, is_log: true }
    }

    /// 0 at the lower end, 1 at the upper.
    fn share(self, value: f64) -> f64 {
        if self.is_log {
            (value.max(1e-9) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Round numbers on the axis.
    pub(super) fn ticks(self) -> Vec<f64> {
        if !self.is_log {
            let step = nice((self.high - self.low) / 5.0);
            let first = (self.low / step - 1e-9).ceil() as i64;
            let last = (self.high / step + 1e-9).floor() as i64;
            return (first..=last).map(|number| number as f64 * step).collect();
        }
        let decades = (self.high / self.low).log10();
        let within: &[f64] = match decades {
            few if few < 1.0 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            few if few < 3.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let all = (first..=last).flat_map(|power| within.iter().map(move |digit| digit * 10f64.powi(power)));
        all.filter(|tick| *tick >= self.low * 0.999 && *tick <= self.high * 1.001).collect()
    }
}

/// 1, 2 or 5 of some power of ten.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = step / power;
    let digit = [1.0, 2.0, 5.0].into_iter().find(|nice| digit <= *nice * 1.0001).unwrap_or(10.0);
    digit * power
}

/// A number on an axis.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        large if large >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        large if large >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A drawing.
pub(super) struct Plot {
    width: f64,
    height: f64,
    x: Scale,
    y: Scale,
    body: String,
}

impl Plot {
    /// A field with lines at the ticks of the vertical axis.
    pub(super) fn new((width, height): (f64, f64), x: Scale, y: Scale, unit: &str) -> Self {
        let mut plot = Self { width, height, x, y, body: String::new() };
        for tick in y.ticks() {
            let at = plot.y(tick);
            let end = width - RIGHT;
            plot.put(&format!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{end}\" y2=\"{at:.1}\"/>"
            ));
            plot.word((LEFT - 6.0, at + 4.0), "end", &number(tick));
        }
        let middle = (TOP + height - BOTTOM - LEGEND) / 2.0;
        plot.put(&format!(
            "<text class=\"unit\" text-anchor=\"middle\" transform=\"translate(14 {middle:.1}) rotate(-90)\">{}</text>",
            escaped(unit)
        ));
        plot
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (self.width - LEFT - RIGHT)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let field = self.height - TOP - BOTTOM - LEGEND;
        TOP + (1.0 - self.y.share(value).clamp(0.0, 1.0)) * field
    }

    /// Where the horizontal axis is.
    pub(super) fn floor(&self) -> f64 {
        self.height - BOTTOM - LEGEND
    }

    pub(super) fn put(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    pub(super) fn word(&mut self, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = escaped(text);
        self.put(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"));
    }

    /// A tick of the horizontal axis.
    pub(super) fn below(&mut self, value: f64, text: &str) {
        let (x, y) = (self.x(value), self.floor());
        self.put(&format!(
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
            y + 4.0
        ));
        self.word((x, y + 17.0), "middle", text);
    }

    /// What the horizontal axis says.
    pub(super) fn title_below(&mut self, text: &str) {
        let middle = LEFT + (self.width - LEFT - RIGHT) / 2.0;
        let y = self.floor() + 36.0;
        let text = escaped(text);
        self.put(&format!(
            "<text class=\"unit\" x=\"{middle:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>"
        ));
    }

    /// A line through points; what it is of is told when the pointer rests on it.
    pub(super) fn line(&mut self, peer: &str, points: &[(f64, f64)]) {
        let text: Vec<String> =
            points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y))).collect();
        let (colour, name, points) = (colour(peer), escaped(peer), text.join(" "));
        self.put(&format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"><title>{name}</title></polyline>"
        ));
    }

    /// A point.
    pub(super) fn dot(&mut self, peer: &str, (x, y): (f64, f64), told: &str) {
        let (x, y, colour, told) = (self.x(x), self.y(y), colour(peer), escaped(told));
        self.put(&format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{told}</title></circle>"
        ));
    }

    /// A horizontal line across the field.
    pub(super) fn level(&mut self, value: f64) {
        let (y, end) = (self.y(value), self.width - RIGHT);
        self.put(&format!("<line class=\"level\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{end}\" y2=\"{y:.1}\"/>"));
    }

    /// The whole, with the axis and the names of the peers.
    pub(super) fn finish(mut self, peers: &[String]) -> String {
        let (floor, end) = (self.floor(), self.width - RIGHT);
        self.put(&format!(
            "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor:.1}\" x2=\"{end}\" y2=\"{floor:.1}\"/>"
        ));
        let (mut x, y) = (LEFT, self.height - 8.0);
        for peer in peers {
            let colour = colour(peer);
            self.put(&format!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"11\" height=\"11\" fill=\"{colour}\"/>",
                y - 10.0
            ));
            self.word((x + 16.0, y), "start", peer);
            x += 34.0 + 7.0 * peer.len() as f64;
        }
        let Self { width, height, body, .. } = self;
        let mut svg = String::new();
        // Writing to a string never fails.
        write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<style>.grid{{stroke:#8885;stroke-width:1}}.axis{{stroke:#888;stroke-width:1}}.level{{stroke:#888;stroke-width:1.5;stroke-dasharray:5 4}}.whisker{{stroke:#444;stroke-width:1.5}}text{{fill:#333}}.unit{{fill:#666}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}.unit{{fill:#aaa}}.whisker{{stroke:#ccc}}}}</style>\n{body}</svg>"
        )
        .ok();
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        assert_eq!(Scale::linear(0.0, 1.3).ticks(), [0.0, 0.5, 1.0]);
        assert_eq!(Scale::log(1.0, 50_000.0).ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(Scale::log(20.0, 120.0).ticks(), [20.0, 30.0, 40.0, 50.0, 70.0, 100.0]);
    }

    #[test]
    fn large_numbers_are_short() {
        assert_eq!([number(0.25), number(10_000.0), number(2_500_000.0)], ["0.25", "10k", "2.5M"]);
    }
}
