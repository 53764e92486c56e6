//! What a client may do: what the ClusterRole in deploy/ grants, and nothing else.

use serde::Deserialize;
use serde_json::Value;

use super::kind::Target;
use super::log::Verb;

/// The manifests of a cluster.
const ACCOUNTS: &str = include_str!("../../../deploy/kubernetes/accounts.yaml");

/// The rules of the control plane's role.
#[derive(Debug)]
pub(super) struct Role(Vec<Rule>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

impl Role {
    pub(super) fn new() -> anyhow::Result<Self> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(ACCOUNTS)?;
        let roles = documents.into_iter().filter(|document| document["kind"] == "ClusterRole");
        let rules: Vec<Value> =
            roles.filter_map(|role| role["rules"].as_array().cloned()).flatten().collect();
        anyhow::ensure!(!rules.is_empty(), "there is no ClusterRole in deploy/kubernetes/accounts.yaml");
        Ok(Self(serde_json::from_value(Value::Array(rules))?))
    }

    pub(super) fn allows(&self, verb: Verb, target: &Target) -> bool {
        let plural = target.kind.plural();
        let resource = match &target.subresource {
            Some(subresource) => format!("{plural}/{subresource}"),
            None => plural.to_owned(),
        };
        self.0.iter().any(|rule| {
            rule.api_groups.contains(&target.group)
                && rule.resources.contains(&resource)
                && rule.verbs.iter().any(|allowed| allowed == verb.name())
        })
    }
}
