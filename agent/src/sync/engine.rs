//! One sync: resolve, plan, write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairway_datapath::table::{Image, Op, StateVersion, Tables};
use fairway_proto::control::{Applied, Rejected, Version, subscribe_request::Body};
use fairway_proto::model::Cluster;
use imbl::OrdMap;
use tracing::{debug, error, info, warn};

use super::SyncState;
use super::burst::now;
use crate::memory;
use crate::reconcile::{BackendKey, Limits, Reconciler, Usage};
use crate::resolve::{Desired, LocalNode, Resolver, ServicePortName};

/// Writes done under one hold of the lock: others may use the data path in between.
const BATCH: usize = 1024;
/// When to try again after a write failed.
const RETRY: Duration = Duration::from_secs(1);

/// How a sync ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) desired: Arc<Desired>,
    pub(super) service_ids: OrdMap<ServicePortName, u32>,
    pub(super) backend_ids: OrdMap<BackendKey, u32>,
    pub(super) usage: Usage,
    /// What is not as it should be, in one line each.
    pub(super) errors: Vec<String>,
    /// To be tried again then.
    pub(super) again_at: Option<Instant>,
    pub(super) writes: usize,
    /// Services that were resolved for it.
    pub(super) resolved: usize,
    /// Frontends that were planned for it.
    pub(super) planned: usize,
    /// The tables were read and compared as a whole.
    pub(super) full: bool,
}

impl Outcome {
    /// Nothing was written.
    fn of(reconciler: &Reconciler, desired: Arc<Desired>) -> Self {
        Self {
            desired,
            service_ids: reconciler.service_ids(),
            backend_ids: reconciler.backend_ids(),
            usage: reconciler.usage(),
            errors: vec![],
            again_at: None,
            writes: 0,
            resolved: 0,
            planned: 0,
            full: false,
        }
    }

    /// The tables are as they should be.
    pub(super) fn in_force(&self) -> bool {
        self.errors.is_empty() && self.again_at.is_none()
    }

    /// What the control plane is told of its version; none: the sync is not at its end.
    pub(super) fn answer(&self, version: Version) -> Option<Body> {
        let version = Some(version);
        if self.in_force() {
            return Some(Body::Applied(Applied { version }));
        }
        let reason = self.errors.join("; ");
        (!self.errors.is_empty()).then_some(Body::Rejected(Rejected { version, reason }))
    }

    /// Says what is new; what was said before is not said again.
    pub(super) fn log(&self, before: &SyncState, version: Version) {
        for error in self.errors.iter().filter(|error| !before.errors.contains(error)) {
            error!("{error}");
        }
        let known = &before.desired.problems;
        if !Arc::ptr_eq(known, &self.desired.problems) {
            self.desired.problems.iter().filter(|it| !known.contains(it)).for_each(|new| warn!("{new}"));
        }
        if self.in_force() && before.applied != Some(version) {
            let (epoch, number, writes) = (version.epoch, version.number, self.writes);
            let frontends = self.usage.frontends;
            if writes > 0 || before.applied.is_none() {
                info!(epoch, number, writes, frontends, "applied");
            } else {
                debug!(epoch, number, writes, frontends, "applied");
            }
        }
    }
}

/// The tables and the copy of them that is planned with.
pub(super) struct Engine<T> {
    tables: Arc<Mutex<T>>,
    limits: Limits,
    resolver: Resolver,
    /// None after an error: what the tables hold must be read again.
    reconciler: Option<Reconciler>,
    /// Nothing was written since the tables were read.
    fresh: bool,
}

