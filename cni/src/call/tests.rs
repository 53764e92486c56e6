use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Call, Error> {
    Call::read(|name| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned()))
}

const FULL: [(&str, &str); 6] = [
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", "0123-a.b_c"),
    ("CNI_NETNS", "/run/netns/x"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_PATH", "/opt/cni/bin"),
    ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=1=2"),
];

fn with(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    FULL.iter().map(|&(it, old)| if it == name { (it, value) } else { (it, old) }).collect()
}

#[test]
fn an_add_carries_the_pods_name() {
    let call = read(&FULL).unwrap();
    assert_eq!((call.command, call.interface.as_str()), (Command::Add, "eth0"));
    assert_eq!((call.pod_namespace.as_str(), call.pod_name.as_str()), ("default", "web"));
}

#[test]
fn all_missing_variables_are_named() {
    // S111, S112
    let cases: [(&str, &[&str]); 5] = [
        ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
        ("GC", &["CNI_PATH"]),
        ("STATUS", &["CNI_PATH"]),
    ];
    for (command, names) in cases {
        let error = read(&[("CNI_COMMAND", command), ("CNI_IFNAME", "")]).unwrap_err();
        assert_eq!(error.code(), 4);
        assert_eq!(error.to_string(), format!("environment variables missing: {}", names.join(", ")));
    }
    assert!(read(&[]).unwrap_err().to_string().contains("CNI_COMMAND"));
    assert_eq!(read(&[("CNI_COMMAND", "VERSION")]).unwrap().command, Command::Version);
}

#[test]
fn a_deletion_needs_no_namespace() {
    // S112, S116
    let call = read(&[&with("CNI_COMMAND", "DEL")[..2], &FULL[3..5]].concat()).unwrap();
    assert_eq!((call.command, call.netns.as_str()), (Command::Del, ""));
}

#[test]
fn names_that_the_kernel_or_a_path_would_misread_are_refused() {
    // S112
    for interface in ["sixteen-bytes-xx", ".", "..", "a/b", "a:b", "a b", "a\tb"] {
        let error = read(&with("CNI_IFNAME", interface)).unwrap_err();
        assert!(error.code() == 4 && error.to_string().contains("CNI_IFNAME"), "{interface}: {error}");
    }
    read(&with("CNI_IFNAME", "fifteen-bytes-x")).unwrap();
    for id in ["-a", ".a", "a/b", "a b", "ä"] {
        let error = read(&with("CNI_CONTAINERID", id)).unwrap_err();
        assert!(error.code() == 4 && error.to_string().contains("CNI_CONTAINERID"), "{id}: {error}");
    }
    assert_eq!(read(&with("CNI_COMMAND", "add")).unwrap_err().code(), 4);
    assert_eq!(read(&with("CNI_ARGS", "K8S_POD_NAME")).unwrap_err().code(), 4);
}
