//! Listings in all forms.

use serde_json::Value;

use crate::agent::FakeAgent;

const LISTS: [&str; 6] =
    ["service list", "service list --backends", "backend list", "conntrack list", "endpoint list", "status"];

#[test]
fn tables_are_aligned_and_sorted() {
    let agent = FakeAgent::start();
    for words in LISTS {
        insta::assert_snapshot!(words.replace(' ', "_"), agent.prints(words));
    }
}

#[test]
fn wide_tables_have_more_columns() {
    let agent = FakeAgent::start();
    for words in LISTS {
        let name = format!("{}_wide", words.replace(' ', "_"));
        insta::assert_snapshot!(name, agent.prints(&format!("{words} -o wide")));
    }
}

#[test]
fn drops_are_counted_by_reason_the_most_frequent_first() {
    let ran = FakeAgent::start().run("drops");
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!("drops", ran.stdout);
    assert_eq!(ran.stderr, "4 trace events found the ring full and were lost\n");
}

#[test]
fn all_reasons_are_counted_when_asked_for() {
    let ran = FakeAgent::start().run("drops --all -o wide");
    insta::assert_snapshot!("drops_all_wide", ran.stdout);
}

#[test]
fn json_has_version_kind_and_items_with_camel_case_fields() {
    let agent = FakeAgent::start();
    for (words, kind, items, field) in [
        ("service list", "ServiceList", 4, "portName"),
        ("backend list", "BackendList", 3, "services"),
        ("conntrack list", "ConnectionList", 3, "expiresSeconds"),
        ("endpoint list", "EndpointList", 2, "podMac"),
    ] {
        let document: Value = serde_json::from_str(&agent.prints(&format!("{words} -o json"))).unwrap();
        assert_eq!(document["apiVersion"], "fairway.dev/v1", "{words}");
        assert_eq!(document["kind"], kind);
        let list = document["items"].as_array().unwrap();
        assert_eq!(list.len(), items, "{words}");
        assert!(!list[0][field].is_null(), "{words}: {list:?}");
    }
}

#[test]
fn a_list_in_json_is_sorted_as_the_table_is() {
    let document: Value = serde_json::from_str(&FakeAgent::start().prints("svc list -o json")).unwrap();
    let addresses: Vec<&Value> =
        document["items"].as_array().unwrap().iter().map(|item| &item["address"]).collect();
    assert_eq!(addresses, ["10.96.0.10", "192.168.0.1", "fd00::10", "10.96.0.2"]);
}

#[test]
fn status_in_json_is_one_object() {
    let document: Value = serde_json::from_str(&FakeAgent::start().prints("status -o json")).unwrap();
    assert_eq!((&document["kind"], &document["node"]), (&"Status".into(), &"n1".into()));
    assert_eq!(document["subsystems"][1]["state"], "warning");
    assert_eq!(document["maps"][1]["name"], "SLOTS");
    assert!(document["maps"][1].get("entries").is_none());
}

#[test]
fn yaml_says_the_same_as_json() {
    let agent = FakeAgent::start();
    insta::assert_snapshot!("endpoint_list_yaml", agent.prints("endpoint list -o yaml"));
    for words in LISTS {
        let yaml: Value = serde_saphyr::from_str(&agent.prints(&format!("{words} -o yaml"))).unwrap();
        let json: Value = serde_json::from_str(&agent.prints(&format!("{words} -o json"))).unwrap();
        assert_eq!(yaml, json, "{words}");
    }
}

#[test]
fn a_namespace_narrows_every_list() {
    let agent = FakeAgent::start();
    for (words, lines) in [("svc list", 1), ("backend list", 1), ("ct list", 1), ("ep list", 0)] {
        let listed = agent.prints(&format!("{words} -n kube-system --no-headers"));
        assert_eq!(listed.lines().count(), lines, "{words}: {listed}");
    }
    assert_eq!(agent.prints("svc list -A --no-headers").lines().count(), 4);
}

#[test]
fn colours_are_written_only_when_they_are_wanted() {
    let agent = FakeAgent::start();
    assert!(!agent.prints("svc list").contains('\u{1b}'));
    assert!(agent.prints("svc list --color always").contains("\u{1b}[36mweb\u{1b}["));
    let run = |force: &str, no_color: &str| {
        let mut command = agent.command("svc list");
        command.env("CLICOLOR_FORCE", force).env("NO_COLOR", no_color);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(run("1", "").contains('\u{1b}'));
    assert!(!run("1", "1").contains('\u{1b}'));
}

#[test]
fn without_utf_8_states_are_words() {
    let agent = FakeAgent::start();
    let output = agent.command("status").env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.is_ascii() && text.contains("WARN  control-plane"), "{text}");
}
