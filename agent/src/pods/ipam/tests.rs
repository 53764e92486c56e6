use proptest::prelude::*;

use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Picks, and remembers what was picked.
fn reserve(ipam: &mut Ipam, cidrs: &[IpNet], used: &BTreeSet<IpAddr>) -> Result<Vec<IpAddr>, Exhausted> {
    let picked = ipam.pick(cidrs, used)?;
    ipam.last.extend(picked.iter().copied());
    Ok(picked.into_iter().map(|(_, address)| address).collect())
}

fn take(ipam: &mut Ipam, cidrs: &[IpNet], used: &mut BTreeSet<IpAddr>) -> Result<Vec<IpAddr>, Exhausted> {
    let addresses = reserve(ipam, cidrs, used)?;
    used.extend(addresses.iter().copied());
    Ok(addresses)
}

#[test]
fn a_pod_gets_one_address_of_each_family_in_the_order_of_the_ranges() {
    let cidrs = nets(&["fd00:1::/64", "10.0.1.0/24", "10.0.2.0/24"]);
    let addresses = reserve(&mut Ipam::default(), &cidrs, &BTreeSet::new()).unwrap();
    assert_eq!(addresses, ["fd00:1::2".parse::<IpAddr>().unwrap(), "10.0.1.2".parse().unwrap()]);
}

#[test]
fn a_full_range_is_followed_by_the_next_one_of_its_family() {
    let cidrs = nets(&["10.0.1.0/30", "10.0.2.0/30"]);
    let (mut ipam, mut used) = (Ipam::default(), BTreeSet::new());
    assert_eq!(take(&mut ipam, &cidrs, &mut used).unwrap(), ["10.0.1.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(take(&mut ipam, &cidrs, &mut used).unwrap(), ["10.0.2.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(take(&mut ipam, &cidrs, &mut used), Err(Exhausted { cidrs })); // S120
}

#[test]
fn one_exhausted_family_leaves_the_other_untouched() {
    let cidrs = nets(&["10.0.1.0/24", "fd00:1::/127"]);
    let mut ipam = Ipam::default();
    assert!(reserve(&mut ipam, &cidrs, &BTreeSet::new()).is_err());
    assert_eq!(ipam, Ipam::default());
}

#[test]
fn ranges_without_a_usable_address_are_exhausted() {
    for cidr in ["10.0.0.0/31", "10.0.0.0/32", "fd00::/128", "255.255.255.255/32"] {
        assert!(Ipam::default().pick(&nets(&[cidr]), &BTreeSet::new()).is_err(), "{cidr}");
    }
}

#[test]
fn the_end_of_the_address_space_does_not_overflow() {
    let cidrs = nets(&["255.255.255.252/30", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126"]);
    let addresses = reserve(&mut Ipam::default(), &cidrs, &BTreeSet::new()).unwrap();
    assert_eq!(addresses[0], "255.255.255.254".parse::<IpAddr>().unwrap());
}

#[test]
fn a_freed_address_rests_until_the_range_has_been_used_up() {
    // S119
    let cidrs = nets(&["10.0.1.0/29"]);
    let (mut ipam, mut used) = (Ipam::default(), BTreeSet::new());
    let mut order = Vec::new();
    for _ in 0..7 {
        let address = take(&mut ipam, &cidrs, &mut used).unwrap()[0];
        used.remove(&address);
        order.push(address.to_string());
    }
    assert_eq!(order, ["10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.6", "10.0.1.2", "10.0.1.3"]);
}

proptest! {
    // S118, S119
    #[test]
    fn addresses_are_never_given_twice_and_never_reserved_ones(
        prefix in 24u8..=30,
        steps in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..300),
    ) {
        let cidr = IpNet::new("10.9.8.0".parse().unwrap(), prefix).unwrap();
        let (mut ipam, mut used) = (Ipam::default(), BTreeSet::new());
        let capacity = (1usize << (32 - prefix)) - 3;
        for step in steps {
            match step {
                Some(index) if !used.is_empty() => {
                    let address = *index.get(&used.iter().copied().collect::<Vec<_>>());
                    used.remove(&address);
                }
                _ => match reserve(&mut ipam, &[cidr], &used) {
                    Ok(addresses) => {
                        let address = addresses[0];
                        prop_assert!(cidr.contains(&address));
                        prop_assert!(address != cidr.network() && address != cidr.broadcast());
                        prop_assert!(number(address) != number(cidr.network()) + 1);
                        prop_assert!(used.insert(address), "{address} twice");
                    }
                    Err(_) => prop_assert_eq!(used.len(), capacity),
                },
            }
        }
    }
}
