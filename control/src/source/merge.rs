//! All files together: one declaration of each object, the one of the file whose name sorts first.

use std::fmt::Display;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::Entry;

use super::declaration::{Declarations, Declared, Object};
use super::file::Content;
use super::problem::{Cause, Problem};

/// Merges the files' contents, given in the order of their names.
pub(crate) fn merge<'a>(files: impl IntoIterator<Item = &'a Content>) -> Declarations {
    let mut all = Declarations { complete: true, ..Declarations::default() };
    for content in files {
        note(&mut all, content);
        for object in &content.objects {
            add(&mut all, object);
        }
    }
    all
}

/// Notes what a file says beside its objects.
pub(crate) fn note(all: &mut Declarations, content: &Content) {
    all.problems.extend_from_slice(&content.problems);
    for (kind, count) in &content.skipped {
        *all.skipped.entry(kind.clone()).or_default() += count;
    }
}

/// Takes out what a file declared and puts in what it declares now, where no object is declared twice; false: one is
/// now, and all files must be merged anew.
pub(crate) fn exchange(all: &mut Declarations, old: Option<&Content>, new: Option<&Content>) -> bool {
    for object in old.into_iter().flat_map(|content| &content.objects) {
        match object {
            Object::Service(old) => drop(all.services.remove(&old.value.model.name)),
            Object::Slice(old) => drop(all.slices.remove(&old.value.model.name)),
            Object::Endpoints(old) => drop(all.endpoints.remove(&old.value.name)),
            Object::Pod(old) => drop(all.pods.remove(&old.value.name)),
            Object::Node(old) => drop(all.nodes.remove(&old.value.name)),
        }
    }
    for object in new.into_iter().flat_map(|content| &content.objects) {
        add(all, object);
    }
    // What is declared twice is a problem, and nothing else here is.
    all.problems.is_empty()
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
    map: &mut OrdMap<K, Arc<Declared<T>>>,
    new: &Arc<Declared<T>>,
    name: &K,
    kind: &str,
    problems: &mut Vec<Problem>,
) {
    match map.entry(name.clone()) {
        Entry::Vacant(entry) => {
            entry.insert(Arc::clone(new));
        }
        Entry::Occupied(entry) => problems.push(Problem {
            file: Some(new.origin.file.to_string()),
            at: new.origin.at,
            object: Some(format!("{kind} {name}")),
            field: None,
            cause: Cause::DeclaredTwice { first: entry.get().origin.to_string() },
        }),
    }
}
