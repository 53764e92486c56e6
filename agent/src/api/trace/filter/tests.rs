use fairway_datapath::common::reason::Reason;

use super::super::convert::tests::{event, names};
use super::*;

fn matches(request: &TraceRequest) -> bool {
    Filter::parse(request).unwrap().matches(&event(), &names())
}

fn with(change: impl FnOnce(&mut TraceRequest)) -> TraceRequest {
    let mut request = TraceRequest::default();
    change(&mut request);
    request
}

#[test]
fn no_condition_matches_everything() {
    assert!(matches(&TraceRequest::default()));
}

#[test]
fn an_address_or_port_matches_before_and_after_translation() {
    for address in ["10.0.1.5", "10.96.0.10", "10.0.2.9"] {
        assert!(matches(&with(|request| request.address = address.into())), "{address}");
    }
    assert!(!matches(&with(|request| request.address = "10.0.2.8".into())));
    for port in [41822, 80, 8080] {
        assert!(matches(&with(|request| request.port = port)), "{port}");
    }
    assert!(!matches(&with(|request| request.port = 443)));
}

#[test]
fn a_service_matches_with_and_without_its_port() {
    for (name, wanted) in [
        ("default/web", true),
        ("default/web:http", true),
        ("default/web:https", false),
        ("default/we", false),
        ("other/web", false),
    ] {
        assert_eq!(matches(&with(|request| request.service = name.into())), wanted, "{name}");
    }
}

#[test]
fn a_pod_matches_at_either_end() {
    assert!(matches(&with(|request| request.pod = "default/client".into())));
    assert!(!matches(&with(|request| request.pod = "default/server".into())));
}

#[test]
fn drops_are_told_from_forwarded_packets() {
    let filter = Filter::parse(&with(|request| request.drops = true)).unwrap();
    assert!(!filter.matches(&event(), &names()));
    for reason in [Reason::NoBackend, Reason::NoRoute] {
        let lost = Event { reason: reason as u8, ..event() };
        assert!(filter.matches(&lost, &names()));
    }
}

#[test]
fn all_conditions_must_hold() {
    let both = |port| {
        with(|request| {
            request.protocol = Protocol::Tcp.into();
            request.port = port;
        })
    };
    assert!(matches(&both(80)));
    assert!(!matches(&both(81)));
    assert!(!matches(&with(|request| request.protocol = Protocol::Udp.into())));
}

#[test]
fn nonsense_is_refused_by_name() {
    let refused = |request: &TraceRequest| Filter::parse(request).unwrap_err().to_string();
    assert_eq!(refused(&with(|r| r.address = "x".into())), "`x` is not an IP address");
    assert_eq!(refused(&with(|r| r.port = 70_000)), "`70000` is not a port: 1 to 65535");
    assert_eq!(refused(&with(|r| r.pod = "web".into())), "`web` is not of the form `namespace/name`");
    assert_eq!(refused(&with(|r| r.protocol = 3)), "`3` is not a protocol: 6, 17 or 132");
}

#[test]
fn a_name_that_nothing_bears_is_told_at_once() {
    let check = |request: &TraceRequest| Filter::parse(request).unwrap().check(&names());
    assert_eq!(check(&with(|r| r.service = "default/web".into())), Ok(()));
    assert!(check(&with(|r| r.service = "default/wob".into())).is_err());
    assert!(check(&with(|r| r.pod = "default/nobody".into())).is_err());
}
