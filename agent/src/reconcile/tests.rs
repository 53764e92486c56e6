//! Writes in order, sharing, rest, shortage, restart; and any sequence of all of them.

mod any_sequence;
mod kernel;
mod life;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use fairway_datapath::table::{Tables, backend_flags};
use fairway_proto::model::ObjectName;

use self::kernel::Kernel;
use super::*;
use crate::resolve::FrontendKind;

pub(super) const SMALL: Limits =
    Limits { frontends: 32, slots: 200, backends: 60, ranges: 32, grace: Duration::from_secs(1) };

pub(super) fn backend(v4: bool, number: u8) -> BackendRef {
    let address = if v4 {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, number))
    } else {
        IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()))
    };
    BackendRef { address, port: 8080, flags: u16::from(number.is_multiple_of(2)) }
}

pub(super) fn key(number: u8) -> FrontendKey {
    let address = if number.is_multiple_of(2) {
        IpAddr::from(Ipv4Addr::new(10, 96, 0, number))
    } else {
        IpAddr::from(Ipv6Addr::new(0xfd00, 96, 0, 0, 0, 0, 0, number.into()))
    };
    FrontendKey { address, protocol: 6, port: 80 }
}

pub(super) fn frontend(
    key: u8,
    service: &str,
    inside: &[u8],
    outside: &[u8],
) -> (FrontendKey, DesiredFrontend) {
    let v4 = key.is_multiple_of(2);
    let set =
        |numbers: &[u8]| -> Arc<[BackendRef]> { numbers.iter().map(|number| backend(v4, *number)).collect() };
    let wanted = DesiredFrontend {
        name: ServicePortName {
            service: ObjectName::new("default", service),
            port: "http".into(),
            protocol: 6,
        },
        kind: FrontendKind::ClusterIp,
        inside: set(inside),
        outside: set(outside),
        flags: 0,
        affinity: 0,
        total_endpoints: 0,
    };
    (self::key(key), wanted)
}

/// What is in a run serves; the tests add what serves without being in one.
pub(super) fn desired(frontends: Vec<(FrontendKey, DesiredFrontend)>) -> Desired {
    let mut serving: BTreeMap<ServicePortName, BTreeSet<BackendRef>> = BTreeMap::new();
    for (_, frontend) in &frontends {
        let all = serving.entry(frontend.name.clone()).or_default();
        all.extend(frontend.inside.iter().chain(frontend.outside.iter()));
    }
    let serving =
        serving.into_iter().map(|(name, all)| (name, all.into_iter().collect::<Arc<_>>())).collect();
    let frontends = frontends.into_iter().map(|(key, frontend)| (key, Arc::new(frontend))).collect();
    Desired { frontends, serving, ..Desired::default() }
}

/// Also these answer, though nothing names them.
fn also_serving(mut desired: Desired, numbers: &[u8]) -> Desired {
    for (name, serving) in desired.serving.clone() {
        let more = numbers.iter().map(|number| backend(true, *number));
        let all: BTreeSet<BackendRef> = serving.iter().copied().chain(more).collect();
        desired.serving.insert(name, all.into_iter().collect());
    }
    desired
}

impl Reconciler {
    /// The next plan takes nothing for done.
    pub(crate) fn look_at_everything(&mut self) {
        self.owed = Touched::all(&self.frontends).and_different(&Desired::default(), &self.planned);
    }
}

/// A reconciler and the kernel that it writes to.
struct World {
    kernel: Kernel,
    reconciler: Reconciler,
}

impl World {
    fn new(limits: Limits) -> Self {
        let kernel = Kernel::new(limits);
        let reconciler = Reconciler::load(Image::default(), limits, kernel.now, true);
        Self { kernel, reconciler }
    }

    /// Plans once and writes everything.
    fn sync(&mut self, desired: &Desired) -> Plan {
        let plan = self.reconciler.plan(desired, self.kernel.now);
        for op in &plan.ops {
            self.kernel.apply(op).unwrap();
        }
        self.reconciler.applied(self.kernel.now);
        plan
    }

