use std::sync::Arc;

use fairway_datapath::XdpMode;

use super::*;
use crate::node::Wire;
use crate::resolve::{Desired, Problem, ServicePortName};
use fairway_proto::model::ObjectName;

fn kernel() -> Kernel {
    let conntrack = |entries| MapInfo {
        name: "CONNTRACK4",
        kind: "lru_hash",
        entries: Some(entries),
        capacity: 100,
        memory: 3 << 20,
    };
    let program = ProgramInfo {
        name: "from_pod".into(),
        attached: vec!["fw1".into(), "fw2".into()],
        method: "link",
        id: 3,
        tag: 0xab,
        verified_instructions: 10,
        memory: 4096,
    };
    let count = |packets| Count { packets, bytes: 0 };
    Kernel {
        programs: Ok(vec![program]),
        maps: Ok(vec![conntrack(81)]),
        counts: Ok(vec![
            (Reason::Delivered, count(9)),
            (Reason::NoBackend, count(3)),
            (Reason::NoRoute, count(1)),
        ]),
    }
}

/// One device where the program is, and one where somebody else's is.
fn wires() -> Wires {
    let taken = "another program (id 7, name theirs) is there".to_owned();
    [
        ("eth0".to_owned(), Wire { mode: Some(XdpMode::Native), reason: String::new() }),
        ("eth1".to_owned(), Wire { mode: None, reason: taken }),
    ]
    .into()
}

fn subsystems(state: &SyncState) -> Vec<(String, State, String)> {
    subsystems_with(state, &[])
}

fn subsystems_with(state: &SyncState, certificates: &[String]) -> Vec<(String, State, String)> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let uptime = Duration::from_secs(7_300);
    let facts = Facts {
        state,
        kernel: &kernel(),
        pods: &[],
        uptime,
        now,
        nat_ports: (1024, 29_999),
        routing: Routing::Vxlan { id: 1, port: 4789 },
        ways: &[],
        wires: &wires(),
        repairs: &[],
        tracing: 1,
        certificates,
    };
    let parts = facts.response().subsystems;
    parts.into_iter().map(|part| (part.name.clone(), part.state(), part.text)).collect()
}

fn line<'a>(lines: &'a [(String, State, String)], name: &str) -> (State, &'a str) {
    let found = lines.iter().find(|(found, ..)| found == name).unwrap();
    (found.1, &found.2)
}

#[test]
fn every_subsystem_has_a_line() {
    let lines = subsystems(&SyncState::default());
    assert_eq!(line(&lines, "agent"), (State::Ok, "up 2h, tracing for 1 reader"));
    let tunnels = "tunnels to 0 other nodes (VXLAN 1, UDP port 4789)";
    assert_eq!(line(&lines, "network"), (State::Ok, tunnels));
    assert_eq!(line(&lines, "programs"), (State::Ok, "1 loaded, 2 attachments"));
    assert_eq!(line(&lines, "drops").1, "1 dropped, 3 rejected, most often no-backend (3)");
    assert_eq!(line(&lines, "pods"), (State::Ok, "0 on this node, 0 ready"));
}

#[test]
fn a_driver_with_another_program_is_a_warning_and_named_first() {
    let lines = subsystems(&SyncState::default());
    let text =
        "not on eth1: another program (id 7, name theirs) is there; packets take the TC path; native on eth0";
    assert_eq!(line(&lines, "xdp"), (State::Warning, text));
}

#[test]
fn a_nearly_full_table_is_a_warning() {
    let lines = subsystems(&SyncState::default());
    assert_eq!(line(&lines, "conntrack"), (State::Warning, "81 entries, the fullest table 81.0% full"));
}

#[test]
fn a_lost_control_plane_is_a_warning_that_says_what_is_in_force() {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(990);
    let disconnected =
        ControlPlane::Disconnected { address: "unix:///c".into(), since, reason: "refused".into() };
    let state = SyncState { control_plane: disconnected, origin: Origin::Disk, ..SyncState::default() };
    let lines = subsystems(&state);
    let (state, text) = line(&lines, "control-plane");
    assert_eq!(state, State::Warning);
    assert_eq!(
        text,
        "unix:///c, not connected for 10s: refused; the state from disk is in force, nothing applied yet"
    );
}

#[test]
fn the_control_plane_in_use_is_named_and_the_others_are() {
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(990);
    let text = |others: &[&str]| {
        let others = others.iter().map(ToString::to_string).collect();
        let connected = ControlPlane::Connected { address: "https://a:1".into(), others, since };
        let lines = subsystems(&SyncState { control_plane: connected, ..SyncState::default() });
        line(&lines, "control-plane").1.to_owned()
    };
    assert_eq!(text(&[]), "https://a:1, connected 10s ago, nothing applied yet");
    let several = "https://a:1 (others: https://b:1, https://c:1), connected 10s ago, nothing applied yet";
    assert_eq!(text(&["https://b:1", "https://c:1"]), several);
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning_while_all_is_well() {
    let connected = ControlPlane::Connected {
        address: "https://control:7443".into(),
        others: Vec::new(),
        since: SystemTime::UNIX_EPOCH,
    };
    let state = SyncState { control_plane: connected, ..SyncState::default() };
    let lines = subsystems_with(&state, &["`a.pem` expires".into()]);
    let (state, text) = line(&lines, "control-plane");
    assert_eq!(state, State::Warning);
    assert!(text.ends_with("; `a.pem` expires"), "{text}");
}

#[test]
fn what_is_not_served_is_a_warning_and_a_failed_sync_is_a_failure() {
    let name = ServicePortName { service: ObjectName::new("a", "b"), port: "".into(), protocol: 132 };
    let desired = Desired { problems: [Problem::Sctp { name }].into(), ..Desired::default() };
    let mut state = SyncState { desired: Arc::new(desired), ..SyncState::default() };
    let lines = subsystems(&state);
    assert_eq!(line(&lines, "services").0, State::Warning);
    state.errors = vec!["map full".into(), "x".into()];
    let lines = subsystems(&state);
    assert_eq!(line(&lines, "services").0, State::Failed);
    assert!(line(&lines, "services").1.ends_with("map full (and 1 more)"));
}
