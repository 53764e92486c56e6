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
        complete: true,
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

#[tokio::test]
async fn what_was_written_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = StateFile::new(&directory.path().join("new")).unwrap();
    assert_eq!(file.read().unwrap(), State::default());
    let mut state = State::default();
    state.ipam.reserve(&["10.0.1.0/24".parse().unwrap()], &state.used()).unwrap();
    state.put(record("a", "web", "10.0.1.2"));
    state.set_status("default", "web", true, false);
    file.write(&state).await.unwrap();
    assert_eq!(file.read().unwrap(), state);
    let left: Vec<_> = std::fs::read_dir(directory.path().join("new")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
}

#[test]
fn a_damaged_or_foreign_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = StateFile::new(directory.path()).unwrap();
    std::fs::write(directory.path().join("pods.json"), "{\"layout\":1,\"pods\":[").unwrap();
    assert!(matches!(file.read(), Err(Error::State { .. })));
    std::fs::write(directory.path().join("pods.json"), "{\"layout\":9}").unwrap();
    assert!(matches!(file.read(), Err(Error::Layout { found: 9, .. })));
}
