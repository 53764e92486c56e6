use super::super::state::tests::record;
use super::*;

fn mapping(text: &str) -> PortMapping {
    let (protocol, place) = text.split_once(' ').unwrap();
    let (host_ip, ports) = place.rsplit_once('@').map_or(("", place), |(ports, ip)| (ip, ports));
    let (host_port, container_port) = ports.split_once(':').unwrap();
    let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
    PortMapping {
        host_port: host_port.parse().unwrap(),
        container_port: container_port.parse().unwrap(),
        protocol: protocol.into(),
        host_ip: host_ip.into(),
    }
}

fn with_ports(name: &str, ports: &[&str]) -> Record {
    let ports: Vec<PortMapping> = ports.iter().map(|text| mapping(text)).collect();
    let container = format!("container-{name}");
    Record { ports: read(&ports).unwrap(), ..record(&container, name, "10.0.1.2") }
}

#[test]
fn a_port_is_taken_by_another_pod_only_at_the_same_address_and_protocol() {
    // S80
    for (one, other, meet) in [
        ("tcp 8080:80", "tcp 8080:81", true),
        ("tcp 8080:80", "tcp 8081:80", false),
        ("tcp 8080:80", "udp 8080:80", false),
        ("tcp 8080:80", "tcp 8080:80@192.0.2.1", true),
        ("tcp 8080:80@0.0.0.0", "tcp 8080:80@192.0.2.1", true),
        ("tcp 8080:80@0.0.0.0", "tcp 8080:80", true),
        ("tcp 8080:80@0.0.0.0", "tcp 8080:80@fd00::1", false),
        ("tcp 8080:80@0.0.0.0", "tcp 8080:80@::", false),
        ("tcp 8080:80@::", "tcp 8080:80@fd00::1", true),
        ("tcp 8080:80@192.0.2.1", "tcp 8080:80@192.0.2.1", true),
        ("tcp 8080:80@192.0.2.1", "tcp 8080:80@192.0.2.2", false),
        ("tcp 8080:80@127.0.0.1", "tcp 8080:80@192.0.2.1", false),
        ("tcp 8080:80@127.0.0.1", "tcp 8080:80", true),
    ] {
        for (one, other) in [(one, other), (other, one)] {
            let mut state = State::default();
            state.put(with_ports("web", &["udp 53:53", one]));
            let result = require_free(&with_ports("new", &[other]).ports, &state);
            assert_eq!(result.is_err(), meet, "{one} and {other}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_the_pod_that_has_it() {
    // S80, S111
    let mut state = State::default();
    state.put(with_ports("web", &["tcp 8080:80"]));
    let new = with_ports("new", &["udp 8080:80", "tcp 8080:80@192.0.2.1"]);
    let error = require_free(&new.ports, &state).unwrap_err();
    assert_eq!(error.cni_code(), 105);
    for word in ["8080/TCP", "192.0.2.1", "default/web", "container-web"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn only_pods_in_force_have_ports_and_what_stays_is_not_shown_anew() {
    let mut state = State::default();
    let mut shown = HostPorts::default();
    let web = with_ports("web", &["tcp 8080:80", "udp 53:5353@192.0.2.1"]);
    state.put(Record { complete: false, ..web.clone() });
    assert!(!refresh(&mut shown, &state));
    state.put(web.clone());
    assert!(refresh(&mut shown, &state) && !refresh(&mut shown, &state));
    let ports = shown[&ObjectName::new("default", "web")].clone();
    assert_eq!((ports[1].port, ports[1].pod_port, ports[1].protocol), (53, 5353, 17));
    state.put(Record { name: String::new(), ..with_ports("nameless", &["tcp 1:1"]) });
    state.put(with_ports("db", &[]));
    assert!(refresh(&mut shown, &state));
    assert!(Arc::ptr_eq(&ports, &shown[&ObjectName::new("default", "web")]));
    assert_eq!(shown.keys().next_back().unwrap().name(), "web");
    assert!(shown.contains_key(&ObjectName::new("default", "container-nameless")));
    state.remove(&web);
    assert!(refresh(&mut shown, &state) && shown.len() == 1);
}
