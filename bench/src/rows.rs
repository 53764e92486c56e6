//! From blocks to rows.

use std::collections::BTreeMap;

use crate::cell::{Cell, Routing};
use crate::load::{Recorded, Workload};
use crate::peer::Peer;
use crate::report::{Figures, Round, Row, Skipped};
use crate::stats::{estimate, median, ratios};

/// What a peer did in a cell, round by round.
pub type Blocks = BTreeMap<(Cell, Peer), Vec<Option<Recorded>>>;

const MICRO: f64 = 1000.0;

/// The rows of all cells in which peers have at least one round.
#[must_use]
pub fn rows(blocks: &Blocks, rate: Option<f64>, routing: Routing) -> Vec<Row> {
    blocks
        .iter()
        .filter(|(_, rounds)| rounds.iter().any(Option::is_some))
        .map(|((cell, peer), rounds)| {
            let clean = blocks.get(&(*cell, Peer::Clean));
            let mut row = figures(*cell, *peer, rounds, clean.map(Vec::as_slice), rate);
            row.routing = routing.name().into();
            Row::Measured(Box::new(row))
        })
        .collect()
}

/// A peer that is left out, in all cells or in one.
#[must_use]
pub fn skipped(peer: Peer, cell: Option<Cell>, why: String) -> Row {
    Row::Skipped(Skipped {
        peer: peer.name(),
        workload: cell.map(|cell| cell.workload.name()),
        from: cell.map(|cell| cell.from.name()),
        services: cell.map(|cell| cell.services),
        skipped: why,
    })
}

fn figures(
    cell: Cell,
    peer: Peer,
    rounds: &[Option<Recorded>],
    clean: Option<&[Option<Recorded>]>,
    rate: Option<f64>,
) -> Figures {
    let judged = |rounds: &[Option<Recorded>]| -> Vec<Option<f64>> {
        rounds.iter().map(|block| block.as_ref().and_then(|block| judge(cell.workload, block))).collect()
    };
    let own = judged(rounds);
    let clean = clean.map(judged);
    let of_rounds = clean.as_ref().map(|clean| ratios(&own, clean)).unwrap_or_default();
    let ratio = estimate(&of_rounds);
    let mut points: Vec<Round> = rounds.iter().flatten().map(round).collect();
    let all_rounds = own.iter().zip(clean.iter().flatten());
    let each =
        all_rounds.filter(|(own, _)| own.is_some()).map(|(own, clean)| ratios(&[*own], &[*clean]).pop());
    for (point, ratio) in points.iter_mut().zip(each) {
        point.ratio_to_clean = ratio;
    }
    let of =
        |field: fn(&Round) -> f64| median(&points.iter().map(field).collect::<Vec<_>>()).unwrap_or_default();
    Figures {
        peer: peer.name(),
        workload: cell.workload.name(),
        from: cell.from.place().into(),
        via: cell.from.via().into(),
        backend: if cell.from.is_far() { "remote" } else { "local" }.into(),
        services: cell.services,
        backends: cell.backends,
        family: cell.family.name().into(),
        cpus: cell.cpus.name().into(),
        routing: Routing::default().name().into(),
        pace: rate.map_or("closed".into(), |rate| rate.to_string()),
        p50_us: of(|round| round.p50_us),
        p90_us: of(|round| round.p90_us),
        p99_us: of(|round| round.p99_us),
        ops: of(|round| round.ops),
        cpu_us_per_op: of(|round| round.cpu_us_per_op),
        ratio_of: if cell.workload.is_throughput() { "ops" } else { "p50" }.into(),
        ratio_to_clean: ratio.map(|ratio| rounded(ratio.median)),
        ci_low: ratio.map(|ratio| rounded(ratio.low)),
        ci_high: ratio.map(|ratio| rounded(ratio.high)),
        errors: rounds.iter().flatten().map(|block| block.errors).sum(),
        percentiles: percentiles(rounds),
        rounds: points,
    }
}

