//! Text to checked types.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use fairway_control::Kubernetes;
use fairway_datapath::{Timeouts, XdpMode};
use ipnet::IpNet;

use super::layers::{Value, Values};
use super::{
    Config, ControlAddress, Error, Forwarding, NodePortAddresses, Routing, SETTINGS, Setting, SocketLb,
    TlsFiles, Xdp,
};

/// The ports that Kubernetes gives to NodePort Services.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// The longest time-out.
const MOST: Duration = Duration::from_secs(30 * 86_400);

/// One setting's value.
struct Field<'a> {
    setting: &'static Setting,
    value: &'a Value,
}

impl<'a> Field<'a> {
    fn wrong(&self, text: &str, expected: &'static str) -> Error {
        Error::Invalid {
            origin: self.value.origin.clone(),
            key: self.setting.key,
            value: text.to_owned(),
            expected,
        }
    }

    fn text(&self) -> Option<&'a str> {
        self.value.texts.last().map(String::as_str)
    }

    fn path(&self) -> Result<Option<PathBuf>, Error> {
        match self.text() {
            Some(text) if text.starts_with('/') => Ok(Some(PathBuf::from(text))),
            Some(text) => Err(self.wrong(text, "an absolute path")),
            None => Ok(None),
        }
    }

    /// A time: `30s`, `5m`, `1h 30m`, or a number of seconds.
    fn duration(&self) -> Result<Duration, Error> {
        let text = self.text().unwrap_or_default();
        let seconds = text.parse().ok().map(Duration::from_secs);
        let time = seconds.or_else(|| humantime::parse_duration(text).ok());
        let usable = |time: &Duration| (Duration::from_secs(1)..=MOST).contains(time);
        time.filter(usable).ok_or_else(|| self.wrong(text, "a time from 1s to 30days, for example 90s or 1h"))
    }

    fn one<T: FromStr>(&self, expected: &'static str) -> Result<T, Error> {
        let text = self.text().unwrap_or_default();
        text.parse().map_err(|_| self.wrong(text, expected))
    }

    fn many<T: FromStr>(&self, expected: &'static str) -> Result<Vec<T>, Error> {
        let parse = |text: &String| text.parse().map_err(|_| self.wrong(text, expected));
        self.value.texts.iter().map(parse).collect()
    }
}

/// The settings from their values.
pub(super) fn config(values: &Values) -> Result<Config, Error> {
    let none = Value::default();
    let field = |key: &str| {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap_or(&SETTINGS[0]);
        Field { setting, value: values.get(setting.key).unwrap_or(&none) }
    };
    let needed = |key: &str| {
        let field = field(key);
        field.path().and_then(|path| path.ok_or_else(|| field.wrong("", "an absolute path")))
    };
    let tls = match (field("tls-cert").path()?, field("tls-key").path()?, field("tls-ca").path()?) {
        (Some(cert), Some(key), Some(ca)) => Some(TlsFiles { cert, key, ca }),
        _ => None,
    };
    let insecure = field("insecure").one("true or false")?;
    let config = Config {
        node_name: node_name(&field("node-name"))?,
        control: controls(&field("control"), tls.is_some(), insecure)?,
        manifests: field("manifests").path()?,
        kubernetes: kubernetes(&field)?,
        tls,
        interfaces: field("interface").many("the name of a device")?,
        node_addresses: field("node-address").many("an IP address")?,
        pod_cidrs: field("pod-cidr").many("a CIDR")?,
        cgroup: field("cgroup").path()?,
        socket_lb: socket_lb(&field("socket-lb"))?,
        xdp: xdp(&field("xdp"))?,
        forwarding: forwarding(&field("forwarding"))?,
        bpf_root: needed("bpf-root")?,
        state_dir: needed("state-dir")?,
        socket: needed("socket")?,
        cni_conf: field("cni-conf").path()?,
        health_address: field("health-address").one("an address and port, for example 127.0.0.1:10256")?,
        metrics_address: metrics_address(&field("metrics-address"), &field("health-address"))?,
        zone: field("zone").text().map(str::to_owned),
        nat_ports: nat_ports(&field("nat-ports"))?,
        timeouts: Timeouts {
            tcp_established: field("conntrack-tcp-established").duration()?,
            tcp_syn_sent: field("conntrack-tcp-syn-sent").duration()?,
            tcp_fin_wait: field("conntrack-tcp-fin-wait").duration()?,
            tcp_closing: field("conntrack-tcp-closing").duration()?,
            udp: field("conntrack-udp").duration()?,
            udp_stream: field("conntrack-udp-stream").duration()?,
        },
        service_cidrs: service_cidrs(&field("service-cidr"))?,
        node_port_addresses: node_port_addresses(&field("node-port-addresses"))?,
        masquerade_all: field("masquerade-all").one("true or false")?,
        routing: routing(&field("routing"), &field("vxlan-id"), &field("vxlan-port"))?,
        masquerade: masquerade(&field("masquerade"))?,
        masquerade_exclude: field("masquerade-exclude").many("a CIDR")?,
    };
    if config.forwarding == Forwarding::DsrL2 && config.routing != Routing::Native {
        return Err(Error::DirectInTunnels);
    }
    let sources = [!config.control.is_empty(), config.manifests.is_some(), config.kubernetes.is_some()];
    if sources.iter().filter(|source| **source).count() > 1 {
        return Err(Error::TwoControlPlanes);
    }
    Ok(config)
}

