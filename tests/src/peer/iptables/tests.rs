//! The rules beside those that kube-proxy's own test of its whole output lists (`TestOverallIPTablesRules`): the same
//! Services, endpoints and range of pods. They prove nothing of Fairway, and so bear no numbers of statements.

use serde_json::json;

use super::*;
use crate::peer::nftables::NodePorts;

fn service(number: u8, more: serde_json::Value) -> Service {
    let mut spec = json!({
        "clusterIP": format!("172.30.0.4{number}"),
        "ports": [{"name": "p80", "port": 80, "protocol": "TCP"}],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let (name, namespace) = (format!("svc{number}"), format!("ns{number}"));
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec})).unwrap()
}

fn slice(number: u8, addresses: &[&str]) -> EndpointSlice {
    let endpoints: Vec<_> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    let labels = json!({"kubernetes.io/service-name": format!("svc{number}")});
    let slice = json!({
        "metadata": {"namespace": format!("ns{number}"), "labels": labels}, "addressType": "IPv4",
        "ports": [{"name": "p80", "port": 80, "protocol": "TCP"}], "endpoints": endpoints,
    });
    serde_json::from_value(slice).unwrap()
}

fn written() -> String {
    let node = Node {
        name: "test-hostname".into(),
        addresses: vec!["192.168.0.2".parse().unwrap()],
        pods: vec!["10.0.0.0/8".parse().unwrap()],
        service_cidrs: Vec::new(),
        node_ports: NodePorts::All,
    };
    let node_port = json!([{"name": "p80", "port": 80, "protocol": "TCP", "nodePort": 3003}]);
    let services = [
        service(1, json!({})),
        service(3, json!({"type": "NodePort", "ports": node_port})),
        service(4, json!({"externalIPs": ["192.168.99.33"]})),
    ];
    let slices =
        [slice(1, &["10.180.0.1"]), slice(3, &["10.180.0.3"]), slice(4, &["10.180.0.4", "10.180.0.5"])];
    let all = rules(&node, &services, &slices);
    assert_eq!(all.len(), 1);
    all[0].1.clone()
}

