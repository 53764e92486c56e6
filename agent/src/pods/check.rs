//! CNI's CHECK: whether a pod is still as it was added.

use std::net::IpAddr;

use fairway_proto::node::CheckRequest;
use ipnet::IpNet;

use super::force::Force;
use super::state::Record;
use super::{Error, wiring};
use crate::netlink::{Link, Netlink, everywhere};

impl Force {
    pub(super) async fn check(&self, request: CheckRequest) -> Result<(), Error> {
        let _turn = self.turns.take(&request.container_id, &request.interface).await;
        let record = self.find(&request.container_id, &request.interface).filter(|record| record.complete);
        let Some(record) = record else {
            let CheckRequest { container_id, interface, .. } = request;
            return Err(Error::Unknown { container_id, interface });
        };
        let given: Vec<String> = record.addresses.iter().map(|&it| IpNet::from(it).to_string()).collect();
        for address in request.addresses {
            require(given.contains(&address), "in the list of pods, the address", address)?;
        }
        let link = device(&self.netlink, &record.node_interface, record.node_mac).await?;
        let (_, pod) = wiring::enter(&request.netns).await?;
        let inside = device(&pod, &record.interface, record.pod_mac).await?;
        self.check_addresses(&record, &link, &pod, &inside).await?;
        if let Some(limit) = record.limits.ingress {
            require(
                self.netlink.has_limit(&link, limit).await?,
                "the limit of what the pod receives on",
                &link.name,
            )?;
        }
        if let Some(limit) = record.limits.egress {
            require(
                pod.has_limit(&inside, limit).await?,
                "in the pod, the limit of what it sends on",
                &inside.name,
            )?;
        }
        self.check_programs(&record, &link).await
    }

    async fn check_addresses(
        &self,
        record: &Record,
        link: &Link,
        pod: &Netlink,
        inside: &Link,
    ) -> Result<(), Error> {
        let present = pod.addresses(std::slice::from_ref(&record.interface)).await?;
        for &address in &record.addresses {
            require(present.contains(&address), "in the pod, the address", address)?;
            let out = pod.has_route(inside, everywhere(address)).await?;
            require(out, "the pod's default route for", address)?;
            let back = self.netlink.has_route(link, address.into()).await?;
            require(back, "the node's route to", address)?;
        }
        Ok(())
    }

    async fn check_programs(&self, record: &Record, link: &Link) -> Result<(), Error> {
        let interface = record.node_interface.clone();
        let attached = self.with_programs(move |programs| programs.is_attached(&interface)).await?;
        require(attached, "the program on", &record.node_interface)?;
        let pods = self.with_programs(|programs| programs.pods()).await?;
        let shaped = record.limits.ingress.is_some();
        for &address in &record.addresses {
            let served = |address: IpAddr| {
                pods.iter()
                    .any(|pod| pod.address == address && pod.ifindex == link.index && pod.shaped == shaped)
            };
            require(served(address), "the data path's entry for", address)?;
        }
        Ok(())
    }
}

async fn device(netlink: &Netlink, name: &str, mac: [u8; 6]) -> Result<Link, Error> {
    let link = netlink.link(name).await?.filter(|link| link.mac == mac && link.up);
    link.ok_or_else(|| Error::Broken { what: "the device", subject: name.to_owned() })
}

fn require(present: bool, what: &'static str, subject: impl ToString) -> Result<(), Error> {
    if present { Ok(()) } else { Err(Error::Broken { what, subject: subject.to_string() }) }
}
