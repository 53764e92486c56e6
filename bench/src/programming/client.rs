//! Inside a pod: changes the endpoints of a Service and connects to it until the new one answers.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fairway_tests::lab::Netns;
use serde::{Deserialize, Serialize};

use super::manifests::{MEASURED, PORT, TARGET, beside, slice};

/// Between two attempts to connect: the others need the CPU.
const PAUSE: Duration = Duration::from_micros(100);
/// Between changes that have nothing to do with each other.
const APART: Duration = Duration::from_millis(250);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the process inside is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Network namespace and address of each backend.
    pub(crate) backends: [(String, IpAddr); 2],
    /// The manifest of the Service's endpoints.
    pub(crate) manifest: PathBuf,
    /// How many changes of each kind.
    pub(crate) changes: usize,
}

/// Milliseconds from the rename of the manifest to the first answer of the new backend.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Of changes with nothing before them.
    pub(crate) apart: Vec<f64>,
    /// Of changes that come as soon as the one before is in force.
    pub(crate) next: Vec<f64>,
}

/// Carries the orders out and prints the times.
pub(crate) fn run(orders: &str) -> Result<()> {
    let orders: Orders = serde_json::from_str(orders)?;
    for (index, (netns, _)) in orders.backends.iter().enumerate() {
        let listener = Netns::named(netns)
            .within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET)))
            .with_context(|| format!("cannot listen in `{netns}`"))?;
        std::thread::spawn(move || serve(&listener, index as u8));
    }
    let mut times = Times::default();
    let mut to = 0;
    // The first one brings the Service up.
    change(&orders, to)?;
    for _ in 0..orders.changes {
        for kind in [&mut times.apart, &mut times.next] {
            to = 1 - to;
            kind.push(change(&orders, to)?.as_secs_f64() * 1e3);
        }
        std::thread::sleep(APART);
    }
    println!("{}", serde_json::to_string(&times)?);
    Ok(())
}

fn serve(listener: &TcpListener, name: u8) {
    for stream in listener.incoming().flatten() {
        // A client that went away does not matter.
        let _ = (&stream).write_all(&[name]);
    }
}

/// Makes a backend the only one; how long it takes until it answers.
fn change(orders: &Orders, to: usize) -> Result<Duration> {
    let (_, address) = &orders.backends[to];
    let new = beside(&orders.manifest);
    fs::write(&new, slice("measured", &[*address]))?;
    let start = Instant::now();
    fs::rename(&new, &orders.manifest)?;
    while ask().ok() != Some(to as u8) {
        ensure!(start.elapsed() < PATIENCE, "the new backend does not answer");
        std::thread::sleep(PAUSE);
    }
    Ok(start.elapsed())
}

/// Who answers at the Service.
fn ask() -> io::Result<u8> {
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((MEASURED, PORT)), Duration::from_millis(500))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut name = [0];
    stream.read_exact(&mut name)?;
    Ok(name[0])
}
