//! Which pods run: those of the manifests, each looked after by a task of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;
use tokio::sync::watch;

use super::capabilities;
use super::lock;
use super::pod::{self, Sandbox};
use super::processes::Processes;
use crate::lab::{Object, PodState, State};

/// Pods' states as everyone sees them, by `NAMESPACE/NAME`.
pub(super) type States = Arc<Mutex<BTreeMap<String, PodState>>>;

struct Task {
    spec: PodSpec,
    /// Set: the pod is to end.
    end: watch::Sender<bool>,
    done: watch::Receiver<bool>,
}

pub(super) struct Kubelet {
    state: Arc<State>,
    processes: Arc<Processes>,
    tasks: Mutex<BTreeMap<String, Task>>,
    states: States,
    made: Mutex<u64>,
}

impl Kubelet {
    pub(super) fn new(state: Arc<State>, processes: Arc<Processes>) -> Self {
        Self { state, processes, tasks: Mutex::default(), states: States::default(), made: Mutex::new(0) }
    }

    pub(super) fn states(&self) -> Vec<PodState> {
        lock(&self.states).values().cloned().collect()
    }

    /// Starts, ends and replaces pods until they are what the objects say. A pod whose labels alone changed stays.
    /// Objects that are not `complete`, because a file cannot be read, end no pod.
    pub(super) fn sync(&self, objects: &[Object], complete: bool) {
        let mut wanted = BTreeMap::new();
        for object in objects.iter().filter(|object| object.kind() == "Pod") {
            match serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(object.value.clone()) {
                Ok(pod) => {
                    let asks = capabilities::of(&pod);
                    wanted.insert(object.name(), (pod.spec.unwrap_or_default(), asks));
                }
                Err(error) => tracing::warn!("pod {}: {error}", object.name()),
            }
        }
        let services = pod::service_environment(objects);
        let mut tasks = lock(&self.tasks);
        for (name, task) in tasks.iter() {
            let goes = wanted.get(name).map_or(complete, |(spec, _)| *spec != task.spec);
            if goes {
                task.end.send_replace(true);
            }
        }
        for (name, (spec, asks)) in wanted {
            let before = match tasks.get(&name) {
                Some(task) if task.spec == spec && !*task.end.borrow() => continue,
                before => before.map(|task| task.done.clone()),
            };
            let environment = services.get(name.split('/').next().unwrap_or_default()).cloned();
            let task = self.start(&name, (spec, asks), environment.unwrap_or_default(), before);
            tasks.insert(name, task);
        }
    }

    fn start(
        &self,
        name: &str,
        (spec, asks): (PodSpec, Value),
        services: Vec<(String, String)>,
        before: Option<watch::Receiver<bool>>,
    ) -> Task {
        let (end, ended) = watch::channel(false);
        let (finish, done) = watch::channel(false);
        let generation = {
            let mut made = lock(&self.made);
            *made += 1;
            *made
        };
        let (states, starts) = (self.states.clone(), self.processes.starts());
        let sandbox =
            Sandbox::new(self.state.clone(), name, spec.clone(), services, generation, states, starts)
                .asking(asks);
        tokio::spawn(async move {
            if let Some(mut before) = before {
                // An error means that its task is gone, which is as good.
                before.wait_for(|done| *done).await.ok();
            }
            sandbox.run(ended).await;
            finish.send_replace(true);
        });
        Task { spec, end, done }
    }
}
