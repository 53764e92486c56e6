//! What becomes of a backend, a client's choice, a range and a mark.

use fairway_proto::model::ObjectName;

use super::*;
use crate::resolve::ServicePortName;

fn web() -> ServicePortName {
    ServicePortName { service: ObjectName::new("default", "web"), port: "http".into(), protocol: 6 }
}

fn flags(world: &World, number: u8) -> Vec<u16> {
    let wanted = backend(true, number);
    let image = world.kernel.image().unwrap();
    image.backends.values().filter(|it| it.address == wanted.address).map(|it| it.flags).collect()
}

#[test]
fn a_backend_that_still_answers_drains_after_the_frontend_was_replaced() {
    // S57
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1, 3], &[1, 3])]));
    let one = also_serving(desired(vec![frontend(0, "web", &[1], &[1])]), &[3]);
    assert_eq!(shown(&world.sync(&one).ops), ["slots", "frontend", "backend 2 draining"]);
    assert_eq!(world.sync(&one).ops, []);
    // It is usable again before a frontend needs it.
    let plan = world.sync(&desired(vec![frontend(0, "web", &[1, 3], &[1, 3])]));
    assert_eq!(shown(&plan.ops), ["backend 2", "slots", "frontend"]);
    world.sync(&one);
    // It ends.
    let plan = world.sync(&desired(vec![frontend(0, "web", &[1], &[1])]));
    assert_eq!(shown(&plan.ops), ["backend 2 gone"]);
}

#[test]
fn a_backend_that_one_of_two_frontends_still_names_stays_usable() {
    // S57
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1, 3], &[1, 3]), frontend(2, "web", &[1, 3], &[1, 3])]));
    let plan =
        world.sync(&desired(vec![frontend(0, "web", &[1], &[1]), frontend(2, "web", &[1, 3], &[1, 3])]));
    assert_eq!(shown(&plan.ops), ["slots", "frontend"]);
    assert_eq!(flags(&world, 3), [0]);
}

#[test]
fn a_service_scaled_to_zero_has_only_backends_that_are_gone() {
    // S54, S58
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1, 3], &[1, 3])]));
    let plan = world.sync(&desired(vec![frontend(0, "web", &[], &[])]));
    assert_eq!(shown(&plan.ops), ["frontend", "backend 1 gone", "backend 2 gone"]);
}

#[test]
fn the_same_endpoint_with_another_target_port_is_another_backend() {
    // S56
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1], &[1])]));
    let (key, mut wanted) = frontend(0, "web", &[1], &[1]);
    let moved: Arc<[BackendRef]> = [BackendRef { port: 9090, ..wanted.inside[0] }].into();
    (wanted.inside, wanted.outside) = (moved.clone(), moved);
    let plan = world.sync(&desired(vec![(key, wanted)]));
    assert_eq!(shown(&plan.ops), ["backend 2", "slots", "frontend", "backend 1 gone"]);
}

#[test]
fn a_backend_of_another_service_is_left_alone() {
    // S59
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1], &[1]), frontend(2, "db", &[1], &[1])]));
    let plan = world.sync(&desired(vec![frontend(0, "web", &[], &[]), frontend(2, "db", &[1], &[1])]));
    assert_eq!(shown(&plan.ops), ["frontend", "backend 1 gone"]);
    let mut all = flags(&world, 1);
    all.sort_unstable();
    assert_eq!(all, [0, backend_flags::GONE]);
}

#[test]
fn after_a_restart_backends_without_a_run_are_draining_or_gone() {
    // S57, S103
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1, 3, 5], &[1, 3, 5])]));
    world.sync(&also_serving(desired(vec![frontend(0, "web", &[1], &[1])]), &[3, 5]));
    world.restart();
    let plan = world.sync(&also_serving(desired(vec![frontend(0, "web", &[1], &[1])]), &[3]));
    assert_eq!(shown(&plan.ops), ["backend 3 gone"]);
    assert_eq!(flags(&world, 3), [backend_flags::DRAINING]);
}

