//! What kubeadm writes, what people change in it, and what is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::{Config, Loaded, NodePortAddresses, Sources};
use super::*;

/// The key `config.conf` of the ConfigMap `kube-proxy` of a cluster that kubeadm made.
const KUBEADM: &str = include_str!("kubeadm.yaml");
const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fn load(kube_proxy: Option<&str>, file: Option<&str>, env: &[(&str, &str)]) -> Result<Loaded, Error> {
    let named = |name: &str, text: Option<&str>| text.map(|text| (PathBuf::from(name), text.to_owned()));
    Config::load(&Sources {
        flags: BTreeMap::new(),
        env: &|name| env.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned()),
        file: named("agent.conf", file),
        kube_proxy: named("config.conf", kube_proxy),
        hostname: "host".into(),
    })
}

fn with(body: &str) -> Loaded {
    load(Some(&format!("{HEAD}{body}")), None, &[]).unwrap()
}

fn notes(loaded: &Loaded) -> Vec<String> {
    loaded.notes.iter().map(ToString::to_string).collect()
}

fn error(body: &str) -> String {
    load(Some(&format!("{HEAD}{body}")), None, &[]).unwrap_err().to_string()
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.values.iter().find(|(setting, _)| setting.key == key).unwrap().1.origin.to_string()
}

#[test]
fn what_kubeadm_writes_changes_two_addresses_and_says_what_does_not_hold() {
    let loaded = load(Some(KUBEADM), None, &[]).unwrap();
    let plain = load(None, None, &[]).unwrap().config;
    let expected = Config {
        health_address: "0.0.0.0:10256".parse().unwrap(),
        metrics_address: Some("127.0.0.1:10249".parse().unwrap()),
        ..plain
    };
    assert_eq!(loaded.config, expected);
    assert_eq!(origin(&loaded, "health-address"), "kube-proxy's default, config.conf");
    assert_eq!(
        notes(&loaded),
        [
            "config.conf:8: clientConnection.kubeconfig: `/var/lib/kube-proxy/kubeconfig.conf` is not used: the agent \
             asks a control plane; with `kubernetes` it reads the API by this file",
            "config.conf:10: clusterCIDR: `10.244.0.0/16` is not used: the Node objects say which ranges are pods'",
        ]
    );
}

#[test]
fn it_is_recognised_as_the_settings_file_in_yaml_and_in_json() {
    let json = r#"{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration", "hostnameOverride": "node-7"}"#;
    for text in [format!("# Ours\n{HEAD}hostnameOverride: node-7\n").as_str(), json] {
        let loaded = load(None, Some(text), &[]).unwrap();
        assert_eq!(loaded.config.node_name, "node-7");
    }
    assert!(
        load(None, Some("node-name = \"kind: a\""), &[]).is_err_and(|e| e.to_string().contains("node name"))
    );
}

#[test]
fn every_key_that_has_a_setting_is_that_setting() {
    let loaded = with(
        "hostnameOverride: node-7\n\
                       healthzBindAddress: 192.0.2.7\n\
                       metricsBindAddress: 0.0.0.0:9000\n\
                       nodePortAddresses: [192.0.2.0/24, 'fd00::/8']\n\
                       mode: nftables\n\
                       iptables: {masqueradeAll: false}\n\
                       nftables: {masqueradeAll: true}\n\
                       conntrack:\n  tcpEstablishedTimeout: 24h0m0s\n  tcpCloseWaitTimeout: 1h0m0s\n  \
                       udpTimeout: 45s\n  udpStreamTimeout: 3m0s\n",
    );
    let config = &loaded.config;
    assert_eq!(config.node_name, "node-7");
    assert_eq!(config.health_address.to_string(), "192.0.2.7:10256");
    assert_eq!(config.metrics_address.unwrap().to_string(), "0.0.0.0:9000");
    let ranges = vec!["192.0.2.0/24".parse().unwrap(), "fd00::/8".parse().unwrap()];
    assert_eq!(config.node_port_addresses, NodePortAddresses::In(ranges));
    assert!(config.masquerade_all);
    let times = &config.timeouts;
    let seconds =
        [times.tcp_established, times.tcp_fin_wait, times.udp, times.udp_stream].map(|t| t.as_secs());
    assert_eq!(seconds, [86_400, 3_600, 45, 180]);
    assert_eq!(origin(&loaded, "conntrack-udp"), "config.conf:13");
    assert_eq!(notes(&loaded), ["config.conf:7: mode: `nftables` is replaced by programs in the kernel"]);
}

