//! Any sequence of updates, crashes and restarts ends in the same tables as one fresh sync of the last state.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::subsequence;

use fairway_datapath::table::Backend;

use super::kernel::{Kernel, Refused, Resolved};
use super::*;

#[derive(Clone, Debug)]
struct Step {
    desired: Desired,
    /// The write at which the process dies, or a write fails.
    dies_after: Option<usize>,
    /// It dies; otherwise it goes on from what the kernel holds.
    restarts: bool,
    milliseconds: u64,
}

/// What all frontends of a Service have in common.
#[derive(Clone, Debug)]
struct Common {
    also_serving: Vec<u8>,
    affinity: u32,
    ranges: Vec<u8>,
}

const SERVICES: [&str; 3] = ["web", "db", "dns"];

fn set() -> impl Strategy<Value = Vec<u8>> {
    subsequence((1..=6).collect::<Vec<u8>>(), 0..=6)
}

fn common() -> impl Strategy<Value = Common> {
    let ranges = subsequence(vec![1, 2, 3], 0..=2);
    (set(), prop_oneof![2 => Just(0), 1 => 60..62_u32], ranges)
        .prop_map(|(also_serving, affinity, ranges)| Common { also_serving, affinity, ranges })
}

fn state() -> impl Strategy<Value = Desired> {
    let one = (0..3_usize, set(), prop::option::of(set()), 0..8_u32, any::<bool>());
    let frontends = prop::collection::btree_map(0..8_u8, one, 0..8);
    let marks = prop::collection::btree_set(0..4_u8, 0..4);
    (frontends, prop::collection::vec(common(), 3), marks).prop_map(|(frontends, common, marks)| {
        let frontends = frontends.into_iter().map(|(number, (service, inside, outside, flags, guarded))| {
            let outside = outside.unwrap_or_else(|| inside.clone());
            let (key, mut wanted) = frontend(number, SERVICES[service], &inside, &outside);
            let guarded = guarded && !common[service].ranges.is_empty();
            wanted.flags = flags | if guarded { Frontend::RANGES } else { 0 };
            wanted.affinity = common[service].affinity;
            (key, wanted)
        });
        let mut desired = desired(frontends.collect());
        for (name, serving) in desired.serving.clone() {
            let common = &common[SERVICES.iter().position(|it| *it == name.service.name()).unwrap()];
            let more = common.also_serving.iter().flat_map(|it| [backend(true, *it), backend(false, *it)]);
            let all: BTreeSet<_> = serving.iter().copied().chain(more).collect();
            desired.serving.insert(name.clone(), all.into_iter().collect());
            let of = |name: &ServicePortName| {
                desired
                    .frontends
                    .values()
                    .filter(|f| f.name == *name)
                    .map(|f| f.flags)
                    .fold(0, |all, flags| all | flags)
            };
            if of(&name) & Frontend::RANGES != 0 {
                let ranges = common.ranges.iter().map(|it| format!("10.{it}.0.0/16").parse().unwrap());
                desired.ranges.insert(name.clone(), ranges.collect());
            }
        }
        desired.addresses = marks.into_iter().map(|number| key(number).address).collect();
        desired
    })
}

fn step() -> impl Strategy<Value = Step> {
    (state(), prop::option::of(0..20_usize), any::<bool>(), 0..1500_u64).prop_map(
        |(desired, dies_after, restarts, milliseconds)| Step { desired, dies_after, restarts, milliseconds },
    )
}

fn wanted(frontend: &DesiredFrontend) -> Resolved {
    Resolved {
        inside: frontend.inside.to_vec(),
        outside: frontend.outside.to_vec(),
        flags: frontend.flags,
        affinity: frontend.affinity,
    }
}

fn serves(desired: &Desired, name: Option<&ServicePortName>, backend: &Backend) -> bool {
    let serving = name.and_then(|name| desired.serving.get(name));
    serving.is_some_and(|all| all.iter().any(|it| (it.address, it.port) == (backend.address, backend.port)))
}

/// Which Service port an id belongs to, as far as the reconciler knows.
fn names(world: &World) -> BTreeMap<u32, ServicePortName> {
    world.reconciler.service_ids().into_iter().map(|(name, id)| (id, name)).collect()
}

fn all(kernel: &Kernel) -> BTreeMap<FrontendKey, Option<Resolved>> {
    (0..8).map(|number| (key(number), kernel.resolved(&key(number)))).collect()
}

/// One plan, with every frontend checked after every write; false if the process died.
fn run(world: &mut World, step: &Step) -> Result<(bool, Option<Instant>), TestCaseError> {
    let before = all(&world.kernel);
    let mut known = names(world);
    let plan = world.reconciler.plan(&step.desired, world.kernel.now);
    prop_assert!(plan.shortages.is_empty(), "{:?}", plan.shortages);
    known.extend(names(world));
    for op in &plan.ops {
        if let Op::PutBackend { backend, .. } = op
            && backend.flags & backend_flags::GONE != 0
        {
            // S57
            let name = known.get(&backend.service);
            prop_assert!(!serves(&step.desired, name, backend), "{name:?} {backend:?} still answers");
        }
    }
    for op in &plan.ops {
        let result = world.kernel.apply(op);
        for (key, now) in all(&world.kernel) {
            let after = step.desired.frontends.get(&key).map(|it| wanted(it));
            prop_assert!(now == before[&key] || now == after, "{key:?} is {now:?} after {op:?}");
        }
        match result {
            Ok(()) => world.kernel.pass(Duration::from_millis(1)),
            Err(Refused::Died) => return Ok((false, None)),
            Err(refused) => return Err(TestCaseError::fail(format!("{op:?}: {refused}"))),
        }
    }
    world.reconciler.applied(world.kernel.now);
    Ok((true, plan.again_at))
}

