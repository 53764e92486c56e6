//! A lab whose Services are served by rules instead of by agents.

use std::io::{self, Write};
use std::process::Stdio;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::iptables;
use super::nftables::{self, Node, NodePorts};
use super::{Backing, of_selectors};
use crate::lab::{Lab, Object};

/// Why a lab's rules could not be written or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The keeper, or a process.
    #[error("cannot {what}")]
    Io {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An object that is not of its kind's shape.
    #[error("`{name}` is not a right {kind}")]
    Object {
        /// `NAMESPACE/NAME`.
        name: String,
        /// Its kind.
        kind: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The program that loads them refuses the rules.
    #[error("`{program}` refuses the rules of `{node}`: {said}")]
    Refused {
        /// Which program.
        program: String,
        /// Of which node.
        node: String,
        /// What it said.
        said: String,
    },
}

/// Writes kube-proxy's rules for the lab's Services and pods as they are now, and loads them on every node. The agents must
/// be away: [`Lab::without_agents`].
///
/// # Errors
/// `nft` is not installed, or refuses the rules.
pub fn serve_by_nftables(lab: &Lab) -> Result<(), PeerError> {
    let (services, slices) = declared(lab)?;
    load_nftables(lab, &services, &slices)
}

/// Writes kube-proxy's rules for these Services, and loads them on every node. The agents must be away.
///
/// # Errors
/// `nft` is not installed, or refuses the rules.
pub fn load_nftables(lab: &Lab, services: &[Service], slices: &[EndpointSlice]) -> Result<(), PeerError> {
    for name in lab.state.plan.node_names() {
        let script = nftables::script(&node(lab, &name), services, slices);
        load(lab, &name, &["nft", "-f", "-"], &script)?;
    }
    Ok(())
}

/// As [`load_nftables`], with the rules of kube-proxy's iptables mode.
///
/// # Errors
/// iptables is not installed, or refuses the rules.
pub fn load_iptables(lab: &Lab, services: &[Service], slices: &[EndpointSlice]) -> Result<(), PeerError> {
    for name in lab.state.plan.node_names() {
        for (program, text) in iptables::rules(&node(lab, &name), services, slices) {
            load(lab, &name, &[program, "-w"], &text)?;
        }
    }
    Ok(())
}

/// kube-proxy with `--detect-local-mode NodeCIDR`: only so does a pod that asks another node count as outside there (S26).
fn node(lab: &Lab, name: &str) -> Node {
    let plan = lab.state.plan;
    let number = plan.number(name).unwrap_or_default();
    Node {
        name: name.into(),
        addresses: plan.node(number).iter().map(ipnet::IpNet::addr).collect(),
        pods: plan.pod_cidrs(number),
        service_cidrs: plan.service_cidrs(),
        node_ports: NodePorts::Primary,
    }
}

fn declared(lab: &Lab) -> Result<(Vec<Service>, Vec<EndpointSlice>), PeerError> {
    let (objects, _) = lab.manifests().all();
    let services: Vec<Service> = of_kind(&objects, "Service")?;
    let mut slices: Vec<EndpointSlice> = of_kind(&objects, "EndpointSlice")?;
    let states =
        lab.status().map_err(|source| PeerError::Io { what: "ask the lab for its pods", source })?.pods;
    let mut pods = Vec::new();
    for object in objects.iter().filter(|object| object.kind() == "Pod") {
        let Some(state) = states.iter().find(|state| state.name == object.name()) else { continue };
        pods.push(Backing {
            pod: read(object, "Pod")?,
            addresses: state.addresses.clone(),
            ready: state.ready,
            terminating: state.phase == "terminating",
        });
    }
    slices.extend(of_selectors(&services, &pods));
    Ok((services, slices))
}

fn of_kind<T: serde::de::DeserializeOwned>(
    objects: &[Object],
    kind: &'static str,
) -> Result<Vec<T>, PeerError> {
    objects.iter().filter(|object| object.kind() == kind).map(|object| read(object, kind)).collect()
}

fn read<T: serde::de::DeserializeOwned>(object: &Object, kind: &'static str) -> Result<T, PeerError> {
    let name = object.name();
    serde_json::from_value(object.value.clone()).map_err(|source| PeerError::Object { name, kind, source })
}

/// Loads a script in a node's namespace, all or nothing.
fn load(lab: &Lab, node: &str, program: &[&str], script: &str) -> Result<(), PeerError> {
    let [name, arguments @ ..] = program else { return Ok(()) };
    let run = || {
        let mut command = lab.command(node, name)?;
        let pipes =
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = pipes.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(script.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output =
        run().map_err(|source| PeerError::Io { what: "run the program that loads rules", source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PeerError::Refused { program: (*name).into(), node: node.into(), said })
}
