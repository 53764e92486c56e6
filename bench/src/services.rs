//! The Services of a run: the one that is asked stands last of N, and all others have an endpoint too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use crate::cell::{Family, From};

/// The port of every Service.
pub const PORT: u16 = 80;
/// The first port at which a pod serves.
pub const TARGET_PORT: u16 = 8080;
/// Pods that serve on each node.
pub const PODS: u32 = 4;

/// The node that clients ask, with pods that serve on it, and the other one.
#[derive(Clone, Debug)]
pub struct Pods {
    /// Addresses of those on the first node.
    pub near: Vec<IpAddr>,
    /// Addresses of those on the second.
    pub far: Vec<IpAddr>,
}

/// A Service that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measured {
    /// Its backends are on the other node.
    pub far: bool,
    /// How many they are.
    pub backends: u32,
}

/// All Services of a node.
#[derive(Clone, Debug)]
pub struct Set {
    family: Family,
    /// Before those that are asked.
    fillers: u32,
    measured: Vec<Measured>,
    pods: Pods,
}

impl Set {
    /// `count` Services, or as many as are asked when those are more. The first of `measured` stands last.
    #[must_use]
    pub fn new(family: Family, count: u32, mut measured: Vec<Measured>, pods: Pods) -> Self {
        measured.reverse();
        let asked = u32::try_from(measured.len()).unwrap_or(u32::MAX);
        Self { family, fillers: count.saturating_sub(asked), measured, pods }
    }

    /// Where a client from there asks the Service; through nobody: the pods themselves.
    #[must_use]
    pub fn targets(&self, from: From, measured: Measured, node: IpAddr, proxied: bool) -> Vec<SocketAddr> {
        if !proxied {
            return self.endpoints(measured);
        }
        let place = self.measured.iter().position(|service| *service == measured).unwrap_or_default();
        let place = u32::try_from(place).unwrap_or_default();
        vec![match from.via() {
            "clusterip" => SocketAddr::new(self.cluster_ip(self.fillers + place), PORT),
            "nodeport" => SocketAddr::new(node, node_port(place)),
            _ => SocketAddr::new(self.balancer_ip(place), PORT),
        }]
    }

    /// The Service that stands first.
    #[must_use]
    pub fn first(&self) -> SocketAddr {
        SocketAddr::new(self.cluster_ip(0), PORT)
    }

    /// The addresses at which clients outside ask.
    pub fn balancer_ips(&self) -> impl Iterator<Item = IpAddr> {
        (0..self.measured.len()).filter_map(|place| Some(self.balancer_ip(u32::try_from(place).ok()?)))
    }

    /// Address and port of each Service with its endpoints, as a program in user space serves them.
    pub fn frontends(&self, node: IpAddr) -> impl Iterator<Item = (Vec<SocketAddr>, Vec<SocketAddr>)> {
        let filler =
            |number| (vec![SocketAddr::new(self.cluster_ip(number), PORT)], vec![self.filler(number)]);
        let asked = self.measured.iter().zip(0..).map(move |(measured, place)| {
            let at = vec![
                SocketAddr::new(self.cluster_ip(self.fillers + place), PORT),
                SocketAddr::new(self.balancer_ip(place), PORT),
                SocketAddr::new(node, node_port(place)),
            ];
            (at, self.endpoints(*measured))
        });
        (0..self.fillers).map(filler).chain(asked)
    }

    /// Backends are spread over the pods; those beyond the number of pods are further ports of theirs.
    fn endpoints(&self, measured: Measured) -> Vec<SocketAddr> {
        let pods = if measured.far { &self.pods.far } else { &self.pods.near };
        let ports = (TARGET_PORT..).flat_map(|port| pods.iter().map(move |pod| SocketAddr::new(*pod, port)));
        ports.take(measured.backends as usize).collect()
    }

    fn filler(&self, number: u32) -> SocketAddr {
        SocketAddr::new(self.pods.near[number as usize % self.pods.near.len()], TARGET_PORT)
    }

