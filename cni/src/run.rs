//! One call from its reading to its result.

use std::time::Duration;

use fairway_proto::node::pods_client::PodsClient;
use fairway_proto::node::{
    AddRequest, Attachment, CheckRequest, CollectRequest, DeleteRequest, ReadyRequest,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::call::{Call, Command};
use crate::config::{Config, version_of};
use crate::error::Error;
use crate::version::Version;
use crate::{agent, result};

/// Answers a call; `variable` looks up an environment variable, `input` is the network configuration.
pub(crate) fn run(variable: impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Option<Value>, Error> {
    let call = Call::read(variable)?;
    if call.command == Command::Version {
        return versions(input).map(Some);
    }
    let (config, version) = Config::read(input, call.command)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    runtime.block_on(ask(&call, &config, version))
}

fn versions(input: &[u8]) -> Result<Value, Error> {
    if !input.trim_ascii().is_empty() {
        serde_json::from_slice::<Value>(input).map_err(Error::Decode)?;
    }
    let supported = Version::ALL.map(Version::text);
    Ok(json!({ "cniVersion": version_of(input), "supportedVersions": supported }))
}

async fn ask(call: &Call, config: &Config, version: Version) -> Result<Option<Value>, Error> {
    let patience = if call.command == Command::Add { agent::STARTING } else { Duration::ZERO };
    let agent = agent::connect(&config.socket(), patience).await;
    match call.command {
        Command::Add => return add(agent?, call, config, version).await.map(Some),
        Command::Del => delete(agent?, call).await?,
        Command::Check => check(agent?, call, config).await?,
        Command::Gc => collect(agent?, config).await?,
        Command::Status => ready(agent).await.map_err(|error| Error::NotReady(Box::new(error)))?,
        Command::Version => {}
    }
    Ok(None)
}

async fn add(
    mut agent: PodsClient<Channel>,
    call: &Call,
    config: &Config,
    version: Version,
) -> Result<Value, Error> {
    let request = AddRequest {
        container_id: call.container_id.clone(),
        netns: call.netns.clone(),
        interface: call.interface.clone(),
        pod_namespace: call.pod_namespace.clone(),
        pod_name: call.pod_name.clone(),
        port_mappings: config.capabilities.ports.clone(),
        bandwidth: config.capabilities.bandwidth,
    };
    result::format(version, config, call, &agent.add(request).await?.into_inner())
}

async fn delete(mut agent: PodsClient<Channel>, call: &Call) -> Result<(), Error> {
    let request = DeleteRequest {
        container_id: call.container_id.clone(),
        netns: call.netns.clone(),
        interface: call.interface.clone(),
    };
    agent.delete(request).await?;
    Ok(())
}

async fn check(mut agent: PodsClient<Channel>, call: &Call, config: &Config) -> Result<(), Error> {
    let previous = config.previous.as_ref();
    let request = CheckRequest {
        container_id: call.container_id.clone(),
        netns: call.netns.clone(),
        interface: call.interface.clone(),
        addresses: previous.map(|previous| previous.addresses_of(&call.interface)).unwrap_or_default(),
    };
    agent.check(request).await?;
    Ok(())
}

async fn collect(mut agent: PodsClient<Channel>, config: &Config) -> Result<(), Error> {
    let valid = config.valid().unwrap_or_default().iter().cloned();
    let valid = valid.map(|it| Attachment { container_id: it.container_id, interface: it.interface });
    agent.collect(CollectRequest { valid: valid.collect() }).await?;
    Ok(())
}

async fn ready(agent: Result<PodsClient<Channel>, Error>) -> Result<(), Error> {
    agent?.ready(ReadyRequest {}).await?;
    Ok(())
}