#[test]
fn node_ports_at_primary_addresses_mean_the_same_here() {
    assert_eq!(with("nodePortAddresses: [primary]").config.node_port_addresses, NodePortAddresses::Primary);
}

#[test]
fn masquerade_all_counts_in_the_mode_of_the_file() {
    // S21
    for (mode, section, counts) in [
        ("''", "iptables", true),
        ("iptables", "iptables", true),
        ("ipvs", "iptables", true),
        ("nftables", "nftables", true),
        ("nftables", "iptables", false),
        ("iptables", "nftables", false),
    ] {
        let loaded = with(&format!("mode: {mode}\n{section}:\n  masqueradeAll: true\n"));
        assert_eq!(loaded.config.masquerade_all, counts, "{mode} {section}");
        let is_told = notes(&loaded).iter().any(|note| note.contains("counts in another mode"));
        assert_eq!(is_told, !counts, "{mode} {section}");
    }
}

#[test]
fn addresses_follow_the_family_of_the_bind_address() {
    let config = with("bindAddress: '::'").config;
    assert_eq!(config.health_address.to_string(), "[::]:10256");
    assert_eq!(config.metrics_address.unwrap().to_string(), "[::1]:10249");
}

#[test]
fn what_does_not_hold_is_named_once_by_place_and_defaults_are_not() {
    let loaded = with(
        "ipvs:\n  scheduler: mh\n  strictARP: true\n  syncPeriod: 30s\n\
                       iptables: {masqueradeBit: 14, localhostNodePorts: false, syncPeriod: 30s, minSyncPeriod: 1s}\n\
                       conntrack: {maxPerCore: 32768, min: 1000, tcpBeLiberal: true}\n\
                       featureGates: {SomeGate: true}\noomScoreAdj: -999\nclientConnection: {qps: 5, burst: 100}\n\
                       logging: {format: json, flushFrequency: 5s, verbosity: 0}\nportRange: 1-2\n",
    );
    let mut told: Vec<String> =
        notes(&loaded).iter().map(|note| note.split(" is ").next().unwrap_or_default().to_owned()).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "config.conf:11: clientConnection.burst: `100`",
            "config.conf:12: logging.format: `json`",
            "config.conf:13: portRange: `1-2`",
            "config.conf:4: ipvs.scheduler: `mh`",
            "config.conf:5: ipvs.strictARP: `true`",
            "config.conf:7: iptables.localhostNodePorts: `false`",
            "config.conf:8: conntrack.min: `1000`",
            "config.conf:9: featureGates: `{\"SomeGate\":true}`",
        ]
    );
}

#[test]
fn a_key_that_there_is_not_is_refused_by_file_line_and_nearest_key() {
    assert_eq!(
        error("mode: iptables\niptables:\n  masqueradeAl: true\n"),
        "config.conf:5: unknown setting `iptables.masqueradeAl`; did you mean `iptables.masqueradeAll`?"
    );
    assert_eq!(
        error("bindAdress: 0.0.0.0\n"),
        "config.conf:3: unknown setting `bindAdress`; did you mean `bindAddress`?"
    );
}

