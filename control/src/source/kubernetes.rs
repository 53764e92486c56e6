//! Declarations from the Kubernetes API: Services, EndpointSlices and Nodes, listed and then watched.
//!
//! Nothing is declared before all three lists are complete, and what is in force stays while the API server cannot be
//! read. Pods are not watched: Kubernetes' own controller makes EndpointSlices of them, and addresses of pods are the
//! agents' affair.

mod cluster;
mod connection;
mod mass_delete;
mod objects;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

pub use connection::ConnectionError;
pub(crate) use connection::{Connection, connect};

use super::declaration::Declarations;
use super::watch::Newest;
use cluster::{Cluster, News};
use mass_delete::MassDelete;
use objects::{Nodes, Services, Slices, follow};

/// How far the readers of the API server may be ahead.
const AHEAD: usize = 1024;

/// Which API server is read, and what of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// The kubeconfig; none: that of the environment variable KUBECONFIG, else the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; none: its current one.
    pub context: Option<String>,
    /// The API server's URL; none: that of the kubeconfig, or the Service `kubernetes`.
    pub server: Option<String>,
    /// Only what has the label service.kubernetes.io/service-proxy-name with this value is served; none: only what
    /// does not have the label (S16).
    pub service_proxy_name: Option<String>,
    /// Services, EndpointSlices and Nodes may go away by more than half at once.
    pub allow_mass_delete: bool,
}

/// Starts to follow the cluster; ends when the last receiver is dropped.
pub(crate) fn watch(connection: &Connection, options: &Kubernetes) -> Newest {
    let (sender, receiver) = watch::channel(None);
    let (news, heard) = mpsc::channel(AHEAD);
    let again = watch::Sender::new(());
    let selector = Arc::from(selector(options.service_proxy_name.as_deref()));
    tokio::spawn(follow::<Services>(
        connection.clone(),
        Arc::clone(&selector),
        again.subscribe(),
        news.clone(),
    ));
    tokio::spawn(follow::<Slices>(connection.clone(), selector, again.subscribe(), news.clone()));
    tokio::spawn(follow::<Nodes>(connection.clone(), Arc::from(""), again.subscribe(), news));
    let cluster = Cluster::new(&connection.server);
    tokio::spawn(declare(cluster, heard, again, MassDelete::new(options.allow_mass_delete), sender));
    receiver
}

/// What the server leaves out itself, as it does for kube-proxy (S16).
fn selector(proxy: Option<&str>) -> String {
    let headless = "!service.kubernetes.io/headless";
    match proxy {
        Some(name) => format!("{headless},service.kubernetes.io/service-proxy-name={name}"),
        None => format!("{headless},!service.kubernetes.io/service-proxy-name"),
    }
}

/// Turns what is heard into declarations. What comes together is declared together.
async fn declare(
    mut cluster: Cluster,
    mut heard: mpsc::Receiver<News>,
    again: watch::Sender<()>,
    mut guard: MassDelete,
    newest: watch::Sender<Option<Arc<Declarations>>>,
) {
    let mut unread = Declarations::default();
    let mut lists = [0; 3];
    loop {
        let look = guard.look_at();
        tokio::select! {
            news = heard.recv() => match news {
                Some(news) => cluster.hear(news),
                None => return,
            },
            () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {
                tracing::info!("everything is listed once more");
                lists = cluster.lists();
                guard.looks();
                again.send_replace(());
            }
            () = newest.closed() => return,
        }
        while let Ok(news) = heard.try_recv() {
            cluster.hear(news);
        }
        if !cluster.is_complete() {
            // Why it is not.
            let problems: Vec<_> = cluster.problems().collect();
            if unread.problems != problems {
                unread.problems = problems;
                newest.send_replace(Some(Arc::new(unread.clone())));
            }
            continue;
        }
        let listed = cluster.is_listed_since(lists);
        let (mut declarations, loss) = guard.judge(cluster.declarations(), listed, Instant::now());
        declarations.problems.extend(loss.map(|loss| cluster.problem(loss.kind, loss.cause)));
        newest.send_replace(Some(Arc::new(declarations)));
    }
}