#[test]
fn a_service_id_is_not_given_out_while_a_backend_in_the_kernel_names_it() {
    // S99
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1], &[1]), frontend(2, "db", &[1], &[1])]));
    let before: BTreeSet<u32> = world.reconciler.service_ids().values().copied().collect();
    world.sync(&Desired::default());
    world.restart();
    world.sync(&desired(vec![frontend(0, "new", &[3], &[3])]));
    let after: BTreeSet<u32> = world.reconciler.service_ids().values().copied().collect();
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
}

#[test]
fn a_service_whose_frontends_were_lost_in_a_crash_is_known_by_its_backends() {
    // S57, S99
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1, 3], &[1, 3])]));
    let id = world.reconciler.service_ids()[&web()];
    // Its only address changes; the process dies between the two writes.
    world.kernel.apply(&Op::DeleteFrontend { key: key(0) }).unwrap();
    world.restart();
    let plan = world.sync(&desired(vec![frontend(2, "web", &[1, 3], &[1, 3])]));
    assert_eq!(world.reconciler.service_ids()[&web()], id);
    assert_eq!(shown(&plan.ops), ["slots", "frontend"]);
}

fn with_affinity(key: u8, seconds: u32) -> (FrontendKey, DesiredFrontend) {
    let (key, wanted) = frontend(key, "web", &[1], &[1]);
    (key, DesiredFrontend { affinity: seconds, ..wanted })
}

#[test]
fn affinity_is_written_live_and_forgotten_when_it_ends() {
    // S66, S69
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![with_affinity(0, 0), with_affinity(2, 0)]));
    assert_eq!(
        shown(&world.sync(&desired(vec![with_affinity(0, 60), with_affinity(2, 60)])).ops),
        ["frontend", "frontend"]
    );
    assert_eq!(
        shown(&world.sync(&desired(vec![with_affinity(0, 90), with_affinity(2, 90)])).ops),
        ["frontend", "frontend"]
    );
    assert_eq!(world.kernel.image().unwrap().frontends[&key(0)].affinity, 90);
    // One address goes, the Service port keeps its affinity.
    assert_eq!(shown(&world.sync(&desired(vec![with_affinity(0, 90)])).ops), ["delete"]);
    let id = world.reconciler.service_ids()[&web()];
    assert_eq!(
        shown(&world.sync(&desired(vec![with_affinity(0, 0)])).ops),
        ["frontend".into(), format!("forget {id}")]
    );
    world.sync(&desired(vec![with_affinity(0, 60)]));
    let plan = world.sync(&Desired::default());
    assert_eq!(shown(&plan.ops), ["delete".into(), format!("forget {id}"), "backend 1 gone".into()]);
}

#[test]
fn an_unrelated_change_leaves_affinity_alone() {
    // S68
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![with_affinity(0, 60)]));
    world.restart();
    let plan = world.sync(&desired(vec![with_affinity(0, 60), frontend(2, "db", &[1], &[1])]));
    assert!(!plan.ops.iter().any(|op| matches!(op, Op::ForgetAffinity { .. })), "{:?}", plan.ops);
}

fn guarded(ranges: &[&str]) -> Desired {
    let (key, mut wanted) = frontend(0, "web", &[1], &[1]);
    wanted.flags = if ranges.is_empty() { 0 } else { Frontend::RANGES };
    let mut desired = desired(vec![(key, wanted)]);
    if !ranges.is_empty() {
        desired.ranges.insert(web(), ranges.iter().map(|range| range.parse().unwrap()).collect());
    }
    desired
}

#[test]
fn ranges_are_there_before_the_frontend_is_guarded_and_until_it_is_open() {
    // S39
    let mut world = World::new(SMALL);
    world.sync(&guarded(&[]));
    let plan = world.sync(&guarded(&["10.1.0.0/16", "10.2.0.0/16"]));
    assert_eq!(shown(&plan.ops), ["range 10.1.0.0/16", "range 10.2.0.0/16", "frontend"]);
    let plan = world.sync(&guarded(&["10.2.0.0/16", "10.3.0.0/16"]));
    assert_eq!(shown(&plan.ops), ["range 10.3.0.0/16", "delete range 10.1.0.0/16"]);
    world.restart();
    assert_eq!(world.sync(&guarded(&["10.2.0.0/16", "10.3.0.0/16"])).ops, []);
    let plan = world.sync(&guarded(&[]));
    assert_eq!(shown(&plan.ops), ["frontend", "delete range 10.2.0.0/16", "delete range 10.3.0.0/16"]);
}

