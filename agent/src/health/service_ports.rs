//! spec.healthCheckNodePort: where load balancers ask whether this node has endpoints of a Service.

mod page;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::model::{ObjectName, Service, ServiceType, TrafficPolicy};
use imbl::OrdMap;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::local::Endpoints;
use super::probes::Health;
use crate::sync::SyncState;

/// When a port that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long answers may take that are under way when a port is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// What a port answers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    service: ObjectName,
    /// Addresses of this node that are ready to serve it.
    v4: usize,
    v6: usize,
}

/// By port. The listeners look it up for each request.
type Answers = BTreeMap<u16, Answer>;

/// A port at one address of the node.
struct Open {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Open {
    /// The socket is free when this returns.
    async fn close(self) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(CLOSE_WITHIN, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Keeps the ports of the cluster's Services open at the node's addresses until `stop`. What cannot be had is told
/// in `state` and tried again.
pub(super) async fn keep(mut health: Health, state: &watch::Sender<Arc<SyncState>>, stop: CancellationToken) {
    let answers = watch::Sender::new(Arc::new(Answers::new()));
    let mut open: BTreeMap<SocketAddr, Open> = BTreeMap::new();
    let mut asking = Asking::default();
    loop {
        let latest = health.state.borrow_and_update().clone();
        asking.look(&latest.cluster.services);
        let (now, mut problems) = wanted(&latest, &asking.those);
        let sockets: BTreeSet<SocketAddr> = addresses(&latest)
            .into_iter()
            .flat_map(|address| now.keys().map(move |port| SocketAddr::new(address, *port)))
            .collect();
        answers.send_replace(Arc::new(now));
        for (socket, gone) in open.extract_if(.., |socket, _| !sockets.contains(socket)) {
            debug!(%socket, "health check port closed");
            gone.close().await;
        }
        for socket in sockets.into_iter().filter(|socket| !open.contains_key(socket)).collect::<Vec<_>>() {
            match listen(socket) {
                Ok(listener) => {
                    debug!(%socket, "health check port opened");
                    open.insert(socket, serve(listener, socket, answers.subscribe(), health.clone()));
                }
                Err(error) => problems.extend(problem(socket, &error, &answers.borrow())),
            }
        }
        let again = !problems.is_empty();
        tell(state, problems);
        tokio::select! {
            Ok(()) = health.state.changed() => {}
            () = tokio::time::sleep(RETRY), if again => {}
            () = stop.cancelled() => break,
        }
    }
    futures::future::join_all(open.into_values().map(Open::close)).await;
}

/// Where the ports are: at the addresses that have NodePorts.
fn addresses(state: &SyncState) -> Vec<IpAddr> {
    state.node.node_port_addresses.among(&state.node.addresses)
}

fn port(service: &Service) -> Option<u16> {
    let local = service.external_policy == TrafficPolicy::Local;
    (local && service.service_type == ServiceType::LoadBalancer).then_some(service.health_check_node_port)?
}

/// The Services that ask for a port. Endpoints change far more often than Services do.
#[derive(Default)]
struct Asking {
    all: OrdMap<ObjectName, Arc<Service>>,
    those: Vec<(Arc<Service>, u16)>,
}

impl Asking {
    fn look(&mut self, services: &OrdMap<ObjectName, Arc<Service>>) {
        if !self.all.ptr_eq(services) {
            self.all = services.clone();
            self.those = services.values().filter_map(|it| Some((it.clone(), port(it)?))).collect();
        }
    }
}

/// What each port is to answer, and which Services have to do without.
fn wanted(state: &SyncState, asking: &[(Arc<Service>, u16)]) -> (Answers, Vec<String>) {
    let (mut answers, mut problems) = (Answers::new(), Vec::new());
    if asking.is_empty() {
        return (answers, problems);
    }
    let endpoints = Endpoints::new(&state.cluster, &state.node);
    for (service, port) in asking {
        if let Some(first) = answers.get(port) {
            let (loser, winner) = (&service.name, &first.service);
            problems.push(format!(
                "Service `{loser}` has no health check port: `{winner}` has {port}; change one of the two"
            ));
            continue;
        }
        let (v4, v6) = endpoints.ready_here(&service.name);
        answers.insert(*port, Answer { service: service.name.clone(), v4, v6 });
    }
    (answers, problems)
}

fn listen(socket: SocketAddr) -> io::Result<TcpListener> {
    let listener = if socket.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A connection of an earlier agent that lingers is no reason to fail.
    listener.set_reuseaddr(true)?;
    listener.bind(socket)?;
    listener.listen(BACKLOG)
}

fn serve(
    listener: TcpListener,
    socket: SocketAddr,
    answers: watch::Receiver<Arc<Answers>>,
    health: Health,
) -> Open {
    let stop = CancellationToken::new();
    let routes = page::routes(socket, answers, health);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    let task = tokio::spawn(async move {
        if let Err(error) = serving.await {
            warn!(%socket, "serving a health check port failed: {error}");
        }
    });
    Open { task, stop }
}

fn problem(socket: SocketAddr, error: &io::Error, answers: &Answers) -> Option<String> {
    let service = &answers.get(&socket.port())?.service;
    let seconds = RETRY.as_secs();
    Some(format!(
        "Service `{service}`: its health check port cannot be opened at {socket}: {error}; tried again every {seconds} s"
    ))
}

/// Says what is new, and makes it part of what is known.
fn tell(state: &watch::Sender<Arc<SyncState>>, problems: Vec<String>) {
    state.send_if_modified(|state| {
        if state.health_check_problems == problems {
            return false;
        }
        for new in problems.iter().filter(|problem| !state.health_check_problems.contains(problem)) {
            warn!("{new}");
        }
        Arc::make_mut(state).health_check_problems = problems;
        true
    });
}
