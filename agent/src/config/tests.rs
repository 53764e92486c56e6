//! Layers, checks and messages.

use std::collections::BTreeMap;

use super::*;

fn load(
    file: Option<&str>,
    env: &[(&str, &str)],
    flags: &[(&'static str, &[&str])],
) -> Result<Loaded, Error> {
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
    Config::load(&Sources {
        flags: flags
            .iter()
            .map(|(key, texts)| (*key, texts.iter().map(ToString::to_string).collect()))
            .collect::<BTreeMap<_, _>>(),
        env: &env,
        file: file.map(|text| ("agent.toml".into(), text.to_owned())),
        kube_proxy: None,
        hostname: "Host-1".into(),
    })
}

fn error(file: &str) -> String {
    load(Some(file), &[], &[]).unwrap_err().to_string()
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.values.iter().find(|(setting, _)| setting.key == key).unwrap().1.origin.to_string()
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = load(None, &[], &[]).unwrap().config;
    assert_eq!(config.node_name, "host-1");
    assert_eq!(config.socket, PathBuf::from("/run/fairway/agent.sock"));
    assert_eq!(config.health_address.to_string(), "127.0.0.1:10256");
    assert_eq!(config.nat_ports, (1024, 29999));
    assert_eq!(config.socket_lb, SocketLb::All);
}

#[test]
fn a_flag_wins_over_environment_over_file_over_default() {
    let file = "zone = \"file\"\nsocket-lb = \"off\"\ninterface = [\"eth0\", \"eth1\"]\n";
    let env = [("FAIRWAY_ZONE", "env"), ("FAIRWAY_SOCKET_LB", "host")];
    let loaded = load(Some(file), &env, &[("zone", &["flag"])]).unwrap();
    assert_eq!(loaded.config.zone.as_deref(), Some("flag"));
    assert_eq!(loaded.config.socket_lb, SocketLb::Host);
    assert_eq!(loaded.config.interfaces, ["eth0", "eth1"]);
    assert_eq!(origin(&loaded, "zone"), "flag --zone");
    assert_eq!(origin(&loaded, "socket-lb"), "env FAIRWAY_SOCKET_LB");
    assert_eq!(origin(&loaded, "interface"), "agent.toml:3");
    assert_eq!(origin(&loaded, "state-dir"), "default");
}

#[test]
fn lists_are_separated_by_commas_or_repeated() {
    let loaded = load(
        None,
        &[("FAIRWAY_POD_CIDR", "10.0.0.0/24, fd00::/64")],
        &[("node-address", &["10.1.1.1", "fd00::1"])],
    );
    let config = loaded.unwrap().config;
    assert_eq!(config.pod_cidrs.len(), 2);
    assert_eq!(config.node_addresses.len(), 2);
}

#[test]
fn an_unknown_key_is_refused_by_file_line_and_nearest_key() {
    assert_eq!(
        error("zone = \"a\"\nnat_ports = \"1-2\"\n"),
        "agent.toml:2: unknown setting `nat_ports`; did you mean `nat-ports`?"
    );
}

#[test]
fn a_wrong_value_is_refused_by_place_and_expectation() {
    assert_eq!(
        error("\nhealth-address = \"localhost\""),
        "agent.toml:2: health-address: `localhost` is not an address and port, for example 127.0.0.1:10256"
    );
    assert_eq!(error("state-dir = \"var\""), "agent.toml:1: state-dir: `var` is not an absolute path");
    assert_eq!(error("zone = 3"), "agent.toml:1: zone: `3` is not a text in quotes");
    assert!(error("zone = ").starts_with("agent.toml:1: "));
}

#[test]
fn nat_ports_that_overlap_node_ports_are_refused() {
    // S78
    for range in ["1024-30000", "32767-40000", "31000-31001"] {
        let text = error(&format!("nat-ports = \"{range}\""));
        assert!(text.contains("overlaps the node ports 30000-32767"), "{text}");
    }
    assert!(load(Some("nat-ports = \"32768-60999\""), &[], &[]).is_ok());
    assert!(error("nat-ports = \"9-1\"").contains("the first not above the second"));
}

#[test]
fn a_control_plane_is_reached_with_certificates_or_on_purpose_without() {
    assert!(error("control = \"https://a:1\"").contains("set tls-cert, tls-key and tls-ca"));
    assert!(error("control = \"http://a:1\"").contains("neither encrypted nor authenticated"));
    assert!(error("control = \"a:1\"").contains("is not unix:///PATH"));
    let tls = "tls-cert = \"/c\"\ntls-key = \"/k\"\ntls-ca = \"/a\"\n";
    let with = |text: &str| load(Some(&format!("{tls}{text}")), &[], &[]).unwrap().config.control;
    assert_eq!(with("control = \"https://a:1\""), [ControlAddress::Tls("https://a:1".into())]);
    assert_eq!(with("control = \"unix:///a\""), [ControlAddress::Unix("/a".into())]);
    assert!(error("control = \"unix:///a\"\nmanifests = \"/m\"").contains("only one of"));
}

#[test]
fn several_control_planes_are_a_list_in_every_source_and_a_wrong_one_is_named() {
    let both = ["unix:///a", "unix:///b"].map(|text| ControlAddress::Unix(PathBuf::from(&text[7..])));
    let file = "control = [\"unix:///a\", \"unix:///b\"]";
    assert_eq!(load(Some(file), &[], &[]).unwrap().config.control, both);
    let env = [("FAIRWAY_CONTROL", "unix:///a, unix:///b")];
    assert_eq!(load(None, &env, &[]).unwrap().config.control, both);
    let repeated: &[&str] = &["unix:///a", "unix:///b"];
    let once: &[&str] = &["unix:///a,unix:///b"];
    for flags in [repeated, once] {
        let loaded = load(None, &[], &[("control", flags)]).unwrap();
        assert_eq!(loaded.config.control, both);
        let json: serde_json::Value = serde_json::from_str(&loaded.json()).unwrap();
        let items = json["items"].as_array().unwrap();
        let printed = items.iter().find(|item| item["setting"] == "control").unwrap();
        assert_eq!(printed["value"], serde_json::json!(["unix:///a", "unix:///b"]));
        assert!(loaded.table().contains("unix:///a,unix:///b"));
    }
    assert!(load(None, &[], &[]).unwrap().config.control.is_empty());
    let wrong = "agent.toml:1: control: `b:1` is not unix:///PATH, https://HOST:PORT or http://HOST:PORT";
    assert_eq!(error("control = [\"unix:///a\", \"b:1\"]"), wrong);
    assert!(
        error("control = [\"unix:///a\", \"http://b:1\"]").starts_with("control: `http://b:1` is neither")
    );
    let twice = "agent.toml:1: control: `unix:///a` is not an address that the list has once";
    assert_eq!(error("control = [\"unix:///a\", \"unix:///a\"]"), twice);
}

#[test]
fn the_service_range_is_at_most_one_of_each_family() {
    // S35
    let config = load(None, &[("FAIRWAY_SERVICE_CIDR", "10.96.0.1/16,fd00:96::/112")], &[]).unwrap().config;
    assert_eq!(config.service_cidrs, ["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()]);
    assert_eq!(
        error("service-cidr = [\"10.96.0.0/16\", \"10.97.0.0/16\"]"),
        "agent.toml:1: service-cidr: `10.97.0.0/16` is not the only range of its family"
    );
    assert!(error("service-cidr = \"10.96.0.0\"").contains("is not a CIDR"));
}

#[test]
fn node_ports_are_at_all_addresses_or_the_primary_ones_or_those_in_ranges() {
    let with = |text: &str| load(Some(text), &[], &[]).unwrap().config.node_port_addresses;
    assert_eq!(with(""), NodePortAddresses::All);
    assert_eq!(with("node-port-addresses = \"primary\""), NodePortAddresses::Primary);
    let ranges = vec!["192.168.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
    assert_eq!(
        with("node-port-addresses = [\"192.168.0.0/16\", \"fd00::/8\"]"),
        NodePortAddresses::In(ranges)
    );
    let text = error("node-port-addresses = [\"primary\", \"10.0.0.0/8\"]");
    assert_eq!(text, "agent.toml:1: node-port-addresses: `primary` is not a CIDR; or `primary` alone");
}

#[test]
fn metrics_are_where_health_is_unless_they_have_an_address() {
    let with = |text: &str| load(Some(text), &[], &[]).unwrap().config.metrics_address;
    assert_eq!(with(""), None);
    assert_eq!(with("metrics-address = \"127.0.0.1:10256\""), None);
    assert_eq!(with("metrics-address = \"127.0.0.1:10249\""), Some("127.0.0.1:10249".parse().unwrap()));
    assert!(error("metrics-address = \"10249\"").contains("is not an address and port"));
}

#[test]
fn masquerade_all_is_a_switch() {
    // S21
    assert!(!load(None, &[], &[]).unwrap().config.masquerade_all);
    assert!(load(Some("masquerade-all = true"), &[], &[]).unwrap().config.masquerade_all);
    assert!(load(None, &[("FAIRWAY_MASQUERADE_ALL", "true")], &[]).unwrap().config.masquerade_all);
    assert!(load(None, &[], &[("masquerade-all", &["true"])]).unwrap().config.masquerade_all);
}

#[test]
fn settings_are_printed_with_value_and_source() {
    let loaded = load(Some("zone = \"z1\"\n"), &[], &[("interface", &["eth0", "eth1"])]).unwrap();
    let table = loaded.table();
    let line = |key: &str| table.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    let words = |key: &str| line(key).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words("SETTING"), ["SETTING", "VALUE", "SOURCE"]);
    assert_eq!(words("zone"), ["zone", "z1", "agent.toml:1"]);
    assert_eq!(words("interface"), ["interface", "eth0,eth1", "flag", "--interface"]);
    assert_eq!(words("cgroup"), ["cgroup", "-", "default"]);
    assert_eq!(line("zone").find("agent.toml"), line("SETTING").find("SOURCE"));
    let json: serde_json::Value = serde_json::from_str(&loaded.json()).unwrap();
    assert_eq!(json["items"].as_array().unwrap().len(), SETTINGS.len());
    let interface =
        json["items"].as_array().unwrap().iter().find(|item| item["setting"] == "interface").unwrap();
    assert_eq!(interface["value"], serde_json::json!(["eth0", "eth1"]));
}

// S52
#[test]
fn time_outs_are_set_in_seconds_or_with_a_unit() {
    let file = "conntrack-tcp-fin-wait = \"1h\"\nconntrack-udp = \"45\"\n";
    let timeouts = load(Some(file), &[], &[]).unwrap().config.timeouts;
    assert_eq!((timeouts.tcp_fin_wait.as_secs(), timeouts.udp.as_secs()), (3_600, 45));
    assert_eq!(timeouts.tcp_established.as_secs(), 21_600);
    for wrong in ["0", "soon", "-5s", "99days"] {
        let text = error(&format!("conntrack-udp = \"{wrong}\""));
        assert!(text.contains("a time from 1s"), "{text}");
    }
}

#[test]
fn the_default_time_outs_are_those_of_the_data_path() {
    assert_eq!(load(None, &[], &[]).unwrap().config.timeouts, fairway_datapath::Timeouts::default());
}

#[test]
fn packets_are_looked_at_in_drivers_where_it_is_asked_for() {
    let xdp = |text: &str| load(Some(text), &[], &[]).unwrap().config.xdp;
    assert_eq!(xdp(""), Xdp::Off);
    assert_eq!(xdp("xdp = \"auto\""), Xdp::Auto);
    assert_eq!(xdp("xdp = \"generic\""), Xdp::Mode(XdpMode::Generic));
    assert_eq!(error("xdp = \"on\""), "agent.toml:1: xdp: `on` is not off, auto, native or generic");
}

#[test]
fn direct_answers_need_nodes_on_one_link() {
    let with = |text: &str| load(Some(text), &[], &[]).unwrap().config.forwarding;
    assert_eq!(with(""), Forwarding::Snat);
    assert_eq!(with("forwarding = \"dsr-l2\""), Forwarding::DsrL2);
    assert_eq!(with("forwarding = \"dsr-ipip\"\nrouting = \"vxlan\""), Forwarding::DsrIpip);
    let text = error("forwarding = \"dsr-l2\"\nrouting = \"vxlan\"");
    assert!(text.contains("goes with routing `native` only"), "{text}");
}

#[test]
fn the_settings_files_that_are_given_to_others_hold() {
    let packaged = load(Some(include_str!("../../../deploy/config/agent.toml")), &[], &[]).unwrap();
    assert_eq!(packaged.config.manifests, None);
    let in_cluster =
        load(Some(include_str!("../../../deploy/kubernetes/fairway.toml")), &[], &[]).unwrap().config;
    assert_eq!(in_cluster.metrics_address, Some("127.0.0.1:10249".parse().unwrap()));
}
