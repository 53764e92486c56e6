//! Tells the node's agent whether a pod is ready, as a kubelet tells the API server.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairway_proto::node::SetStatusRequest;
use fairway_proto::node::pods_client::PodsClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::Sandbox;

const RETRY: Duration = Duration::from_millis(100);

/// What is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Of each container.
    pub(super) ready: Vec<bool>,
    pub(super) terminating: bool,
}

/// Tells every change, and everything again when an agent was started, until it is aborted.
pub(super) async fn report(pod: Arc<Sandbox>) {
    let (mut told, mut starts) = (pod.told.subscribe(), pod.starts.clone());
    loop {
        let now = told.borrow_and_update().clone();
        starts.borrow_and_update();
        let ready = now.ready.iter().all(|ready| *ready) && !now.ready.is_empty();
        if !tell(&pod, ready, now.terminating, &told).await {
            continue;
        }
        pod.change(|state| state.ready = ready);
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            changed = starts.changed() => if changed.is_err() { return },
        }
    }
}

/// Tries until the agent has heard it; false when there is something newer to tell.
async fn tell(
    pod: &Sandbox,
    ready: bool,
    terminating: bool,
    told: &tokio::sync::watch::Receiver<Told>,
) -> bool {
    let (namespace, name) = pod.name.split_once('/').unwrap_or(("default", &pod.name));
    let request = SetStatusRequest { namespace: namespace.into(), name: name.into(), ready, terminating };
    let mut said = false;
    loop {
        let sent = match connect(pod.state.agent_socket(&pod.node)).await {
            Ok(channel) => {
                PodsClient::new(channel).set_status(request.clone()).await.map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match sent {
            Ok(_) => return true,
            Err(error) if !said => {
                said = true;
                tracing::warn!("pod {}: its agent does not hear that it is ready={ready}: {error}", pod.name);
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
        if told.has_changed().unwrap_or(false) {
            return false;
        }
    }
}

async fn connect(socket: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { io::Result::Ok(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    Endpoint::from_static("http://agent").connect_with_connector(connector).await
}