    fn restart(&mut self) {
        self.kernel.pass(SMALL.grace);
        let (now, limits) = (self.kernel.now, self.kernel.limits);
        self.reconciler = Reconciler::load(self.kernel.image().unwrap(), limits, now, true);
    }
}

/// Operations in short: `backend 1 LOCAL|DRAINING` and so on.
fn shown(ops: &[Op]) -> Vec<String> {
    let flags = |flags: u16| {
        let names = [(backend_flags::DRAINING, " draining"), (backend_flags::GONE, " gone")];
        names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect::<String>()
    };
    ops.iter()
        .map(|op| match op {
            Op::PutBackend { id, backend } => format!("backend {id}{}", flags(backend.flags)),
            Op::PutSlots { .. } => "slots".into(),
            Op::PutFrontend { value, .. } if is_mark(value) => "mark".into(),
            Op::PutFrontend { .. } => "frontend".into(),
            Op::DeleteFrontend { .. } => "delete".into(),
            Op::PutRange { range } => format!("range {}", range.clients),
            Op::DeleteRange { range } => format!("delete range {}", range.clients),
            Op::ForgetAffinity { service } => format!("forget {service}"),
        })
        .collect()
}

#[test]
fn backends_are_written_before_slots_before_the_frontend() {
    // S100
    let mut world = World::new(SMALL);
    let plan = world.sync(&desired(vec![frontend(0, "web", &[1, 2], &[1, 2])]));
    assert_eq!(shown(&plan.ops), ["backend 1", "backend 2", "slots", "frontend"]);
}

#[test]
fn deleting_a_service_takes_the_frontend_first_and_then_marks_its_backends_gone() {
    // S58, S100
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1, 2], &[1, 2])]));
    let plan = world.sync(&Desired::default());
    assert_eq!(shown(&plan.ops), ["delete", "backend 1 gone", "backend 2 gone"]);
    assert_eq!(world.reconciler.usage(), Usage::default());
}

#[test]
fn equal_sets_of_one_service_port_share_a_run() {
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![
        frontend(0, "web", &[1, 2], &[1, 2]),
        frontend(2, "web", &[1, 2], &[1]),
        frontend(4, "other", &[1, 2], &[1, 2]),
    ]));
    let image = world.kernel.image().unwrap();
    assert_eq!(image.frontends[&key(0)].inside, image.frontends[&key(2)].inside);
    // S99: services never share, neither runs nor backends
    assert_ne!(image.frontends[&key(0)].inside, image.frontends[&key(4)].inside);
    assert_eq!(world.reconciler.usage(), Usage { frontends: 3, slots: 5, backends: 4 });
}

#[test]
fn one_changed_endpoint_is_four_writes() {
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1, 2], &[1, 2]), frontend(2, "other", &[4], &[4])]));
    let plan =
        world.sync(&desired(vec![frontend(0, "web", &[1, 3], &[1, 3]), frontend(2, "other", &[4], &[4])]));
    assert_eq!(shown(&plan.ops), ["backend 4", "slots", "frontend", "backend 2 gone"]);
}

#[test]
fn after_a_restart_nothing_is_written_if_nothing_changed() {
    // S103
    let mut world = World::new(SMALL);
    let state = desired(vec![
        frontend(0, "web", &[1, 2], &[]),
        frontend(2, "web", &[1, 2], &[2]),
        frontend(3, "other", &[4], &[4]),
    ]);
    world.sync(&state);
    let ids = world.reconciler.service_ids();
    world.restart();
    let plan = world.sync(&state);
    assert_eq!(plan.ops, []);
    assert_eq!(world.reconciler.service_ids(), ids);
}

#[test]
fn a_service_keeps_its_id_when_its_addresses_change() {
    let mut world = World::new(SMALL);
    world.sync(&desired(vec![frontend(0, "web", &[1], &[1]), frontend(2, "other", &[1], &[1])]));
    let before = world.reconciler.service_ids();
    world.restart();
    world.sync(&desired(vec![
        frontend(0, "web", &[1], &[1]),
        frontend(4, "web", &[1], &[1]),
        frontend(2, "other", &[1], &[1]),
    ]));
    assert_eq!(world.reconciler.service_ids(), before);
    assert!(before.values().all(|id| *id != 0));
}

