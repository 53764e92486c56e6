//! All files together: one declaration of each object, the one of the file whose name sorts first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::sync::Arc;

use super::declaration::{Declarations, Declared, Object};
use super::file::Content;
use super::problem::{Cause, Problem};

/// Merges the files' contents, given in the order of their names.
pub(crate) fn merge<'a>(files: impl IntoIterator<Item = &'a Content>) -> Declarations {
    let mut all = Declarations { complete: true, ..Declarations::default() };
    for content in files {
        all.problems.extend_from_slice(&content.problems);
        for (kind, count) in &content.skipped {
            *all.skipped.entry(kind.clone()).or_default() += count;
        }
        for object in &content.objects {
            add(&mut all, object);
        }
    }
    all
}

fn add(all: &mut Declarations, object: &Object) {
    let problems = &mut all.problems;
    match object {
        Object::Service(new) => insert(&mut all.services, new, &new.value.model.name, "Service", problems),
        Object::Slice(new) => insert(&mut all.slices, new, &new.value.model.name, "EndpointSlice", problems),
        Object::Endpoints(new) => insert(&mut all.endpoints, new, &new.value.name, "Endpoints", problems),
        Object::Pod(new) => insert(&mut all.pods, new, &new.value.name, "Pod", problems),
        Object::Node(new) => insert(&mut all.nodes, new, &new.value.name, "Node", problems),
    }
}

fn insert<K: Ord + Clone + Display, T>(
    map: &mut BTreeMap<K, Arc<Declared<T>>>,
    new: &Arc<Declared<T>>,
    name: &K,
    kind: &str,
    problems: &mut Vec<Problem>,
) {
    match map.entry(name.clone()) {
        Entry::Vacant(entry) => drop(entry.insert(Arc::clone(new))),
        Entry::Occupied(entry) => problems.push(Problem {
            file: Some(new.origin.file.to_string()),
            at: Some(new.origin.at),
            object: Some(format!("{kind} {name}")),
            field: None,
            cause: Cause::DeclaredTwice { first: entry.get().origin.to_string() },
        }),
    }
}
