//! Kernel settings of devices that Fairway made, in the calling thread's network namespace.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ipnet::IpNet;

use super::Error;

/// Containers see /proc/sys read-only; the host's may be mounted here. Which namespace a file in it is about depends on
/// who opens it, not on the mount.
const OF_THE_HOST: &str = "/host/proc/sys/net";

/// Where the settings are.
static DIRECTORY: LazyLock<&Path> = LazyLock::new(|| {
    let mounted = Path::new(OF_THE_HOST);
    if mounted.is_dir() { mounted } else { Path::new("/proc/sys/net") }
});

/// Settings of the device on the node's side. Packets from the pod may be forwarded; nothing else is learnt there.
pub(crate) fn of_node_device(interface: &str, v6: bool) -> Result<(), Error> {
    put("ipv4", interface, "forwarding", "1")?;
    put("ipv4", interface, "rp_filter", "0")?;
    if v6 {
        put("ipv6", interface, "disable_ipv6", "0")?;
        put("ipv6", interface, "accept_ra", "0")?;
        put("ipv6", interface, "accept_dad", "0")?;
        // No link-local address: the pod knows its gateway's hardware address.
        put("ipv6", interface, "addr_gen_mode", "1")?;
    }
    Ok(())
}

/// Settings of the device inside the pod.
pub(super) fn of_pod_device(interface: &str, v6: bool) -> Result<(), Error> {
    if v6 {
        put("ipv6", interface, "disable_ipv6", "0")?;
        put("ipv6", interface, "accept_ra", "0")?;
        put("ipv6", interface, "accept_dad", "0")?;
    }
    Ok(())
}

/// Says so where packets between pods and the network would be thrown away.
pub(super) fn warn_if_not_forwarding(cidrs: &[IpNet]) {
    let families = [
        (cidrs.iter().any(|cidr| cidr.addr().is_ipv4()), "net.ipv4.ip_forward"),
        (cidrs.iter().any(|cidr| cidr.addr().is_ipv6()), "net.ipv6.conf.all.forwarding"),
    ];
    for (_, key) in families.into_iter().filter(|(used, _)| *used) {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        if std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "0") {
            tracing::warn!(
                "`{key}` is 0: the kernel does not forward pods' packets; run `sysctl -w {key}=1` on this node"
            );
        }
    }
}

fn put(family: &str, interface: &str, key: &str, value: &str) -> Result<(), Error> {
    let path: PathBuf = DIRECTORY.join(family).join("conf").join(interface).join(key);
    let present = std::fs::read_to_string(&path);
    let result = match present {
        Ok(present) if present.trim() == value => Ok(()),
        Ok(_) => std::fs::write(&path, value),
        Err(error) => Err(error),
    };
    result.map_err(|source: io::Error| Error::Setting { path, source })
}
