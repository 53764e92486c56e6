//! One file of manifests: every object in it, or everything that is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::declaration::Object;
use super::document::{self, Tree};
use super::problem::{Cause, Problem};
use super::reader::Reader;
use super::{endpoint_slice, endpoints_object, node, pod, service};

/// What a file declares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// In the order of the file.
    pub(crate) objects: Vec<Object>,
    /// Objects of kinds that Fairway does not read, by kind.
    pub(crate) skipped: BTreeMap<String, usize>,
    /// Problems that do not keep the rest from being used.
    pub(crate) problems: Vec<Problem>,
}

/// Reads a file's bytes.
///
/// # Errors
/// All problems, when at least one of them breaks the file.
pub(crate) fn read(name: &Arc<str>, bytes: &[u8]) -> Result<Content, Vec<Problem>> {
    let alone =
        |cause, at| vec![Problem { file: Some(name.to_string()), at, object: None, field: None, cause }];
    if bytes.is_empty() {
        return Err(alone(Cause::Empty, None));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| alone(Cause::NotText, None))?;
    let documents =
        document::parse(text).map_err(|error| alone(Cause::Syntax { message: error.message }, error.at))?;
    let mut content = Content::default();
    for document in &documents {
        read_document(name, document, None, &mut content);
    }
    if content.problems.iter().any(|problem| problem.cause.breaks_file()) {
        return Err(content.problems);
    }
    Ok(content)
}

/// Reads an object, or each object of a list; the items of a `ServiceList` need not say their kind.
fn read_document(name: &Arc<str>, tree: &Tree, outer: Option<(&str, &str)>, content: &mut Content) {
    let version = tree.text("apiVersion").or(outer.map(|(version, _)| version));
    let kind = tree.text("kind").or(outer.map(|(_, kind)| kind));
    let (Some(version), Some(kind)) = (version, kind) else {
        let field = if kind.is_none() { "kind" } else { "apiVersion" };
        content.problems.push(Problem {
            file: Some(name.to_string()),
            at: Some(tree.at),
            object: None,
            field: Some(field.to_owned()),
            cause: Cause::NotAnObject,
        });
        return;
    };
    if let Some(item_kind) = kind.strip_suffix("List")
        && let Some(items) = tree.get("items")
    {
        let outer = (!item_kind.is_empty()).then_some((version, item_kind));
        for item in items.items().unwrap_or_default() {
            read_document(name, item, outer, content);
        }
        return;
    }
    read_object(name, tree, (version, kind), content);
}

fn read_object(name: &Arc<str>, tree: &Tree, (version, kind): (&str, &str), content: &mut Content) {
    let mut reader = Reader::new(name, tree, kind);
    let reader = &mut reader;
    let object = match (version, kind) {
        ("v1", "Service") => reader.typed().map(|object| {
            let service = service::read(reader, object);
            Object::Service(reader.declared(service))
        }),
        ("discovery.k8s.io/v1", "EndpointSlice") => reader.typed().map(|object| {
            let slice = endpoint_slice::read(reader, object);
            Object::Slice(reader.declared(slice))
        }),
        ("v1", "Endpoints") => reader.typed().map(|object| {
            let endpoints = endpoints_object::read(reader, object);
            Object::Endpoints(reader.declared(endpoints))
        }),
        ("v1", "Pod") => reader.typed().map(|object| {
            let pod = pod::read(reader, object);
            Object::Pod(reader.declared(pod))
        }),
        ("v1", "Node") => reader.typed().map(|object| {
            let node = node::read(reader, object);
            Object::Node(reader.declared(node))
        }),
        _ => {
            tracing::debug!(object = reader.object, api_version = version, file = &**name, "skipped");
            *content.skipped.entry(kind.to_owned()).or_default() += 1;
            None
        }
    };
    content.objects.extend(object);
    content.problems.append(&mut reader.problems);
}
