//! On which CPU servers run.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use fairway_tests::lab::Lab;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::haproxy::Haproxy;
use crate::cell::Cpus;

/// Puts the servers of all pods, and a proxy in user space, where they belong. The proxy may use the CPUs of both sides.
pub(super) fn servers(
    lab: &Lab,
    haproxy: Option<&Haproxy>,
    (client, server): (usize, usize),
    cpus: Cpus,
) -> io::Result<()> {
    let server = if cpus == Cpus::Same { client } else { server };
    let status = lab.status()?;
    for pod in status.pods.iter().filter(|pod| pod.name.contains("/serve")) {
        let cgroup = fairway_tests::lab::Cgroup::below_root(&pod.place.cgroup)?;
        for process in processes(cgroup.path())? {
            pin(process, &[server])?;
        }
    }
    if let Some(haproxy) = haproxy {
        for thread in fs::read_dir(format!("/proc/{}/task", haproxy.pid()))? {
            let thread = thread?.file_name().to_string_lossy().parse().map_err(io::Error::other)?;
            pin(thread, &[client, server])?;
        }
    }
    Ok(())
}

fn processes(cgroup: &Path) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn pin(process: i32, cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(process), &set)?)
}

/// Addresses as an argument.
pub(super) fn list(all: &[SocketAddr]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