fn recover(world: &mut World, restarts: bool) {
    world.kernel.dies_after = None;
    if restarts {
        world.restart();
    } else {
        let image = world.kernel.image().unwrap();
        world.reconciler = Reconciler::load(image, SMALL, world.kernel.now, false);
    }
}

/// Syncs until nothing waits any more.
fn settle(world: &mut World, step: &Step) -> Result<(), TestCaseError> {
    for _ in 0..20 {
        match run(world, step)? {
            (true, None) => return Ok(()),
            (true, Some(at)) => world.kernel.now = world.kernel.now.max(at),
            (false, _) => recover(world, step.restarts),
        }
    }
    Err(TestCaseError::fail("does not settle"))
}

fn check_ids(kernel: &Kernel, desired: &Desired) -> Result<(), TestCaseError> {
    let image = kernel.image().unwrap();
    let pairs: HashSet<(&ServicePortName, u32)> =
        desired.frontends.iter().map(|(key, f)| (&f.name, image.frontends[key].service)).collect();
    let names: HashSet<_> = pairs.iter().map(|(name, _)| name).collect();
    let ids: HashSet<_> = pairs.iter().map(|(_, id)| id).collect();
    prop_assert_eq!((names.len(), ids.len()), (pairs.len(), pairs.len()));
    Ok(())
}

/// Every backend that was ever written is usable, draining or gone, as the last state says.
fn check_backends(world: &World, desired: &Desired) -> Result<(), TestCaseError> {
    let image = world.kernel.image().unwrap();
    let used: HashSet<u32> = image.slots.values().copied().collect();
    let names = names(world);
    for (id, backend) in &image.backends {
        let serves = serves(desired, names.get(&backend.service), backend);
        let allowed: &[u16] = match (used.contains(id), serves) {
            (true, true) => &[0],
            // Gone if it did not answer in between: no connection remembers it.
            (false, true) => &[backend_flags::DRAINING, backend_flags::GONE],
            (_, false) => &[backend_flags::GONE],
        };
        prop_assert!(allowed.contains(&(backend.flags & !backend_flags::LOCAL)), "{id} {backend:?}");
    }
    Ok(())
}

fn check_clients(world: &World, desired: &Desired, crashed: bool) -> Result<(), TestCaseError> {
    let image = world.kernel.image().unwrap();
    let names = names(world);
    let mut ranges: BTreeMap<ServicePortName, Vec<ipnet::IpNet>> = BTreeMap::new();
    for range in &image.ranges {
        ranges.entry(names[&range.service].clone()).or_default().push(range.clients);
    }
    let wanted: BTreeMap<_, _> =
        desired.ranges.iter().map(|(name, all)| (name.clone(), all.to_vec())).collect();
    prop_assert_eq!(ranges, wanted);
    let sticky: BTreeSet<u32> =
        image.frontends.values().filter(|it| it.affinity > 0).map(|it| it.service).collect();
    // A crash between two writes may leave choices behind; they end by themselves.
    prop_assert!(crashed || world.kernel.choices == sticky, "{:?} {sticky:?}", world.kernel.choices);
    Ok(())
}

/// What somebody changes in the tables is written again, and nothing else is (S102).
fn check_audit(world: &World) -> Result<(), TestCaseError> {
    let whole = world.kernel.image().map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(world.reconciler.restore(&whole), vec![]);
    let mut image = whole.clone();
    image.frontends.retain(|key, _| key.port % 2 == 0);
    let stranger = FrontendKey { port: 9, ..key(1) };
    image.frontends.insert(stranger, Frontend::default());
    image.backends.retain(|id, _| id % 2 == 0);
    image.backends.values_mut().for_each(|backend| backend.port = 9);
    image.slots.values_mut().for_each(|id| *id = 0);
    image.ranges.clear();
    for op in world.reconciler.restore(&image) {
        match op {
            Op::PutBackend { id, backend } => drop(image.backends.insert(id, backend)),
            Op::PutSlots { first, backends } => image.slots.extend((first..).zip(backends)),
            Op::PutFrontend { key, value } => drop(image.frontends.insert(key, value)),
            Op::DeleteFrontend { key } => drop(image.frontends.remove(&key)),
            Op::PutRange { range } => drop(image.ranges.insert(range)),
            Op::DeleteRange { range } => drop(image.ranges.remove(&range)),
            Op::ForgetAffinity { .. } => {}
        }
    }
    prop_assert_eq!(image, whole);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_updates_and_crashes_ends_like_one_fresh_sync(
        steps in prop::collection::vec(step(), 1..8)
    ) {
        // S54, S56, S57, S58, S59, S66, S99, S100, S103
        let mut world = World::new(SMALL);
        let mut crashed = false;
        for step in &steps {
            world.kernel.dies_after = step.dies_after;
            if !run(&mut world, step)?.0 {
                crashed = true;
                recover(&mut world, step.restarts);
            }
            world.kernel.pass(Duration::from_millis(step.milliseconds));
        }
        world.kernel.dies_after = None;
        let last = &steps[steps.len() - 1];
        settle(&mut world, last)?;

        let mut fresh = World::new(SMALL);
        settle(&mut fresh, last)?;
        prop_assert_eq!(all(&world.kernel), all(&fresh.kernel));
        prop_assert_eq!(world.kernel.keys(), fresh.kernel.keys());
        check_ids(&world.kernel, &last.desired)?;
        check_backends(&world, &last.desired)?;
        check_clients(&world, &last.desired, crashed)?;
        check_audit(&world)?;

        world.restart();
        let plan = world.reconciler.plan(&last.desired, world.kernel.now);
        prop_assert_eq!(plan.ops, vec![]);
    }
}
