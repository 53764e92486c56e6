use std::sync::Arc;
use std::time::Duration;

use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::mass_delete::MassDelete;
use super::objects::{Heard, Kind, Nodes, Services, Slices, parse};
use crate::source::declaration::Declarations;
use crate::source::problem::Cause;
use fairway_proto::model::ObjectName;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn service(name: &str, port: i64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "managedFields": [{"manager": "kubectl"}]},
        "spec": {
            "clusterIP": "10.96.0.80", "clusterIPs": ["10.96.0.80"], "selector": {"app": "web"},
            "ports": [{"port": port, "protocol": "TCP", "targetPort": 8080}], "fieldOfTheFuture": [1],
        },
    })
}

fn tell<K: Kind>(cluster: &mut Cluster, heard: impl IntoIterator<Item = Heard<K>>) {
    heard.into_iter().for_each(|heard| cluster.hear(K::news(heard)));
}

fn listed<K: Kind>(values: impl IntoIterator<Item = Value>) -> Vec<Heard<K>> {
    let server = Arc::from("https://192.0.2.10:6443");
    let objects = values.into_iter().map(|value| Heard::Listed(parse(object(value), &server)));
    [Heard::Begin].into_iter().chain(objects).chain([Heard::Complete]).collect()
}

fn changed<K: Kind>(value: Value) -> Heard<K> {
    Heard::Changed(parse(object(value), &Arc::from("https://192.0.2.10:6443")))
}

fn cluster() -> Cluster {
    Cluster::new(&Arc::from("https://192.0.2.10:6443"))
}

fn complete() -> Cluster {
    let mut cluster = cluster();
    tell(&mut cluster, listed::<Services>([service("web", 80), service("shop", 81)]));
    tell(&mut cluster, listed::<Slices>([]));
    tell(&mut cluster, listed::<Nodes>([json!({"metadata": {"name": "node1"}})]));
    cluster
}

fn names(cluster: &Cluster) -> Vec<String> {
    cluster.declarations().services.keys().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_complete_before_all_kinds_were_listed() {
    let mut cluster = cluster();
    tell(&mut cluster, listed::<Services>([service("web", 80)]));
    assert!(!cluster.is_complete());
    tell(&mut cluster, listed::<Nodes>([]));
    tell(&mut cluster, [Heard::<Slices>::Begin]);
    assert!(!cluster.is_complete());
    tell(&mut cluster, [Heard::<Slices>::Complete]);
    assert!(cluster.is_complete());
}

#[test]
fn a_list_that_is_not_complete_removes_nothing() {
    let mut cluster = complete();
    let before = cluster.declarations();
    let Some(first) = listed::<Services>([service("web", 80)]).into_iter().nth(1) else { panic!() };
    tell(&mut cluster, [Heard::Begin, first]);
    assert_eq!(names(&cluster), ["shop/shop", "shop/web"]);
    tell(&mut cluster, [Heard::<Services>::Failed("gone away".into())]);
    assert_eq!(names(&cluster), ["shop/shop", "shop/web"]);
    // The same once more is the same map.
    tell(&mut cluster, listed::<Services>([service("shop", 81), service("web", 80)]));
    assert!(cluster.declarations().services.ptr_eq(&before.services));
    tell(&mut cluster, listed::<Services>([service("web", 80)]));
    assert_eq!(names(&cluster), ["shop/web"]);
}

#[test]
fn an_object_that_cannot_be_used_is_told_of_and_its_last_good_state_stays() {
    let mut cluster = complete();
    tell(&mut cluster, [changed::<Services>(service("web", 99_999))]);
    assert_eq!(names(&cluster), ["shop/shop", "shop/web"]);
    let problems: Vec<_> = cluster.problems().map(|problem| problem.to_string()).collect();
    assert_eq!(
        problems,
        [
            "https://192.0.2.10:6443: Service shop/web: spec.ports[0].port is `99999`, which is not a port, 1 to 65535"
        ]
    );
    // Also when all are listed anew; another one that was never good is not there.
    let bad = [service("web", 99_999), service("new", -1), service("shop", 81)];
    tell(&mut cluster, listed::<Services>(bad));
    assert_eq!(names(&cluster), ["shop/shop", "shop/web"]);
    assert_eq!(cluster.problems().count(), 2);
    tell(&mut cluster, [changed::<Services>(service("web", 80))]);
    assert_eq!(cluster.problems().count(), 1);
}

#[test]
fn a_server_that_cannot_be_read_is_a_problem_until_it_can() {
    let mut cluster = complete();
    tell(&mut cluster, [Heard::<Slices>::Failed("connection refused".into())]);
    let problems: Vec<_> = cluster.declarations().problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "https://192.0.2.10:6443: EndpointSlices: cannot be read: connection refused; what was read before stays \
          in force"
        ]
    );
    tell(&mut cluster, [Heard::<Slices>::Well]);
    assert!(cluster.declarations().problems.is_empty());
}

// S16
#[test]
fn services_have_no_selector_since_the_cluster_has_a_controller() {
    let cluster = complete();
    let declarations = cluster.declarations();
    assert!(
        declarations
            .services
            .values()
            .all(|service| service.value.selector.is_empty() && !service.value.hidden)
    );
    assert!(declarations.complete);
}

/// So many Services, with a slice each.
fn declared(count: usize) -> Declarations {
    let all = complete().declarations();
    let service = all.services.values().next().expect("one");
    let name = |number: usize| ObjectName::new("shop", format!("s{number:03}"));
    let services = (0..count).map(|number| (name(number), Arc::clone(service))).collect();
    Declarations { services, ..all }
}

