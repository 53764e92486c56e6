//! Addresses that two Services claim: the first by namespace and name keeps them.

use std::collections::HashMap;
use std::net::IpAddr;

use fairway_proto::model::{self, ObjectName, Protocol};

use crate::source::{Cause, Declarations, Declared, Origin, Problem, Service};

/// What only one Service may have: a port of a cluster IP, or (no address) of every node.
type Claim = (Option<IpAddr>, Protocol, u16);

#[derive(Default)]
struct Claims<'a> {
    owners: HashMap<Claim, (&'a ObjectName, &'a Origin)>,
}

impl<'a> Claims<'a> {
    /// Takes the claim, or says why it cannot be had.
    fn take(&mut self, claim: Claim, service: &'a Declared<Service>) -> Result<(), Cause> {
        let (address, protocol, port) = claim;
        let name = &service.value.model.name;
        match self.owners.get(&claim) {
            None => {
                self.owners.insert(claim, (name, &service.origin));
                Ok(())
            }
            Some((owner, origin)) => Err(Cause::Claimed {
                claim: match address {
                    Some(address) => {
                        format!("{}/{}", std::net::SocketAddr::new(address, port), protocol.as_str_name())
                    }
                    None => format!("{port}/{} of every node", protocol.as_str_name()),
                },
                owner: (*owner).clone(),
                place: origin.to_string(),
            }),
        }
    }
}

/// The Services that are served, without what another one claimed before.
pub(crate) fn settle(declarations: &Declarations, problems: &mut Vec<Problem>) -> Vec<model::Service> {
    let mut claims = Claims::default();
    let served = declarations.services.values().filter(|service| !service.value.hidden);
    served.map(|service| settle_one(&mut claims, service, problems)).collect()
}

fn settle_one<'a>(
    claims: &mut Claims<'a>,
    service: &'a Declared<Service>,
    problems: &mut Vec<Problem>,
) -> model::Service {
    let mut model = service.value.model.clone();
    let mut note = |field: String, cause| {
        problems.push(Problem {
            file: Some(service.origin.file.to_string()),
            at: service.origin.at,
            object: Some(format!("Service {}", service.value.model.name)),
            field: Some(field),
            cause,
        });
    };
    let ports = &service.value.model.ports;
    model.cluster_ips.retain(|address| {
        let mut claimed = ports.iter().map(|port| (Some(*address), port.protocol, port.port));
        // All or nothing: half a cluster IP would be a riddle.
        match claimed.clone().find(|claim| claims.owners.contains_key(claim)) {
            None => claimed.all(|claim| claims.take(claim, service).is_ok()),
            Some(taken) => {
                claims.take(taken, service).map_or_else(|cause| note("spec.clusterIP".into(), cause), drop);
                false
            }
        }
    });
    for (index, port) in model.ports.iter_mut().enumerate() {
        if let Some(number) = port.node_port
            && let Err(cause) = claims.take((None, port.protocol, number), service)
        {
            note(format!("spec.ports[{index}].nodePort"), cause);
            port.node_port = None;
        }
    }
    if let Some(number) = model.health_check_node_port
        && let Err(cause) = claims.take((None, Protocol::Tcp, number), service)
    {
        note("spec.healthCheckNodePort".into(), cause);
        model.health_check_node_port = None;
    }
    model
}
