//! What the agents told: their nodes, and the pods that run there. It stays when an agent goes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_proto::control;
use fairway_proto::model::{Node, ObjectName};

use crate::source::{Cause, Declarations, Declared, Problem};

/// What all agents told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents {
    pub(crate) nodes: BTreeMap<String, Node>,
    /// By node, then by pod.
    pub(super) reports: BTreeMap<String, BTreeMap<ObjectName, PodReport>>,
}

/// What an agent told of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodReport {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
}

/// A report that breaks the contract.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidReport {
    #[error("pod without a namespace or a name")]
    NoName,
    #[error("pod `{pod}`: addresses: `{value}` is not an IP address")]
    Address { pod: ObjectName, value: String },
}

impl Agents {
    /// An agent announced its node. True if it says something new.
    pub(crate) fn hello(&mut self, node: Node) -> bool {
        self.nodes.insert(node.name.clone(), node.clone()).as_ref() != Some(&node)
    }

    /// An agent listed its pods. True if it says something new.
    pub(crate) fn report(&mut self, node: &str, pods: BTreeMap<ObjectName, PodReport>) -> bool {
        if self.reports.get(node) == Some(&pods) {
            return false;
        }
        self.reports.insert(node.to_owned(), pods);
        true
    }

    /// What is known of a pod, and from which node. A pod that is bound to a node is that node's alone.
    pub(crate) fn pod(&self, name: &ObjectName, bound_to: Option<&str>) -> Option<(&str, &PodReport)> {
        if let Some(node) = bound_to {
            let (node, pods) = self.reports.get_key_value(node)?;
            return Some((node, pods.get(name)?));
        }
        let reported = self.reports.iter().filter_map(|(node, pods)| Some((node.as_str(), pods.get(name)?)));
        // A pod that moved may still be in the last report of a lost agent, at most as terminating.
        reported.min_by_key(|(_, report)| (report.terminating, !report.ready))
    }

    /// Reports of pods that are bound to another node: [`Agents::pod`] leaves them out. One that terminates is what a
    /// pod leaves that was made again elsewhere.
    pub(crate) fn reported_elsewhere(&self, declarations: &Declarations) -> impl Iterator<Item = Problem> {
        let reported = self.reports.iter().flat_map(|(node, pods)| pods.iter().map(move |pod| (node, pod)));
        reported.filter(|(_, (_, report))| !report.terminating).filter_map(move |(reporter, (name, _))| {
            let Declared { origin, value } = &**declarations.pods.get(name)?;
            let node = value.node.as_ref().filter(|node| *node != reporter)?;
            Some(Problem {
                file: Some(origin.file.to_string()),
                at: origin.at,
                object: Some(format!("Pod {name}")),
                field: None,
                cause: Cause::ReportedElsewhere { reporter: reporter.clone(), node: node.clone() },
            })
        })
    }
}

/// Checks a report.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn parse(report: control::Report) -> Result<BTreeMap<ObjectName, PodReport>, InvalidReport> {
    report.pods.into_iter().map(parse_pod).collect()
}

fn parse_pod(pod: control::PodStatus) -> Result<(ObjectName, PodReport), InvalidReport> {
    if pod.namespace.is_empty() || pod.name.is_empty() {
        return Err(InvalidReport::NoName);
    }
    let name = ObjectName::new(pod.namespace, pod.name);
    let parse = |text: &String| {
        text.parse().map_err(|_| InvalidReport::Address { pod: name.clone(), value: text.clone() })
    };
    let addresses = pod.addresses.iter().map(parse).collect::<Result<_, _>>()?;
    Ok((name, PodReport { addresses, ready: pod.ready, terminating: pod.terminating }))
}
