//! Which cells a run has.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cell::{Cell, Cpus, Family, From, Routing};
use crate::load::Workload;
use crate::peer::Peer;

/// A set of cells that belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// What the goals are about, in less than ten minutes on two CPUs
    #[default]
    Quick,
    /// Everything that there is; hours
    Full,
}

/// What to measure, and how often.
#[derive(Args, Clone, Debug)]
pub struct Choice {
    /// What is measured where the options below do not say
    #[arg(long, value_enum, default_value = "quick")]
    pub suite: Suite,
    /// Whom to compare [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub peers: Vec<Peer>,
    /// What clients do [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub workloads: Vec<Workload>,
    /// How many Services there are, such as 1,100,10k
    #[arg(long, value_parser = number, value_delimiter = ',')]
    pub services: Vec<u32>,
    /// How many backends the Service has that is asked [default: 4]
    #[arg(long, value_parser = number, value_delimiter = ',')]
    pub backends: Vec<u32>,
    /// Where clients are [default: pod-same-node]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub from: Vec<From>,
    /// IP families [default: v4]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub families: Vec<Family>,
    /// Whether client and server share a CPU
    #[arg(long, value_enum, value_delimiter = ',')]
    pub cpus: Vec<Cpus>,
    /// How packets reach the other node's pods
    #[arg(long, value_enum, default_value = "native")]
    pub routing: Routing,
    /// How often each peer has its turn
    #[arg(long)]
    pub rounds: Option<u32>,
    /// How long a turn is counted, in milliseconds [default: 300, in the full suite 500]
    #[arg(long, value_name = "MS")]
    pub duration: Option<u64>,
    /// How long it runs before, in milliseconds
    #[arg(long, value_name = "MS", default_value = "50")]
    pub warmup: u64,
    /// Operations a second, at fixed times (open loop), for requests, connections and questions; without it the next
    /// begins when one ends (closed loop)
    #[arg(long)]
    pub rate: Option<f64>,
    /// Priority of client, server and HAProxy, -20 to 19; -20 on a machine that does other things too
    #[arg(long, allow_negative_numbers = true)]
    pub nice: Option<i32>,
    /// The CPUs of the client and of the server [default: the first two that this program may use]
    #[arg(long, value_delimiter = ',', num_args = 1, value_name = "CLIENT,SERVER")]
    pub pin: Vec<usize>,
}

/// `1`, `100`, `10k`.
fn number(text: &str) -> Result<u32, String> {
    let (digits, factor) = text.strip_suffix('k').map_or((text, 1), |digits| (digits, 1000));
    let number: u32 = digits.parse().map_err(|_| format!("`{text}` is not a number such as 100 or 10k"))?;
    let number = number.checked_mul(factor).filter(|number| (1..=60_000).contains(number));
    number.ok_or_else(|| format!("`{text}` is not between 1 and 60k"))
}

const ALL: [Workload; 9] = [
    Workload::Connect,
    Workload::Crr,
    Workload::Rr,
    Workload::Http,
    Workload::TcpStream,
    Workload::TcpStream8,
    Workload::UdpRr,
    Workload::UdpPps64,
    Workload::UdpPps1400,
];
const CONNECTIONS: [Workload; 4] = [Workload::Connect, Workload::Crr, Workload::UdpRr, Workload::TcpStream];
const FROM_ALL: [Workload; 4] = [Workload::Connect, Workload::Crr, Workload::UdpRr, Workload::Http];
const BOTH: [Cpus; 2] = [Cpus::Same, Cpus::Each];

/// Lists whose every combination is a cell.
struct Group<'a> {
    services: &'a [u32],
    backends: &'a [u32],
    families: &'a [Family],
    from: &'a [From],
    workloads: &'a [Workload],
    cpus: &'a [Cpus],
}

