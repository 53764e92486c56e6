//! The canned answers, out of order on purpose.

use fairway_proto::control::Protocol;
use fairway_proto::node::subsystem::State;
use fairway_proto::node::*;

pub(crate) fn status() -> StatusResponse {
    let part = |name: &str, state: State, text: &str| Subsystem {
        name: name.into(),
        state: state.into(),
        text: text.into(),
    };
    let map = |name: &str, entries: Option<u64>, capacity, memory| Map {
        name: name.into(),
        r#type: if entries.is_some() { "lru_hash" } else { "array" }.into(),
        entries: entries.unwrap_or_default(),
        capacity,
        method: if entries.is_some() { "counted" } else { "n/a" }.into(),
        memory,
    };
    let program = |name: &str, id, attached: &[&str]| Program {
        name: name.into(),
        attached: attached.iter().map(|place| (*place).to_owned()).collect(),
        method: "link".into(),
        id,
        tag: format!("{id:016x}"),
        verified_instructions: 1000 + id,
        memory: 8192,
    };
    StatusResponse {
        node: "n1".into(),
        version: "0.1.0".into(),
        uptime_seconds: 11_520,
        subsystems: vec![
            part("agent", State::Ok, "up 3h"),
            part("control-plane", State::Warning, "unix:///c.sock, not connected for 10s: refused"),
            part("services", State::Ok, "2 Services, 3 addresses"),
        ],
        services: 2,
        frontends: 3,
        backends: 3,
        endpoints: 2,
        nat_port_first: 1024,
        nat_port_last: 29_999,
        programs: vec![program("to_network", 72, &["eth0"]), program("from_pod", 71, &["fwb2", "fwa1"])],
        maps: vec![map("SLOTS", None, 524_288, 2 << 20), map("CONNTRACK4", Some(214_000), 262_144, 20 << 20)],
    }
}

fn backend(last: u8, state: &str) -> Backend {
    Backend {
        address: format!("10.0.2.{last}"),
        port: 8080,
        id: last.into(),
        local: last == 9,
        node: if last == 9 { "n1" } else { "n2" }.into(),
        pod: format!("default/web-{last}"),
        state: state.into(),
        services: Vec::new(),
    }
}

pub(crate) fn frontends() -> Vec<Frontend> {
    let web = Frontend {
        namespace: "default".into(),
        name: "web".into(),
        port_name: "http".into(),
        r#type: "NodePort".into(),
        address: "192.168.0.1".into(),
        port: 30080,
        protocol: Protocol::Tcp.into(),
        inside: vec![backend(10, "ready"), backend(9, "terminating")],
        outside: vec![backend(9, "terminating")],
        inside_when_empty: "reject".into(),
        outside_when_empty: "drop".into(),
        total_endpoints: 3,
        id: 12,
        keep_client: true,
        policy: "Local".into(),
    };
    let cluster_ip = Frontend {
        r#type: "ClusterIP".into(),
        address: "10.96.0.10".into(),
        port: 80,
        outside: web.inside.clone(),
        outside_when_empty: "reject".into(),
        keep_client: false,
        policy: "Cluster".into(),
        ..web.clone()
    };
    let v6 = Frontend {
        address: "fd00::10".into(),
        inside: Vec::new(),
        outside: Vec::new(),
        ..cluster_ip.clone()
    };
    let dns = Frontend {
        namespace: "kube-system".into(),
        name: "dns".into(),
        port_name: String::new(),
        address: "10.96.0.2".into(),
        port: 53,
        protocol: Protocol::Udp.into(),
        inside: vec![backend(30, "ready")],
        outside: vec![backend(30, "ready")],
        total_endpoints: 1,
        id: 3,
        ..cluster_ip.clone()
    };
    vec![dns, web, v6, cluster_ip]
}

pub(crate) fn backends() -> Vec<Backend> {
    let with = |backend: Backend, services: &[&str]| Backend {
        services: services.iter().map(|name| (*name).to_owned()).collect(),
        ..backend
    };
    vec![
        with(backend(30, "ready"), &["kube-system/dns"]),
        with(backend(10, "ready"), &["default/web:http"]),
        with(backend(9, "terminating"), &["default/alias", "default/web:http"]),
    ]
}

pub(crate) fn connections() -> Vec<Connection> {
    let first = Connection {
        protocol: Protocol::Tcp.into(),
        source: "10.0.1.5".into(),
        source_port: 41822,
        frontend: "10.96.0.10".into(),
        frontend_port: 80,
        backend: "10.0.2.9".into(),
        backend_port: 8080,
        state: "established".into(),
        idle_seconds: 3,
        expires_seconds: 21_597,
        service: "default/web:http".into(),
        source_pod: "default/client".into(),
        backend_pod: "default/web-9".into(),
        ..Default::default()
    };
    let translated = Connection {
        protocol: Protocol::Udp.into(),
        source: "fd00::7".into(),
        frontend: "fd00::2".into(),
        frontend_port: 53,
        backend: "fd00:2::30".into(),
        backend_port: 53,
        nat_source: "fd00::1".into(),
        nat_source_port: 1024,
        source_pod: "default/client".into(),
        backend_pod: String::new(),
        state: "unreplied".into(),
        expires_seconds: 27,
        service: "kube-system/dns".into(),
        ..first.clone()
    };
    let other = Connection { source: "10.0.1.40".into(), source_pod: String::new(), ..first.clone() };
    vec![translated, other, first]
}

