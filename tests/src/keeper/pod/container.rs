//! A pod's container: a program in the pod's namespace and cgroup, started again when it ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Service};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::super::probe;
use super::{Sandbox, containerd};
use crate::lab::{Object, Runtime, command, search_path};
use crate::runtime::Program;

/// Time until a container that ended is started again; doubles up to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Runs a container until the pod is to end.
pub(super) async fn run(pod: Arc<Sandbox>, index: usize, spec: Container, mut ended: watch::Receiver<bool>) {
    let mut backoff = BACKOFF.0;
    for attempt in 0.. {
        let how = match start(&pod, &spec, attempt).await {
            Ok(running) => {
                let prober = tokio::spawn(probe::watch(pod.clone(), index, spec.clone()));
                let how = match running {
                    Running::Process(child) => wait(child, &mut ended).await,
                    Running::Container(container) => container.wait(&mut ended).await,
                };
                prober.abort();
                how
            }
            Err(error) => Some(error.to_string()),
        };
        pod.set_ready(index, false);
        let Some(how) = how else { return };
        tracing::warn!("pod {}: container {} ended: {how}", pod.name, spec.name);
        pod.change(|state| {
            state.restarts += 1;
            state.message = Some(format!("container {}: {how} (log: {})", spec.name, pod.log().display()));
        });
        tokio::select! {
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF.1),
            _ = ended.wait_for(|end| *end) => return,
        }
    }
}

enum Running {
    Process(Child),
    Container(containerd::Container),
}

/// How the program ended by itself; none when the pod is to end, and it did after SIGTERM.
async fn wait(mut child: Child, ended: &mut watch::Receiver<bool>) -> Option<String> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    tokio::select! {
        how = child.wait() => return Some(how.map_or_else(|error| error.to_string(), |how| how.to_string())),
        _ = ended.wait_for(|end| *end) => {}
    }
    if let Some(pid) = pid {
        // It may have ended by itself just now.
        kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
    }
    child.wait().await.ok();
    None
}

async fn start(pod: &Sandbox, spec: &Container, attempt: u32) -> io::Result<Running> {
    let environment = environment(pod, spec);
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| expand(word, &environment)).collect()
    };
    let words = [expanded(&spec.command), expanded(&spec.args)].concat();
    let (program, arguments) = words.split_first().filter(|_| spec.command.is_some()).ok_or_else(|| {
        io::Error::other("no `command`: a lab runs programs of this machine and pulls no images")
    })?;
    if pod.state.runtime == Runtime::Containerd {
        let (name, log) = (format!("{}-{}", spec.name, pod.container_id), format!("{}.log", pod.log_name()));
        let environment = environment.into_iter().collect();
        let program = Program { name, attempt, command: words, environment, log };
        return containerd::start(pod, &program).await.map(Running::Container).map_err(io::Error::other);
    }
    let log = File::options().create(true).append(true).open(pod.log())?;
    let mut command = Command::from(command(&pod.place, program)?);
    command.args(arguments).env_clear().env("PATH", search_path()?).envs(environment);
    Ok(Running::Process(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
}

impl Sandbox {
    fn log(&self) -> std::path::PathBuf {
        self.state.log(&self.log_name())
    }

    fn log_name(&self) -> String {
        format!("pod-{}", self.name.replace('/', "-"))
    }

    pub(in crate::keeper) fn set_ready(&self, index: usize, ready: bool) {
        self.told.send_if_modified(|told| match told.ready.get_mut(index) {
            Some(before) if *before != ready => {
                *before = ready;
                true
            }
            _ => false,
        });
    }

    /// The state, as probes need it.
    pub(in crate::keeper) fn probed(&self) -> probe::Target {
        let states = super::lock(&self.states);
        let address = states.get(&self.name).and_then(|pod| pod.addresses.first().copied());
        probe::Target { address, node: self.state.netns(&self.node), place: self.place.clone() }
    }
}

fn environment(pod: &Sandbox, spec: &Container) -> BTreeMap<String, String> {
    let fields = pod.fields();
    let mut all: BTreeMap<String, String> = pod.services.iter().cloned().collect();
    all.insert("HOSTNAME".into(), fields.get("metadata.name").cloned().unwrap_or_default());
    for variable in spec.env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|source| source.field_ref.as_ref());
        let value = match (field, &variable.value) {
            (Some(field), _) => fields.get(field.field_path.as_str()).cloned().unwrap_or_default(),
            (None, value) => expand(value.as_deref().unwrap_or_default(), &all),
        };
        all.insert(variable.name.clone(), value);
    }
    all
}

/// Replaces `$(NAME)` by the variable; a name that is not there stays as it is.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        out.push_str(before);
        match after.split_once(')') {
            Some((name, tail)) => {
                match environment.get(name) {
                    Some(value) => out.push_str(value),
                    None => out.push_str(&format!("$({name})")),
                }
                rest = tail;
            }
            None => {
                out.push_str("$(");
                rest = after;
            }
        }
    }
    out + rest
}

/// `NAME_SERVICE_HOST` and `NAME_SERVICE_PORT` of the Services, by namespace.
pub(in crate::keeper) fn service_environment(objects: &[Object]) -> BTreeMap<String, Vec<(String, String)>> {
    let mut all: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.kind() == "Service") {
        let spec = serde_json::from_value::<Service>(object.value.clone()).ok().and_then(|s| s.spec);
        let Some(spec) = spec else { continue };
        let address = spec.cluster_ip.filter(|address| address != "None");
        let port = spec.ports.unwrap_or_default().first().map(|port| port.port.to_string());
        let (Some(address), Some(port)) = (address, port) else { continue };
        let name = object.name().split('/').nth(1).unwrap_or_default().to_uppercase().replace('-', "_");
        let variables = all.entry(object.namespace().into()).or_default();
        variables.push((format!("{name}_SERVICE_HOST"), address));
        variables.push((format!("{name}_SERVICE_PORT"), port));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_that_exist_are_replaced() {
        let environment = BTreeMap::from([("POD".to_owned(), "web-1".to_owned())]);
        assert_eq!(expand("--name=$(POD)-$(NODE) $(", &environment), "--name=web-1-$(NODE) $(");
    }
}
