//! Assembles the agent: data path, network, pods, sync, and the servers.

mod cleanup;
mod conflist;
mod error;
mod host;
mod lock;
mod network;
mod routes;
mod servers;
mod tunnel;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fairway_datapath::{Datapath, Direct, TunnelDevice};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::certificates;
use crate::collector;
use crate::config::{Config, Forwarding, SocketLb, Xdp};
use crate::health::{self, Metrics};
use crate::netlink::{Netlink, TUNNEL};
use crate::pods::{self, Mtu, Pods};
use crate::reconcile::Limits;
use crate::repair::{self, Repairs};
use crate::stranded;
use crate::sync::{self, SyncState, chain};
pub use cleanup::{Cleanup, cleanup};
pub use error::Error;
use network::Network;
pub use wire::{Wire, Wires};

/// How long tasks have to end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What the rooms of a running agent share.
pub struct Shared {
    /// The settings.
    pub config: Config,
    /// The data path. Hold the lock for one call at a time, never across an await.
    pub datapath: Arc<Mutex<Datapath>>,
    /// What is served: subscribe, or borrow the latest.
    pub state: watch::Sender<Arc<SyncState>>,
    /// The pods of this node.
    pub pods: Pods,
    /// The kernel's network configuration.
    pub netlink: Netlink,
    /// What somebody removed, and was put back.
    pub repairs: Arc<Repairs>,
    /// What is not as it should be on the ways to other nodes' pods, in one line each.
    pub ways: watch::Sender<Vec<String>>,
    /// What became of the program at each network device's driver.
    pub wires: Mutex<Wires>,
    /// Durations and counts.
    pub metrics: Arc<Metrics>,
    /// When the agent started.
    pub started: Instant,
}

/// Runs the agent until SIGTERM or SIGINT. Everything that is in force stays in force.
///
/// # Errors
///
/// What the agent cannot run without, with the next step.
pub async fn run(config: Config) -> Result<(), Error> {
    let signals = stop_signal()?;
    host::check(&config)?;
    let _only = lock::take(&config.state_dir)?;
    let listener = servers::bind(&config.socket)?;
    let health = health::bind(&config).await?;
    let control = embedded(&config).await?;

    let netlink = Netlink::connect()?;
    let network = Network::detect(&config, &netlink).await?;
    let inside = tunnel::mtu(network.mtu(), &network.sources());
    let (tunnel, _) = tunnel::ensure(&config, &netlink, inside, None).await?;
    let mtu = Mtu { device: network.mtu(), route: tunnel.is_some().then_some(inside) };
    let datapath = open(&config, &network, tunnel).await?;
    let pods = open_pods(&config, mtu, &netlink, &datapath).await?;
    let mut wires = Wires::default();
    for interface in network.interfaces() {
        let wire = wire::attach(&config, &netlink, &datapath, &interface).await?;
        wires.extend(wire.map(|wire| (interface, wire)));
    }
    detach_others(&datapath).await?;
    let shared = Arc::new(Shared {
        config,
        datapath,
        state: watch::Sender::default(),
        pods,
        netlink,
        repairs: Arc::default(),
        ways: watch::Sender::default(),
        wires: Mutex::new(wires),
        metrics: Arc::default(),
        started: Instant::now(),
    });

    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let source = source(&shared.config, control.as_ref());
    let sync = tasks.spawn(sync(shared.clone(), network.local(), source, stop.clone()));
    let (local, underlay) = (network.local(), network.mtu());
    tasks.spawn(network.follow(shared.clone(), stop.clone()));
    tasks.spawn(routes::keep(shared.clone(), local, underlay, tunnel, stop.clone()));
    tasks.spawn(health::serve(health, shared.clone(), stop.clone()));
    tasks.spawn(health::serve_services(shared.clone(), stop.clone()));
    tasks.spawn(servers::serve(listener, shared.clone(), stop.clone()));
    tasks.spawn(conflist::write(shared.clone(), stop.clone()));
    tasks.spawn(collector::run(shared.clone(), stop.clone()));
    tasks.spawn(repair::run(shared.clone(), stop.clone()));
    tasks.spawn(certificates::run(shared.clone(), stop.clone()));
    tasks.spawn(stranded::run(shared.clone(), stop.clone()));
    info!(node = %shared.config.node_name, socket = %shared.config.socket.display(), "ready");
    notify(NotifyState::Ready);

    tokio::select! {
        () = signals => info!("stopping; what is in force stays in force"),
        () = stop.cancelled() => {}
    }
    notify(NotifyState::Stopping);
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_WITHIN, tasks.wait()).await.is_err() {
        warn!("some tasks did not end in {} s", STOP_WITHIN.as_secs());
    }
    if let Some(control) = control
        && let Err(error) = control.stop().await
    {
        warn!("the embedded control plane: {}", chain(&error));
    }
    match tokio::time::timeout(Duration::ZERO, sync).await {
        Ok(Ok(Err(error))) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Resolves at SIGTERM or SIGINT; both are caught from now on.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!("systemd is not told: {error}");
    }
}

