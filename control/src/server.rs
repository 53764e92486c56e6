//! A running control plane.

mod follow;
mod given;
mod listen;
mod memory;
mod report;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use self::follow::Followed;
use crate::controller::load;
use crate::source::{self, ConnectionError, Directory, Kubernetes, Problem, kubernetes};
use crate::stream::{Shared, Subscriber};
use crate::tls::{Tls, TlsError};

#[doc(hidden)]
pub use given::Given;

/// Streams that have not ended by then are cut.
const STOP: Duration = Duration::from_secs(3);

/// What a control plane is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where declarations come from.
    pub source: Source,
    /// Where agents may connect; none: only by [`Server::channel`].
    pub listen: Vec<Listen>,
    /// How long after a start an agent that serves an earlier state waits for its first answer: other agents may not
    /// have reported their pods again yet. In a cluster nothing waits for them.
    pub grace: Duration,
    /// A file that keeps what the agents told across restarts; none: they have to tell it again.
    pub state: Option<PathBuf>,
    /// Streams of agents at once; more are refused.
    pub max_agents: usize,
}

/// As many agents as are served unless [`Options::max_agents`] says otherwise: twice the nodes of the largest clusters that
/// Kubernetes supports, so that all of them may connect again while their old streams are not noticed to be dead.
pub const MAX_AGENTS: usize = 10_000;

impl Options {
    /// Serves `manifests` inside this process only.
    pub fn new(manifests: impl Into<PathBuf>) -> Self {
        Self::of(Source::Manifests(manifests.into()))
    }

    /// Serves a cluster inside this process only.
    pub fn kubernetes(kubernetes: Kubernetes) -> Self {
        Self::of(Source::Kubernetes(kubernetes))
    }

    fn of(source: Source) -> Self {
        Self { source, listen: Vec::new(), grace: Duration::ZERO, state: None, max_agents: MAX_AGENTS }
    }
}

/// Where declarations come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The directory of Kubernetes manifests; it may be created later.
    Manifests(PathBuf),
    /// A cluster's API server. What agents tell of their pods and nodes does not count: the cluster knows them.
    Kubernetes(Kubernetes),
}

/// A place where agents connect.
#[derive(Clone, Debug)]
pub enum Listen {
    /// A unix socket, mode 0600, plaintext.
    Unix(PathBuf),
    /// TCP; port 0 takes a free one. `tls` none: plaintext, for tests only.
    Tcp {
        /// Address and port.
        address: SocketAddr,
        /// Mutual TLS.
        tls: Option<Tls>,
    },
}

/// Why a control plane cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on `{place}`{}", listen::hint(source))]
    Listen {
        /// Address or path.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It is not known how the API server is reached.
    #[error("the Kubernetes API cannot be used")]
    Kubernetes(#[from] ConnectionError),
    /// The thread that follows the manifests cannot be started.
    #[error("the thread that follows the manifests cannot be started")]
    Thread(#[source] io::Error),
    /// A listener failed while it ran.
    #[error("a listener failed")]
    Serve(#[from] tonic::transport::Error),
}

/// A running control plane; dropped, it stops.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    problems: Arc<watch::Sender<Vec<Problem>>>,
    memory: memory::Connector,
    addresses: Vec<SocketAddr>,
    tasks: JoinSet<Result<(), Error>>,
}

impl Server {
    /// Binds every address, starts to read the source, and returns when agents may connect.
    ///
    /// # Errors
    /// An address that cannot be bound, TLS files or a kubeconfig that cannot be used.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let known = options.state.as_deref().map(load).transpose().unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "what the agents told is not known");
            None
        });
        let agents = match options.source {
            Source::Manifests(_) => Some(known.unwrap_or_default()),
            // Each replica of the control plane has other agents, and all replicas shall have one state.
            Source::Kubernetes(_) => None,
        };
        let shared = Shared::new(agents, options.grace, options.max_agents);
        let told = shared.agents_changed.subscribe();
        let (health, health_service) = tonic_health::server::health_reporter();
        let router = listen::Services::new(&shared, health_service);
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for listen in &options.listen {
            addresses.extend(router.listen(listen, &mut tasks).await?);
        }
        let memory = router.memory(&mut tasks);
        let problems = Arc::default();
        let source = follow_source(&options.source, &shared, &problems, &mut tasks).await?;
        if let Some(path) = options.state {
            tasks.spawn(follow::save_agents(Arc::clone(&shared), told, path));
        }
        tasks.spawn(follow::follow(Arc::clone(&shared), source, Arc::clone(&problems), health));
        Ok(Self { shared, problems, memory, addresses, tasks })
    }

    /// A channel inside this process, for an agent that embeds its control plane.
    pub fn channel(&self) -> Channel {
        self.memory.channel()
    }

    /// Where TCP agents connect, in the order of [`Options::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is wrong in what is declared now, sorted by place.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.borrow().clone()
    }

    /// The agents that are or were connected, by node.
    pub fn subscribers(&self) -> Vec<Subscriber> {
        self.shared.subscribers.list()
    }

    /// Runs until `shutdown` resolves or a listener fails.
    ///
    /// # Errors
    /// A listener that failed.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::select! {
            error = self.failed() => Err(error),
            () = shutdown => self.stop().await,
        }
    }

    /// Waits for a listener that fails.
    async fn failed(&mut self) -> Error {
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Ends all streams and waits for them.
    ///
    /// # Errors
    /// A listener that failed.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.shared.stop.cancel();
        let mut result = Ok(());
        let ending = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok(Err(error)) = ended {
                    result = Err(error);
                }
            }
        };
        if tokio::time::timeout(STOP, ending).await.is_err() {
            tracing::warn!("agents that do not read are cut off");
        }
        result
    }
}

/// Starts to read the source.
async fn follow_source(
    source: &Source,
    shared: &Arc<Shared>,
    problems: &Arc<watch::Sender<Vec<Problem>>>,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<Followed, Error> {
    match source {
        Source::Manifests(directory) => {
            let newest = source::watch(Directory::new(directory.clone())).map_err(Error::Thread)?;
            Ok(Followed { newest, cluster: false })
        }
        Source::Kubernetes(options) => {
            let connection = kubernetes::connect(options).await?;
            let newest = kubernetes::watch(&connection, options);
            tasks.spawn(report::report(connection.client, Arc::clone(shared), problems.subscribe()));
            Ok(Followed { newest, cluster: true })
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Runs a control plane until `shutdown` resolves.
///
/// # Errors
/// As [`Server::start`] and [`Server::stop`].
pub async fn serve(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    Server::start(options).await?.run_until(shutdown).await
}
