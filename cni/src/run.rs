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
use crate::error::{AGAIN, Error};
use crate::version::Version;
use crate::{agent, result};

/// What a call is, once nothing is wrong with it.
pub(crate) enum Request {
    /// Which versions are spoken.
    Versions(Value),
    /// Something for the agent.
    Agent(Box<(Call, Config, Version)>),
}

/// Reads a call; `variable` looks up an environment variable, `input` is the network configuration.
pub(crate) fn read(variable: impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Request, Error> {
    let call = Call::read(variable)?;
    if call.command == Command::Version {
        return versions(input).map(Request::Versions);
    }
    let (config, version) = Config::read(input, call.command)?;
    Ok(Request::Agent(Box::new((call, config, version))))
}

/// Carries it out.
pub(crate) fn run(request: Request) -> Result<Option<Value>, Error> {
    let (call, config, version) = match request {
        Request::Versions(versions) => return Ok(Some(versions)),
        Request::Agent(request) => *request,
    };
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
    let deadline = agent::deadline(call.command);
    let answer = tokio::time::timeout(deadline, answer(call, config, version)).await;
    let answer = answer
        .unwrap_or_else(|_| Err(Error::Silent { socket: config.socket(), seconds: deadline.as_secs() }));
    match (call.command, answer) {
        // The runtime could only try again, for as long as the agent is away: the agent does it when it is back.
        (Command::Del, Err(error)) if error.code() == AGAIN => leave(call, config).map(|()| None),
        (Command::Status, Err(error)) => Err(Error::NotReady(Box::new(error))),
        (_, answer) => answer,
    }
}

async fn answer(call: &Call, config: &Config, version: Version) -> Result<Option<Value>, Error> {
    let patience = if call.command == Command::Add { agent::STARTING } else { Duration::ZERO };
    let agent = agent::connect(&config.socket(), patience).await?;
    match call.command {
        Command::Add => return add(agent, call, config, version).await.map(Some),
        Command::Del => delete(agent, call).await?,
        Command::Check => check(agent, call, config).await?,
        Command::Gc => collect(agent, config).await?,
        Command::Status => ready(agent).await?,
        Command::Version => {}
    }
    Ok(None)
}

fn leave(call: &Call, config: &Config) -> Result<(), Error> {
    let attachment =
        Attachment { container_id: call.container_id.clone(), interface: call.interface.clone() };
    let deletions = config.deletions();
    deletions
        .put(&attachment)
        .map_err(|source| Error::Queue { deletions: deletions.directory().to_owned(), source })
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
    let request = CheckRequest {
        container_id: call.container_id.clone(),
        netns: call.netns.clone(),
        interface: call.interface.clone(),
        addresses: config.previous.addresses_of(&call.interface),
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

async fn ready(mut agent: PodsClient<Channel>) -> Result<(), Error> {
    agent.ready(ReadyRequest {}).await?;
    Ok(())
}
