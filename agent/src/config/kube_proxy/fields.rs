//! Every key of KubeProxyConfiguration: its form, and what it means here.

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Switch,
    Number,
    /// A time as Go writes it: `1h0m0s`.
    Time,
    Texts,
    /// Not looked into.
    Any,
}

/// What a key means here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// The setting of this name.
    Setting(&'static str),
    /// The same; the port is added to an address that has none.
    Address(&'static str, u16),
    /// The setting of this name, in these modes of kube-proxy.
    InModes(&'static [&'static str], &'static str),
    /// The setting of this name, where the agent itself reads the Kubernetes API; else a line.
    OfTheApi(&'static str, &'static str),
    /// One of these, which changes nothing: a line; anything else is wrong.
    OneOf(&'static [&'static str], &'static str, &'static str),
    /// Nothing: a line where the value is none of these.
    Nothing(&'static [&'static str], &'static str),
    /// Nothing, whatever it is.
    Silent,
}

/// A key.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) path: &'static str,
    pub(super) form: Form,
    pub(super) meaning: Meaning,
}

const fn field(path: &'static str, form: Form, meaning: Meaning) -> Field {
    Field { path, form, meaning }
}

use Form::{Any, Number, Switch, Text, Texts, Time};
use Meaning::{Address, InModes, Nothing, OfTheApi, OneOf, Setting, Silent};

const AT_ONCE: &str = "is not used: changes are applied at once, and nothing is applied again without one";
const NO_MARKS: &str = "is not used: packets carry no mark";
const CLIENT: &str = "is not used: the client of the Kubernetes API has no such limit or form";
const WINDOWS: &str = "is not used: it is for Windows";
const LOGGING: &str = "is not used: the environment variable RUST_LOG says what is logged";
const IPVS_TIME: &str =
    "is not used: conntrack-tcp-established, conntrack-tcp-fin-wait and conntrack-udp are the time-outs";
const TABLE: &str = "is not used: the table of connections has a fixed size, and one for what does not fit";
const LOCAL: &str = "is not used: what comes from pods is known by their devices";