fn kubernetes<'a>(field: &impl Fn(&str) -> Field<'a>) -> Result<Option<Kubernetes>, Error> {
    let text = |key| field(key).text().map(str::to_owned);
    let kubernetes = Kubernetes {
        kubeconfig: field("kubeconfig").path()?,
        context: text("kube-context"),
        server: text("kube-server"),
        service_proxy_name: text("service-proxy-name"),
        allow_mass_delete: field("allow-mass-delete").one("true or false")?,
    };
    Ok(field("kubernetes").one::<bool>("true or false")?.then_some(kubernetes))
}

/// None where it is that of health.
fn metrics_address(field: &Field<'_>, health: &Field<'_>) -> Result<Option<SocketAddr>, Error> {
    if field.text().is_none() || field.text() == health.text() {
        return Ok(None);
    }
    field.one("an address and port, for example 127.0.0.1:10249").map(Some)
}

fn node_name(field: &Field<'_>) -> Result<String, Error> {
    let text = field.text().ok_or(Error::NoNodeName)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    // Kubernetes takes the host's name in lower case.
    let name = text.to_lowercase();
    if name.is_empty() || name.len() > 253 || !name.chars().all(allowed) {
        return Err(field.wrong(text, "a node name: letters, digits, `-` and `.`, at most 253"));
    }
    Ok(name)
}

fn controls(field: &Field<'_>, tls: bool, insecure: bool) -> Result<Vec<ControlAddress>, Error> {
    let mut all = Vec::new();
    for text in &field.value.texts {
        let address = control(field, text, tls, insecure)?;
        if all.contains(&address) {
            return Err(field.wrong(text, "an address that the list has once"));
        }
        all.push(address);
    }
    Ok(all)
}

fn control(field: &Field<'_>, text: &str, tls: bool, insecure: bool) -> Result<ControlAddress, Error> {
    let authority = |rest: &str| {
        let port = rest.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) && !rest.contains('/')
    };
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(ControlAddress::Unix(path.into())),
        Some(("https", rest)) if authority(rest) && !tls => {
            Err(Error::NoCertificates { address: text.to_owned() })
        }
        Some(("https", rest)) if authority(rest) => Ok(ControlAddress::Tls(text.to_owned())),
        Some(("http", rest)) if authority(rest) && !insecure => {
            Err(Error::Insecure { address: text.to_owned() })
        }
        Some(("http", rest)) if authority(rest) => Ok(ControlAddress::Plain(text.to_owned())),
        _ => Err(field.wrong(text, "unix:///PATH, https://HOST:PORT or http://HOST:PORT")),
    }
}

