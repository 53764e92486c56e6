//! `fairway ipam`.

use serde_json::Value;

use crate::agent::{FakeAgent, Ran, fairway};

#[test]
fn ranges_and_addresses_are_listed_in_all_forms() {
    let agent = FakeAgent::start();
    insta::assert_snapshot!("ipam_list", agent.prints("ipam list"));
    insta::assert_snapshot!("ipam_list_wide", agent.prints("ipam list -o wide"));
    insta::assert_snapshot!("ipam_list_yaml", agent.prints("ipam ls -n default -o yaml"));
    let document: Value = serde_json::from_str(&agent.prints("ipam list -o json")).unwrap();
    assert_eq!(
        (&document["apiVersion"], &document["kind"]),
        (&"fairway.dev/v1".into(), &"AddressList".into())
    );
    assert_eq!(document["ranges"][0]["free"], 251);
    assert_eq!(document["items"].as_array().unwrap().len(), 3);
}

#[test]
fn differences_are_named_and_are_exit_1() {
    let agent = FakeAgent::start();
    let ran = agent.run("ipam check");
    assert_eq!((ran.code, ran.stderr.as_str()), (1, ""));
    insta::assert_snapshot!("ipam_check", ran.stdout);
    let ran = agent.run("ipam check -o json");
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &document["kind"]), (1, &"AddressDifferenceList".into()));
    assert_eq!(agent.run("ipam check -n elsewhere").code, 0, "nothing of this namespace differs");
}

#[test]
fn an_address_is_released_unless_it_is_in_use_or_nobody_has_it() {
    let agent = FakeAgent::start();
    assert_eq!(agent.prints("ipam release 10.0.1.7"), "10.0.1.7 of pod default/web-7 is free\n");
    assert_eq!(agent.prints("ipam release 10.0.1.5 --force"), "10.0.1.5 of pod default/client is free\n");
    let ran = agent.run("ipam release 10.0.1.5");
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("in use") && ran.stderr.contains("--force"), "{}", ran.stderr);
    let ran = agent.run("ipam release 10.0.1.99");
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("fairway ipam list"), "{}", ran.stderr);
    assert_eq!(agent.run("ipam release web").code, 2);
}

#[test]
fn the_pinned_maps_do_not_know_who_has_which_address() {
    let ran = Ran::from(fairway("ipam list --from kernel").output().unwrap());
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("`ipam` needs the agent"), "{}", ran.stderr);
}
