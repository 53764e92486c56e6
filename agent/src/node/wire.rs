//! The program at the drivers of network devices: attached where the setting wants it, the driver can, and nobody else is
//! there. Everything goes on without it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fairway_datapath::{Datapath, Error as Refused, XdpMode};
use tracing::{info, warn};

use super::Error;
use crate::config::{Config, Xdp};
use crate::netlink::Netlink;
use crate::sync::chain;

/// What became of the program at a device's driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// How it is there; none: it is not.
    pub mode: Option<XdpMode>,
    /// Why it is not.
    pub reason: String,
}

/// The network devices by name; none where the setting is off.
pub type Wires = BTreeMap<String, Wire>;

impl Wire {
    /// One line for people.
    pub(crate) fn says(&self, device: &str) -> String {
        match self.mode {
            Some(mode) => format!("{} on {device}", mode.name()),
            None => format!("not on {device}: {}; packets take the TC path", self.reason),
        }
    }
}

/// Attaches to a device as the setting says: what became of it; none: the setting is off.
pub(super) async fn attach(
    config: &Config,
    netlink: &Netlink,
    datapath: &Arc<Mutex<Datapath>>,
    device: &str,
) -> Result<Option<Wire>, Error> {
    let mode = match config.xdp {
        Xdp::Off => return Ok(None),
        Xdp::Auto => XdpMode::Native,
        Xdp::Mode(mode) => mode,
    };
    let (datapath, name) = (datapath.clone(), device.to_owned());
    let attached = tokio::task::spawn_blocking(move || {
        datapath.lock().unwrap_or_else(PoisonError::into_inner).attach_wire(&name, mode)
    });
    let wire = match attached.await.map_err(|_| Error::Interrupted)? {
        Ok(()) => Wire { mode: Some(mode), reason: String::new() },
        Err(Refused::XdpTaken { .. }) => Wire { mode: None, reason: owner(netlink, device).await },
        Err(error) => Wire { mode: None, reason: chain(&error) },
    };
    let line = wire.says(device);
    if wire.mode.is_some() {
        info!("xdp: {line}")
    } else {
        warn!("xdp: {line}")
    }
    Ok(Some(wire))
}

/// Whose program is there.
async fn owner(netlink: &Netlink, device: &str) -> String {
    let id = netlink.xdp(device).await.ok().flatten();
    let name = id.and_then(Datapath::name_of_program).filter(|name| !name.is_empty());
    match (id, name) {
        (Some(id), Some(name)) => format!("another program (id {id}, name {name}) is there"),
        (Some(id), None) => format!("another program (id {id}) is there"),
        (None, _) => "another program is there".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_packets_take_the_long_way_at_says_why() {
        let wire = |mode, reason: &str| Wire { mode, reason: reason.to_owned() };
        assert_eq!(wire(Some(XdpMode::Native), "").says("eth0"), "native on eth0");
        let taken = wire(None, "another program (id 7, name drop_all) is there");
        assert_eq!(
            taken.says("eth0"),
            "not on eth0: another program (id 7, name drop_all) is there; packets take the TC path"
        );
    }
}
