//! HAProxy on the first node: the addresses of all Services are the node's own, and it forwards what comes there.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use fairway_tests::lab::Lab;

use crate::services::Set;

#[derive(Debug)]
pub(super) struct Haproxy {
    child: Child,
    config: PathBuf,
    log: PathBuf,
}

impl Haproxy {
    pub(super) fn start(lab: &Lab, set: &Set, node: IpAddr, nice: Option<i32>) -> io::Result<Self> {
        own_addresses(lab, set)?;
        let config = lab.state.directory().join("haproxy.cfg");
        fs::write(&config, configuration(set, node))?;
        let path = lab.state.log("haproxy");
        let log = fs::File::create(&path)?;
        let mut command = match nice {
            Some(nice) => {
                let mut command = lab.command("node1", "nice")?;
                command.args(["-n", &nice.to_string(), "haproxy"]);
                command
            }
            None => lab.command("node1", "haproxy")?,
        };
        // In the foreground, one process.
        command.arg("-db").arg("-f").arg(&config);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { child, config, log: path })
    }

    /// How it ended, with its last words; none while it runs.
    pub(super) fn ended(&mut self) -> Option<String> {
        let how = self.child.try_wait().ok()??;
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        Some(format!("haproxy ended ({how}): {}", said.lines().last().unwrap_or_default()))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_file(&self.config).ok();
    }
}

/// Makes the node take packets to all Services for its own.
fn own_addresses(lab: &Lab, set: &Set) -> io::Result<()> {
    // IPv6 asks for an address on a device where IPv4 is content with a route.
    lab.set_sysctls("node1", &["net/ipv6/ip_nonlocal_bind=1"])?;
    let ranges = lab.state.plan.service_cidrs().into_iter().map(|range| range.to_string());
    let balancers = set.balancer_ips().map(|address| address.to_string());
    for range in ranges.chain(balancers) {
        let family = if range.contains(':') { "-6" } else { "-4" };
        let words = ["ip", family, "route", "replace", "local", &range, "dev", "lo"];
        let output = lab.run("node1", &words)?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
    }
    Ok(())
}

/// TCP mode; each Service is a frontend with all of its addresses, and a backend that chooses at random.
fn configuration(set: &Set, node: IpAddr) -> String {
    let mut text = String::from(
        "global\n    maxconn 4000\ndefaults\n    mode tcp\n    balance random\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n    option nolinger\n",
    );
    for (number, (frontends, backends)) in set.frontends(node).enumerate() {
        // Writing to a string never fails.
        writeln!(text, "listen service-{number}").ok();
        for at in frontends {
            writeln!(text, "    bind {at}").ok();
        }
        for (place, backend) in backends.iter().enumerate() {
            writeln!(text, "    server backend-{place} {backend}").ok();
        }
    }
    text
}