async fn embedded(config: &Config) -> Result<Option<fairway_control::Server>, Error> {
    use fairway_control::Options;
    let options = match (&config.manifests, &config.kubernetes) {
        (Some(manifests), _) => {
            // What this agent told of its pods is there again before it tells it again: no endpoint is missing
            // meanwhile.
            let state = Some(config.state_dir.join("control-plane.state"));
            Options { state, ..Options::new(manifests) }
        }
        (None, Some(kubernetes)) => Options::kubernetes(kubernetes.clone()),
        (None, None) => return Ok(None),
    };
    Ok(Some(fairway_control::Server::start(options).await?))
}

fn source(config: &Config, control: Option<&fairway_control::Server>) -> Option<sync::Source> {
    match (&config.control[..], &config.manifests, control) {
        (_, manifests, Some(control)) => Some(sync::Source::Embedded {
            channel: control.channel(),
            name: match manifests {
                Some(manifests) => format!("manifests in {}", manifests.display()),
                None => "the Kubernetes API".to_owned(),
            },
        }),
        ([_, ..], ..) => {
            Some(sync::Source::Remote { addresses: config.control.clone(), tls: config.tls.clone() })
        }
        _ => {
            warn!("no control plane: set control, manifests or kubernetes; the last state stays in force");
            None
        }
    }
}

/// Loads the programs and attaches them to the node's devices and sockets.
async fn open(
    config: &Config,
    network: &Network,
    tunnel: Option<TunnelDevice>,
) -> Result<Arc<Mutex<Datapath>>, Error> {
    let node_addresses = network.sources();
    let sockets_of = match config.socket_lb {
        SocketLb::Host => Some(host::netns_cookie()?),
        SocketLb::All | SocketLb::Off => None,
    };
    let cgroup = match config.socket_lb {
        SocketLb::Off => None,
        SocketLb::All | SocketLb::Host => Some(host::cgroup(config)?),
    };
    let options = fairway_datapath::Options {
        pins: config.bpf_root.clone(),
        node_addresses,
        nat_ports: config.nat_ports,
        sockets_of,
        host_netns: cgroup.is_some().then(host::netns_cookie).transpose()?,
        service_ranges: config.service_cidrs.clone(),
        masquerade_all: config.masquerade_all,
        masquerade: config.masquerade,
        tunnel,
        direct: match config.forwarding {
            Forwarding::Snat => Direct::Off,
            Forwarding::DsrL2 => Direct::Link,
            Forwarding::DsrIpip => Direct::Enclosed,
        },
        xdp: config.xdp != Xdp::Off,
        trace: false,
    };
    let interfaces = network.interfaces();
    let opened = tokio::task::spawn_blocking(move || {
        let mut datapath = Datapath::open(options)?;
        for interface in &interfaces {
            datapath.attach_network(interface)?;
        }
        if tunnel.is_some() {
            datapath.attach_tunnel(TUNNEL)?;
        }
        if let Some(cgroup) = &cgroup {
            datapath.attach_sockets(cgroup)?;
        }
        Ok::<_, fairway_datapath::Error>(datapath)
    });
    let datapath = opened.await.map_err(|_| Error::Interrupted)??;
    Ok(Arc::new(Mutex::new(datapath)))
}

/// Devices, pods and the cgroup of now are attached: what an earlier agent attached elsewhere goes.
async fn detach_others(datapath: &Arc<Mutex<Datapath>>) -> Result<(), Error> {
    let datapath = datapath.clone();
    let detached = tokio::task::spawn_blocking(move || {
        datapath.lock().unwrap_or_else(std::sync::PoisonError::into_inner).detach_others()
    });
    Ok(detached.await.map_err(|_| Error::Interrupted)??)
}

async fn open_pods(
    config: &Config,
    mtu: Mtu,
    netlink: &Netlink,
    datapath: &Arc<Mutex<Datapath>>,
) -> Result<Pods, Error> {
    let options = pods::Options { state_dir: config.state_dir.clone(), cidrs: config.pod_cidrs.clone(), mtu };
    Ok(Pods::open(options, netlink.clone(), datapath.clone()).await?)
}

async fn sync(
    shared: Arc<Shared>,
    node: watch::Receiver<crate::resolve::LocalNode>,
    source: Option<sync::Source>,
    stop: CancellationToken,
) -> Result<(), fairway_datapath::Error> {
    let options = sync::Options {
        source,
        state_dir: shared.config.state_dir.clone(),
        limits: Limits::default(),
        node,
        pod_cidrs: shared.config.pod_cidrs.clone(),
        reports: shared.pods.subscribe(),
        host_ports: shared.pods.host_ports(),
        metrics: shared.metrics.clone(),
        repairs: shared.repairs.clone(),
    };
    let result = sync::run(shared.datapath.clone(), shared.state.clone(), options, stop.clone()).await;
    stop.cancel();
    result
}
