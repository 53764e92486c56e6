//! Objects of one test's own: applied by it, and removed when it ends.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context;
use fairway_tests::eventually;
use fairway_tests::lab::Object;
use fairway_tests::traffic::{Kind, Load, Query, RunningLoad};

use super::services::Addresses;
use super::world::{Position, World};

/// What a test has applied.
pub(crate) struct Own<'a> {
    world: &'a World,
    applied: Vec<Object>,
}

impl<'a> Own<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self { world, applied: Vec::new() }
    }

    pub(crate) fn apply(&mut self, text: &str) -> anyhow::Result<()> {
        self.applied.extend(self.world.lab.manifests().apply_text(text)?);
        Ok(())
    }

    pub(crate) fn remove(&self, kind: &str, name: &str) -> anyhow::Result<()> {
        Ok(self.world.lab.manifests().remove(kind, &format!("default/{name}"))?)
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        for object in &self.applied {
            self.world.lab.manifests().remove(object.kind(), &object.name()).ok();
        }
    }
}

/// Where a client asks a Service: outside at a node's port, inside at its ClusterIP.
pub(crate) fn frontend(world: &World, from: Position, service: Addresses, v6: bool) -> (IpAddr, u16) {
    match from {
        Position::External => (world.node_address(1, v6), service.node_port()),
        _ => (service.cluster_ip(v6), 80),
    }
}

/// Who answers a new connection, or why nobody does.
pub(crate) async fn name(world: &World, from: Position, to: (IpAddr, u16)) -> String {
    world.ask_name(from, to).await.unwrap_or_else(|error| error.to_string())
}

/// Waits until new connections end with this name or failure.
pub(crate) async fn becomes(
    world: &World,
    from: Position,
    to: (IpAddr, u16),
    wanted: &str,
) -> anyhow::Result<()> {
    let what = format!("from {} to {to:?}, wanted {wanted}", from.name());
    eventually(&what, || name(world, from, to), |name| name == wanted).await?;
    Ok(())
}

/// Who answers so many new connections.
pub(crate) async fn names(world: &World, from: Position, to: (IpAddr, u16), count: u8) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..count {
        names.insert(name(world, from, to).await);
    }
    names
}

/// A load on one socket that stays open.
pub(crate) async fn one_socket(
    world: &World,
    from: Position,
    kind: Kind,
    to: (IpAddr, u16),
) -> anyhow::Result<RunningLoad> {
    let every = std::time::Duration::from_millis(20);
    let query = Query { timeout: std::time::Duration::from_millis(300), ..Query::new(kind, to.into()) };
    let load = Load { query, every, one_connection: true };
    world.client(from).start_load(load).await.context("the client does not start")
}

/// Waits until the latest answer on a load's socket is this.
pub(crate) async fn latest(
    world: &World,
    from: Position,
    load: &RunningLoad,
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let look = || async {
        let report = world.client(from).look(load).await;
        report.map_or_else(|error| error.to_string(), |report| report.latest)
    };
    let what = format!("the socket of {}", from.name());
    eventually(&what, look, |latest| wanted(latest)).await?;
    Ok(())
}