#[test]
fn a_range_that_does_not_fit_is_named_and_lets_nobody_in() {
    // S39
    let mut world = World::new(Limits { ranges: 1, ..SMALL });
    let plan = world.sync(&guarded(&["10.1.0.0/16", "10.2.0.0/16"]));
    assert_eq!(plan.shortages[0].table, Table::Ranges);
    let image = world.kernel.image().unwrap();
    assert_eq!(image.frontends[&key(0)].flags, Frontend::RANGES);
    assert_eq!(image.ranges.len(), 1);
}

#[test]
fn a_cluster_ip_is_marked_as_long_as_a_service_has_it_and_is_not_counted() {
    // S35
    let mut world = World::new(SMALL);
    let mut state = desired(vec![frontend(0, "web", &[1], &[1])]);
    state.addresses.insert(key(0).address);
    assert_eq!(shown(&world.sync(&state).ops), ["backend 1", "slots", "frontend", "mark"]);
    assert_eq!(world.reconciler.usage().frontends, 1);
    world.restart();
    assert_eq!(world.sync(&state).ops, []);
    // The mark's id is nobody's: ids go on below it.
    world.sync(&desired(vec![frontend(0, "web", &[1], &[1]), frontend(2, "db", &[1], &[1])]));
    assert!(world.reconciler.service_ids().values().all(|id| *id < 10));
    assert_eq!(world.kernel.image().unwrap().frontends.len(), 2);
}

#[test]
fn a_hashed_frontend_has_a_maglev_table_as_its_run() {
    let mut world = World::new(Limits { slots: 3_000, ..SMALL });
    let hashed = |numbers: &[u8]| {
        let (key, mut wanted) = frontend(0, "web", numbers, numbers);
        wanted.flags = Frontend::HASHED;
        desired(vec![(key, wanted)])
    };
    let plan = world.sync(&hashed(&[1, 3]));
    assert_eq!(shown(&plan.ops), ["backend 1", "backend 2", "slots", "frontend"]);
    let before = world.kernel.resolved(&key(0)).unwrap().inside;
    assert_eq!(before.len(), 251);
    world.restart();
    assert_eq!(world.sync(&hashed(&[1, 3])).ops, []);
    assert_eq!(shown(&world.sync(&hashed(&[1])).ops), ["slots", "frontend", "backend 2 gone"]);
    assert_eq!(world.reconciler.usage(), Usage { frontends: 1, slots: 251, backends: 1 });
}

#[test]
fn ten_thousand_services_of_ten_endpoints_are_planned_at_once_and_one_change_is_four_writes() {
    // S101
    let backends = |service: u32, shift: u32| -> Arc<[BackendRef]> {
        let address = |number: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + service * 16 + number + shift));
        (0..10).map(|number| BackendRef { address: address(number), port: 80, flags: 0 }).collect()
    };
    let of = |service: u32, shift: u32| {
        let (_, wanted) = frontend(0, &format!("s{service}"), &[], &[]);
        let set = backends(service, shift);
        let address = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + service));
        let wanted = DesiredFrontend { inside: set.clone(), outside: set, ..wanted };
        (FrontendKey { address, protocol: 6, port: 80 }, wanted)
    };
    let state = |shift: u32| {
        desired((0..10_000).map(|service| of(service, if service == 77 { shift } else { 0 })).collect())
    };
    let limits = Limits::default();
    let now = Instant::now();
    let mut reconciler = Reconciler::load(Image::default(), limits, now, true);
    let plan = reconciler.plan(&state(0), now);
    assert_eq!((plan.ops.len(), plan.shortages.len()), (10_000 * 12, 0));
    reconciler.applied(now);
    assert_eq!(reconciler.plan(&state(1), now).ops.len(), 4);
}
