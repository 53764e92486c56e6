//! Which events a caller wants.

use std::net::IpAddr;

use fairway_datapath::common::event::Event;
use fairway_datapath::common::reason::{Class, Reason};
use fairway_proto::control::Protocol;
use fairway_proto::node::TraceRequest;

use super::super::directory::{Directory, is_service};
use super::convert::{Ends, ends};

/// All set conditions must hold. An address or port matches before or after translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pod: Option<String>,
    service: Option<String>,
    address: Option<IpAddr>,
    port: Option<u16>,
    protocol: Option<u8>,
    drops: bool,
}

/// Why a filter is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidFilter {
    #[error("`{0}` is not an IP address")]
    Address(String),
    #[error("`{0}` is not a port: 1 to 65535")]
    Port(u32),
    #[error("`{0}` is not a protocol: 6, 17 or 132")]
    Protocol(i32),
    #[error("`{0}` is not of the form `namespace/name`")]
    Name(String),
}

/// What a filter names and this node does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    #[error("this node serves no Service `{0}`")]
    Service(String),
    #[error("this node knows no pod `{0}`")]
    Pod(String),
}

impl Filter {
    /// Checks a request.
    pub(super) fn parse(request: &TraceRequest) -> Result<Self, InvalidFilter> {
        let address = match request.address.as_str() {
            "" => None,
            text => Some(text.parse::<IpAddr>().map_err(|_| InvalidFilter::Address(text.to_owned()))?),
        };
        let port = match request.port {
            0 => None,
            port => Some(u16::try_from(port).map_err(|_| InvalidFilter::Port(port))?),
        };
        let protocol = match Protocol::try_from(request.protocol) {
            Ok(Protocol::Unspecified) => None,
            Ok(protocol) => u8::try_from(i32::from(protocol)).ok(),
            Err(_) => return Err(InvalidFilter::Protocol(request.protocol)),
        };
        Ok(Self {
            pod: name(&request.pod)?,
            service: name(&request.service)?,
            address,
            port,
            protocol,
            drops: request.drops,
        })
    }

    /// Whether what it names exists: a misspelt name would wait for ever.
    pub(super) fn check(&self, names: &Directory) -> Result<(), Unknown> {
        if let Some(service) = self.service.as_ref().filter(|service| !names.has_service(service)) {
            return Err(Unknown::Service(service.clone()));
        }
        if let Some(pod) = self.pod.as_ref().filter(|pod| !names.has_pod(pod)) {
            return Err(Unknown::Pod(pod.clone()));
        }
        Ok(())
    }

    /// Whether the caller wants this event.
    pub(super) fn matches(&self, event: &Event, names: &Directory) -> bool {
        if self.protocol.is_some_and(|protocol| protocol != event.protocol) {
            return false;
        }
        let forwarded = |reason: Reason| reason.class() == Class::Forward;
        if self.drops && Reason::from_number(event.reason).is_some_and(forwarded) {
            return false;
        }
        if let Some(service) = &self.service
            && !names.service(event.service).is_some_and(|name| is_service(name, service))
        {
            return false;
        }
        self.address.is_none() && self.port.is_none() && self.pod.is_none() || self.ends(&ends(event), names)
    }

    fn ends(&self, ends: &Ends, names: &Directory) -> bool {
        let any = |holds: &dyn Fn(&(IpAddr, u16)) -> bool| ends.all().iter().any(holds);
        self.address.is_none_or(|wanted| any(&|(address, _)| *address == wanted))
            && self.port.is_none_or(|wanted| any(&|(_, port)| *port == wanted))
            && self.pod.as_ref().is_none_or(|wanted| any(&|(address, _)| names.pod(*address) == Some(wanted)))
    }
}

fn name(text: &str) -> Result<Option<String>, InvalidFilter> {
    match text.split_once('/') {
        _ if text.is_empty() => Ok(None),
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Some(text.to_owned())),
        _ => Err(InvalidFilter::Name(text.to_owned())),
    }
}

#[cfg(test)]
mod tests;
