//! The Services of the suite and the pods behind them, as manifests.

use std::net::IpAddr;

/// A Service of the suite; all its addresses follow from its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    number: u8,
    /// Lines of the Service's spec besides addresses and ports.
    spec: &'static str,
    target_port: u16,
}

pub(crate) const LOCAL_POD: Service = service("local-pod", 1, "selector: {app: local-pod}");
pub(crate) const REMOTE_POD: Service = service("remote-pod", 2, "selector: {app: remote-pod}");
pub(crate) const HOST: Service = service("host-network", 3, "selector: {app: host-network}");
pub(crate) const HOST_REMOTE: Service =
    service("host-network-remote", 4, "selector: {app: host-network-remote}");
pub(crate) const CLIENT_1: Service = service("client-1", 5, "selector: {app: client-1}");
pub(crate) const CLIENT_2: Service = service("client-2", 6, "selector: {app: client-2}");
/// The client outside, by an EndpointSlice of its own.
pub(crate) const CLIENT_OUTSIDE: Service = service("client-outside", 7, "");
pub(crate) const EMPTY: Service = service("empty", 8, "selector: {app: nothing}");
/// Two backends whose readiness is that a file exists.
pub(crate) const PAIR: Service = service("pair", 9, "selector: {app: pair}");
pub(crate) const LOCAL_POLICY: Service =
    service("local-policy", 10, "externalTrafficPolicy: Local\n  selector: {app: local-pod}");

pub(crate) const INTERNAL_LOCAL: Service =
    service("internal-local", 11, "internalTrafficPolicy: Local\n  selector: {app: local-pod}");
/// Its backends listen on no such port.
pub(crate) const CLOSED: Service =
    Service { target_port: 9, ..service("closed", 12, "selector: {app: local-pod}") };
/// What tests change.
pub(crate) const CHANGING: Service = service("changing", 13, "selector: {app: remote-pod}");

pub(crate) const ALL: [Service; 13] = [
    LOCAL_POD,
    REMOTE_POD,
    HOST,
    HOST_REMOTE,
    CLIENT_1,
    CLIENT_2,
    CLIENT_OUTSIDE,
    EMPTY,
    PAIR,
    LOCAL_POLICY,
    INTERNAL_LOCAL,
    CLOSED,
    CHANGING,
];

const fn service(name: &'static str, number: u8, spec: &'static str) -> Service {
    Service { name, number, spec, target_port: 8080 }
}

impl Service {
    fn addresses(self) -> Addresses {
        Addresses(self.number)
    }

    pub(crate) fn cluster_ip(self, v6: bool) -> IpAddr {
        self.addresses().cluster_ip(v6)
    }

    pub(crate) fn balancer_ip(self, v6: bool) -> IpAddr {
        self.addresses().balancer_ip(v6)
    }

    pub(crate) fn node_port(self) -> u16 {
        self.addresses().node_port()
    }

    pub(crate) fn manifest(self) -> String {
        self.addresses().manifest(self.name, self.spec, self.target_port, false)
    }
}

/// All addresses of a Service follow from its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses(pub(crate) u8);

impl Addresses {
    pub(crate) fn cluster_ip(self, v6: bool) -> IpAddr {
        self.address(v6, "10.96.1.", "fd00:10:96::")
    }

    pub(crate) fn balancer_ip(self, v6: bool) -> IpAddr {
        self.address(v6, "203.0.113.", "fd00:203::")
    }

    pub(crate) fn external_ip(self, v6: bool) -> IpAddr {
        self.address(v6, "198.51.100.", "fd00:198::")
    }

    pub(crate) fn node_port(self) -> u16 {
        31_000 + u16::from(self.0)
    }

    fn address(self, v6: bool, four: &str, six: &str) -> IpAddr {
        let number = 100 + self.0;
        let text = if v6 { format!("{six}{number:x}") } else { format!("{four}{number}") };
        text.parse().expect("a prefix and a number are an address")
    }

    /// `spec` is lines of the Service's spec besides addresses and ports.
    pub(crate) fn manifest(self, name: &str, spec: &str, target: u16, sctp: bool) -> String {
        let port = self.node_port();
        let [c4, c6] = [false, true].map(|v6| self.cluster_ip(v6));
        let [b4, b6] = [false, true].map(|v6| self.balancer_ip(v6));
        let [e4, e6] = [false, true].map(|v6| self.external_ip(v6));
        let sctp = if sctp {
            format!(
                "    - {{name: sctp, protocol: SCTP, port: 80, targetPort: {target}, nodePort: {port}}}\n"
            )
        } else {
            String::new()
        };
        format!(
            r#"---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  clusterIP: {c4}
  clusterIPs: ["{c4}", "{c6}"]
  externalIPs: ["{e4}", "{e6}"]
  ports:
    - {{name: tcp, protocol: TCP, port: 80, targetPort: {target}, nodePort: {port}}}
    - {{name: udp, protocol: UDP, port: 80, targetPort: {target}, nodePort: {port}}}
{sctp}  {spec}
status:
  loadBalancer: {{ingress: [{{ip: "{b4}"}}, {{ip: "{b6}"}}]}}
"#
        )
    }
}
