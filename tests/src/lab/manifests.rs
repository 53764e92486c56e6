//! The lab's private copy of the manifests: one file for each object, replaced atomically.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Plan;

/// Why manifests could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A file or directory.
    #[error("`{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not YAML.
    #[error("`{path}` is not YAML")]
    Yaml {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// Not a Kubernetes object.
    #[error("`{path}`: document {number} has no `kind` or no `metadata.name`")]
    Object {
        /// Which.
        path: PathBuf,
        /// From 1.
        number: usize,
    },
    /// An object that cannot be written as YAML.
    #[error("cannot write `{name}` as YAML")]
    Write {
        /// Its file name.
        name: String,
        /// Why.
        #[source]
        source: serde_saphyr::SerializeError,
    },
    /// A pod on a node that the lab has not.
    #[error("pod `{pod}` asks for node `{node}`, and the lab has no such node")]
    NoSuchNode {
        /// `NAMESPACE/NAME`.
        pod: String,
        /// `spec.nodeName`.
        node: String,
    },
}

/// A Kubernetes object as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The whole document.
    pub value: Value,
}

impl Object {
    fn text(&self, path: &str) -> &str {
        self.value.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its namespace; `default` when it names none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self.text("/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        }
    }

    /// `NAMESPACE/NAME`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.namespace(), self.text("/metadata/name"))
    }

    /// The node that a pod is on, once it is on one.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.value.pointer("/spec/nodeName").and_then(Value::as_str)
    }

    fn file(&self) -> String {
        let name = format!("{}.{}.{}.yaml", self.kind(), self.namespace(), self.text("/metadata/name"));
        name.to_lowercase()
    }
}

/// Reads the objects of a YAML file, or of all files of a directory.
///
/// # Errors
/// The first file that cannot be read, or is not YAML, or holds something other than objects.
pub fn read(path: &Path) -> Result<Vec<Object>, ManifestError> {
    let failed = |source| ManifestError::File { path: path.into(), source };
    if !path.is_dir() {
        return parse(path, &fs::read_to_string(path).map_err(failed)?);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_manifest = file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        files.extend(is_manifest.then_some(file));
    }
    files.sort();
    let objects: Result<Vec<_>, _> = files.iter().map(|file| read(file)).collect();
    Ok(objects?.concat())
}

fn parse(path: &Path, text: &str) -> Result<Vec<Object>, ManifestError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|source| ManifestError::Yaml { path: path.into(), source: Box::new(source) })?;
    let objects = documents.into_iter().filter(|value| !value.is_null()).enumerate().map(|(index, value)| {
        let object = Object { value };
        let whole = !object.kind().is_empty() && !object.text("/metadata/name").is_empty();
        whole.then_some(object).ok_or_else(|| ManifestError::Object { path: path.into(), number: index + 1 })
    });
    objects.collect()
}

/// The directory of a lab's manifests.
#[derive(Clone, Debug)]
pub struct Manifests {
    directory: PathBuf,
    plan: Plan,
}

impl Manifests {
    /// The manifests in `directory`, for nodes of `plan`.
    #[must_use]
    pub fn new(directory: PathBuf, plan: Plan) -> Self {
        Self { directory, plan }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Declares the lab's nodes.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn add_nodes(&self) -> Result<(), ManifestError> {
        let nodes = self.plan.node_names().map(|name| node(self.plan, &name));
        self.write(&nodes.collect::<Vec<_>>())
    }

    /// Adds or replaces the objects of a file or directory; pods that name no node get one.
    ///
    /// # Errors
    /// Nothing is changed when one of the objects is not right.
    pub fn apply(&self, path: &Path) -> Result<Vec<Object>, ManifestError> {
        self.apply_objects(read(path)?)
    }

    /// As [`Manifests::apply`], for the objects in `text`.
    ///
    /// # Errors
    /// Nothing is changed when one of the objects is not right.
    pub fn apply_text(&self, text: &str) -> Result<Vec<Object>, ManifestError> {
        self.apply_objects(parse(Path::new("inline"), text)?)
    }

    fn apply_objects(&self, mut objects: Vec<Object>) -> Result<Vec<Object>, ManifestError> {
        self.schedule(&mut objects)?;
        self.write(&objects)?;
        Ok(objects)
    }

