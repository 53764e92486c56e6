//! A node: the real agent, with tables in memory, and its disk.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairway_agent::reconcile::Limits;
use fairway_agent::resolve::LocalNode;
use fairway_agent::sync::{self, Origin, Source, SyncState, Way};
use fairway_proto::control::PodStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::net;
use crate::source::{Shared, resources_of, served};
use crate::tables::Memory;

/// What is wrong, if something is.
pub(crate) type Verdict = Arc<Mutex<Option<String>>>;

/// One of several nodes.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) disk: PathBuf,
    tables: Arc<Mutex<Memory>>,
    replicas: Arc<Vec<String>>,
    source: Shared,
    verdict: Verdict,
    /// What the process shows, while it lives.
    shown: Arc<Mutex<Option<Shown>>>,
}

struct Shown {
    state: watch::Receiver<Arc<SyncState>>,
    node: watch::Sender<LocalNode>,
    pods: watch::Sender<Vec<PodStatus>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    pub(crate) fn new(
        number: usize,
        disk: PathBuf,
        replicas: Arc<Vec<String>>,
        source: Shared,
        verdict: Verdict,
    ) -> Self {
        let name = format!("node-{number}");
        Self { name, disk, tables: Arc::default(), replicas, source, verdict, shown: Arc::default() }
    }

    /// The process, until it is killed.
    pub(crate) async fn serve(self) -> turmoil::Result {
        let state: watch::Sender<Arc<SyncState>> = watch::Sender::default();
        let node = watch::Sender::new(LocalNode {
            name: self.name.clone(),
            addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
            ..LocalNode::default()
        });
        let pods = watch::Sender::new(vec![]);
        let options = sync::Options {
            source: Some(self.way()),
            state_dir: self.disk.clone(),
            limits: Limits::default(),
            node: node.subscribe(),
            host_ports: watch::Sender::default().subscribe(),
            pod_cidrs: vec![],
            reports: pods.subscribe(),
            metrics: Arc::default(),
            repairs: Arc::default(),
        };
        tokio::spawn(self.clone().watch(state.subscribe()));
        *locked(&self.shown) = Some(Shown { state: state.subscribe(), node, pods });
        Ok(sync::run(self.tables.clone(), state, options, CancellationToken::new()).await?)
    }

    /// The way to the control planes.
    fn way(&self) -> Source {
        let way = Way::new(|place: String| async move { net::connect(&place).await });
        Source::Simulated { places: self.replicas.to_vec(), way }
    }

    /// Looks at each state that is applied.
    async fn watch(self, mut states: watch::Receiver<Arc<SyncState>>) {
        let (mut before, mut at) = (None, None);
        loop {
            let state = states.borrow_and_update().clone();
            if state.applied_at != at {
                at = state.applied_at;
                match self.check(&state, before) {
                    Ok(number) => before = number.or(before),
                    Err(error) => {
                        locked(&self.verdict).get_or_insert(format!("{}: {error}", self.name));
                    }
                }
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    /// The number of the state that is applied, if one is.
    fn check(&self, state: &SyncState, before: Option<usize>) -> Result<Option<usize>, String> {
        let Some(version) = state.applied else { return Ok(None) };
        let resources = resources_of(&state.cluster);
        let source = self.source.lock();
        let number = source.number(&resources)?;
        if before != Some(number) {
            source.check_step(before, version.epoch, number)?;
        }
        // What the kernel has may be later than what was on disk.
        if state.origin == Origin::ControlPlane && self.served() != served(&resources) {
            return Err(format!("of state {number} it serves {:?}", self.served()));
        }
        Ok(Some(number))
    }

    fn served(&self) -> Vec<String> {
        let line = |line: String| {
            let (frontend, backends) = line.split_once(" -> ").unwrap_or((&line, ""));
            let backends: BTreeSet<&str> = backends.split(' ').filter(|word| !word.is_empty()).collect();
            format!("{frontend} -> {}", backends.into_iter().collect::<Vec<_>>().join(" "))
        };
        let mut lines: Vec<String> = locked(&self.tables).served().into_iter().map(line).collect();
        lines.sort();
        lines
    }

    /// Why it does not serve this state, which a control plane gave; none: it does.
    pub(crate) fn lacks(&self, number: usize) -> Option<String> {
        let shown = locked(&self.shown);
        let Some(shown) = shown.as_ref() else { return Some("it does not run".into()) };
        let state = shown.state.borrow().clone();
        let source = self.source.lock();
        let is = source.number(&resources_of(&state.cluster));
        if is != Ok(number) || state.applied.is_none() || !state.errors.is_empty() {
            let (applied, control) = (state.applied, &state.control_plane);
            return Some(format!(
                "it has {is:?}, applied {applied:?}, errors {:?}, {control:?}",
                state.errors
            ));
        }
        (self.served() != served(source.resources(number))).then(|| format!("it serves {:?}", self.served()))
    }

    /// The process was killed.
    pub(crate) fn killed(&self) {
        *locked(&self.shown) = None;
    }

    /// The machine was: nothing is left in the kernel.
    pub(crate) fn rebooted(&self) {
        *locked(&self.tables) = Memory::default();
    }

    /// Its disk is another one.
    pub(crate) fn forgot(&self) {
        // It may not have been written yet.
        let _ = std::fs::remove_file(self.disk.join("cluster.pb"));
    }

    /// So many writes succeed, and then none; none: all do.
    pub(crate) fn fail_after(&self, writes: Option<usize>) {
        locked(&self.tables).fail_after = writes;
    }

    /// The node has another address: it is told in a new Hello.
    pub(crate) fn readdress(&self, last: u8) {
        if let Some(shown) = locked(&self.shown).as_ref() {
            let address: IpAddr = Ipv4Addr::new(192, 0, 2, last).into();
            shown.node.send_modify(|node| node.addresses = vec![address]);
        }
    }

    /// It has other pods: they are told.
    pub(crate) fn report(&self, pod: u8) {
        if let Some(shown) = locked(&self.shown).as_ref() {
            let pod =
                PodStatus { namespace: "default".into(), name: format!("p{pod}"), ..PodStatus::default() };
            shown.pods.send_replace(vec![pod]);
        }
    }
}
