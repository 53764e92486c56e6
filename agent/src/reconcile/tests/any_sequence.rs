//! Any sequence of updates, crashes and restarts ends in the same tables as one fresh sync of the last state.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::subsequence;

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

fn state() -> impl Strategy<Value = Desired> {
    let set = || subsequence((1..=6).collect::<Vec<u8>>(), 0..=6);
    let one = (0..3_u8, set(), prop::option::of(set()), 0..8_u32);
    prop::collection::btree_map(0..8_u8, one, 0..8).prop_map(|frontends| {
        let frontends = frontends.into_iter().map(|(number, (service, inside, outside, flags))| {
            let service = ["web", "db", "dns"][usize::from(service)];
            let outside = outside.unwrap_or_else(|| inside.clone());
            let (key, mut wanted) = frontend(number, service, &inside, &outside);
            wanted.flags = flags;
            (key, wanted)
        });
        desired(frontends.collect())
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

fn all(kernel: &Kernel) -> BTreeMap<FrontendKey, Option<Resolved>> {
    (0..8).map(|number| (key(number), kernel.resolved(&key(number)))).collect()
}

/// One plan, with every frontend checked after every write; false if the process died.
fn run(world: &mut World, step: &Step) -> Result<(bool, Option<Instant>), TestCaseError> {
    let before = all(&world.kernel);
    let plan = world.reconciler.plan(&step.desired, world.kernel.now);
    prop_assert!(plan.shortages.is_empty(), "{:?}", plan.shortages);
    for op in &plan.ops {
        let result = world.kernel.apply(op);
        for (key, now) in all(&world.kernel) {
            let after = step.desired.frontends.get(&key).map(wanted);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_updates_and_crashes_ends_like_one_fresh_sync(
        steps in prop::collection::vec(step(), 1..8)
    ) {
        // S99, S100, S103
        let mut world = World::new(SMALL);
        for step in &steps {
            world.kernel.dies_after = step.dies_after;
            if !run(&mut world, step)?.0 {
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

        world.restart();
        let plan = world.reconciler.plan(&last.desired, world.kernel.now);
        prop_assert_eq!(plan.ops, vec![]);
    }
}
