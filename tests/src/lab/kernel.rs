//! A lab without agents: its pods keep addresses, devices and routes, and the kernel alone forwards their packets.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Lab, wire};

impl Lab {
    /// Stops the agents and takes their programs off the nodes; pods stay, joined by plain routes. Pods that come later get
    /// no network.
    ///
    /// # Errors
    /// An agent does not stop, or something of it cannot be removed.
    pub fn without_agents(&self) -> io::Result<()> {
        let state = &self.state;
        for node in state.plan.node_names() {
            self.stop(&node, false)?;
            let mut cleanup = self.command(&node, "fairway-agent")?;
            cleanup.args(["--node-name", &node, "--bpf-root"]).arg(state.pins(Some(&node)));
            cleanup.arg("--state-dir").arg(state.directory().join(&node).join("state")).arg("cleanup");
            let output = cleanup.output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(io::Error::other(format!("`fairway-agent cleanup` on {node}: {said}")));
            }
            // The kernel answers refusals itself; by default it would send a client one each second.
            state.netns(&node).set_sysctls(&["net/ipv4/icmp_ratelimit=0", "net/ipv6/icmp/ratelimit=0"])?;
        }
        wire::join_pods(state).map_err(io::Error::other)
    }

    /// Leads packets for `range` from a place without pods, such as `client` or a node, to `via`.
    ///
    /// # Errors
    /// There is such a route already, or no such place.
    pub fn route(&self, place: &str, range: IpNet, via: IpAddr) -> io::Result<()> {
        wire::route(&self.state.netns(place), range, via).map_err(io::Error::other)
    }

    /// Sets `path=value` below /proc/sys in the namespace of a node, or of `client`.
    ///
    /// # Errors
    /// There is no such setting.
    pub fn set_sysctls(&self, place: &str, settings: &[&str]) -> io::Result<()> {
        self.state.netns(place).set_sysctls(settings)
    }
}
