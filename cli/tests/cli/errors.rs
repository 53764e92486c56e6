//! Exit codes, and what stands on which stream.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::agent::{FakeAgent, Ran, fairway};

fn run(words: &str) -> Ran {
    Ran::from(fairway(words).output().unwrap())
}

#[test]
fn no_agent_is_exit_3_with_the_socket_and_the_next_step() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    for words in ["svc list", "status", "drops", "trace"] {
        let ran = Ran::from(fairway(words).arg("--socket").arg(&socket).output().unwrap());
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{words}");
        for part in [
            socket.to_str().unwrap(),
            "No such file or directory",
            "systemctl status fairway-agent",
            "--from kernel",
        ] {
            assert!(ran.stderr.contains(part), "{words}: no `{part}` in {}", ran.stderr);
        }
        let shown = ran.stderr.replace(socket.to_str().unwrap(), "SOCKET");
        if words == "svc list" {
            insta::assert_snapshot!("no_agent", shown);
        }
    }
}

#[test]
fn a_socket_that_nobody_listens_on_is_exit_3() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let ran = Ran::from(fairway("status").arg("--socket").arg(&socket).output().unwrap());
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("Connection refused"), "{}", ran.stderr);
}

#[test]
fn a_socket_that_only_root_may_open_is_exit_5() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let agent = FakeAgent::start();
    // A copy that everybody may run: the build's own directory may be private. A process of its own makes it: what this
    // one opens for writing is open in the processes that other tests start just then, and what is open for writing
    // cannot be run.
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("fairway");
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_fairway")).arg(&binary).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(binary);
    command.args(["status", "--socket"]).arg(&agent.socket).uid(65_534).gid(65_534);
    let ran = Ran::from(command.output().expect("run as root: the test drops its privileges"));
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("run it as root"), "{}", ran.stderr);
    let mut command = std::process::Command::new(directory.path().join("fairway"));
    command.args(["status", "--from", "kernel"]).uid(65_534).gid(65_534);
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("CAP_BPF"), "{}", ran.stderr);
}

#[test]
fn wrong_usage_is_exit_2() {
    for words in
        ["frobnicate", "svc list -o xml", "trace --port 0", "svc list -n a -A", "trace --from kernel"]
    {
        let ran = run(words);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn what_does_not_exist_is_exit_4() {
    let ran = run("drops explain no-such-reason");
    assert_eq!(ran.code, 4);
    insta::assert_snapshot!("no_such_reason", ran.stderr);
    let ran = FakeAgent::start().run("trace --svc absent");
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let ran = run("svc list --from kernel --bpf-root /nonexistent/bpf");
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("`/nonexistent/bpf`"), "{}", ran.stderr);
}

#[test]
fn a_namespace_cannot_be_selected_in_the_maps() {
    let ran = run("svc list --from kernel -n default");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("the maps hold no names"), "{}", ran.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let agent = FakeAgent::start();
    let mut command = agent.command("trace --port 9");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("from-pod@fwa1"), "{line}");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "tracing is on; Ctrl-C ends it\n"));
}

#[test]
fn reasons_are_explained_without_an_agent() {
    insta::assert_snapshot!("explain", run("drops explain no-local-backend").stdout);
    let all = run("drops explain --no-headers").stdout;
    assert_eq!(all.lines().count(), fairway_common::Reason::ALL.len());
}

#[test]
fn version_and_completion_need_no_agent() {
    assert_eq!(run("version").stdout, format!("fairway {}\n", env!("CARGO_PKG_VERSION")));
    assert!(run("version -o json").stdout.contains("\"kind\": \"Version\""));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&format!("completion {shell}")).stdout.contains("fairway"), "{shell}");
    }
}

#[test]
fn help_shows_examples_before_options() {
    for words in ["--help", "trace --help", "service list --help", "status -h"] {
        let help = run(words).stdout;
        let (examples, usage) = (help.find("Examples:").unwrap(), help.find("Usage:").unwrap());
        assert!(examples < usage, "{words}: {help}");
        assert!(help.contains("Connection:") && help.contains("Output:"), "{words}: {help}");
    }
}