#[test]
fn a_wrong_value_is_refused_by_place_and_expectation() {
    for (body, expected) in [
        ("mode: userspace", "config.conf:3: mode: `userspace` is not iptables, ipvs or nftables"),
        ("iptables: 3", "config.conf:3: iptables: `3` is not a map"),
        (
            "iptables: {masqueradeAll: maybe}",
            "config.conf:3: iptables.masqueradeAll: `maybe` is not true or false",
        ),
        (
            "conntrack: {udpTimeout: soon}",
            "config.conf:3: conntrack.udpTimeout: `soon` is not a time, for example",
        ),
        ("nodePortAddresses: primary", "config.conf:3: nodePortAddresses: `primary` is not a list of texts"),
        ("nodePortAddresses: [10.0.0.0]", "config.conf:3: node-port-addresses: `10.0.0.0` is not a CIDR"),
        (
            "healthzBindAddress: localhost:1",
            "config.conf:3: health-address: `localhost:1` is not an address and port",
        ),
    ] {
        assert!(error(body).starts_with(expected), "{}", error(body));
    }
    assert!(error("mode: [").starts_with("config.conf:"), "{}", error("mode: ["));
}

#[test]
fn another_object_is_refused_and_the_right_one_is_shown() {
    let text = "apiVersion: v1\nkind: ConfigMap\ndata: {}\n";
    let error = load(None, Some(text), &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("agent.conf: this is a `ConfigMap` of `v1`, not a KubeProxyConfiguration"),
        "{error}"
    );
    assert!(error.contains(r"jsonpath='{.data.config\.conf}'"), "{error}");
    let two = format!("{HEAD}---\n{HEAD}");
    let error = load(Some(&two), None, &[]).unwrap_err().to_string();
    assert!(error.contains("a second document"), "{error}");
}

#[test]
fn it_is_a_file_and_the_settings_file_counts_more_and_the_environment_most() {
    let kube_proxy =
        format!("{HEAD}hostnameOverride: a\nmetricsBindAddress: 127.0.0.1:1\nnodePortAddresses: [primary]\n");
    let file = "node-name = \"b\"\nmetrics-address = \"127.0.0.1:2\"\n";
    let loaded = load(Some(&kube_proxy), Some(file), &[("FAIRWAY_NODE_NAME", "c")]).unwrap();
    assert_eq!(loaded.config.node_name, "c");
    assert_eq!(loaded.config.metrics_address.unwrap().port(), 2);
    assert_eq!(loaded.config.node_port_addresses, NodePortAddresses::Primary);
}

#[test]
fn what_concerns_the_api_counts_where_the_agent_reads_it_itself() {
    let text = format!("{HEAD}clientConnection:\n  kubeconfig: /etc/kube.conf\nserviceProxyName: mine\n");
    let loaded = load(Some(&text), None, &[("FAIRWAY_KUBERNETES", "true")]).unwrap();
    let kubernetes = loaded.config.kubernetes.as_ref().unwrap();
    assert_eq!(kubernetes.kubeconfig.as_deref(), Some(Path::new("/etc/kube.conf")));
    assert_eq!(kubernetes.service_proxy_name.as_deref(), Some("mine"));
    assert_eq!(loaded.notes, []);
    let env = [("FAIRWAY_KUBERNETES", "true"), ("FAIRWAY_KUBECONFIG", "/other")];
    let kubernetes = load(Some(&text), None, &env).unwrap().config.kubernetes.unwrap();
    assert_eq!(kubernetes.kubeconfig.as_deref(), Some(Path::new("/other")));
}

#[test]
fn the_list_of_settings_ends_with_what_does_not_hold() {
    let loaded = with("mode: ipvs\n");
    let line = "config.conf:3: mode: `ipvs` is replaced by programs in the kernel";
    assert!(loaded.table().ends_with(&format!("\n\nNOT USED\n{line}\n")), "{}", loaded.table());
    let json: serde_json::Value = serde_json::from_str(&loaded.json()).unwrap();
    assert_eq!(json["notUsed"], serde_json::json!([line]));
}

#[test]
fn each_key_leads_to_a_setting_that_there_is() {
    for field in FIELDS {
        let key = match field.meaning {
            Meaning::Setting(key) | Meaning::Address(key, _) | Meaning::InModes(_, key) => key,
            Meaning::OfTheApi(..) | Meaning::OneOf(..) | Meaning::Nothing(..) | Meaning::Silent => continue,
        };
        assert!(SETTINGS.iter().any(|setting| setting.key == key), "{}: {key}", field.path);
        assert_eq!(FIELDS.iter().filter(|other| other.path == field.path).count(), 1, "{}", field.path);
    }
}
