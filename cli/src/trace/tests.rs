use fairway_proto::control::Protocol;

use super::*;

fn event() -> TraceEvent {
    TraceEvent {
        time: 1_790_000_000_123_456_789,
        hook: "from-pod".into(),
        interface: "fw1a2b".into(),
        protocol: Protocol::Tcp.into(),
        source: "10.0.1.5".into(),
        source_port: 41822,
        destination: "10.96.0.10".into(),
        destination_port: 80,
        new_destination: "10.0.2.9".into(),
        new_destination_port: 8080,
        reason: "service-new".into(),
        class: "forward".into(),
        service: "default/web:http".into(),
        source_pod: "default/client".into(),
        destination_pod: "default/web-1".into(),
        length: 60,
        tcp_flags: "S".into(),
        ..Default::default()
    }
}

fn dropped() -> TraceEvent {
    TraceEvent {
        new_destination: String::new(),
        destination_pod: String::new(),
        reason: "no-local-backend".into(),
        class: "drop".into(),
        hint: "send to a node that runs a backend".into(),
        lost: 7,
        ..event()
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_line_says_when_where_who_what_and_why() {
    let text = Lines::default().text(&Event::from(event()), true);
    insta::assert_snapshot!(plain(&text));
}

#[test]
fn a_loss_is_named_and_its_hint_is_given_once() {
    let mut lines = Lines::default();
    let text = lines.text(&dropped().into(), false) + &lines.text(&dropped().into(), false);
    insta::assert_snapshot!(plain(&text));
}

#[test]
fn a_call_at_a_socket_has_no_source() {
    let call = TraceEvent {
        hook: "connect".into(),
        interface: String::new(),
        source: String::new(),
        source_pod: String::new(),
        tcp_flags: String::new(),
        length: 0,
        ..event()
    };
    insta::assert_snapshot!(plain(&Lines::default().text(&call.into(), true)));
}

#[test]
fn the_summary_counts_losses_by_reason() {
    let mut summary = Summary::default();
    summary.add(&event().into());
    summary.add(&dropped().into());
    assert_eq!(summary.line(), "2 events, 1 dropped (no-local-backend 1), 0 rejected, 7 lost");
    assert_eq!(summary.losses(), 1);
}

#[test]
fn a_name_without_namespace_is_in_the_namespace_that_was_given() {
    use clap::FromArgMatches;
    let parse = |words: &str| {
        let matches = args::command().get_matches_from(words.split(' '));
        let cli = args::Cli::from_arg_matches(&matches).unwrap();
        let args::Command::Trace(options) = &cli.command else { panic!("a trace command") };
        let request = request(&cli.global, options);
        (request.pod, request.service, request.port)
    };
    assert_eq!(parse("fairway trace --pod a").0, "default/a");
    assert_eq!(parse("fairway trace --pod x/a -n y --port 80"), ("x/a".into(), String::new(), 80));
    assert_eq!(parse("fairway trace --svc web -n y").1, "y/web");
}