    /// Adds or replaces objects as they are.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn put(&self, objects: &[Object]) -> Result<(), ManifestError> {
        self.write(objects)
    }

    /// Removes the objects that a file or directory names. What is not there is a success.
    ///
    /// # Errors
    /// The file cannot be read, or the directory cannot be written.
    pub fn delete(&self, path: &Path) -> Result<Vec<Object>, ManifestError> {
        let objects = read(path)?;
        for object in &objects {
            self.remove(object.kind(), &object.name())?;
        }
        Ok(objects)
    }

    /// Removes one object by kind and `NAMESPACE/NAME`. One that is not there is a success.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn remove(&self, kind: &str, name: &str) -> Result<(), ManifestError> {
        let file = format!("{kind}.{}.yaml", name.replace('/', ".")).to_lowercase();
        let path = self.directory.join(file);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ManifestError::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// All objects; those of files that cannot be read are missing, and the second list says why.
    #[must_use]
    pub fn all(&self) -> (Vec<Object>, Vec<ManifestError>) {
        let mut objects = Vec::new();
        let mut errors = Vec::new();
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
        for file in files {
            match read(&file) {
                Ok(found) => objects.extend(found),
                Err(error) => errors.push(error),
            }
        }
        (objects, errors)
    }

    /// Puts pods that name no node on the one with the fewest, by name; a pod that has one already stays.
    fn schedule(&self, objects: &mut [Object]) -> Result<(), ManifestError> {
        let (present, _) = self.all();
        let is_pod = |object: &&Object| object.kind() == "Pod";
        let assigned: BTreeMap<String, String> = present
            .iter()
            .filter(is_pod)
            .filter_map(|pod| Some((pod.name(), pod.node()?.to_owned())))
            .collect();
        let mut load: BTreeMap<String, usize> = self.plan.node_names().map(|node| (node, 0)).collect();
        for node in assigned.values().map(String::as_str).chain(objects.iter().filter_map(Object::node)) {
            *load.entry(node.to_owned()).or_default() += 1;
        }
        let mut waiting: Vec<&mut Object> = objects.iter_mut().filter(|o| o.kind() == "Pod").collect();
        waiting.sort_by_key(|pod| pod.name());
        for pod in waiting {
            let name = pod.name();
            if let Some(node) = pod.node() {
                if self.plan.number(node).is_none() {
                    return Err(ManifestError::NoSuchNode { pod: name, node: node.into() });
                }
                continue;
            }
            let fewest = load.iter().min_by_key(|(_, pods)| **pods).map(|(node, _)| node.clone());
            let node = assigned.get(&name).cloned().or(fewest).unwrap_or_default();
            *load.entry(node.clone()).or_default() += 1;
            if let Some(spec) = pod.value.pointer_mut("/spec").and_then(Value::as_object_mut) {
                spec.insert("nodeName".into(), json!(node));
            }
        }
        Ok(())
    }

    fn write(&self, objects: &[Object]) -> Result<(), ManifestError> {
        let failed = |path: &Path, source| ManifestError::File { path: path.into(), source };
        let staging = self.directory.with_extension("new");
        for directory in [&self.directory, &staging] {
            fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
        }
        for object in objects {
            let name = object.file();
            let text = serde_saphyr::to_string(&object.value)
                .map_err(|source| ManifestError::Write { name: name.clone(), source })?;
            let (new, path) = (staging.join(&name), self.directory.join(&name));
            let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
            written.map_err(|source| failed(&path, source))?;
        }
        Ok(())
    }
}

fn node(plan: Plan, name: &str) -> Object {
    let number = plan.number(name).unwrap_or_default();
    let addresses: Vec<Value> = plan
        .node(number)
        .iter()
        .map(|net| json!({"type": "InternalIP", "address": net.addr().to_string()}))
        .collect();
    let cidrs: Vec<String> = plan.pod_cidrs(number).iter().map(ToString::to_string).collect();
    let zone = format!("zone{number}");
    Object {
        value: json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
            "spec": {"podCIDR": cidrs.first(), "podCIDRs": cidrs},
            "status": {"addresses": addresses},
        }),
    }
}

#[cfg(test)]
mod tests;
