//! One event as a line and as a document.

use std::collections::BTreeSet;

use fairway_proto::node::TraceEvent;
use serde::Serialize;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::list::{known, protocol_name};
use crate::output::Object;
use crate::style;

/// One decision of the data path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    /// RFC 3339, UTC.
    time: String,
    #[serde(skip)]
    clock: String,
    hook: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    source_port: u32,
    destination: String,
    destination_port: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_source: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    new_source_port: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_destination: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    new_destination_port: u32,
    pub(crate) reason: String,
    /// forward, reject, drop.
    pub(crate) class: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_pod: Option<String>,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_flags: Option<String>,
    /// Events lost since the one before.
    pub(crate) lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<TraceEvent> for Event {
    fn from(event: TraceEvent) -> Self {
        let time = OffsetDateTime::from_unix_timestamp_nanos(event.time.into());
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH).to_offset(UtcOffset::UTC);
        let clock = format_description!("[hour]:[minute]:[second].[subsecond digits:6]");
        Self {
            time: time.format(&Rfc3339).unwrap_or_default(),
            clock: time.format(clock).unwrap_or_default(),
            hook: event.hook,
            interface: known(event.interface),
            protocol: protocol_name(event.protocol),
            source: known(event.source),
            source_port: event.source_port,
            destination: event.destination,
            destination_port: event.destination_port,
            new_source: known(event.new_source),
            new_source_port: event.new_source_port,
            new_destination: known(event.new_destination),
            new_destination_port: event.new_destination_port,
            reason: event.reason,
            class: event.class,
            hint: known(event.hint),
            service: known(event.service),
            source_pod: known(event.source_pod),
            destination_pod: known(event.destination_pod),
            length: event.length,
            tcp_flags: known(event.tcp_flags),
            lost: event.lost,
        }
    }
}

impl Event {
    /// The document in JSON and YAML.
    pub(crate) fn document(&self) -> Object<'_, Self> {
        Object::new("TraceEvent", self)
    }

    /// Whether it did not go on.
    pub(crate) fn is_loss(&self) -> bool {
        self.class != "forward"
    }

    /// Who to whom, and what became of it.
    fn flow(&self) -> String {
        let mut flow = String::new();
        if let Some(source) = &self.source {
            flow += &format!("{} ", style::socket(source, self.source_port));
        }
        flow += &format!("> {}", style::socket(&self.destination, self.destination_port));
        if let Some(flags) = &self.tcp_flags {
            flow += &format!(" [{flags}]");
        }
        let source = self.new_source.as_deref().map(|address| style::socket(address, self.new_source_port));
        let to =
            self.new_destination.as_deref().map(|address| style::socket(address, self.new_destination_port));
        match (source, to) {
            (None, None) => {}
            (None, Some(to)) => flow += &format!(" => {to}"),
            (Some(source), None) => flow += &format!(" => {source} >"),
            (Some(source), Some(to)) => flow += &format!(" => {source} > {to}"),
        }
        flow
    }

    /// Pod, Service, pod: as far as they are known.
    fn names(&self) -> Option<String> {
        let service = self.service.as_ref().map(|service| format!("svc {}", style::name(service)));
        let pod = |pod: &Option<String>| pod.as_ref().map(|pod| format!("pod {}", style::name(pod)));
        let names: Vec<String> =
            [pod(&self.source_pod), service, pod(&self.destination_pod)].into_iter().flatten().collect();
        (!names.is_empty()).then(|| names.join(" -> "))
    }

    fn verdict(&self) -> String {
        match self.class.as_str() {
            "drop" => style::bad(&format!("DROP {}", self.reason)),
            "reject" => style::warning(&format!("REJECT {}", self.reason)),
            _ => self.reason.clone(),
        }
    }
}

/// Writes lines; gives each reason's hint once.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    hinted: BTreeSet<String>,
}

impl Lines {
    /// The lines of one event.
    pub(crate) fn text(&mut self, event: &Event, wide: bool) -> String {
        let hook = match &event.interface {
            Some(interface) => format!("{}@{interface}", event.hook),
            None => event.hook.clone(),
        };
        let protocol = event.protocol.to_lowercase();
        let mut line = format!("{}  {hook:<20}  {protocol} {}", style::dim(&event.clock), event.flow());
        line += &format!("  {}", event.verdict());
        if let Some(names) = event.names() {
            line += &format!("  {names}");
        }
        if wide && event.length > 0 {
            line += &format!("  {}", style::dim(&format!("{} bytes", event.length)));
        }
        line.push('\n');
        if let Some(hint) = event.hint.as_ref().filter(|_| event.is_loss())
            && self.hinted.insert(event.reason.clone())
        {
            line += &format!("{:17}hint: {hint}; fairway drops explain {}\n", "", event.reason);
        }
        line
    }
}