impl Choice {
    /// The peers, in the order of their turns.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let all = || Peer::value_variants().to_vec();
        let mut peers = if self.peers.is_empty() { all() } else { self.peers.clone() };
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// How often each peer has its turn in each cell.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.suite == Suite::Quick { 5 } else { 7 })
    }

    /// How long a turn is counted.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration.unwrap_or(if self.suite == Suite::Quick { 300 } else { 500 }))
    }

    /// The cells. Those with the same Services stand together.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.groups().iter().flat_map(Group::cells).collect();
        cells.sort_by_key(|cell| {
            (cell.family, cell.services, cell.backends, cell.from, cell.workload, cell.cpus)
        });
        cells.dedup();
        cells
    }

    fn groups(&self) -> Vec<Group<'_>> {
        let base = Group {
            services: or(&self.services, &[1]),
            backends: or(&self.backends, &[4]),
            families: or(&self.families, &[Family::V4]),
            from: or(&self.from, &[From::PodSameNode]),
            workloads: or(&self.workloads, &ALL),
            cpus: or(&self.cpus, &BOTH),
        };
        let lists = [self.services.len(), self.backends.len(), self.families.len(), self.from.len()];
        if lists.iter().any(|length| *length > 0) {
            return vec![base];
        }
        let workloads = |few: &'static [Workload]| or(&self.workloads, few);
        let outside: &[From] = &[From::NodeportLocal, From::NodeportRemote];
        let from_outside = workloads(&[Workload::Connect, Workload::Http]);
        match self.suite {
            Suite::Quick => vec![
                Group { services: &[10_000], workloads: workloads(&CONNECTIONS), ..base },
                Group { from: outside, workloads: from_outside, cpus: or(&self.cpus, &[Cpus::Each]), ..base },
                base,
            ],
            Suite::Full => vec![
                Group { services: &[100, 1000, 10_000, 50_000], workloads: workloads(&CONNECTIONS), ..base },
                Group { backends: &[1, 100], workloads: workloads(&CONNECTIONS[..2]), ..base },
                Group {
                    families: &[Family::V4, Family::V6],
                    from: From::value_variants(),
                    workloads: workloads(&FROM_ALL),
                    cpus: or(&self.cpus, &[Cpus::Each]),
                    ..base
                },
                base,
            ],
        }
    }

    /// Why a peer has no turn in a cell that it could have one in.
    #[must_use]
    pub fn leaves_out(&self, peer: Peer, cell: Cell) -> Option<String> {
        if peer == Peer::Haproxy && cell.workload.is_udp() {
            return Some("HAProxy forwards no datagrams".into());
        }
        let quick = self.suite == Suite::Quick;
        let most = match peer {
            Peer::Clean | Peer::Fairway | Peer::FairwayTc => return None,
            Peer::Nftables | Peer::Ipvs => 10_000,
            // Loading 10,000 Services takes Debian's iptables minutes.
            _ => {
                if quick {
                    1000
                } else {
                    10_000
                }
            }
        };
        let many = cell.services > most && self.services.is_empty() || cell.services > 10_000;
        many.then(|| format!("loading more than {most} Services takes too long"))
    }
}

fn or<'a, T>(given: &'a [T], default: &'a [T]) -> &'a [T] {
    if given.is_empty() { default } else { given }
}

impl Group<'_> {
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for family in self.families {
            for services in self.services {
                for backends in self.backends {
                    for from in self.from {
                        for workload in self.workloads {
                            cells.extend(self.cpus.iter().map(|cpus| Cell {
                                services: *services,
                                // wrk asks one address; without a proxy it would have no choice of backends.
                                backends: if *workload == Workload::Http { 1 } else { *backends },
                                family: *family,
                                from: *from,
                                workload: *workload,
                                cpus: *cpus,
                            }));
                        }
                    }
                }
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        choice: Choice,
    }

    fn choice(words: &str) -> Choice {
        Line::parse_from(std::iter::once("bench").chain(words.split_whitespace())).choice
    }

    #[test]
    fn thousands_are_understood() {
        assert_eq!(choice("--services 1,100,1k,10k").services, [1, 100, 1000, 10_000]);
        assert!(number("70k").is_err() && number("0").is_err() && number("x").is_err());
    }

    #[test]
    fn every_cell_is_there_once_and_those_of_one_set_of_services_stand_together() {
        let cells = choice("").cells();
        let mut sets: Vec<_> = cells.iter().map(|cell| (cell.family, cell.services)).collect();
        sets.dedup();
        assert_eq!(sets, [(Family::V4, 1), (Family::V4, 10_000)]);
        assert!(cells.len() > 20 && cells.len() < 50, "{}", cells.len());
    }

    #[test]
    fn the_full_suite_asks_from_everywhere_in_both_families_in_about_an_hour() {
        let choice = choice("--suite full");
        let cells = choice.cells();
        let everywhere = |family| {
            let from: BTreeSet<From> =
                cells.iter().filter(|cell| cell.family == family).map(|cell| cell.from).collect();
            from.len() == From::value_variants().len()
        };
        assert!(everywhere(Family::V4) && everywhere(Family::V6));
        // Peers that can run here; what a turn takes beside what is counted.
        let turn = choice.duration() + Duration::from_millis(150);
        let all = turn * choice.rounds() * 6 * cells.len() as u32;
        assert!((40..90).contains(&(all.as_secs() / 60)), "{all:?}, {} cells", cells.len());
    }

    #[test]
    fn given_lists_are_multiplied() {
        let cells = choice("--services 1,10 --workloads connect,crr --cpus each --families v4,v6").cells();
        assert_eq!(cells.len(), 8);
    }

    #[test]
    fn peers_that_load_slowly_are_left_out_of_what_takes_too_long_unless_asked_for() {
        let cell = Cell { services: 10_000, ..choice("").cells()[0] };
        assert!(choice("").leaves_out(Peer::Iptables, cell).is_some());
        assert!(choice("--services 10k").leaves_out(Peer::Iptables, cell).is_none());
        assert!(choice("").leaves_out(Peer::Fairway, cell).is_none());
    }
}
