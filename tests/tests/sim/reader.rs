//! Another agent, which is nothing but the contract: it keeps what it is sent, reads as slowly as it likes, answers twice or
//! not at all, and sometimes says of itself what is not so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairway_proto::control::control_client::ControlClient;
use fairway_proto::control::subscribe_request::Body;
use fairway_proto::control::{Applied, Hello, Node, SubscribeRequest, SubscribeResponse, Version};
use fairway_proto::model::{Resource, ResourceKey};
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::agent::Verdict;
use crate::net;
use crate::source::{Resources, Shared};

/// A number that no state has.
const NOBODYS: usize = usize::MAX;

/// The agent.
#[derive(Clone)]
pub(crate) struct Reader {
    replicas: Arc<Vec<String>>,
    source: Shared,
    verdict: Verdict,
    seed: u64,
    /// From now on it reads as fast as it can, and says the truth.
    calm: Arc<AtomicBool>,
    model: Arc<Mutex<Model>>,
}

/// What it has received.
#[derive(Debug, Default)]
struct Model {
    state: Resources,
    version: Option<Version>,
    number: Option<usize>,
    /// A version that is not complete.
    pending: Option<Resources>,
    /// What it has said that it has, until it was sent something.
    said: Option<Option<usize>>,
}

impl Reader {
    pub(crate) const NAME: &'static str = "reader";

    pub(crate) fn new(replicas: Arc<Vec<String>>, source: Shared, verdict: Verdict, seed: u64) -> Self {
        Self { replicas, source, verdict, seed, calm: Arc::default(), model: Arc::default() }
    }

    /// The process.
    pub(crate) async fn serve(self) -> turmoil::Result {
        let mut random = StdRng::seed_from_u64(self.seed);
        loop {
            let replica = self.replicas[random.random_range(0..self.replicas.len())].clone();
            // It lasts until it ends, whyever.
            let _ = self.stream(&replica, &mut random).await;
            tokio::time::sleep(Duration::from_millis(random.random_range(50..500))).await;
        }
    }

    fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// It reads as fast as it can from now on.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// The number of the state that it has.
    pub(crate) fn number(&self) -> Option<usize> {
        self.model().number
    }

    async fn stream(&self, replica: &str, random: &mut StdRng) -> anyhow::Result<()> {
        let replica = replica.to_owned();
        let connect = move |_| {
            let replica = replica.clone();
            async move { net::connect(&replica).await.map(TokioIo::new) }
        };
        let channel = Endpoint::from_static("http://control")
            .connect_timeout(Duration::from_secs(1))
            .initial_stream_window_size(2048)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true)
            .connect_with_connector(tower::service_fn(connect))
            .await?;
        let (requests, outgoing) = mpsc::channel(16);
        requests.send(request(Body::Hello(self.hello(random)))).await?;
        let mut client = ControlClient::new(channel);
        let mut responses = client.subscribe(ReceiverStream::new(outgoing)).await?.into_inner();
        while let Some(response) = responses.message().await? {
            let complete = response.complete;
            let earlier = self.model().version;
            if let Err(error) = self.take(response) {
                let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
                verdict.get_or_insert(format!("{}: {error}", Self::NAME));
            }
            for _ in 0..if complete { random.random_range(0..4) } else { 0 } {
                let version = if random.random_bool(0.8) { self.model().version } else { earlier };
                requests.send(request(Body::Applied(Applied { version }))).await?;
            }
            if !self.is_calm() && random.random_bool(0.3) {
                tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
            }
        }
        Ok(())
    }

    fn hello(&self, random: &mut StdRng) -> Hello {
        let mut model = self.model();
        model.pending = None;
        let truth = (model.version, model.number);
        let (applied, number) = match random.random_range(0..10) {
            0 if !self.is_calm() => (None, None),
            1 if !self.is_calm() => {
                let (epoch, number) = (random.random_range(1..3), random.random_range(0..9));
                (Some(Version { epoch, number, ..Version::default() }), Some(NOBODYS))
            }
            _ => truth,
        };
        model.said = Some(number);
        Hello { node: Some(Node { name: Self::NAME.into(), ..Node::default() }), applied }
    }

    fn take(&self, response: SubscribeResponse) -> Result<(), String> {
        let mut model = self.model();
        let unknown = matches!(model.said, Some(said) if said != model.number);
        if unknown && model.pending.is_none() && !response.snapshot {
            return Err("a change of a state that nobody has, instead of a snapshot".into());
        }
        let mut state = model.pending.take().unwrap_or_else(|| model.state.clone());
        if response.snapshot {
            state.clear();
        }
        for name in &response.removed {
            state.remove(&ResourceKey::try_from(name).map_err(|error| error.to_string())?);
        }
        for message in &response.changed {
            let resource = Resource::try_from(message).map_err(|error| error.to_string())?;
            state.insert(resource.key(), resource);
        }
        if !response.complete {
            model.pending = Some(state);
            return Ok(());
        }
        let source = self.source.lock();
        let version = response.version.ok_or("a response without a version")?;
        let number = source.number(&state)?;
        let before = model.said.take().unwrap_or(model.number);
        if before != Some(number) {
            source.check_step(before, version.epoch, number)?;
        }
        (model.state, model.version, model.number) = (state, Some(version), Some(number));
        Ok(())
    }
}

fn request(body: Body) -> SubscribeRequest {
    SubscribeRequest { body: Some(body) }
}
