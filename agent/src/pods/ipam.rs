//! Which address a new pod gets: a pure choice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The last address given out of each range. The next one follows it, so that an address rests as long as it can
/// before it is used again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ipam {
    pub(super) last: BTreeMap<IpNet, IpAddr>,
}

/// No address of this family is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// The ranges of the family.
    pub(super) cidrs: Vec<IpNet>,
}

impl Ipam {
    /// Picks one free address of each family that has ranges, each with its range, in the order in which the families
    /// first show in `cidrs`. The first range of a family that has a free address is used. All or nothing.
    pub(super) fn pick(
        &self,
        cidrs: &[IpNet],
        used: &BTreeSet<IpAddr>,
    ) -> Result<Vec<(IpNet, IpAddr)>, Exhausted> {
        let mut picked: Vec<(IpNet, IpAddr)> = Vec::new();
        for first in cidrs {
            if picked.iter().any(|(_, address)| address.is_ipv4() == first.addr().is_ipv4()) {
                continue;
            }
            let family: Vec<IpNet> = same_family(cidrs, first);
            let found = family.iter().find_map(|cidr| Some((cidr.trunc(), self.next(cidr, used)?)));
            picked.push(found.ok_or(Exhausted { cidrs: family })?);
        }
        Ok(picked)
    }

    /// The first free address after the last one given out, around the end of the range.
    fn next(&self, cidr: &IpNet, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let (low, high) = usable(cidr)?;
        let last = self.last.get(&cidr.trunc()).map(|address| number(*address));
        let start = match last {
            Some(last) if (low..high).contains(&last) => last + 1,
            _ => low,
        };
        (start..=high)
            .chain(low..start)
            .map(|candidate| address(cidr, candidate))
            .find(|candidate| !used.contains(candidate))
    }
}

fn same_family(cidrs: &[IpNet], like: &IpNet) -> Vec<IpNet> {
    cidrs.iter().filter(|cidr| cidr.addr().is_ipv4() == like.addr().is_ipv4()).copied().collect()
}

/// How many addresses of a range can be given to pods, as far as that can be counted.
pub(super) fn size(cidr: &IpNet) -> u64 {
    let size = usable(cidr).map_or(0, |(low, high)| (high - low).saturating_add(1));
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// The range without the network's address, the first one (often a gateway's) and the last one (broadcast).
fn usable(cidr: &IpNet) -> Option<(u128, u128)> {
    let low = number(cidr.network()).checked_add(2)?;
    let high = number(cidr.broadcast()).checked_sub(1)?;
    (low <= high).then_some((low, high))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(cidr: &IpNet, number: u128) -> IpAddr {
    match cidr {
        IpNet::V4(_) => Ipv4Addr::from(number as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests;
