//! TCP streams: a thread each, writing as fast as the connection takes it. An operation is a MiB that was written.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::client::{Load, Phases, nanos};
use super::record::{Recorded, new_histogram};
use super::tcp::reset_on_close;

/// What one call writes; the kernel makes packets of up to 64 KiB of it and leaves cutting them to who must (GSO).
const CHUNK: usize = 128 * 1024;
const CHUNKS_OF_MIB: u64 = 8;

#[derive(Default)]
struct Counts {
    ops: AtomicU64,
    errors: AtomicU64,
    end: AtomicBool,
}

pub(super) fn run(load: &Load, count: usize, phases: &mut Phases) -> io::Result<Recorded> {
    let streams: io::Result<Vec<TcpStream>> = load
        .targets(count)
        .map(|to| {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
            stream.set_write_timeout(Some(Duration::from_secs(2)))?;
            reset_on_close(&stream)?;
            // Says that what follows needs no answer.
            stream.write_all(b"S")?;
            Ok(stream)
        })
        .collect();
    let streams = streams?;
    let counts = Counts::default();
    let times: Vec<Mutex<Histogram<u64>>> = streams.iter().map(|_| Mutex::new(new_histogram())).collect();
    Ok(thread::scope(|scope| {
        for (stream, times) in streams.iter().zip(&times) {
            scope.spawn(|| write(stream, &counts, times));
        }
        let recorded = phases.watch(|| {
            let mut all = new_histogram();
            for times in &times {
                all += &*times.lock().unwrap_or_else(PoisonError::into_inner);
            }
            (counts.ops.load(Ordering::Relaxed), counts.errors.load(Ordering::Relaxed), all)
        });
        counts.end.store(true, Ordering::Relaxed);
        recorded
    }))
}

fn write(mut stream: &TcpStream, counts: &Counts, times: &Mutex<Histogram<u64>>) {
    let chunk = vec![0; CHUNK];
    while !counts.end.load(Ordering::Relaxed) {
        let start = Instant::now();
        for _ in 0..CHUNKS_OF_MIB {
            if stream.write_all(&chunk).is_err() {
                counts.errors.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        counts.ops.fetch_add(1, Ordering::Relaxed);
        times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(nanos(start.elapsed()));
    }
}