#[test]
fn freed_slots_and_ids_rest_before_reuse() {
    // S99
    let limits = Limits { slots: 4, backends: 4, ..SMALL };
    let mut world = World::new(limits);
    world.sync(&desired(vec![frontend(0, "web", &[1, 2, 3], &[1, 2, 3])]));
    let next = desired(vec![frontend(2, "other", &[4, 5], &[4, 5])]);
    let plan = world.sync(&next);
    assert_eq!(shown(&plan.ops)[0], "delete");
    assert_eq!(plan.shortages, []);
    assert_eq!(plan.again_at, Some(world.kernel.now + limits.grace));
    world.kernel.pass(limits.grace);
    let plan = world.sync(&next);
    assert_eq!(plan.again_at, None);
    let put = plan.ops.iter().filter(|op| matches!(op, Op::PutBackend { .. })).count();
    assert_eq!(put, 2, "ids that were in use before");
}

#[test]
fn a_full_table_is_named_and_leaves_the_old_state_and_the_others() {
    let mut world = World::new(Limits { slots: 6, ..SMALL });
    world.sync(&desired(vec![frontend(0, "web", &[1, 2], &[1, 2])]));
    let plan = world.sync(&desired(vec![
        frontend(0, "web", &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]),
        frontend(2, "b", &[6], &[6]),
    ]));
    let errors: Vec<String> = plan.shortages.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "the table `slots` is full: 5 entries needed, 4 free; 1 frontends keep their old state, `default/web:http` among them; remove Services or endpoints, see `fairway status`"
        ]
    );
    assert_eq!(world.kernel.resolved(&key(0)).unwrap().inside, [backend(true, 1), backend(true, 2)]);
    assert_eq!(world.kernel.resolved(&key(2)).unwrap().inside, [backend(true, 6)]);
    // It does not fill up by trying again.
    world.kernel.pass(SMALL.grace);
    assert_eq!(world.reconciler.usage(), Usage { frontends: 2, slots: 3, backends: 3 });
}

#[test]
fn a_family_that_is_full_does_not_stop_the_other() {
    let mut world = World::new(Limits { frontends: 1, ..SMALL });
    let plan = world.sync(&desired(vec![
        frontend(0, "web", &[1], &[1]),
        frontend(2, "web", &[1], &[1]),
        frontend(1, "web", &[1], &[1]),
    ]));
    assert_eq!(plan.shortages.len(), 1);
    assert_eq!(plan.shortages[0].table, Table::Frontends);
    assert_eq!(world.kernel.image().unwrap().frontends.len(), 2);
}

#[test]
fn a_backend_that_comes_back_has_the_id_that_it_had() {
    // S54, S67
    let mut world = World::new(SMALL);
    let state = desired(vec![frontend(0, "web", &[1], &[1])]);
    world.sync(&state);
    let plan = world.sync(&desired(vec![frontend(0, "web", &[], &[])]));
    assert_eq!(shown(&plan.ops), ["frontend", "backend 1 gone"]);
    let plan = world.sync(&state);
    assert_eq!(shown(&plan.ops), ["backend 1", "slots", "frontend"]);
}

#[test]
fn an_image_with_runs_that_overlap_or_miss_backends_is_repaired() {
    let mut world = World::new(SMALL);
    let state = desired(vec![frontend(0, "web", &[1, 2], &[1, 2]), frontend(2, "other", &[2, 3], &[2, 3])]);
    world.sync(&state);
    let mut image = world.kernel.image().unwrap();
    let run = image.frontends[&key(0)].inside;
    image.frontends.get_mut(&key(2)).unwrap().outside = Run { first: run.first + 1, count: 2 };
    image.backends.remove(&image.slots[&run.first].clone());
    world.kernel.set(image);
    world.restart();
    world.sync(&state);
    for (key, wanted) in &state.frontends {
        let resolved = world.kernel.resolved(key).unwrap();
        assert_eq!(resolved.inside, wanted.inside.to_vec());
        assert_eq!(resolved.outside, wanted.outside.to_vec());
    }
}
