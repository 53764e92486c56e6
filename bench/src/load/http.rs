//! Web pages, a connection each: wrk asks for them.

use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Load, Phases};
use super::record::{Recorded, new_histogram};

/// Connections at once.
const CONNECTIONS: u32 = 16;

/// wrk counts whole seconds, and its own warm-up with them; CPU time is counted while it runs.
pub(super) fn run(load: &Load, phases: &mut Phases) -> io::Result<Recorded> {
    let to = load.targets(1).next().ok_or(io::ErrorKind::InvalidInput)?;
    let seconds = phases.duration.as_secs_f64().ceil().max(1.0);
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", &CONNECTIONS.to_string(), "--latency"]);
    wrk.args(["--duration", &format!("{seconds}s"), "--header", "Connection: close"]);
    wrk.arg(format!("http://{to}/")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let before = phases.cpu();
    let start = Instant::now();
    let child = wrk.spawn().map_err(|error| io::Error::new(error.kind(), format!("wrk: {error}")))?;
    // It reads nothing, so its output fits in the pipe.
    let output = thread::scope(|scope| scope.spawn(|| child.wait_with_output()).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread that waits for wrk panicked")))?;
    let taken = start.elapsed();
    let cpu_us = phases.cpu() - before;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut recorded = parse(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| io::Error::other("wrk said something that is not understood"))?;
    // wrk ends a little after its time; its CPU time is that of the whole.
    recorded.cpu_us = cpu_us * recorded.seconds / taken.as_secs_f64().max(recorded.seconds);
    Ok(recorded)
}

/// Reads what wrk prints.
fn parse(text: &str) -> Option<Recorded> {
    let value = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let total = text.lines().find_map(|line| line.trim().split_once(" requests in "))?;
    let ops: u64 = total.0.parse().ok()?;
    let seconds = time(total.1.split(',').next()?)?.as_secs_f64();
    let errors = value("Socket errors:")
        .map(|all| all.split(',').filter_map(|one| one.split_whitespace().nth(1)?.parse::<u64>().ok()).sum());
    let failed = value("Non-2xx or 3xx responses:").and_then(|count| count.parse::<u64>().ok());
    let mut times = new_histogram();
    // Four points of the distribution are all that is told; each stands for those up to it.
    let mut below = 0.0;
    for (name, share) in [("50%", 0.5), ("75%", 0.75), ("90%", 0.9), ("99%", 0.99)] {
        let nanos = time(value(name)?)?.as_nanos().try_into().ok()?;
        let count = (ops as f64 * (share - below)).round();
        times.saturating_record_n(nanos, count as u64);
        below = share;
    }
    let mut recorded = Recorded { ops, seconds, ..Recorded::default() };
    recorded.errors = errors.unwrap_or(0) + failed.unwrap_or(0);
    recorded.set_times(&times);
    Some(recorded)
}

/// `1.23ms`, `45.00us`, `1.00s`.
fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, factor) = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 1s test @ http://10.96.0.1:80/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   634.21us  281.42us   5.61ms   88.10%
    Req/Sec    12.71k     1.15k   14.20k    70.00%
  Latency Distribution
     50%  570.00us
     75%  712.00us
     90%    0.92ms
     99%    1.63ms
  13912 requests in 1.10s, 1.82MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
Requests/sec:  12645.31
Transfer/sec:      1.65MB
";

    #[test]
    fn what_wrk_prints_is_understood() {
        let recorded = parse(SAID).unwrap();
        assert_eq!((recorded.ops, recorded.errors), (13912, 4));
        assert!((recorded.seconds - 1.1).abs() < 1e-9);
        let times = recorded.histogram();
        assert_eq!(times.value_at_quantile(0.5) / 1000, 570);
        assert!((920_000..921_000).contains(&times.value_at_quantile(0.9)));
    }

    #[test]
    fn what_is_not_wrk_is_refused() {
        assert!(parse("unable to connect").is_none());
    }
}
