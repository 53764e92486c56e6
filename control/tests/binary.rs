//! The binary, as a person or a CI runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn fairway_control(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fairway-control")).args(arguments).output().unwrap()
}

#[test]
fn validate_prints_problems_and_exits_1_only_if_there_are_any() {
    let at = tempfile::tempdir().unwrap();
    let directory = at.path().to_str().unwrap();
    let good = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}\n";
    fs::write(at.path().join("web.yaml"), good).unwrap();
    let output = fairway_control(&["validate", directory]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
    fs::write(at.path().join("web.yaml"), good.replace("10.96.0.1", "10.96.0.256")).unwrap();
    for arguments in [vec!["validate", directory], vec!["--manifests", directory, "--check"]] {
        let output = fairway_control(&arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "web.yaml:4:19: Service default/web: spec.clusterIP is `10.96.0.256`, which is not an IP address\n"
        );
    }
}

#[test]
fn plaintext_over_tcp_must_be_asked_for() {
    let output = fairway_control(&["--manifests", "m", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("needs --tls-cert, --tls-key and --tls-ca"), "{stderr}");
}

#[test]
fn sigterm_ends_it_and_removes_the_socket() {
    let at = tempfile::tempdir().unwrap();
    let socket = at.path().join("control.sock");
    let mut process = Command::new(env!("CARGO_BIN_EXE_fairway-control"))
        .args(["--listen", &format!("unix://{}", socket.display()), "--manifests"])
        .arg(at.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < end, "it never listened");
        std::thread::sleep(Duration::from_millis(10));
    }
    Command::new("kill").arg(process.id().to_string()).status().unwrap();
    assert!(process.wait().unwrap().success());
    assert!(!socket.exists());
}
