//! `fairway trace`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::agent::{FakeAgent, Ran};

#[test]
fn events_are_lines_and_the_summary_is_on_stderr() {
    let ran = FakeAgent::start().run("trace --count 2");
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!("trace", ran.stdout);
    assert_eq!(
        ran.stderr,
        "tracing is on; Ctrl-C ends it\n2 events, 1 dropped (no-local-backend 1), 0 rejected, 2 lost\n"
    );
}

#[test]
fn each_line_of_json_is_an_event() {
    let ran = FakeAgent::start().run("trace --count 2 -o json");
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["kind"], "TraceEvent");
    assert_eq!(events[0]["time"], "2026-09-21T14:13:20.123456789Z");
    assert_eq!(
        (&events[0]["newDestination"], &events[0]["newDestinationPort"]),
        (&"10.0.2.9".into(), &8080.into())
    );
    assert_eq!(events[1]["reason"], "no-local-backend");
}

#[test]
fn a_time_ends_a_silent_trace() {
    let ran = FakeAgent::start().run("trace --drops --duration 300ms");
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 2));
}

#[test]
fn losses_can_be_made_exit_codes() {
    let agent = FakeAgent::start();
    assert_eq!(agent.run("trace --count 2 --fail-on-drop").code, 1);
    assert_eq!(agent.run("trace --count 2 --strict").code, 7);
    assert_eq!(agent.run("trace --count 1 --strict --fail-on-drop").code, 0);
}

#[test]
fn ctrl_c_ends_with_a_summary_and_130() {
    let agent = FakeAgent::start();
    let mut command = agent.command("trace");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let signalled =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130);
    assert!(ran.stderr.contains(" lost\n"), "{}", ran.stderr);
}