/// What kube-proxy's test lists for these three Services.
const LISTED: &str = r#"
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
:KUBE-EXT-4SW47YFZTEDKD3PK - [0:0]
:KUBE-EXT-X27LE4BHSL4DOUIK - [0:0]
:KUBE-SEP-C6EBXVWJJZMIWKLZ - [0:0]
:KUBE-SEP-OYPFS5VJICHGATKP - [0:0]
:KUBE-SEP-SXIVWICOYRO3J4NJ - [0:0]
:KUBE-SEP-UKSFD7AGPMPPLUHC - [0:0]
:KUBE-SVC-4SW47YFZTEDKD3PK - [0:0]
:KUBE-SVC-X27LE4BHSL4DOUIK - [0:0]
:KUBE-SVC-XPGD46QRK7WJZT7O - [0:0]
-A KUBE-NODEPORTS -m comment --comment ns3/svc3:p80 -m tcp -p tcp --dport 3003 -j KUBE-EXT-X27LE4BHSL4DOUIK
-A KUBE-SERVICES -m comment --comment "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 -j KUBE-SVC-XPGD46QRK7WJZT7O
-A KUBE-SERVICES -m comment --comment "ns3/svc3:p80 cluster IP" -m tcp -p tcp -d 172.30.0.43 --dport 80 -j KUBE-SVC-X27LE4BHSL4DOUIK
-A KUBE-SERVICES -m comment --comment "ns4/svc4:p80 cluster IP" -m tcp -p tcp -d 172.30.0.44 --dport 80 -j KUBE-SVC-4SW47YFZTEDKD3PK
-A KUBE-SERVICES -m comment --comment "ns4/svc4:p80 external IP" -m tcp -p tcp -d 192.168.99.33 --dport 80 -j KUBE-EXT-4SW47YFZTEDKD3PK
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-EXT-4SW47YFZTEDKD3PK -m comment --comment "masquerade traffic for ns4/svc4:p80 external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-4SW47YFZTEDKD3PK -j KUBE-SVC-4SW47YFZTEDKD3PK
-A KUBE-EXT-X27LE4BHSL4DOUIK -m comment --comment "masquerade traffic for ns3/svc3:p80 external destinations" -j KUBE-MARK-MASQ
-A KUBE-EXT-X27LE4BHSL4DOUIK -j KUBE-SVC-X27LE4BHSL4DOUIK
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-SEP-C6EBXVWJJZMIWKLZ -m comment --comment ns4/svc4:p80 -s 10.180.0.5 -j KUBE-MARK-MASQ
-A KUBE-SEP-C6EBXVWJJZMIWKLZ -m comment --comment ns4/svc4:p80 -m tcp -p tcp -j DNAT --to-destination 10.180.0.5:80
-A KUBE-SEP-OYPFS5VJICHGATKP -m comment --comment ns3/svc3:p80 -s 10.180.0.3 -j KUBE-MARK-MASQ
-A KUBE-SEP-OYPFS5VJICHGATKP -m comment --comment ns3/svc3:p80 -m tcp -p tcp -j DNAT --to-destination 10.180.0.3:80
-A KUBE-SEP-SXIVWICOYRO3J4NJ -m comment --comment ns1/svc1:p80 -s 10.180.0.1 -j KUBE-MARK-MASQ
-A KUBE-SEP-SXIVWICOYRO3J4NJ -m comment --comment ns1/svc1:p80 -m tcp -p tcp -j DNAT --to-destination 10.180.0.1:80
-A KUBE-SEP-UKSFD7AGPMPPLUHC -m comment --comment ns4/svc4:p80 -s 10.180.0.4 -j KUBE-MARK-MASQ
-A KUBE-SEP-UKSFD7AGPMPPLUHC -m comment --comment ns4/svc4:p80 -m tcp -p tcp -j DNAT --to-destination 10.180.0.4:80
-A KUBE-SVC-4SW47YFZTEDKD3PK -m comment --comment "ns4/svc4:p80 cluster IP" -m tcp -p tcp -d 172.30.0.44 --dport 80 ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ
-A KUBE-SVC-4SW47YFZTEDKD3PK -m comment --comment "ns4/svc4:p80 -> 10.180.0.4:80" -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP-UKSFD7AGPMPPLUHC
-A KUBE-SVC-4SW47YFZTEDKD3PK -m comment --comment "ns4/svc4:p80 -> 10.180.0.5:80" -j KUBE-SEP-C6EBXVWJJZMIWKLZ
-A KUBE-SVC-X27LE4BHSL4DOUIK -m comment --comment "ns3/svc3:p80 cluster IP" -m tcp -p tcp -d 172.30.0.43 --dport 80 ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ
-A KUBE-SVC-X27LE4BHSL4DOUIK -m comment --comment "ns3/svc3:p80 -> 10.180.0.3:80" -j KUBE-SEP-OYPFS5VJICHGATKP
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "ns1/svc1:p80 cluster IP" -m tcp -p tcp -d 172.30.0.41 --dport 80 ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ
-A KUBE-SVC-XPGD46QRK7WJZT7O -m comment --comment "ns1/svc1:p80 -> 10.180.0.1:80" -j KUBE-SEP-SXIVWICOYRO3J4NJ
"#;

#[test]
fn the_rules_are_those_that_kube_proxys_own_test_lists() {
    let written = written();
    // Jumps from the kernel's chains are made apart there, and are no part of the list.
    let own_kinds = ["-A KUBE-", ":KUBE-SVC", ":KUBE-SEP", ":KUBE-EXT-"];
    let is_listed = |line: &&str| own_kinds.iter().any(|kind| line.starts_with(kind));
    let is_filter = |line: &&str| line.contains("EXTERNAL-SERVICES - ");
    // What the list's stand-in of iptables cannot, and iptables can: `--random-fully`.
    let masquerade = |line: &&str| line.ends_with("-j MASQUERADE --random-fully");
    let mut ours: Vec<&str> =
        written.lines().filter(|line| is_listed(line) && !is_filter(line) && !masquerade(line)).collect();
    let mut listed: Vec<&str> = LISTED.lines().filter(|line| !line.is_empty()).collect();
    ours.sort_unstable();
    listed.sort_unstable();
    assert_eq!(ours, listed);
}

#[test]
fn services_are_asked_for_in_their_order_and_node_ports_last() {
    let written = written();
    let chain: Vec<&str> = written.lines().filter(|line| line.starts_with("-A KUBE-SERVICES")).collect();
    assert!(chain[0].contains("ns1/svc1:p80") && chain.last().unwrap().ends_with("-j KUBE-NODEPORTS"));
}