    fn cluster_ip(&self, number: u32) -> IpAddr {
        let host = 256 + number;
        match self.family {
            Family::V4 => Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 0, 0).to_bits() + host).into(),
            Family::V6 => {
                let network = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0);
                Ipv6Addr::from_bits(network.to_bits() + u128::from(host)).into()
            }
        }
    }

    fn balancer_ip(&self, place: u32) -> IpAddr {
        let host = u16::try_from(10 + place).unwrap_or_default();
        match self.family {
            Family::V4 => Ipv4Addr::new(203, 0, 113, host.to_be_bytes()[1]).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x203, 0, 0, 0, 0, 0, host).into(),
        }
    }

    /// The Services and their slices as Kubernetes' objects, those that are asked last.
    #[must_use]
    pub fn objects(&self) -> (Vec<Value>, Vec<Value>) {
        let (mut services, mut slices) = (Vec::new(), Vec::new());
        for number in 0..self.fillers {
            let name = format!("filler-{number}");
            services.push(self.service(&name, self.cluster_ip(number), &["TCP"], None));
            slices.push(self.slice(&name, TARGET_PORT, &[self.filler(number).ip()], &["TCP"]));
        }
        for (measured, place) in self.measured.iter().zip(0..) {
            let name = format!("asked-{place}");
            let protocols = ["TCP", "UDP"];
            let outside = Some((node_port(place), self.balancer_ip(place)));
            services.push(self.service(&name, self.cluster_ip(self.fillers + place), &protocols, outside));
            let endpoints = self.endpoints(*measured);
            for of_port in endpoints.chunk_by(|a, b| a.port() == b.port()) {
                let addresses: Vec<IpAddr> = of_port.iter().map(SocketAddr::ip).collect();
                slices.push(self.slice(&name, of_port[0].port(), &addresses, &protocols));
            }
        }
        (services, slices)
    }

    /// The same as Kubernetes' types.
    ///
    /// # Errors
    /// Never, unless those types change.
    pub fn typed(&self) -> serde_json::Result<(Vec<Service>, Vec<EndpointSlice>)> {
        let (services, slices) = self.objects();
        let services: Result<_, _> = services.into_iter().map(serde_json::from_value).collect();
        let slices: Result<_, _> = slices.into_iter().map(serde_json::from_value).collect();
        Ok((services?, slices?))
    }

    fn service(
        &self,
        name: &str,
        cluster_ip: IpAddr,
        protocols: &[&str],
        outside: Option<(u16, IpAddr)>,
    ) -> Value {
        let ports: Vec<Value> = protocols
            .iter()
            .map(|protocol| {
                let mut port = json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": PORT});
                if let Some((node_port, _)) = outside {
                    port["nodePort"] = json!(node_port);
                }
                port
            })
            .collect();
        let family = if cluster_ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {
                "clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "ipFamilies": [family], "ports": ports,
            },
        });
        if let Some((_, balancer)) = outside {
            service["spec"]["type"] = json!("LoadBalancer");
            service["status"] = json!({"loadBalancer": {"ingress": [{"ip": balancer}]}});
        }
        service
    }

    fn slice(&self, service: &str, port: u16, addresses: &[IpAddr], protocols: &[&str]) -> Value {
        let endpoint = |address: &IpAddr| {
            let node = if self.pods.far.contains(address) { "node2" } else { "node1" };
            json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": node})
        };
        let ports = protocols
            .iter()
            .map(|protocol| json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": port}));
        let family = if self.family == Family::V4 { "IPv4" } else { "IPv6" };
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": {
                "name": format!("{service}-{port}"), "namespace": "bench",
                "labels": {"kubernetes.io/service-name": service},
            },
            "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": ports.collect::<Vec<_>>(),
        })
    }
}

fn node_port(place: u32) -> u16 {
    30080 + u16::try_from(place).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(count: u32) -> Set {
        let near = (1..=4).map(|host| Ipv4Addr::new(10, 244, 1, host).into()).collect();
        let far = (1..=4).map(|host| Ipv4Addr::new(10, 244, 2, host).into()).collect();
        let measured = vec![NEAR, Measured { far: true, backends: 1 }];
        Set::new(Family::V4, count, measured, Pods { near, far })
    }

    const NEAR: Measured = Measured { far: false, backends: 6 };
    const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 50, 1));

    #[test]
    fn the_service_that_is_asked_is_the_last_of_all() {
        let set = set(1000);
        let (services, _) = set.objects();
        assert_eq!(services.len(), 1000);
        let asked = set.targets(From::PodSameNode, NEAR, NODE, true);
        assert_eq!(services[999]["spec"]["clusterIP"], asked[0].ip().to_string());
    }

    #[test]
    fn through_nobody_the_same_backends_are_asked_directly() {
        let set = set(10);
        let direct = set.targets(From::PodSameNode, NEAR, NODE, false);
        assert_eq!(direct.len(), 6);
        let (frontend, backends) = set.frontends(NODE).last().unwrap();
        assert_eq!(backends, direct);
        assert_eq!(frontend[0], set.targets(From::Node, NEAR, NODE, true)[0]);
        assert_eq!(frontend[2], set.targets(From::NodeportLocal, NEAR, NODE, true)[0]);
    }

    #[test]
    fn the_objects_are_of_kubernetes_types() {
        let (services, slices) = set(5).typed().unwrap();
        assert_eq!(services.len(), 5);
        // Six backends on four pods are two ports.
        assert_eq!(slices.len(), 3 + 1 + 2);
    }
}
