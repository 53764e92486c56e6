//! The loop: events of the stream and of the node in, syncs out.

use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use fairway_datapath::table::{Image, Tables};
use fairway_proto::control::{Node, Rejected, Version, subscribe_request::Body};
use fairway_proto::model::Cluster;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::audit::{Audit, cpu};
use super::burst::{due, now, reached};
use super::changes::Changes;
use super::connection::Connection;
use super::engine::{Engine, Outcome};
use super::received::{Accepted, Complete, Received};
use super::stream::{Client, Event, about};
use super::{Options, Origin, SyncState, chain, disk};
use crate::health::{Metrics, Synced};
use crate::repair::Repairs;
use crate::resolve::{HostPorts, LocalNode};

/// Everything that the loop holds.
pub(super) struct Serving<T: Tables> {
    /// None only while a sync runs.
    engine: Option<Engine<T>>,
    state: watch::Sender<Arc<SyncState>>,
    node: watch::Receiver<LocalNode>,
    host_ports: watch::Receiver<HostPorts>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    received: Received,
    accepted: Option<Accepted>,
    /// What the control plane is told that `accepted` is.
    base: Option<Version>,
    rejection: Option<String>,
    /// What was accepted and is not in the tables yet.
    pending: Changes,
    started: SystemTime,
    connection: Connection,
    events: mpsc::Receiver<Event>,
    answer: watch::Sender<Option<Body>>,
    about_node: watch::Sender<Node>,
    about_node_base: Node,
    repairs: Arc<Repairs>,
    saved: watch::Sender<disk::Latest>,
    saver: JoinHandle<()>,
    /// The kernel serves a later state than `accepted`, which came from the disk.
    hands_off: bool,
    /// There was nothing at the start, neither in the kernel nor on disk: pods' ports need not wait for a state.
    blank: bool,
    /// When the next sync is due, and since when it is waited for.
    due: Option<(Instant, Instant)>,
    last_sync: Option<Instant>,
    audit: Audit<T::Error>,
}