/// How many Services count, and of how many gone ones it is told.
fn judged(
    guard: &mut MassDelete,
    count: usize,
    listed: bool,
    now: Instant,
) -> (usize, Option<(usize, usize)>) {
    let (state, loss) = guard.judge(declared(count), listed, now);
    let told = loss.map(|loss| match loss.cause {
        Cause::MassDelete { before, now, seconds: 30 } => (before, now),
        other => panic!("{other}"),
    });
    (state.services.len(), told)
}

#[test]
fn more_than_half_of_the_services_go_away_at_a_second_look() {
    let mut guard = MassDelete::new(false);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(judged(&mut guard, 100, true, at(0)), (100, None));
    assert_eq!(judged(&mut guard, 50, true, at(1)), (50, None));
    // Some at a time is no better, and those before come back.
    assert_eq!(judged(&mut guard, 49, true, at(2)), (100, Some((100, 49))));
    assert_eq!(guard.look_at(), Some(at(32)));
    assert_eq!(judged(&mut guard, 0, true, at(31)), (100, Some((100, 0))));
    guard.looks();
    assert_eq!(guard.look_at(), None);
    assert_eq!(judged(&mut guard, 0, false, at(33)), (100, Some((100, 0))));
    assert_eq!(judged(&mut guard, 0, true, at(34)), (0, None));
    assert_eq!(judged(&mut guard, 1, true, at(35)), (1, None));
}

#[test]
fn what_went_away_long_before_the_loss_stays_away() {
    let mut guard = MassDelete::new(false);
    let start = Instant::now();
    assert_eq!(judged(&mut guard, 100, true, start), (100, None));
    assert_eq!(judged(&mut guard, 90, true, start + Duration::from_secs(20)), (90, None));
    assert_eq!(judged(&mut guard, 80, true, start + Duration::from_secs(35)), (80, None));
    assert_eq!(judged(&mut guard, 10, true, start + Duration::from_secs(40)), (90, Some((100, 10))));
}

#[test]
fn services_that_come_back_before_the_second_look_were_never_gone() {
    let mut guard = MassDelete::new(false);
    let start = Instant::now();
    assert_eq!(judged(&mut guard, 100, true, start), (100, None));
    assert_eq!(judged(&mut guard, 0, true, start + Duration::from_secs(3600)), (100, Some((100, 0))));
    assert_eq!(judged(&mut guard, 100, true, start + Duration::from_secs(3601)), (100, None));
    assert_eq!(guard.look_at(), None);
}

#[test]
fn few_services_go_away_at_once_and_so_do_many_where_that_is_allowed() {
    let start = Instant::now();
    let mut guard = MassDelete::new(false);
    assert_eq!(judged(&mut guard, 9, true, start), (9, None));
    assert_eq!(judged(&mut guard, 0, true, start), (0, None));
    let mut guard = MassDelete::new(true);
    assert_eq!(judged(&mut guard, 1000, true, start), (1000, None));
    assert_eq!(judged(&mut guard, 0, true, start), (0, None));
    // Slowly, all may go.
    let mut guard = MassDelete::new(false);
    for (round, services) in [100, 60, 40, 25, 15, 8, 0].into_iter().enumerate() {
        let now = start + Duration::from_secs(61) * round as u32;
        assert_eq!(judged(&mut guard, services, true, now), (services, None));
    }
    // What counted until a moment ago is compared with, however long it did.
    let mut guard = MassDelete::new(false);
    assert_eq!(judged(&mut guard, 100, true, start), (100, None));
    assert_eq!(judged(&mut guard, 60, true, start + Duration::from_secs(90)), (60, None));
    assert_eq!(judged(&mut guard, 40, true, start + Duration::from_secs(95)), (100, Some((100, 40))));
}

#[test]
fn what_is_kept_is_kept_with_its_endpoints_and_all_else_counts() {
    let slice = |name: &str, service: &str, address: &str| {
        json!({
            "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": [{"addresses": [address]}],
        })
    };
    let mut cluster = complete();
    let numbers = 0..12;
    let all = |address: &str| -> Vec<Value> {
        numbers.clone().map(|number| slice(&format!("s{number:02}"), "web", address)).collect()
    };
    tell(&mut cluster, listed::<Slices>(all("10.0.0.1")));
    let mut guard = MassDelete::new(false);
    let start = Instant::now();
    assert_eq!(guard.judge(cluster.declarations(), true, start).1, None);
    // Whichever kind is listed first.
    tell(&mut cluster, listed::<Slices>(all("10.0.0.9").into_iter().take(3)));
    let (kept, loss) = guard.judge(cluster.declarations(), true, start + Duration::from_secs(1));
    assert_eq!(loss.map(|loss| loss.kind), Some("EndpointSlices"));
    tell(&mut cluster, listed::<Services>([service("shop", 82), service("new", 83)]));
    let (also, _) = guard.judge(cluster.declarations(), true, start + Duration::from_secs(2));
    let ports: Vec<_> =
        also.services.iter().map(|(name, it)| (name.to_string(), it.value.model.ports[0].port)).collect();
    assert_eq!(ports, [("shop/new".into(), 83), ("shop/shop".into(), 82), ("shop/web".into(), 80)]);
    for state in [kept, also] {
        let addresses = state.slices.values().map(|it| it.value.model.endpoints[0].address.to_string());
        let changed = addresses.map(|address| address == "10.0.0.9").collect::<Vec<_>>();
        assert_eq!(changed, numbers.clone().map(|number| number < 3).collect::<Vec<_>>());
    }
}
