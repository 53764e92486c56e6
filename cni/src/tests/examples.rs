//! The examples of the CNI specification (its appendix `Examples`), with this plugin in the place of `bridge`.

use fairway_proto::node::AddResponse;
use serde_json::{Value, json};

use crate::call::{Call, Command};
use crate::config::Config;
use crate::version::Version;
use crate::{refusal, result};

/// What the runtime gives to the first plugin of the list `dbnet`.
fn bridge(version: &str) -> Value {
    json!({
        "cniVersion": version,
        "name": "dbnet",
        "type": "bridge",
        "bridge": "cni0",
        "keyA": ["some more", "plugin specific", "configuration"],
        "ipam": {
            "type": "host-local",
            "subnet": "10.1.0.0/16",
            "gateway": "10.1.0.1",
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
        "dns": { "nameservers": ["10.1.0.1"] },
    })
}

/// What the first plugin's ADD results in there.
fn added(version: &str) -> Value {
    let mut ip = json!({ "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2 });
    if version < "1.0.0" {
        ip["version"] = "4".into();
    }
    json!({
        "cniVersion": version,
        "ips": [ip],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "interfaces": [
            { "name": "cni0", "mac": "00:11:22:33:44:55" },
            { "name": "veth3243", "mac": "55:44:33:22:11:11" },
            { "name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": "/var/run/netns/blue" },
        ],
        "dns": { "nameservers": ["10.1.0.1"] },
    })
}

fn with(mut config: Value, key: &str, value: Value) -> Value {
    config[key] = value;
    config
}

fn read(config: &Value, command: Command) -> (Config, Version) {
    Config::read(config.to_string().as_bytes(), command).unwrap_or_else(|error| panic!("{config}: {error}"))
}

/// The error's code; zero if there is none.
fn code(config: &Value, command: &str) -> u64 {
    let variables = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "blue"),
        ("CNI_NETNS", "/var/run/netns/blue"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    let variable =
        |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
    refusal(variable, config.to_string().as_bytes()).map_or(0, |error| error["code"].as_u64().unwrap())
}

#[test]
fn each_command_of_the_example_is_understood_in_each_version_that_has_it() {
    // S113
    for version in Version::ALL.map(Version::text) {
        let since = |first: &str| if version < first { 1 } else { 0 };
        let chained = with(bridge(version), "prevResult", added(version));
        assert_eq!(code(&bridge(version), "ADD"), 0, "{version}");
        assert_eq!(code(&chained, "CHECK"), since("0.4.0"), "{version}");
        assert_eq!(code(&chained, "DEL"), 0, "{version}");
        // The specification has no result at DEL before 0.4.0, and allows none afterwards.
        assert_eq!(code(&bridge(version), "DEL"), 0, "{version}");
        assert_eq!(code(&bridge(version), "STATUS"), since("1.1.0"), "{version}");
        let kept = json!([{ "containerID": "blue", "ifname": "eth0" }]);
        let collected = with(bridge(version), "cni.dev/valid-attachments", kept);
        assert_eq!(code(&collected, "GC"), since("1.1.0"), "{version}");
    }
}

#[test]
fn what_the_second_plugin_of_the_example_gets_is_refused_by_an_add_and_not_by_a_del() {
    // S111, S124
    let tuning = json!({
        "cniVersion": "1.1.0",
        "name": "dbnet",
        "type": "tuning",
        "sysctl": { "net.core.somaxconn": "500" },
        "runtimeConfig": { "mac": "00:11:22:33:44:66" },
        "prevResult": added("1.1.0"),
    });
    assert_eq!(code(&tuning, "ADD"), 7);
    assert_eq!(code(&tuning, "DEL"), 0);
}

#[test]
fn a_check_reads_the_containers_addresses_out_of_the_result_of_each_version() {
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let (config, _) = read(&with(bridge(version), "prevResult", added(version)), Command::Check);
        assert_eq!(config.previous.addresses_of("eth0"), ["10.1.0.5/16"], "{version}");
        assert!(config.previous.addresses_of("eth1").is_empty());
    }
}

#[test]
fn an_add_of_the_example_results_in_the_form_of_each_version() {
    // S113, S114
    let response = AddResponse {
        node_interface: "veth3243".into(),
        node_mac: "55:44:33:22:11:11".into(),
        pod_mac: "99:88:77:66:55:44".into(),
        addresses: vec!["10.1.0.5/32".into()],
        gateways: vec!["169.254.1.1".into()],
        mtu: 1500,
    };
    let call = Call {
        command: Command::Add,
        container_id: "blue".into(),
        netns: "/var/run/netns/blue".into(),
        interface: "eth0".into(),
        pod_namespace: String::new(),
        pod_name: String::new(),
    };
    for version in Version::ALL.map(Version::text) {
        let (config, parsed) = read(&bridge(version), Command::Add);
        // The example, without its bridge, and with an address that is the pod's alone.
        let mut expected = added(version);
        expected["interfaces"].as_array_mut().unwrap().remove(0);
        expected["ips"][0]["interface"] = 1.into();
        expected["ips"][0]["address"] = "10.1.0.5/32".into();
        expected["ips"][0]["gateway"] = "169.254.1.1".into();
        expected["routes"][0]["gw"] = "169.254.1.1".into();
        if version == "1.1.0" {
            expected["interfaces"][0]["mtu"] = 1500.into();
            expected["interfaces"][1]["mtu"] = 1500.into();
        }
        assert_eq!(result::format(parsed, &config, &call, &response).unwrap(), expected);
    }
}