/// The figure that ratios are of. At a fixed rate, throughput says nothing but that it was reached.
fn judge(workload: Workload, block: &Recorded) -> Option<f64> {
    let round = round(block);
    let figure = if workload.is_throughput() { round.ops } else { round.p50_us };
    (figure > 0.0).then_some(figure)
}

fn round(block: &Recorded) -> Round {
    let times = block.histogram();
    let at = |share| rounded(times.value_at_quantile(share) as f64 / MICRO);
    Round {
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        ops: rounded(if block.seconds > 0.0 { block.ops as f64 / block.seconds } else { 0.0 }),
        cpu_us_per_op: rounded(if block.ops > 0 { block.cpu_us / block.ops as f64 } else { 0.0 }),
        ratio_to_clean: None,
    }
}

/// Points that a logarithmic axis shows: ever closer to all.
fn percentiles(rounds: &[Option<Recorded>]) -> Vec<(f64, f64)> {
    let mut all = Recorded::default().histogram();
    for block in rounds.iter().flatten() {
        // Of the same bounds: never an error.
        all.add(block.histogram()).ok();
    }
    let shares =
        [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999, 0.9995, 0.9999, 0.99999];
    // Fewer operations than that say nothing about a point.
    let known = |share: &f64| *share < 0.5 || (1.0 - share) * all.len() as f64 >= 5.0;
    shares
        .into_iter()
        .filter(known)
        .map(|share| (share, all.value_at_quantile(share) as f64 / MICRO))
        .collect()
}

/// To four digits behind the point: what is written is read by people too.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Cpus, Family, From};

    const CELL: Cell = Cell {
        services: 1,
        backends: 4,
        family: Family::V4,
        from: From::PodSameNode,
        workload: Workload::Connect,
        cpus: Cpus::Same,
    };

    fn block(micros: u64) -> Option<Recorded> {
        let times = vec![(micros * 1000, 100)];
        Some(Recorded { ops: 100, seconds: 1.0, cpu_us: 3000.0, times, ..Recorded::default() })
    }

    #[test]
    fn rounds_of_a_slow_minute_do_not_change_the_ratio() {
        let mut blocks = Blocks::new();
        blocks.insert((CELL, Peer::Clean), vec![block(40), block(400), block(40)]);
        blocks.insert((CELL, Peer::Fairway), vec![block(36), block(360), block(36)]);
        let rows = rows(&blocks, None, Routing::Native);
        let Row::Measured(fairway) = &rows[1] else { panic!("{rows:?}") };
        let ratio = fairway.ratio_to_clean.unwrap();
        assert!((ratio - 0.9).abs() < 0.005, "{ratio}");
        assert!(fairway.ci_low.unwrap() <= ratio && ratio <= fairway.ci_high.unwrap());
        assert_eq!(fairway.cpu_us_per_op, 30.0);
        assert_eq!(fairway.rounds.len(), 3);
        let Row::Measured(clean) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!(clean.ratio_to_clean, Some(1.0));
    }

    #[test]
    fn throughput_is_compared_by_operations_a_second() {
        let cell = Cell { workload: Workload::TcpStream, ..CELL };
        let faster = Recorded { ops: 150, ..block(10).unwrap() };
        let mut blocks = Blocks::new();
        blocks.insert((cell, Peer::Clean), vec![block(10)]);
        blocks.insert((cell, Peer::Fairway), vec![Some(faster)]);
        let rows = rows(&blocks, None, Routing::Native);
        let Row::Measured(fairway) = &rows[1] else { panic!("{rows:?}") };
        assert_eq!((fairway.ratio_to_clean, fairway.ratio_of.as_str()), (Some(1.5), "ops"));
    }

    #[test]
    fn without_clean_there_is_no_ratio() {
        let blocks = Blocks::from([((CELL, Peer::Fairway), vec![block(36), None])]);
        let rows = rows(&blocks, None, Routing::Native);
        let Row::Measured(fairway) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!((fairway.ratio_to_clean, fairway.rounds.len()), (None, 1));
    }
}
