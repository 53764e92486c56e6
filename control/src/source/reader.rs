//! Reads the fields of one object and notes what is wrong with them.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use fairway_proto::model::{ObjectName, Protocol};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use super::address;
use super::declaration::{Declared, Origin};
use super::document::Tree;
use super::problem::{Cause, Problem};

/// One object being read.
pub(crate) struct Reader<'a> {
    /// The file, or the API server's address.
    pub(crate) file: Arc<str>,
    /// The text in the file; none: there is no file.
    tree: Option<&'a Tree>,
    /// `Service default/web`.
    pub(crate) object: String,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// A reader of the object of that kind.
    pub(crate) fn new(file: &Arc<str>, tree: &'a Tree, kind: &str) -> Self {
        let metadata = tree.get("metadata");
        let name = metadata.and_then(|metadata| metadata.text("name")).unwrap_or("(without a name)");
        let object = match kind {
            "Node" => format!("{kind} {name}"),
            _ => format!("{kind} {}/{name}", metadata.and_then(|m| m.text("namespace")).unwrap_or("default")),
        };
        Self { file: Arc::clone(file), tree: Some(tree), object, problems: Vec::new() }
    }

    /// A reader of an object that an API server has sent; `name` as people write it, `default/web`.
    pub(crate) fn of_cluster(server: &Arc<str>, kind: &str, name: &impl Display) -> Self {
        Self { file: Arc::clone(server), tree: None, object: format!("{kind} {name}"), problems: Vec::new() }
    }

    /// The object in the file as its Kubernetes type; a field that does not fit is noted.
    pub(crate) fn typed<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.fit(self.tree?.to_json())
    }

    /// An object as its Kubernetes type; a field that does not fit is noted.
    pub(crate) fn fit<T: DeserializeOwned>(&mut self, object: serde_json::Value) -> Option<T> {
        match serde_path_to_error::deserialize(object) {
            Ok(object) => Some(object),
            Err(error) => {
                let path = error.path().to_string();
                self.note(path, Cause::Type { message: error.into_inner().to_string() });
                None
            }
        }
    }

    /// The object with its place.
    pub(crate) fn declared<T>(&self, value: T) -> Arc<Declared<T>> {
        let at = self.tree.map(|tree| tree.at);
        Arc::new(Declared { origin: Origin { file: Arc::clone(&self.file), at }, value })
    }

    /// Notes what is wrong with a field.
    pub(crate) fn note(&mut self, field: impl Into<String>, cause: Cause) {
        let field = field.into();
        self.problems.push(Problem {
            file: Some(self.file.to_string()),
            at: self.tree.map(|tree| tree.locate(&field)),
            object: Some(self.object.clone()),
            field: Some(field),
            cause,
        });
    }

    /// Notes a value that does not parse.
    pub(crate) fn invalid(&mut self, field: impl Into<String>, value: impl Display, expected: &'static str) {
        self.note(field, Cause::Invalid { value: value.to_string(), expected });
    }

    /// Namespace (`default` if none is written) and name.
    pub(crate) fn name(&mut self, metadata: &ObjectMeta) -> ObjectName {
        let namespace = metadata.namespace.as_deref().filter(|text| !text.is_empty()).unwrap_or("default");
        ObjectName::new(namespace, self.bare_name(metadata))
    }

    /// The name of an object that has no namespace.
    pub(crate) fn bare_name(&mut self, metadata: &ObjectMeta) -> String {
        let name = metadata.name.clone().unwrap_or_default();
        if name.is_empty() {
            self.note("metadata.name", Cause::Missing);
        }
        name
    }

    /// An IP address.
    pub(crate) fn address(&mut self, field: impl Into<String>, text: &str) -> Option<IpAddr> {
        let address = address::address(text);
        if address.is_none() {
            self.invalid(field, text, "an IP address");
        }
        address
    }

    /// A list of IP addresses.
    pub(crate) fn addresses(&mut self, field: &str, texts: &[String]) -> Vec<IpAddr> {
        let numbered = texts.iter().enumerate();
        numbered.filter_map(|(index, text)| self.address(format!("{field}[{index}]"), text)).collect()
    }

    /// A list of CIDRs.
    pub(crate) fn cidrs(&mut self, field: &str, texts: &[String]) -> Vec<IpNet> {
        let mut cidrs = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match address::cidr(text) {
                Some(cidr) => cidrs.push(cidr),
                None => self.invalid(format!("{field}[{index}]"), text, "a CIDR such as 10.0.0.0/8"),
            }
        }
        cidrs
    }

    /// A port number, 1 to 65535.
    pub(crate) fn port(&mut self, field: impl Into<String>, number: i32) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        if port.is_none() {
            self.invalid(field, number, "a port, 1 to 65535");
        }
        port
    }

    /// A protocol; TCP if none is written.
    pub(crate) fn protocol(&mut self, field: impl Into<String>, text: Option<&str>) -> Protocol {
        match text {
            None | Some("TCP" | "") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(other) => {
                self.invalid(field, other, "TCP, UDP or SCTP");
                Protocol::Tcp
            }
        }
    }
}
