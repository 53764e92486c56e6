use super::*;
use crate::call::Command;

fn formatted(version: Version) -> Value {
    let call = Call {
        command: Command::Add,
        container_id: "a".into(),
        netns: "/run/netns/x".into(),
        interface: "eth0".into(),
        pod_namespace: String::new(),
        pod_name: String::new(),
    };
    let response = AddResponse {
        node_interface: "fw0123".into(),
        node_mac: "02:00:00:00:00:01".into(),
        pod_mac: "02:00:00:00:00:02".into(),
        addresses: vec!["10.0.1.2/32".into(), "fd00::2/128".into()],
        gateways: vec!["169.254.1.1".into(), "fe80::1".into()],
        mtu: 1400,
    };
    format(version, &Config::default(), &call, &response).unwrap()
}

#[test]
fn each_version_has_its_own_form() {
    // S113
    for version in Version::ALL {
        let result = formatted(version);
        assert_eq!(result["cniVersion"], version.text());
        let families = result["ips"].as_array().unwrap().iter().map(|ip| ip.get("version").cloned());
        let expected = match version < Version::V1_0_0 {
            true => [Some(json!("4")), Some(json!("6"))],
            false => [None, None],
        };
        assert_eq!(families.collect::<Vec<_>>(), expected, "{version:?}");
        let mtu = (version >= Version::V1_1_0).then(|| json!(1400));
        assert_eq!(result["interfaces"][1].get("mtu"), mtu.as_ref(), "{version:?}");
    }
}

#[test]
fn addresses_point_to_the_device_in_the_container() {
    // S114
    let expected = json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            { "name": "fw0123", "mac": "02:00:00:00:00:01" },
            { "name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x" },
        ],
        "ips": [
            { "address": "10.0.1.2/32", "gateway": "169.254.1.1", "interface": 1 },
            { "address": "fd00::2/128", "gateway": "fe80::1", "interface": 1 },
        ],
        "routes": [
            { "dst": "0.0.0.0/0", "gw": "169.254.1.1" },
            { "dst": "::/0", "gw": "fe80::1" },
        ],
        "dns": {},
    });
    assert_eq!(formatted(Version::V1_0_0), expected);
}
