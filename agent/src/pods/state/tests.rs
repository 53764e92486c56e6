use super::*;

pub(in crate::pods) fn record(container_id: &str, name: &str, address: &str) -> Record {
    Record {
        container_id: container_id.into(),
        interface: "eth0".into(),
        netns: format!("/run/netns/{container_id}"),
        namespace: "default".into(),
        name: name.into(),
        node_interface: "fw0".into(),
        ifindex: 7,
        addresses: vec![address.parse().unwrap()],
        pod_mac: [2; 6],
        node_mac: [6; 6],
        ports: vec![],
        limits: Limits::default(),
        complete: true,
        since: 0,
    }
}

fn told(state: &State) -> Vec<String> {
    let line = |pod: PodStatus| {
        format!("{}/{} {:?} {} {}", pod.namespace, pod.name, pod.addresses, pod.ready, pod.terminating)
    };
    state.statuses().into_iter().map(line).collect()
}

#[test]
fn a_pod_is_not_ready_until_the_kubelet_says_so_and_its_status_goes_with_it() {
    let mut state = State::default();
    let pod = record("a", "web", "10.0.1.2");
    state.put(pod.clone());
    assert_eq!(told(&state), ["default/web [\"10.0.1.2\"] false false"]);
    state.set_status("default", "web", true, false);
    assert_eq!(told(&state), ["default/web [\"10.0.1.2\"] true false"]);
    state.remove(&pod);
    assert!(told(&state).is_empty());
    state.put(record("b", "web", "10.0.1.3"));
    assert_eq!(told(&state), ["default/web [\"10.0.1.3\"] false false"]);
}

#[test]
fn a_new_sandbox_of_a_pod_keeps_the_status_while_the_old_one_goes() {
    let mut state = State::default();
    let old = record("a", "web", "10.0.1.2");
    state.put(old.clone());
    state.set_status("default", "web", true, false);
    state.put(record("b", "web", "10.0.1.3"));
    state.remove(&old);
    assert_eq!(told(&state), ["default/web [\"10.0.1.3\"] true false"]);
}

#[test]
fn a_pod_on_the_nodes_network_is_told_without_addresses_until_it_ends() {
    let mut state = State::default();
    state.set_status("kube-system", "proxy", true, false);
    assert_eq!(told(&state), ["kube-system/proxy [] true false"]);
    state.set_status("kube-system", "proxy", true, true);
    assert_eq!(told(&state), ["kube-system/proxy [] true true"]);
    state.set_status("kube-system", "proxy", false, true);
    assert!(told(&state).is_empty());
}

#[test]
fn a_pod_that_is_still_being_added_is_not_shown_but_keeps_its_address() {
    let mut state = State::default();
    state.put(Record { complete: false, ..record("a", "web", "10.0.1.2") });
    assert!(state.entries().is_empty());
    assert_eq!(state.used().len(), 1);
}

#[test]
fn each_change_writes_the_rows_that_it_makes_different_and_no_others() {
    let mut state = State::default();
    let cidrs = ["10.0.1.0/24".parse().unwrap()];
    let pod = state.reserve(&cidrs, Record { addresses: Vec::new(), ..record("a", "web", "::") }).unwrap();
    let keys = |changes: Vec<Change>| {
        let line = |it: Change| (it.table, it.key, it.value.is_some());
        changes.into_iter().map(line).collect::<Vec<_>>()
    };
    let (row, last) = ("a/eth0".to_owned(), "10.0.1.0/24".to_owned());
    assert_eq!(keys(state.take_changes()), [(Table::Last, last, true), (Table::Pods, row.clone(), true)]);
    state.set_status("default", "web", true, false);
    state.take_changes();
    state.set_status("default", "web", true, false);
    assert!(state.take_changes().is_empty(), "nothing is different");
    state.remove(&pod);
    let status = "default/web".to_owned();
    assert_eq!(keys(state.take_changes()), [(Table::Pods, row, false), (Table::Statuses, status, false)]);
    assert_eq!(state.reserve(&cidrs, pod).unwrap().addresses[1].to_string(), "10.0.1.3", "the next one");
}

#[test]
fn addresses_that_only_the_kernel_knows_are_not_given_out() {
    let mut state = State::default();
    state.put(record("a", "web", "10.0.1.2"));
    state.set_in_use(vec!["10.0.1.2".parse().unwrap(), "10.0.1.3".parse().unwrap()]);
    assert_eq!(state.strays().len(), 1);
    let next = state.next_addresses(&["10.0.1.0/29".parse().unwrap()]).unwrap();
    assert_eq!(next[0].to_string(), "10.0.1.4");
    state.set_in_use(vec!["10.0.1.2".parse().unwrap()]);
    assert!(state.strays().is_empty());
}
