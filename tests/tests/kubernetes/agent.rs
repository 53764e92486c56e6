//! The agent's end of the stream: keeps what comes, and answers that it serves it.

use std::collections::BTreeSet;

use fairway_proto::control::control_client::ControlClient;
use fairway_proto::control::subscribe_request::Body;
use fairway_proto::control::{self, Applied, Hello, SubscribeRequest, SubscribeResponse};
use fairway_proto::model::{Cluster, Resource, ResourceKey};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

/// What an agent has got so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The last complete state.
    pub(crate) cluster: Cluster,
    /// The first one.
    pub(crate) first: Option<Cluster>,
    /// What names the last one, whichever control plane says it.
    pub(crate) digest: u64,
    /// Complete states.
    pub(crate) versions: usize,
    /// Those that began anew.
    pub(crate) snapshots: usize,
    /// All that was in a complete state, and not in the one after it.
    pub(crate) removed: BTreeSet<ResourceKey>,
    /// Why there is no stream any more.
    pub(crate) error: Option<String>,
}

/// A connected agent; dropped, it goes.
pub(crate) struct Agent {
    view: watch::Receiver<View>,
    task: JoinHandle<()>,
}

impl Agent {
    /// Subscribes as that node.
    pub(crate) fn connect(channel: Channel, node: &str) -> Self {
        let (sender, view) = watch::channel(View::default());
        let node = node.to_owned();
        let task = tokio::spawn(async move {
            if let Err(error) = follow(channel, node, &sender).await {
                sender.send_modify(|view| view.error = Some(format!("{error:#}")));
            }
        });
        Self { view, task }
    }

    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn request(body: Body) -> SubscribeRequest {
    SubscribeRequest { body: Some(body) }
}

async fn follow(channel: Channel, node: String, view: &watch::Sender<View>) -> anyhow::Result<()> {
    let (requests, stream) = mpsc::unbounded_channel();
    let node = control::Node { name: node, addresses: vec!["192.0.2.1".into()], ..Default::default() };
    requests.send(request(Body::Hello(Hello { node: Some(node), ..Hello::default() })))?;
    let mut client = ControlClient::new(channel).max_decoding_message_size(64 << 20);
    let mut responses = client.subscribe(UnboundedReceiverStream::new(stream)).await?.into_inner();
    let mut cluster = Cluster::default();
    while let Some(response) = responses.message().await? {
        take(&mut cluster, &response)?;
        if response.complete {
            requests.send(request(Body::Applied(Applied { version: response.version })))?;
            view.send_modify(|view| {
                note(view, &cluster, response.snapshot);
                view.digest = response.version.unwrap_or_default().digest;
            });
        }
    }
    anyhow::bail!("the control plane has ended the stream")
}

fn take(cluster: &mut Cluster, response: &SubscribeResponse) -> anyhow::Result<()> {
    if response.snapshot {
        *cluster = Cluster::default();
    }
    for name in &response.removed {
        cluster.remove(&ResourceKey::try_from(name)?);
    }
    for resource in &response.changed {
        cluster.insert(Resource::try_from(resource)?);
    }
    Ok(())
}

fn note(view: &mut View, cluster: &Cluster, snapshot: bool) {
    let now = keys(cluster);
    view.removed.extend(keys(&view.cluster).into_iter().filter(|key| !now.contains(key)));
    view.cluster = cluster.clone();
    view.first.get_or_insert_with(|| cluster.clone());
    view.versions += 1;
    view.snapshots += usize::from(snapshot);
}

/// The names of all that is in a state.
pub(crate) fn keys(cluster: &Cluster) -> BTreeSet<ResourceKey> {
    let services = cluster.services.keys().cloned().map(ResourceKey::Service);
    let slices = cluster.slices.keys().cloned().map(ResourceKey::EndpointSlice);
    let nodes = cluster.nodes.keys().cloned().map(ResourceKey::Node);
    services.chain(slices).chain(nodes).collect()
}
