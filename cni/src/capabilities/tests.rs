use serde_json::json;

use super::*;

fn read(config: &Value) -> Result<Capabilities, Error> {
    Capabilities::read(config.to_string().as_bytes())
}

fn with_ports(ports: Value) -> Value {
    json!({ "cniVersion": "1.0.0", "name": "net", "runtimeConfig": { "portMappings": ports } })
}

fn limits(bandwidth: &Bandwidth) -> [u64; 4] {
    [bandwidth.ingress_rate, bandwidth.ingress_burst, bandwidth.egress_rate, bandwidth.egress_burst]
}

#[test]
fn names_that_begin_with_a_capital_are_read_as_containerd_writes_them() {
    let config = json!({ "cniVersion": "1.0.0", "name": "net", "runtimeConfig": {
        "portMappings": [{ "HostPort": 8080, "ContainerPort": 80, "Protocol": "udp", "HostIP": "" }],
        "bandwidth": { "IngressRate": 1_000_000, "IngressBurst": u32::MAX, "EgressRate": 0, "EgressBurst": 0 },
    }});
    let read = read(&config).unwrap();
    let port = &read.ports[0];
    assert_eq!((port.host_port, port.container_port, port.protocol()), (8080, 80, Protocol::Udp));
    assert_eq!(limits(&read.bandwidth.unwrap()), [1_000_000, 0, 0, 0]);
}

#[test]
fn port_mappings_are_read_as_runtimes_write_them() {
    let read = read(&with_ports(json!([
        { "hostPort": 8080, "containerPort": 80 },
        { "hostPort": 8080, "containerPort": 81, "protocol": "UDP", "hostIP": "" },
        { "hostPort": 8080, "containerPort": 82, "protocol": "tcp", "hostIP": "192.0.2.1", "more": 1 },
        { "hostPort": 8080, "containerPort": 83, "protocol": "Sctp", "hostIP": "FD00:0::1" },
        { "hostPort": 8080, "containerPort": 84, "protocol": "", "hostIP": "::ffff:192.0.2.2" },
    ])));
    let ports = read.unwrap().ports.into_iter();
    let rows: Vec<_> = ports.map(|it| (it.container_port, it.protocol, it.host_ip)).collect();
    let row = |port, protocol: Protocol, ip: &str| (port, i32::from(protocol), ip.to_owned());
    assert_eq!(
        rows,
        [
            row(80, Protocol::Tcp, ""),
            row(81, Protocol::Udp, ""),
            row(82, Protocol::Tcp, "192.0.2.1"),
            row(83, Protocol::Sctp, "fd00::1"),
            row(84, Protocol::Tcp, "192.0.2.2"),
        ]
    );
}

#[test]
fn a_value_that_makes_no_sense_is_named_with_its_key() {
    // S111
    let port = |key: &str, value: Value| {
        let mut port = json!({ "hostPort": 8080, "containerPort": 80 });
        port[key] = value;
        with_ports(json!([port]))
    };
    let bandwidth = |limits: Value| json!({ "name": "net", "runtimeConfig": { "bandwidth": limits } });
    let twice = json!({ "hostPort": 8080, "containerPort": 80 });
    for (config, code, words) in [
        (port("hostPort", json!(0)), 7, ["portMappings.hostPort", "`0`"]),
        (port("hostPort", json!(65_536)), 7, ["portMappings.hostPort", "`65536`"]),
        (port("hostPort", json!("80")), 7, ["portMappings.hostPort", "80"]),
        (port("containerPort", json!(-1)), 7, ["portMappings.containerPort", "`-1`"]),
        (port("protocol", json!("icmp")), 7, ["portMappings.protocol", "icmp"]),
        (port("hostIP", json!("here")), 7, ["portMappings.hostIP", "here"]),
        (with_ports(json!([twice, twice])), 7, ["portMappings.hostPort", "`8080`"]),
        (bandwidth(json!({ "ingressRate": 10 })), 7, ["bandwidth.ingressRate", "`10`"]),
        (bandwidth(json!({ "egressRate": -5 })), 7, ["bandwidth.egressRate", "`-5`"]),
        (bandwidth(json!({ "ingressBurst": 5000 })), 7, ["bandwidth.ingressBurst", "`5000`"]),
        (
            bandwidth(json!({ "egressRate": 1000, "egressBurst": 1_u64 << 36 })),
            7,
            ["egressBurst", "68719476736"],
        ),
        (json!({ "ingressRate": "1M" }), 7, ["`ingressRate`", "1M"]),
        (json!({ "conditionsV4": ["-s", "192.0.2.0/24"] }), 2, ["conditionsV4", "192.0.2.0/24"]),
        (json!({ "masqAll": true }), 2, ["masqAll", "--masquerade-all"]),
        (json!({ "unshapedSubnets": ["10.0.0.0/8"] }), 2, ["unshapedSubnets", "10.0.0.0/8"]),
        (json!({ "runtimeConfig": { "portMappings": {} } }), 6, ["configuration", ""]),
    ] {
        let error = read(&config).unwrap_err();
        let text = error.to_string();
        assert!(error.code() == code && words.iter().all(|word| text.contains(word)), "{config}: {text}");
    }
}

#[test]
fn what_portmap_says_of_iptables_is_ignored() {
    let config = json!({
        "snat": true, "masqAll": false, "markMasqBit": 13, "externalSetMarkChain": "KUBE-MARK-MASQ",
        "backend": "nftables", "conditionsV4": [], "conditionsV6": null,
    });
    assert_eq!(read(&config).unwrap(), Capabilities::default());
}

#[test]
fn limits_of_bandwidth_are_read_from_the_runtime_or_from_the_configuration_itself() {
    // containerd's words for `kubernetes.io/ingress-bandwidth: 10M`: a burst of 2^32-1 bits is none.
    let runtime =
        json!({ "ingressRate": 10_000_000, "ingressBurst": u32::MAX, "egressRate": 0, "egressBurst": 0 });
    let mut config = json!({ "name": "net", "runtimeConfig": { "bandwidth": runtime } });
    assert_eq!(limits(&read(&config).unwrap().bandwidth.unwrap()), [10_000_000, 0, 0, 0]);
    config["egressRate"] = json!(5_000_000);
    config["egressBurst"] = json!(400_000);
    assert_eq!(limits(&read(&config).unwrap().bandwidth.unwrap()), [0, 0, 5_000_000, 400_000]);
    let none = json!({ "name": "net", "runtimeConfig": { "bandwidth": { "ingressRate": 0 } } });
    assert_eq!(read(&none).unwrap().bandwidth, None);
}
