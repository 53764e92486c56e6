//! CPU time that load costs: what a lab's processes used, the kernel's work in their context included, and what ksoftirqd
//! did of the rest.
//!
//! The kernel counts the softirqs that run in a process's context as that process's time, unless it was built with
//! CONFIG_IRQ_TIME_ACCOUNTING; then they stand in /proc/stat, and are taken from there.

use std::fs;
use std::path::{Path, PathBuf};

/// Microseconds in a tick of /proc/stat.
const TICK: f64 = 10_000.0;

/// What is read for a count.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    cgroup: Option<PathBuf>,
    /// /proc/PID/schedstat of ksoftirqd, one for each CPU.
    softirq: Vec<PathBuf>,
    /// Softirqs have an account of their own.
    separate: bool,
}

impl Meter {
    /// A meter of the cgroup's `cpu.stat`.
    pub(super) fn new(cgroup: Option<&Path>) -> Self {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let is_softirq = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("ksoftirqd/"))
        };
        let softirq = processes.map(|process| process.path()).filter(is_softirq);
        Self {
            cgroup: cgroup.map(Path::to_owned),
            softirq: softirq.map(|path| path.join("schedstat")).collect(),
            separate: has_separate_account(),
        }
    }

    /// Microseconds until now.
    pub(super) fn read(&self) -> f64 {
        let lab = self.cgroup.as_ref().map(|path| fs::read_to_string(path).unwrap_or_default());
        let lab = lab.and_then(|text| field(&text, "usage_usec")).unwrap_or_default();
        let softirq: f64 = self.softirq.iter().filter_map(|path| first_field(path)).sum();
        let separate = if self.separate { irq_time() } else { 0.0 };
        lab + softirq / 1000.0 + separate
    }
}

/// `NAME VALUE` in one of the lines.
fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn first_field(path: &Path) -> Option<f64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// Time of interrupts and softirqs of all CPUs, in microseconds.
fn irq_time() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().next().unwrap_or_default().split_whitespace().skip(6).take(2);
    all.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * TICK
}

/// The kernel's configuration, where it shows it, says so.
fn has_separate_account() -> bool {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_os_string()).unwrap_or_default();
    let config = Path::new("/boot").join(format!("config-{}", release.to_string_lossy()));
    fs::read_to_string(config).is_ok_and(|text| text.contains("CONFIG_IRQ_TIME_ACCOUNTING=y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_cgroup_is_read_by_its_name() {
        let text = "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n";
        assert_eq!(field(text, "usage_usec"), Some(1234.0));
        assert_eq!(field(text, "nr_periods"), None);
    }
}
