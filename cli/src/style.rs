//! What a value looks like: colours by meaning, and short forms of times, sizes and absent values.
//!
//! Colours are always written here and taken out at the very end when they are not wanted.

use owo_colors::OwoColorize;

/// The name of an object.
pub(crate) fn name(text: &str) -> String {
    text.cyan().to_string()
}

/// Something that is as it should be.
pub(crate) fn good(text: &str) -> String {
    text.green().to_string()
}

/// Something to look at.
pub(crate) fn warning(text: &str) -> String {
    text.yellow().to_string()
}

/// A failure or a loss.
pub(crate) fn bad(text: &str) -> String {
    text.red().to_string()
}

/// Something beside the point.
pub(crate) fn dim(text: &str) -> String {
    text.dimmed().to_string()
}

/// A value that may be absent.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    match text {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => "-".to_owned(),
    }
}

/// A name that may be absent.
pub(crate) fn name_or_dash(text: Option<&str>) -> String {
    match text {
        Some(text) if !text.is_empty() => name(text),
        _ => dim("-"),
    }
}

/// A list of values.
pub(crate) fn list_or_dash(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(",") }
}

/// An address and a port, with brackets where they are needed.
pub(crate) fn socket(address: &str, port: u32) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// A class of reasons, or a word that stands for a state, in its colour.
pub(crate) fn state(text: &str) -> String {
    match text {
        "drop" | "failed" | "not-ready" => bad(text),
        "reject" | "warning" | "terminating" => warning(text),
        "ready" | "ok" | "established" => good(text),
        "" => "-".to_owned(),
        other => other.to_owned(),
    }
}

/// A time in the two largest units: 8s, 3m12s, 5h, 2d4h.
pub(crate) fn seconds(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let pair = |large: u64, unit: char, small: u64, sub: char| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{sub}") }
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => pair(minutes, 'm', seconds % 60, 's'),
        3_600..86_400 => pair(hours, 'h', minutes, 'm'),
        _ => pair(days, 'd', hours, 'h'),
    }
}

/// A number of bytes with a binary unit.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.1}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_given_in_their_two_largest_units() {
        let cases = [(0, "0s"), (59, "59s"), (60, "1m"), (192, "3m12s"), (18_000, "5h"), (187_200, "2d4h")];
        for (value, text) in cases {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn sizes_are_given_with_a_binary_unit() {
        assert_eq!((bytes(0), bytes(1023), bytes(1536)), ("0B".into(), "1023B".into(), "1.5KiB".into()));
        assert_eq!(bytes(12 << 20), "12.0MiB");
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets_before_a_port() {
        assert_eq!(socket("fd00::1", 80), "[fd00::1]:80");
        assert_eq!(socket("10.0.0.1", 80), "10.0.0.1:80");
    }
}