pub(crate) fn affinities() -> Vec<Affinity> {
    let by_address = Affinity {
        client: "10.0.1.5".into(),
        kind: "address".into(),
        service: "default/web:http".into(),
        service_id: 12,
        backend: "10.0.2.9".into(),
        backend_port: 8080,
        client_pod: "default/client".into(),
        backend_pod: "default/web-9".into(),
        since_seconds: 100,
        expires_seconds: 10_700,
    };
    let by_socket = Affinity {
        client: "4711".into(),
        kind: "socket".into(),
        service: "kube-system/dns".into(),
        service_id: 3,
        backend: String::new(),
        backend_port: 0,
        client_pod: String::new(),
        backend_pod: String::new(),
        since_seconds: 3,
        expires_seconds: 117,
    };
    vec![by_socket, by_address]
}

pub(crate) fn endpoints() -> Vec<PodEndpoint> {
    let pod = |name: &str, index: u32, ready| PodEndpoint {
        namespace: "default".into(),
        name: name.into(),
        container_id: format!("{index:064x}"),
        interface: format!("fw{index}"),
        ifindex: index,
        addresses: vec![format!("10.0.1.{index}"), format!("fd00:1::{index}")],
        pod_mac: format!("02:00:00:00:01:{index:02x}"),
        node_mac: format!("02:00:00:00:02:{index:02x}"),
        ready,
        terminating: false,
    };
    vec![pod("web-9", 9, false), pod("client", 5, true)]
}

pub(crate) fn addresses() -> ListAddressesResponse {
    let range = |cidr: &str, size, used| AddressRange { cidr: cidr.into(), size, used };
    let address = |name: &str, index: u32, age_seconds, state: &str| AllocatedAddress {
        address: format!("10.0.1.{index}"),
        namespace: "default".into(),
        name: name.into(),
        container_id: format!("{index:064x}"),
        interface: format!("fw{index}"),
        age_seconds,
        state: state.into(),
    };
    let stray = AllocatedAddress {
        address: "10.0.1.66".into(),
        state: "unknown-pod".into(),
        ..AllocatedAddress::default()
    };
    ListAddressesResponse {
        ranges: vec![range("10.0.1.0/24", 253, 2), range("fd00:1::/64", u64::MAX - 2, 0)],
        addresses: vec![
            stray,
            address("web-7", 7, None, "incomplete"),
            address("client", 5, Some(90_000), "in-use"),
        ],
    }
}

pub(crate) fn differences() -> Vec<AddressDifference> {
    let difference = |address: &str, name: &str, text: &str| AddressDifference {
        address: address.into(),
        namespace: if name.is_empty() { "" } else { "default" }.into(),
        name: name.into(),
        container_id: String::new(),
        text: text.into(),
    };
    vec![
        difference("", "", "device `fw0123456789ab` is there, and no pod has it"),
        difference("10.0.1.66", "", "the node has a route, and no pod has the address"),
        difference("10.0.1.5", "client", "the data path's entry is missing"),
    ]
}

pub(crate) fn reasons() -> Vec<ReasonCount> {
    let count = |number, name: &str, class: &str, packets, text: &str, hint: &str| ReasonCount {
        number,
        name: name.into(),
        class: class.into(),
        packets,
        bytes: packets * 60,
        text: text.into(),
        hint: hint.into(),
    };
    vec![
        count(6, "delivered", "forward", 90_000, "the packet was handed to a pod of this node", ""),
        count(8, "no-backend", "reject", 3, "the Service has no usable endpoint", "are the pods ready?"),
        count(16, "no-route", "drop", 17, "the node has no route to the backend", "ip route get BACKEND"),
    ]
}

pub(crate) fn events() -> Vec<TraceEvent> {
    let forwarded = TraceEvent {
        time: 1_790_000_000_123_456_789,
        hook: "from-pod".into(),
        interface: "fwa1".into(),
        protocol: Protocol::Tcp.into(),
        source: "10.0.1.5".into(),
        source_port: 41822,
        destination: "10.96.0.10".into(),
        destination_port: 80,
        new_destination: "10.0.2.9".into(),
        new_destination_port: 8080,
        reason: "service-new".into(),
        class: "forward".into(),
        service: "default/web:http".into(),
        source_pod: "default/client".into(),
        destination_pod: "default/web-9".into(),
        length: 60,
        tcp_flags: "S".into(),
        ..Default::default()
    };
    let dropped = TraceEvent {
        time: 1_790_000_001_000_000_000,
        new_destination: String::new(),
        new_destination_port: 0,
        destination_pod: String::new(),
        reason: "no-local-backend".into(),
        class: "drop".into(),
        hint: "set the traffic policy to Cluster".into(),
        lost: 2,
        ..forwarded.clone()
    };
    vec![forwarded, dropped]
}