fn locked<T>(tables: &Mutex<T>) -> MutexGuard<'_, T> {
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(version: Version) -> StateVersion {
    [version.epoch, version.number]
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl<T: Tables> Engine<T> {
    /// Starts from what the tables hold.
    pub(super) fn open(tables: Arc<Mutex<T>>, limits: Limits) -> Result<Self, T::Error> {
        let mut engine =
            Self { tables, limits, resolver: Resolver::default(), reconciler: None, fresh: true };
        engine.reconciler = Some(engine.load(true)?);
        Ok(engine)
    }

    /// The tables hold what an earlier agent served.
    pub(super) fn serves(&self) -> bool {
        self.reconciler.as_ref().is_some_and(|reconciler| reconciler.usage().frontends > 0)
    }

    /// The tables hold a later state than this one, or may.
    pub(super) fn is_after(&self, version: Version) -> Result<bool, T::Error> {
        let begun = locked(&self.tables).begun()?;
        Ok(self.serves() && begun != StateVersion::default() && begun != number(version))
    }

    fn load(&self, rested: bool) -> Result<Reconciler, T::Error> {
        let image = locked(&self.tables).image()?;
        Ok(Reconciler::load(image, self.limits, now(), rested))
    }

    fn write(&self, ops: &[Op]) -> Result<(), T::Error> {
        for batch in ops.chunks(BATCH) {
            locked(&self.tables).apply_all(batch)?;
        }
        Ok(())
    }

    /// The tables, to be read without this.
    pub(super) fn tables(&self) -> Arc<Mutex<T>> {
        self.tables.clone()
    }

    /// Compares what the tables held a moment ago, after the last sync, with what was written, and undoes what somebody else
    /// changed; returns in how many writes. Blocks.
    pub(super) fn restore(&mut self, image: &Image) -> Result<usize, T::Error> {
        let Some(reconciler) = &self.reconciler else { return Ok(0) };
        let ops = reconciler.restore(image);
        self.write(&ops).inspect_err(|_| self.reconciler = None)?;
        memory::trim();
        Ok(ops.len())
    }

    /// Makes the tables serve the cluster, whose state has this version if it has one. Blocks.
    pub(super) fn sync(&mut self, cluster: &Cluster, version: Option<Version>, node: &LocalNode) -> Outcome {
        let desired = Arc::new(self.resolver.resolve(cluster, node));
        match self.reconcile(&desired, version) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.reconciler = None;
                let full = std::mem::replace(&mut self.fresh, true);
                Outcome {
                    desired,
                    service_ids: OrdMap::new(),
                    backend_ids: OrdMap::new(),
                    usage: Usage::default(),
                    errors: vec![format!("the service table cannot be written: {}", chain(&error))],
                    again_at: Some(now() + RETRY),
                    writes: 0,
                    resolved: self.resolver.resolved(),
                    planned: 0,
                    full,
                }
            }
        }
    }

    /// Writes nothing: what the tables hold is left as it is. Blocks.
    pub(super) fn look(&mut self, cluster: &Cluster, node: &LocalNode) -> Outcome {
        let desired = Arc::new(self.resolver.resolve(cluster, node));
        match &self.reconciler {
            Some(reconciler) => Outcome::of(reconciler, desired),
            None => self.sync(cluster, None, node),
        }
    }

    fn reconcile(&mut self, desired: &Arc<Desired>, version: Option<Version>) -> Result<Outcome, T::Error> {
        let mut reconciler = match self.reconciler.take() {
            Some(reconciler) => reconciler,
            None => self.load(false)?,
        };
        let plan = reconciler.plan(desired, now());
        if let Some(version) = version {
            // A crash of the agent, unlike one of the machine, leaves the kernel with what follows, while the state on disk
            // may be an older one.
            locked(&self.tables).begin(number(version))?;
        }
        self.write(&plan.ops)?;
        reconciler.applied(now());
        let outcome = Outcome {
            errors: plan.shortages.iter().map(ToString::to_string).collect(),
            again_at: plan.again_at,
            writes: plan.ops.len(),
            resolved: self.resolver.resolved(),
            planned: plan.looked_at,
            full: std::mem::take(&mut self.fresh),
            ..Outcome::of(&reconciler, desired.clone())
        };
        self.reconciler = Some(reconciler);
        if outcome.full {
            memory::trim();
        }
        Ok(outcome)
    }
}