impl<T: Tables + Send + 'static> Serving<T> {
    pub(super) async fn start(
        tables: Arc<Mutex<T>>,
        state: watch::Sender<Arc<SyncState>>,
        options: Options,
        stop: CancellationToken,
    ) -> Result<Self, T::Error> {
        // Both may be large: at the same time.
        let state_dir = options.state_dir.clone();
        let last = tokio::task::spawn_blocking(move || disk::last(&state_dir));
        let engine = Engine::open(tables, options.limits)?;
        let last = last.await.unwrap_or_default();
        let base = last.as_ref().map(disk::Kept::name);
        let accepted = last.map(|disk::Kept { version, cluster, .. }| {
            info!(services = cluster.services.len(), "serving the last state from disk");
            Accepted { version, cluster, origin: Origin::Disk }
        });
        let hands_off = match &accepted {
            Some(last) => engine.is_after(last.version)?,
            None => false,
        };
        let blank = accepted.is_none() && !engine.serves();
        if hands_off {
            info!("the kernel's state is later than the disk's, and stays until the control plane speaks");
        }
        let (answer, answers) = watch::channel(None);
        let about_node_base = Node {
            name: options.node.borrow().name.clone(),
            pod_cidrs: options.pod_cidrs.iter().map(ToString::to_string).collect(),
            ..Node::default()
        };
        let (about_node, about_nodes) = watch::channel(about(&about_node_base, &options.node.borrow()));
        let (sender, events) = mpsc::channel(16);
        let places = options.source.as_ref().map(super::Source::names).unwrap_or_default();
        if let Some(source) = options.source {
            let reports = options.reports;
            let client = Client { source, node: about_nodes, answer: answers, reports, events: sender };
            tokio::spawn(client.run());
        }
        let (saved, to_save) = watch::channel(None);
        let saver = tokio::spawn(disk::save_all(options.state_dir.clone(), to_save, stop.clone()));
        let mut serving = Self {
            engine: Some(engine),
            state,
            node: options.node,
            host_ports: options.host_ports,
            metrics: options.metrics,
            repairs: options.repairs,
            stop,
            received: Received::default(),
            accepted,
            base,
            rejection: None,
            pending: Changes::default(),
            started: SystemTime::now(),
            connection: Connection::new(places),
            events,
            answer,
            about_node,
            about_node_base,
            saved,
            saver,
            hands_off,
            blank,
            due: None,
            last_sync: None,
            audit: Audit::new(),
        };
        serving.trigger();
        Ok(serving)
    }

    pub(super) async fn run(mut self) {
        let mut stream = true;
        loop {
            let due = self.due.map(|(at, _)| at);
            let urgent = self.audit.is_urgent();
            tokio::select! {
                event = self.events.recv(), if stream => match event {
                    Some(event) => self.on_event(event),
                    None => stream = false,
                },
                Ok(()) = self.node.changed() => self.on_node(),
                Ok(()) = self.host_ports.changed() => self.trigger(),
                () = reached(due), if due.is_some() && !urgent => {
                    self.sync().await;
                }
                image = self.audit.next(), if due.is_none() || urgent => match image {
                    Some(image) => self.audit(image).await,
                    None => self.audit.begin(self.engine.as_ref().map(Engine::tables)),
                },
                () = self.stop.cancelled() => break,
            }
        }
        drop(self.saved);
        if let Err(error) = self.saver.await {
            error!("saving the last state failed: {error}");
        }
    }

    /// Undoes what somebody else changed in the tables (S102).
    async fn audit(&mut self, image: Result<Image, T::Error>) {
        let Some(mut engine) = self.engine.take() else { return };
        let done = tokio::task::spawn_blocking(move || {
            let start = cpu();
            let audited = image.and_then(|image| engine.restore(&image));
            (engine, audited, cpu().saturating_sub(start))
        });
        let done = done.await;
        self.audit.end(done.as_ref().map(|(.., took)| *took).unwrap_or_default());
        let Ok((engine, audited, _)) = done else {
            error!("the tables could not be compared; the agent stops, and what is in force stays");
            return self.stop.cancel();
        };
        self.engine = Some(engine);
        match audited {
            Ok(0) => {}
            Ok(writes) => {
                let line =
                    format!("{writes} entries of the service table had been changed, and are as they were");
                warn!("{line}");
                self.metrics.repaired("entry");
                self.repairs.note(line);
            }
            Err(error) => {
                warn!("comparing the service table: {}", chain(&error));
                self.trigger();
            }
        }
    }

    /// A sync is needed: now, or when the burst that this belongs to may be over.
    fn trigger(&mut self) {
        let now = now();
        let at = due(now, self.last_sync);
        let since = self.due.map_or(now, |(_, since)| since);
        self.due = Some((at, since));
        self.metrics.queued();
    }

    fn on_node(&mut self) {
        let node = self.node.borrow_and_update().clone();
        info!(addresses = ?node.addresses, "this node's addresses or zone have changed");
        let about = about(&self.about_node_base, &node);
        self.about_node.send_if_modified(|sent| {
            let changed = *sent != about;
            *sent = about;
            changed
        });
        self.trigger();
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Opening { base } => {
                let cluster = self.accepted.as_ref().map(|accepted| accepted.cluster.clone());
                self.received.restart(&cluster.unwrap_or_default());
                // The stream is given up already.
                let _ = base.send(self.base);
            }
            Event::Connected { place } => {
                let connected = self.connection.connected(&self.state.borrow().control_plane, place);
                self.publish(|state| state.control_plane = connected);
            }
            Event::Disconnected { place, reason } => {
                let lost = self.connection.lost(&self.state.borrow().control_plane, place, reason);
                self.publish(|state| state.control_plane = lost);
            }
            Event::Response(response) => match self.received.take(*response) {
                None => {}
                Some(Complete::Accepted { version, cluster }) => {
                    debug!(epoch = version.epoch, number = version.number, "received");
                    self.rejection = None;
                    self.count(&cluster);
                    self.base = Some(version);
                    self.accepted = Some(Accepted { version, cluster, origin: Origin::ControlPlane });
                    self.hands_off = false;
                    self.trigger();
                }
                Some(Complete::Rejected { version, reason }) => self.reject(version, reason),
            },
        }
    }

    /// Notes what is new in the cluster.
    fn count(&mut self, cluster: &Cluster) {
        let nothing = Cluster::default();
        let before = self.accepted.as_ref().map_or(&nothing, |accepted| &*accepted.cluster);
        let changes = Changes::between(before, cluster, self.started);
        self.metrics.changed(changes.services.len(), changes.slices.len());
        self.pending.add(changes);
        self.metrics.pending(self.pending.services.len(), self.pending.slices.len());
    }

    fn reject(&mut self, version: Version, reason: String) {
        warn!(epoch = version.epoch, number = version.number, "rejected: {reason}");
        self.answer
            .send_replace(Some(Body::Rejected(Rejected { version: Some(version), reason: reason.clone() })));
        self.publish(|state| {
            state.errors.retain(|error| Some(error) != self.rejection.as_ref());
            state.errors.insert(0, reason.clone());
        });
        self.rejection = Some(reason);
    }

    fn publish(&self, change: impl FnOnce(&mut SyncState)) {
        self.state.send_modify(|state| change(Arc::make_mut(state)));
    }

    async fn sync(&mut self) {
        let since = self.due.take().map_or_else(now, |(_, since)| since);
        // Without any state what the kernel holds stays in force.
        let Some(accepted) = self.accepted.clone().or_else(|| self.pods_alone()) else {
            self.metrics.nothing_to_do();
            return;
        };
        let Some(mut engine) = self.engine.take() else { return };
        self.audit.changed();
        let node = self.local_node(&accepted.cluster);
        let started = now();
        let cluster = accepted.cluster.clone();
        let for_sync = node.clone();
        let hands_off = self.hands_off;
        let version = (accepted.origin != Origin::Kernel).then_some(accepted.version);
        let done = tokio::task::spawn_blocking(move || {
            let outcome = if hands_off {
                engine.look(&cluster, &for_sync)
            } else {
                engine.sync(&cluster, version, &for_sync)
            };
            (engine, outcome)
        });
        let Ok((engine, outcome)) = done.await else {
            // Only a panic ends here; the process is not to go on half-alive.
            error!("the sync failed unexpectedly; the agent stops, and what is in force stays");
            self.stop.cancel();
            return;
        };
        self.engine = Some(engine);
        let now = now();
        self.last_sync = Some(now);
        self.metrics.synced(Synced {
            duration: now - started,
            latency: now - since,
            writes: outcome.writes,
            resolved: outcome.resolved,
            planned: outcome.planned,
            full: outcome.full,
        });
        if outcome.in_force() {
            let done = std::mem::take(&mut self.pending);
            done.happened.into_iter().for_each(|changed| self.metrics.programmed(changed));
            self.metrics.pending(0, 0);
        }
        if outcome.again_at.is_none() && self.due.is_none() {
            self.metrics.nothing_to_do();
        }
        if let Some(at) = outcome.again_at {
            self.due = Some((self.due.map_or(at, |(due, _)| due.min(at)), since));
        }
        self.finish(&accepted, node, outcome);
    }

    /// A state of nothing but the pods' ports, where nothing else could be served.
    fn pods_alone(&self) -> Option<Accepted> {
        let had_some = !self.state.borrow().desired.frontends.is_empty();
        (self.blank && (had_some || !self.host_ports.borrow().is_empty())).then(Accepted::default)
    }

    /// The node with its pods' ports, and with the zone that its Node object has, if it is told no other.
    fn local_node(&mut self, cluster: &Cluster) -> LocalNode {
        let mut node = self.node.borrow().clone();
        node.host_ports = self.host_ports.borrow_and_update().clone();
        if node.zone.is_none() {
            node.zone = cluster.nodes.get(&node.name).and_then(|object| object.zone.clone());
        }
        node
    }

    fn finish(&self, accepted: &Accepted, node: LocalNode, outcome: Outcome) {
        let in_force = outcome.in_force();
        let written = outcome.errors.is_empty() && !self.hands_off;
        let version = accepted.version;
        outcome.log(&self.state.borrow(), version);
        if accepted.origin == Origin::ControlPlane {
            if let Some(answer) = outcome.answer(version) {
                self.answer.send_replace(Some(answer));
            }
            self.saved.send_replace(Some((version, accepted.cluster.clone())));
        }
        self.publish(|state| {
            let declared =
                |cluster: &Cluster| cluster.nodes.get(&node.name).is_some_and(|node| node.object.is_some());
            let known = state.node_deleted || declared(&state.cluster);
            state.node_deleted = known && !declared(&accepted.cluster);
            if written {
                state.host_ports = node.host_ports.clone();
            }
            state.node = node;
            state.cluster = accepted.cluster.clone();
            state.origin = accepted.origin;
            state.desired = outcome.desired;
            state.service_ids = outcome.service_ids;
            state.backend_ids = outcome.backend_ids;
            state.usage = outcome.usage;
            state.errors = self.rejection.iter().cloned().chain(outcome.errors).collect();
            if in_force && accepted.origin != Origin::Kernel {
                state.applied = Some(version);
                state.applied_at = Some(SystemTime::now());
            }
        });
    }
}