fn socket_lb(field: &Field<'_>) -> Result<SocketLb, Error> {
    match field.text().unwrap_or_default() {
        "all" => Ok(SocketLb::All),
        "host" => Ok(SocketLb::Host),
        "off" => Ok(SocketLb::Off),
        other => Err(field.wrong(other, "all, host or off")),
    }
}

fn xdp(field: &Field<'_>) -> Result<Xdp, Error> {
    match field.text().unwrap_or_default() {
        "off" => Ok(Xdp::Off),
        "auto" => Ok(Xdp::Auto),
        "native" => Ok(Xdp::Mode(XdpMode::Native)),
        "generic" => Ok(Xdp::Mode(XdpMode::Generic)),
        other => Err(field.wrong(other, "off, auto, native or generic")),
    }
}

fn forwarding(field: &Field<'_>) -> Result<Forwarding, Error> {
    match field.text().unwrap_or_default() {
        "snat" => Ok(Forwarding::Snat),
        "dsr-l2" => Ok(Forwarding::DsrL2),
        "dsr-ipip" => Ok(Forwarding::DsrIpip),
        other => Err(field.wrong(other, "snat, dsr-l2 or dsr-ipip")),
    }
}

fn routing(field: &Field<'_>, id: &Field<'_>, port: &Field<'_>) -> Result<Routing, Error> {
    let number = "a number from 1 to 16777215";
    let vni: u32 = id.one(number)?;
    let udp: u16 = port.one("a UDP port")?;
    if !(1..1 << 24).contains(&vni) {
        return Err(id.wrong(id.text().unwrap_or_default(), number));
    }
    match field.text().unwrap_or_default() {
        "native" => Ok(Routing::Native),
        "vxlan" => Ok(Routing::Vxlan { id: vni, port: udp }),
        other => Err(field.wrong(other, "native or vxlan")),
    }
}

fn masquerade(field: &Field<'_>) -> Result<(bool, bool), Error> {
    match field.text().unwrap_or_default() {
        "all" => Ok((true, true)),
        "ipv4" => Ok((true, false)),
        "ipv6" => Ok((false, true)),
        "none" => Ok((false, false)),
        other => Err(field.wrong(other, "all, ipv4, ipv6 or none")),
    }
}

fn service_cidrs(field: &Field<'_>) -> Result<Vec<IpNet>, Error> {
    let ranges: Vec<IpNet> = field.many("a CIDR")?;
    let second = |index: usize| {
        ranges[..index].iter().any(|one| one.addr().is_ipv4() == ranges[index].addr().is_ipv4())
    };
    match (0..ranges.len()).find(|index| second(*index)) {
        Some(index) => Err(field.wrong(&ranges[index].to_string(), "the only range of its family")),
        None => Ok(ranges.iter().map(IpNet::trunc).collect()),
    }
}

fn node_port_addresses(field: &Field<'_>) -> Result<NodePortAddresses, Error> {
    match &field.value.texts[..] {
        [] => Ok(NodePortAddresses::All),
        [text] if text == "primary" => Ok(NodePortAddresses::Primary),
        _ => Ok(NodePortAddresses::In(field.many("a CIDR; or `primary` alone")?)),
    }
}

fn nat_ports(field: &Field<'_>) -> Result<(u16, u16), Error> {
    let text = field.text().unwrap_or_default();
    let range = text.split_once('-').and_then(|(first, last)| {
        Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?))
    });
    let expected = "FIRST-LAST, two ports, the first not above the second";
    let (first, last) = range
        .filter(|(first, last)| *first > 0 && first <= last)
        .ok_or_else(|| field.wrong(text, expected))?;
    if first <= *NODE_PORTS.end() && last >= *NODE_PORTS.start() {
        return Err(Error::NatPorts { origin: field.value.origin.clone(), value: text.to_owned() });
    }
    Ok((first, last))
}
