//! The ways of changing a part of an object.

use serde_json::{Map, Value, json};

use super::answer::Refusal;

/// Lists whose items are told apart by a field, and by which one. All other lists are replaced as a whole.
const KEYS: [(&str, &str); 3] = [("conditions", "type"), ("addresses", "type"), ("taints", "key")];

/// What a patch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 7386: lists are replaced.
    Merge,
    /// Lists with a key are merged.
    Strategic,
    /// Server-side apply: as strategic, and fields have owners.
    Apply,
}

impl Form {
    /// By the request's content type.
    pub(super) fn of(content: &str) -> Option<Self> {
        match content.split(';').next()?.trim() {
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// Changes `target` as `patch` says.
pub(super) fn merge(form: Form, target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(fields) = target else { return };
    for (field, change) in changes {
        if change.is_null() {
            fields.remove(field);
        } else if !field.starts_with('$') {
            merge_field(form, fields, field, change);
        }
    }
}

fn merge_field(form: Form, fields: &mut Map<String, Value>, field: &str, change: &Value) {
    let key = KEYS.iter().find(|(list, _)| *list == field).map(|(_, key)| *key);
    let old = fields.entry(field).or_insert(Value::Null);
    match (form, key, change) {
        (Form::Strategic | Form::Apply, Some(key), Value::Array(changes)) => {
            let mut items = old.as_array().cloned().unwrap_or_default();
            changes.iter().for_each(|change| merge_item(form, &mut items, key, change));
            *old = Value::Array(items);
        }
        _ => merge(form, old, change),
    }
}

fn merge_item(form: Form, items: &mut Vec<Value>, key: &str, change: &Value) {
    if change["$patch"] == "delete" {
        return items.retain(|item| item[key] != change[key]);
    }
    match items.iter_mut().find(|item| item[key] == change[key]) {
        Some(item) => merge(form, item, change),
        None => {
            let mut item = json!({});
            merge(form, &mut item, change);
            items.push(item);
        }
    }
}

/// Server-side apply of a Node's status by `manager`: who owns a condition that would change is asked first.
pub(super) fn apply_status(
    node: &mut Value,
    patch: &Value,
    manager: &str,
    force: bool,
) -> Result<(), Refusal> {
    let conditions = patch["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in &conditions {
        let old = node["status"]["conditions"].as_array().into_iter().flatten();
        let old = old.into_iter().find(|old| old["type"] == condition["type"]).cloned();
        let differs = old.is_some_and(|old| {
            let fields = condition.as_object().into_iter().flatten();
            fields.into_iter().any(|(field, value)| old[field] != *value)
        });
        if let Some(owner) = owner(node, manager, condition).filter(|_| differs && !force) {
            return Err(Refusal {
                reason: "Conflict",
                message: format!("Apply failed with 1 conflict: conflict with {owner:?}: .status.conditions"),
                ..Refusal::conflict(super::Kind::Node, "")
            });
        }
    }
    merge(Form::Apply, node, &json!({ "status": patch["status"] }));
    let owned: Map<String, Value> =
        conditions.iter().map(|condition| (place(condition), owned_fields(condition))).collect();
    let entry = json!({
        "manager": manager, "operation": "Apply", "apiVersion": "v1", "subresource": "status",
        "fieldsType": "FieldsV1", "fieldsV1": { "f:status": { "f:conditions": owned } },
    });
    let mut entries = node["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.retain(|old| old["manager"] != manager || old["operation"] != "Apply");
    entries.push(entry);
    node["metadata"]["managedFields"] = Value::Array(entries);
    Ok(())
}

/// How managedFields names an item of `conditions`.
fn place(condition: &Value) -> String {
    format!("k:{}", json!({ "type": condition["type"] }))
}

fn owned_fields(condition: &Value) -> Value {
    let fields = condition.as_object().into_iter().flatten();
    let fields = fields.into_iter().map(|(field, _)| (format!("f:{field}"), json!({})));
    Value::Object(std::iter::once((".".to_owned(), json!({}))).chain(fields).collect())
}

/// Another manager that has written the condition.
fn owner(node: &Value, manager: &str, condition: &Value) -> Option<String> {
    let entries = node["metadata"]["managedFields"].as_array()?;
    let owner = entries.iter().find(|entry| {
        let conditions = &entry["fieldsV1"]["f:status"]["f:conditions"];
        entry["manager"] != manager && conditions.get(place(condition)).is_some()
    })?;
    owner["manager"].as_str().map(Into::into)
}
