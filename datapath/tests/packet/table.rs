//! A table's rows, and running them.

use std::borrow::Borrow;
use std::net::IpAddr;

use aya::programs::{TestRun, TestRunOptions};
use fairway_common::Reason;

use crate::frame::{Frame, Shown, source_port};
use crate::world::World;

pub(crate) const FROM_POD: &str = "from_pod";
pub(crate) const TO_POD: &str = "to_pod";
pub(crate) const FROM_NETWORK: &str = "from_network";
pub(crate) const TO_NETWORK: &str = "to_network";
pub(crate) const FROM_TUNNEL: &str = "from_tunnel";
pub(crate) const TO_TUNNEL: &str = "to_tunnel";
pub(crate) const FROM_WIRE: &str = "from_wire";

/// `TC_ACT_UNSPEC`.
const PASS: i32 = -1;
/// `TC_ACT_SHOT`.
const DROP: i32 = 2;
/// `TC_ACT_REDIRECT`.
const REDIRECT: i32 = 7;

/// Stands for any port of the node's range, as the source port of an expected packet.
pub(crate) const NAT_PORT: u16 = 0;

/// A packet, the program it is given to, and what must come of it.
pub(crate) struct Row {
    name: &'static str,
    hook: &'static str,
    packet: Vec<u8>,
    verdict: i32,
    /// None: untouched.
    out: Option<Frame>,
    /// Reasons with how often they are counted, and with whose bytes.
    reasons: Vec<(Reason, u64, u64)>,
}

/// A row whose packet passes untouched and uncounted, until it says otherwise.
pub(crate) fn row(name: &'static str, hook: &'static str, packet: impl Borrow<Frame>) -> Row {
    raw(name, hook, packet.borrow().build())
}

/// The same for a packet of any shape.
pub(crate) fn raw(name: &'static str, hook: &'static str, packet: Vec<u8>) -> Row {
    Row { name, hook, packet, verdict: PASS, out: None, reasons: Vec::new() }
}

impl Row {
    pub(crate) fn drops(self, reason: Reason) -> Self {
        Self { verdict: DROP, ..self }.counts(reason)
    }

    pub(crate) fn redirects(self, out: Frame) -> Self {
        Self { verdict: REDIRECT, out: Some(out), ..self }
    }

    pub(crate) fn passes_as(self, out: Frame) -> Self {
        Self { out: Some(out), ..self }
    }

    pub(crate) fn counts(mut self, reason: Reason) -> Self {
        self.reasons.push((reason, 1, self.packet.len() as u64));
        self
    }

    /// Counted on the way, without the packet's bytes.
    pub(crate) fn counts_calls(mut self, reason: Reason, times: u64) -> Self {
        self.reasons.push((reason, times, 0));
        self
    }
}

impl World {
    /// Runs a program on a packet: its verdict, and the packet after it.
    pub(crate) fn run(&mut self, hook: &'static str, packet: &[u8]) -> (i32, Vec<u8>) {
        self.run_at(hook, self.devices[self.device(hook, packet)], packet)
    }

    /// The same at a device.
    pub(crate) fn run_at(&mut self, hook: &'static str, device: u32, packet: &[u8]) -> (i32, Vec<u8>) {
        if hook == FROM_WIRE {
            return self.run_at_driver(device, packet);
        }
        // `struct __sk_buff`: only the device is set.
        let mut context = [0; 192];
        context[40..44].copy_from_slice(&device.to_ne_bytes());
        let mut out = vec![0; packet.len() + 256];
        let program = self.datapath.classifier(hook).unwrap();
        let result = program.test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        });
        let result =
            result.unwrap_or_else(|error| panic!("cannot run `{hook}` on {}: {error:?}", Shown(packet)));
        out.truncate(result.data_size_out as usize);
        (result.return_value as i32, out)
    }

    /// Runs the program at drivers. Its verdicts are told in the terms of the others: sent back is redirected.
    fn run_at_driver(&mut self, device: u32, packet: &[u8]) -> (i32, Vec<u8>) {
        // `struct xdp_md`: bytes of data before it, and with it; device.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(packet.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&device.to_ne_bytes());
        let mut out = vec![0; packet.len() + 256];
        let result = self.datapath.xdp().unwrap().test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        });
        let result = result.unwrap_or_else(|error| panic!("cannot run on {}: {error:?}", Shown(packet)));
        out.truncate(result.data_size_out as usize);
        const XDP_DROP: u32 = 1;
        const XDP_PASS: u32 = 2;
        const XDP_TX: u32 = 3;
        let verdict = match result.return_value {
            XDP_DROP => DROP,
            XDP_PASS => PASS,
            XDP_TX => REDIRECT,
            other => panic!("verdict {other} on {}", Shown(packet)),
        };
        (verdict, out)
    }

    /// The device that a packet comes by: the network's, or that of the pod whose address it has.
    fn device(&self, hook: &str, packet: &[u8]) -> usize {
        let (at, length) = if packet.get(12..14) == Some(&[8, 0]) { (26, 4) } else { (22, 16) };
        match self.pod(2, 0).ip() {
            _ if ["network", "tunnel", "wire"].iter().any(|it| hook.ends_with(it)) => 0,
            IpAddr::V4(two) if packet.get(at..at + length) == Some(&two.octets()) => 2,
            IpAddr::V6(two) if packet.get(at..at + length) == Some(&two.octets()) => 2,
            _ => 1,
        }
    }

    /// Packets and bytes by reason, those that are not zero.
    fn counted(&self) -> Vec<(Reason, u64, u64)> {
        let counts = self.datapath.counts().unwrap();
        counts.into_iter().map(|(reason, count)| (reason, count.packets, count.bytes)).collect()
    }

    /// How often a reason was counted.
    pub(crate) fn counted_of(&self, reason: Reason) -> u64 {
        self.counted().iter().find(|(found, ..)| *found == reason).map_or(0, |(_, packets, _)| *packets)
    }

    /// Runs a row; returns the packet that came out.
    #[track_caller]
    pub(crate) fn row(&mut self, row: Row) -> Vec<u8> {
        let before = self.counted();
        let (verdict, out) = self.run(row.hook, &row.packet);
        let counted: Vec<_> = (self.counted().into_iter().zip(before))
            .map(|((reason, packets, bytes), before)| (reason, packets - before.1, bytes - before.2))
            .filter(|(_, packets, _)| *packets != 0)
            .collect();
        let mut wanted = row.reasons;
        wanted.sort();
        let came = || format!("`{}` made {}\n  into {}", row.hook, Shown(&row.packet), Shown(&out));
        assert_eq!(verdict, row.verdict, "{}: verdict (found, expected): {counted:?}\n{}", row.name, came());
        assert_eq!(counted, wanted, "{}: reasons counted (found, expected)", row.name);
        match row.out {
            None if verdict != DROP => assert!(out == row.packet, "{}: changed\n{}", row.name, came()),
            None => {}
            Some(mut frame) => {
                if frame.source.port() == NAT_PORT && frame.has_ports() {
                    let port = source_port(&out);
                    let (first, last) = self.nat_ports;
                    assert!((first..=last).contains(&port), "{}: source port {port}", row.name);
                    frame.source.set_port(port);
                }
                if let Some(difference) = frame.differs(&out) {
                    panic!("{}: {difference}", row.name);
                }
            }
        }
        out
    }

    /// Runs a table, row by row.
    #[track_caller]
    pub(crate) fn rows(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            self.row(row);
        }
    }
}
