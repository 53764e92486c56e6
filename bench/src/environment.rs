//! On what was measured, and with what.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::plan::Choice;

/// The environment of a run.
#[must_use]
pub fn read(choice: &Choice, cpus: (usize, usize)) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        if !value.is_empty() {
            env.insert(name.to_owned(), value);
        }
    };
    put("command", std::env::args().skip(1).fold("fairway-bench".into(), |line, word| line + " " + &word));
    put("date", OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default());
    put("version", env!("CARGO_PKG_VERSION").into());
    put("kernel", file("/proc/sys/kernel/osrelease"));
    put("cpu", cpu_model());
    put("cpus", cpu_count().to_string());
    put("client_and_server_cpu", format!("{}, {}", cpus.0, cpus.1));
    put("governor", file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    put("mitigations", mitigations());
    put("memory", memory());
    put("load_at_start", file("/proc/loadavg"));
    put("bpf_jit", file("/proc/sys/net/core/bpf_jit_enable"));
    let programs = [
        ("nft", "nft --version"),
        ("iptables", "iptables-nft --version"),
        ("haproxy", "haproxy -v"),
        ("wrk", "wrk --version"),
    ];
    for (name, command) in programs {
        put(name, first_line(command));
    }
    put("nice", choice.nice.map_or("0".into(), |nice| nice.to_string()));
    put("rounds", choice.rounds().to_string());
    put("milliseconds_counted", choice.duration().as_millis().to_string());
    put("pace", choice.rate.map_or("closed loop".into(), |rate| format!("{rate} operations a second")));
    put(
        "cpu_time",
        "cgroup usage of the peer's whole network, softirqs in its context included, and ksoftirqd".into(),
    );
    env
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn cpu_model() -> String {
    let text = file("/proc/cpuinfo");
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map(|(_, name)| name.trim().to_owned()).unwrap_or_default()
}

fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(0, Into::into)
}

fn memory() -> String {
    let text = file("/proc/meminfo");
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.map(|total| total.trim().to_owned()).unwrap_or_default()
}

/// What the kernel does against which weakness of this CPU.
fn mitigations() -> String {
    let entries = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten();
    let mut all: Vec<String> = entries
        .filter_map(|entry| {
            let state = fs::read_to_string(entry.path()).ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            (!state.starts_with("Not affected")).then(|| format!("{name}: {}", state.trim()))
        })
        .collect();
    all.sort();
    all.join("; ")
}

/// What a program says of its version, if it is here; some say it on their standard error, or with exit code 1.
fn first_line(line: &str) -> String {
    let mut words = line.split(' ');
    let Some(program) = words.next() else { return String::new() };
    let Ok(output) = Command::new(program).args(words).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}
