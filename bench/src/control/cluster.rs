//! The cluster that is declared: files of many Services, and a file with the endpoints of each, so that a change is one
//! small file.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::wire;
use crate::programming::manifests::{service, slice};

/// Services, and nodes, in one file.
const IN_A_FILE: u32 = 500;
const FIRST_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 0);
const FIRST_ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
const FIRST_NODE: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 0);

/// A directory of manifests.
#[derive(Debug)]
pub(super) struct Cluster {
    directory: PathBuf,
    /// Where files are written before they are put in their place.
    beside: PathBuf,
    services: u32,
    endpoints: u32,
}

impl Cluster {
    /// Declares Services, endpoints of all of them together, and nodes.
    pub(super) fn write(root: &Path, services: u32, endpoints: u32, nodes: u32) -> io::Result<Self> {
        let cluster =
            Self { directory: root.join("manifests"), beside: root.join("beside"), services, endpoints };
        fs::create_dir(&cluster.directory)?;
        fs::create_dir(&cluster.beside)?;
        cluster.declare("services", services, |number| {
            service(&name(number), Ipv4Addr::from(u32::from(FIRST_SERVICE) + number))
        })?;
        cluster.declare("nodes", nodes, |number| {
            let address = Ipv4Addr::from(u32::from(FIRST_NODE) + number);
            format!(
                "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {}}}\nstatus:\n  addresses: [{{type: InternalIP, \
                 address: {address}}}]\n",
                node(number)
            )
        })?;
        for number in 0..services {
            fs::write(cluster.directory.join(file(number)), cluster.slice(number, None))?;
        }
        Ok(cluster)
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts another endpoint in place of one; `before` is called right before it happens.
    pub(super) fn change(&self, change: u32, before: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let number = change % self.services;
        let new = self.beside.join(file(number));
        fs::write(&new, self.slice(number, Some(change)))?;
        before()?;
        fs::rename(new, self.directory.join(file(number)))
    }

    fn declare(&self, kind: &str, count: u32, object: impl Fn(u32) -> String) -> io::Result<()> {
        for first in (0..count).step_by(IN_A_FILE as usize) {
            let mut text = String::new();
            for number in first..count.min(first + IN_A_FILE) {
                // Writing into a String does not fail.
                let _ = write!(text, "{}", object(number));
            }
            fs::write(self.directory.join(format!("{kind}-{first:06}.yaml")), text)?;
        }
        Ok(())
    }

    /// The endpoints of a Service, the first one that of a change.
    fn slice(&self, number: u32, change: Option<u32>) -> String {
        let [from, to] = [number, number + 1]
            .map(|number| (u64::from(self.endpoints) * u64::from(number) / u64::from(self.services)) as u32);
        let mut places: Vec<IpAddr> =
            (from..to).map(|it| Ipv4Addr::from(u32::from(FIRST_ENDPOINT) + it).into()).collect();
        if let (Some(first), Some(change)) = (places.first_mut(), change) {
            *first = wire::address(change).into();
        }
        slice(&name(number), &places)
    }
}

fn name(number: u32) -> String {
    format!("s{number}")
}

fn file(number: u32) -> String {
    format!("endpoints-{number:06}.yaml")
}

/// The name of a node.
pub(super) fn node(number: u32) -> String {
    format!("node-{number:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_spread_over_all_services_and_a_change_replaces_one() {
        let root = std::env::temp_dir().join(format!("fairway-cluster-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let cluster = Cluster::write(&root, 3, 10, 2).unwrap();
        let text = |number| fs::read_to_string(cluster.directory().join(file(number))).unwrap();
        let endpoints = |number| text(number).matches("addresses").count();
        assert_eq!([0, 1, 2].map(endpoints), [3, 3, 4]);
        cluster.change(4, || Ok(())).unwrap();
        assert_eq!(endpoints(1), 3);
        assert!(text(1).contains("\"198.18.0.4\"") && !text(2).contains("198.18"));
        fs::remove_dir_all(root).unwrap();
    }
}