/// Keys of a version of kube-proxy up to 1.35.
pub(super) const FIELDS: &[Field] = &[
    field(
        "bindAddress",
        Text,
        Nothing(&["0.0.0.0", "::"], "is not used: node-address sets the node's addresses"),
    ),
    field(
        "bindAddressHardFail",
        Switch,
        Nothing(&["false"], "is not used: a health-address that is taken is fatal"),
    ),
    field("healthzBindAddress", Text, Address("health-address", 10256)),
    field("metricsBindAddress", Text, Address("metrics-address", 10249)),
    field(
        "enableProfiling",
        Switch,
        Nothing(&["false"], "is not used: the agent has no profiler of its own"),
    ),
    field("showHiddenMetricsForVersion", Text, Nothing(&[], "is not used: no metric is hidden")),
    field(
        "clientConnection.kubeconfig",
        Text,
        OfTheApi(
            "kubeconfig",
            "is not used: the agent asks a control plane; with `kubernetes` it reads the API by this file",
        ),
    ),
    field("clientConnection.acceptContentTypes", Text, Nothing(&[], CLIENT)),
    field("clientConnection.contentType", Text, Nothing(&["application/vnd.kubernetes.protobuf"], CLIENT)),
    field("clientConnection.qps", Number, Nothing(&["0", "5", "5.0"], CLIENT)),
    field("clientConnection.burst", Number, Nothing(&["0", "10"], CLIENT)),
    field(
        "serviceProxyName",
        Text,
        OfTheApi(
            "service-proxy-name",
            "is not used: it is a setting of the control plane, --service-proxy-name",
        ),
    ),
    field("hostnameOverride", Text, Setting("node-name")),
    field("clusterCIDR", Text, Nothing(&[], "is not used: the Node objects say which ranges are pods'")),
    field("detectLocalMode", Text, Nothing(&["ClusterCIDR"], LOCAL)),
    field("detectLocal.bridgeInterface", Text, Nothing(&[], LOCAL)),
    field("detectLocal.interfaceNamePrefix", Text, Nothing(&[], LOCAL)),
    field(
        "mode",
        Text,
        OneOf(
            &["iptables", "ipvs", "nftables", "kernelspace"],
            "iptables, ipvs or nftables",
            "is replaced by programs in the kernel",
        ),
    ),
    field("iptables.masqueradeAll", Switch, InModes(&["", "iptables", "ipvs"], "masquerade-all")),
    field("iptables.masqueradeBit", Number, Nothing(&["14"], NO_MARKS)),
    field(
        "iptables.localhostNodePorts",
        Switch,
        Nothing(
            &["true"],
            "is not used: the node's own processes have node ports at 127.0.0.1, unless node-port-addresses leaves it out",
        ),
    ),
    field("iptables.syncPeriod", Time, Nothing(&["0s", "30s"], AT_ONCE)),
    field("iptables.minSyncPeriod", Time, Nothing(&["0s", "1s"], AT_ONCE)),
    field("ipvs.syncPeriod", Time, Nothing(&["0s", "30s"], AT_ONCE)),
    field("ipvs.minSyncPeriod", Time, Nothing(&["0s", "1s"], AT_ONCE)),
    field(
        "ipvs.scheduler",
        Text,
        Nothing(
            &["rr"],
            "is not used: backends are drawn at random, or by a Service's annotation fairway.dev/algorithm: maglev",
        ),
    ),
    field("ipvs.excludeCIDRs", Texts, Nothing(&[], "is not used: there is no IPVS service to clean up")),
    field(
        "ipvs.strictARP",
        Switch,
        Nothing(&["false"], "is not used: no device has the Services' addresses"),
    ),
    field("ipvs.tcpTimeout", Time, Nothing(&["0s"], IPVS_TIME)),
    field("ipvs.tcpFinTimeout", Time, Nothing(&["0s"], IPVS_TIME)),
    field("ipvs.udpTimeout", Time, Nothing(&["0s"], IPVS_TIME)),
    field("nftables.masqueradeAll", Switch, InModes(&["nftables"], "masquerade-all")),
    field("nftables.masqueradeBit", Number, Nothing(&["14"], NO_MARKS)),
    field("nftables.syncPeriod", Time, Nothing(&["0s", "30s"], AT_ONCE)),
    field("nftables.minSyncPeriod", Time, Nothing(&["0s", "1s"], AT_ONCE)),
    field("nftables.tableName", Text, Nothing(&[], "is not used: there is no table of rules")),
    field("winkernel.networkName", Text, Nothing(&[], WINDOWS)),
    field("winkernel.sourceVip", Text, Nothing(&[], WINDOWS)),
    field("winkernel.enableDSR", Switch, Nothing(&["false"], WINDOWS)),
    field("winkernel.rootHnsEndpointName", Text, Nothing(&[], WINDOWS)),
    field("winkernel.forwardHealthCheckVip", Switch, Nothing(&["false"], WINDOWS)),
    field("windowsRunAsService", Switch, Nothing(&["false"], WINDOWS)),
    field("nodePortAddresses", Texts, Setting("node-port-addresses")),
    field("conntrack.maxPerCore", Number, Nothing(&["0", "32768"], TABLE)),
    field("conntrack.min", Number, Nothing(&["0", "131072"], TABLE)),
    field("conntrack.tcpEstablishedTimeout", Time, Setting("conntrack-tcp-established")),
    field("conntrack.tcpCloseWaitTimeout", Time, Setting("conntrack-tcp-fin-wait")),
    // No packet is refused for its sequence number, so it is as if this were always on.
    field("conntrack.tcpBeLiberal", Switch, Silent),
    field("conntrack.udpTimeout", Time, Setting("conntrack-udp")),
    field("conntrack.udpStreamTimeout", Time, Setting("conntrack-udp-stream")),
    field("configSyncPeriod", Time, Nothing(&["0s", "15m0s"], AT_ONCE)),
    field("portRange", Text, Nothing(&[], "is not used: kube-proxy does not use it either")),
    field(
        "oomScoreAdj",
        Number,
        Nothing(&["-999"], "is not used: the unit (OOMScoreAdjust=) or the pod's priority class sets it"),
    ),
    field("featureGates", Any, Nothing(&[], "is not used: these are kube-proxy's own features")),
    field("logging.format", Text, Nothing(&["text"], LOGGING)),
    // A number of nanoseconds, or a time.
    field("logging.flushFrequency", Any, Nothing(&["0", "5s", "5000000000"], LOGGING)),
    field("logging.verbosity", Number, Nothing(&["0"], LOGGING)),
    field("logging.vmodule", Any, Nothing(&[], LOGGING)),
    // What kubeadm writes here changes nothing while the feature LoggingAlphaOptions is off, as by default.
    field("logging.options", Any, Silent),
];
