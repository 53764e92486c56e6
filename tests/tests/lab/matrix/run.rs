//! Asking a cell's question, and judging the answers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fairway_tests::traffic::{Failure, Kind, Outcome, Query};

use super::cell::{Cell, Protocol};
use super::expected::{Expected, Sees};
use super::services::{self, address};
use crate::world::{Position, World};

/// A world with what answers are compared to.
pub(super) struct Ask<'a> {
    world: &'a World,
    /// All addresses of node1 and node2.
    nodes: [BTreeSet<IpAddr>; 2],
}

impl<'a> Ask<'a> {
    pub(super) fn new(world: &'a World) -> anyhow::Result<Self> {
        Ok(Self { world, nodes: [addresses(world, "node1")?, addresses(world, "node2")?] })
    }

    /// Asks and judges; how many packets the data path must have dropped.
    pub(super) async fn run(&self, cell: Cell, what: &Expected) -> anyhow::Result<u64> {
        let to = address(cell, self.world)?;
        let kinds: &[Kind] = match cell.protocol {
            Protocol::Tcp => &[Kind::Tcp],
            Protocol::Udp => &[Kind::Udp, Kind::UdpUnconnected],
            Protocol::Sctp => &[Kind::Sctp],
        };
        let (times, timeout) = match what {
            // The second request meets what the first has left in the tables.
            Expected::Answer { names, .. } if names.len() == 1 => (2, 3000),
            Expected::Answer { one: true, .. } => (12, 3000),
            // Until all have answered; that one never does is then no chance.
            Expected::Answer { .. } => (60, 3000),
            Expected::Refused => (2, 3000),
            Expected::Dropped { .. } => (1, 900),
            Expected::Nothing | Expected::NotApplicable(_) => (1, 300),
        };
        let (wanted, one) = match what {
            Expected::Answer { one: true, .. } => (1, true),
            Expected::Answer { names, .. } => (names.len(), false),
            _ => (0, false),
        };
        let (mut names, mut packets) = (BTreeSet::new(), 0);
        for kind in kinds {
            if !one {
                names.clear();
            }
            for time in 0..times {
                if wanted > 1 && names.len() == wanted && time >= 4 {
                    break;
                }
                let query = Query { timeout: Duration::from_millis(timeout), ..Query::new(*kind, to) };
                let outcome = self.world.client(cell.client).ask(query).await?;
                let judged = self.judge(cell, *kind, what, to, &outcome);
                judged.with_context(|| format!("{kind:?} to {to}"))?;
                packets += u64::from(outcome.reply == Err(Failure::TimedOut));
                names.extend(outcome.name().map(String::from));
            }
            ensure!(names.len() == wanted, "{kind:?}: {names:?} answered, of {what:?}");
        }
        Ok(packets)
    }

    fn judge(
        &self,
        cell: Cell,
        kind: Kind,
        what: &Expected,
        to: SocketAddr,
        outcome: &Outcome,
    ) -> anyhow::Result<()> {
        match (what, &outcome.reply) {
            (Expected::Answer { names, sees, .. }, Ok(reply)) => {
                ensure!(names.contains(&reply.name.as_str()), "`{}` answered, not {names:?}", reply.name);
                ensure!(outcome.peer == Some(to), "the answer comes from {:?}", outcome.peer);
                self.judge_source(cell, *sees, reply.client.ip())
            }
            (Expected::Refused, Err(Failure::Refused)) => Ok(()),
            // A hook at the socket can refuse, and has no other word for a datagram's refusal.
            (Expected::Refused, Err(Failure::NotPermitted)) if kind != Kind::Tcp => Ok(()),
            // Nobody tells a socket that is not connected.
            (Expected::Refused, Err(Failure::TimedOut)) if kind == Kind::UdpUnconnected => Ok(()),
            (Expected::Dropped { .. }, Err(Failure::TimedOut | Failure::NotPermitted)) => Ok(()),
            (Expected::Nothing, Err(_)) => Ok(()),
            (_, reply) => bail!("{reply:?}, and it should be {what:?}"),
        }
    }

    fn judge_source(&self, cell: Cell, sees: Sees, seen: IpAddr) -> anyhow::Result<()> {
        let node = |number: u8| self.nodes.get(usize::from(number) - 1).cloned().unwrap_or_default();
        let own = match cell.client {
            Position::PodSameNode | Position::PodOtherNode => {
                BTreeSet::from([self.world.pod_address(services::pod_of(cell.client)?, cell.v6)?])
            }
            Position::NodeProcess | Position::HostPod => node(1),
            Position::OtherNodeProcess => node(2),
            Position::External => BTreeSet::from([self.world.client_address(cell.v6)]),
        };
        let right = match sees {
            Sees::Own => own.contains(&seen),
            Sees::Node(number) => node(number).contains(&seen),
            Sees::NotOwn => !own.contains(&seen),
            Sees::Anyone => true,
        };
        ensure!(right, "the backend sees {seen}, and should see {sees:?}");
        Ok(())
    }
}

fn addresses(world: &World, node: &str) -> anyhow::Result<BTreeSet<IpAddr>> {
    let found = world.lab.state.netns(node).within(|| {
        let all = nix::ifaddrs::getifaddrs()?;
        let addresses = all.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        Ok(addresses.collect())
    })?;
    Ok(found)
}
