//! `conntrack`, `affinity` and `nat`.

use serde_json::Value;

use crate::agent::FakeAgent;

#[test]
fn connections_are_counted_by_what_they_have_in_common() {
    let agent = FakeAgent::start();
    for words in [
        "ct count",
        "ct count -o wide",
        "ct count --by state",
        "ct count --by proto",
        "ct count --by svc",
        "ct count --by pod",
        "ct count --by backend",
        "ct top",
        "ct top --by svc --limit 1",
        "nat list -o wide",
        "nat count",
        "affinity list",
        "affinity list -o wide",
    ] {
        insta::assert_snapshot!(words.replace([' ', '-'], "_"), agent.prints(words));
    }
}

#[test]
fn every_filter_narrows_the_list() {
    let agent = FakeAgent::start();
    for (filter, lines) in [
        ("--proto tcp", 2),
        ("--proto udp", 1),
        ("--src 10.0.1.5", 1),
        ("--src 10.0.1.0/24", 2),
        ("--src 10.0.1.5:1", 0),
        ("--dst 10.0.2.9:8080", 2),
        ("--dst 10.96.0.10", 2),
        ("--frontend [fd00::2]:53", 1),
        ("--frontend 10.0.2.9", 0),
        ("--backend fd00:2::/32", 1),
        ("--svc web", 2),
        ("--svc default/web:http", 2),
        ("--svc default/we", 0),
        ("--svc kube-system/dns", 1),
        ("--svc dns -n kube-system", 1),
        ("--pod client", 2),
        ("--pod default/web-9", 2),
        ("--state established", 2),
        ("--state unreplied --proto tcp", 0),
    ] {
        let listed = agent.prints(&format!("ct list --no-headers {filter}"));
        assert_eq!(listed.lines().count(), lines, "{filter}: {listed}");
        let counted = agent.prints(&format!("ct count {filter}"));
        assert_eq!(counted, format!("{lines}\n"), "{filter}");
    }
}

#[test]
fn one_connection_is_shown_in_both_directions_and_none_is_exit_4() {
    let agent = FakeAgent::start();
    insta::assert_snapshot!("ct_get", agent.prints("ct get 10.0.1.5:41822 10.96.0.10:80"));
    insta::assert_snapshot!("ct_get_translated", agent.prints("ct get fd00::7 [fd00:2::30]:53 --proto udp"));
    let one: Value = serde_json::from_str(&agent.prints("ct get 10.0.1.5 10.0.2.9 -o json")).unwrap();
    assert_eq!((&one["kind"], &one["sourcePod"]), (&"Connection".into(), &"default/client".into()));
    let ran = agent.run("ct get 10.0.1.5 10.96.0.11");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (4, "", "no such connection\n"));
}

#[test]
fn flushing_needs_a_filter_or_all_and_says_how_many_were_ended() {
    let agent = FakeAgent::start();
    let ran = agent.run("ct flush");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    insta::assert_snapshot!("ct_flush_refused", ran.stderr);
    assert_eq!(agent.prints("ct flush --all"), "3 connections ended\n");
    assert_eq!(agent.prints("ct flush -n kube-system"), "1 connection ended\n");
    assert_eq!(agent.prints("ct flush --svc web --state closing"), "0 connections ended\n");
    insta::assert_snapshot!("ct_flush_dry_run", agent.prints("ct flush --svc web --dry-run"));
    let json: Value = serde_json::from_str(&agent.prints("ct flush --proto udp --dry-run -o json")).unwrap();
    assert_eq!((&json["kind"], &json["ended"]), (&"ConntrackFlush".into(), &1.into()));
}

#[test]
fn lists_in_json_and_yaml_say_the_same() {
    let agent = FakeAgent::start();
    for (words, kind, items) in [
        ("ct count --by state", "ConntrackCountList", 2),
        ("ct top", "ConntrackShareList", 2),
        ("nat list", "NatList", 1),
        ("nat count", "NatPortsList", 1),
        ("affinity list", "AffinityList", 2),
    ] {
        let json: Value = serde_json::from_str(&agent.prints(&format!("{words} -o json"))).unwrap();
        let yaml: Value = serde_saphyr::from_str(&agent.prints(&format!("{words} -o yaml"))).unwrap();
        assert_eq!(
            (&json["kind"], json["items"].as_array().unwrap().len()),
            (&kind.into(), items),
            "{words}"
        );
        assert_eq!(json, yaml, "{words}");
    }
}

#[test]
fn names_and_places_that_cannot_be_are_exit_2() {
    let agent = FakeAgent::start();
    for words in ["ct list --src web", "ct get 10.0.0.1", "ct list --state open", "ct count --by colour"] {
        assert_eq!(agent.run(words).code, 2, "{words}");
    }
}
