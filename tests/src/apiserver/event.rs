//! Events: what a server takes for one, and how trials read them.

use serde_json::{Value, json};

use super::answer::Refusal;

/// An Event that a client wrote, of either API group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The kind that it is about.
    pub kind: String,
    /// The object's namespace; empty for Nodes.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// `Normal` or `Warning`.
    pub type_: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub note: String,
    /// How often it happened, as the writer says.
    pub count: u64,
    /// The version that it was last written with.
    pub version: u64,
}

impl Event {
    pub(super) fn of(object: &Value) -> Self {
        let regarding = regarding(object);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let either = |one: &str, other: &str| {
            let value = object.get(one).filter(|value| !value.is_null());
            text(value.unwrap_or(&object[other]))
        };
        let count = object["series"]["count"].as_u64().or_else(|| object["count"].as_u64());
        let version = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        Self {
            kind: text(&regarding["kind"]),
            namespace: text(&regarding["namespace"]),
            name: text(&regarding["name"]),
            type_: text(&object["type"]),
            reason: text(&object["reason"]),
            note: either("note", "message"),
            count: count.unwrap_or(1),
            version: version.unwrap_or_default(),
        }
    }
}

fn regarding(object: &Value) -> &Value {
    object.get("regarding").filter(|value| !value.is_null()).unwrap_or(&object["involvedObject"])
}

/// The longest texts that a server takes.
const LONGEST: [(&str, usize); 4] =
    [("note", 1024), ("reason", 128), ("action", 128), ("reportingInstance", 128)];

/// Names and places a new Event, and refuses what servers refuse.
pub(super) fn checked(mut object: Value, group: &str, namespace: &str) -> Result<Value, Refusal> {
    let version = if group.is_empty() { "v1" } else { "events.k8s.io/v1" };
    if object["kind"] != "Event" || object["apiVersion"] != version {
        return Err(Refusal::bad_request(format!("the object provided is no Event of {version}")));
    }
    let metadata = object["metadata"].as_object_mut();
    let metadata = metadata.ok_or_else(|| Refusal::bad_request("metadata is missing"))?;
    if metadata.get("namespace").and_then(Value::as_str).is_some_and(|said| said != namespace) {
        return Err(Refusal::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    metadata.insert("namespace".into(), json!(namespace));
    if let Some(prefix) = metadata.get("generateName").cloned()
        && metadata.get("name").is_none_or(Value::is_null)
    {
        let name = format!("{}{:05x}", prefix.as_str().unwrap_or_default(), rand::random::<u32>() & 0xf_ffff);
        metadata.insert("name".into(), json!(name));
    }
    let named = metadata.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if !named {
        return Err(Refusal::invalid("metadata.name: Required value: name or generateName is required"));
    }
    about(&object, namespace)?;
    if !group.is_empty() {
        complete(&object)?;
    }
    Ok(object)
}

/// An Event is in the namespace of what it is about.
fn about(object: &Value, namespace: &str) -> Result<(), Refusal> {
    let fits = match regarding(object)["namespace"].as_str() {
        None | Some("") => matches!(namespace, "default" | "kube-system"),
        Some(of) => of == namespace,
    };
    if fits {
        Ok(())
    } else {
        Err(Refusal::invalid("involvedObject.namespace: does not match event.namespace"))
    }
}

/// What `events.k8s.io/v1` asks for.
fn complete(object: &Value) -> Result<(), Refusal> {
    for field in ["eventTime", "reportingController", "reportingInstance", "action", "reason"] {
        if object[field].as_str().is_none_or(str::is_empty) {
            return Err(Refusal::invalid(format!("{field}: Required value")));
        }
    }
    if !matches!(object["type"].as_str(), Some("Normal" | "Warning")) {
        return Err(Refusal::invalid("type: Invalid value: has invalid value"));
    }
    for (field, longest) in LONGEST {
        if object[field].as_str().is_some_and(|text| text.len() > longest) {
            return Err(Refusal::invalid(format!(
                "{field}: Invalid value: can have at most {longest} characters"
            )));
        }
    }
    Ok(())
}
