//! Whatever comes in, the plugin does not panic and says what is wrong in the form that CNI asks for.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::refusal;

/// The names and values that the plugin looks for: with them random input comes further than the first check.
const WORDS: &[&str] = &[
    "cniVersion",
    "0.3.0",
    "0.4.0",
    "1.0.0",
    "1.1.0",
    "name",
    "fairway",
    "socket",
    "deletions",
    "/run/x",
    "dns",
    "prevResult",
    "interfaces",
    "sandbox",
    "ips",
    "address",
    "10.0.0.1/32",
    "interface",
    "runtimeConfig",
    "capabilities",
    "portMappings",
    "hostPort",
    "containerPort",
    "protocol",
    "tcp",
    "hostIP",
    "bandwidth",
    "ingressRate",
    "ingressBurst",
    "egressRate",
    "egressBurst",
    "cni.dev/valid-attachments",
    "cni.dev/attachments",
    "containerID",
    "ifname",
    "eth0",
];

const VARIABLES: [&str; 7] =
    ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS", "CNI_OTHER"];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(WORDS).prop_map(str::to_owned), 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u64..100_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map(word(), inner, 0..8).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// A configuration that is right but for some keys.
fn nearly() -> impl Strategy<Value = Value> {
    (btree_map(word(), value(), 0..6), select(&["0.3.1", "1.0.0", "1.1.0"][..])).prop_map(
        |(keys, version)| {
            let mut config = json!({ "cniVersion": version, "name": "net", "cni.dev/attachments": [] });
            config.as_object_mut().unwrap().extend(keys);
            config
        },
    )
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..200),
        2 => value().prop_map(|value| value.to_string().into_bytes()),
        4 => nearly().prop_map(|value| value.to_string().into_bytes()),
    ]
}

fn environment() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let command = select(&["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", ""][..]);
    let sound =
        (command, vec((select(&VARIABLES[..]), any::<String>()), 0..2)).prop_map(|(command, changed)| {
            let arguments = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web";
            let values = [command, "0123", "/run/netns/x", "eth0", "/opt/cni/bin", arguments, ""];
            let mut variables: Vec<_> = changed;
            variables.extend(VARIABLES.into_iter().zip(values.map(str::to_owned)));
            variables
        });
    prop_oneof![4 => sound, 1 => vec((select(&VARIABLES[..]), any::<String>()), 0..7)]
}

proptest! {
    // S110, S111
    #[test]
    fn any_input_is_understood_or_refused_with_a_code_and_words(
        environment in environment(),
        input in input(),
    ) {
        let variable =
            |name: &str| environment.iter().find(|(it, _)| *it == name).map(|(_, value)| value.clone());
        if let Some(error) = refusal(variable, &input) {
            prop_assert!(matches!(error["code"].as_u64(), Some(1 | 2 | 4 | 6 | 7)), "{error}");
            prop_assert!(error["msg"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
            prop_assert!(error["cniVersion"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
            prop_assert!(error["details"].is_string(), "{error}");
        }
    }
}
