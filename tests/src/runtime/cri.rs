//! What a kubelet asks of a container runtime.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use self::v1::image_service_client::ImageServiceClient;
use self::v1::runtime_service_client::RuntimeServiceClient;
use super::image;
use crate::lab::{binaries, search_path};

#[expect(unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated")]
mod v1 {
    tonic::include_proto!("runtime.v1");
}

const NODE_NETWORK: i32 = 2;
const EXITED: i32 = 2;

/// Why the runtime did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not answer.
    #[error("the container runtime does not answer")]
    Connect(#[from] tonic::transport::Error),
    /// It says no.
    #[error("{call}: {}", .status.message())]
    Refused {
        /// What was asked.
        call: &'static str,
        /// What it says.
        status: Box<tonic::Status>,
    },
    /// Its images are not there yet.
    #[error("image `{0}` is not imported yet")]
    NoImage(&'static str),
    /// An answer that says nothing.
    #[error("{0}: the answer is not complete")]
    Incomplete(&'static str),
    /// The build's directory is not known.
    #[error("the programs' directory")]
    Programs(#[from] io::Error),
}

/// A pod as the runtime is to make it.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// Told from others of the name by it.
    pub uid: String,
    /// Path of the cgroup that its containers get theirs in, below the root of each cgroup mount.
    pub cgroup: String,
    /// Where logs go.
    pub logs: PathBuf,
    /// In the node's network namespace.
    pub host_network: bool,
    /// How the runtime makes it: empty, or [`CHAINED`](super::CHAINED).
    pub handler: &'static str,
    /// Ports of the node that lead to it.
    pub ports: Vec<Port>,
    /// Annotations.
    pub annotations: Vec<(String, String)>,
}

/// A port of the node, and the pod's that it leads to.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// The node's.
    pub node: u16,
    /// The pod's.
    pub pod: u16,
    /// UDP instead of TCP.
    pub is_udp: bool,
    /// The node's address, if it is at one only.
    pub address: String,
}

/// A program of this machine, run in a container.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The container's name.
    pub name: String,
    /// Which start of it this is.
    pub attempt: u32,
    /// Program and arguments; the build's programs are found by name.
    pub command: Vec<String>,
    /// Environment.
    pub environment: Vec<(String, String)>,
    /// File of its output, below the pod's `logs`.
    pub log: String,
}

/// How a program run in a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Exit code.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// And to the other.
    pub stderr: String,
}

/// A connection to a node's container runtime.
#[derive(Clone, Debug)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Cri {
    /// Connects to the runtime that listens at `socket`; again by itself when it was restarted.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { io::Result::Ok(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        let channel = Endpoint::from_static("http://runtime").connect_with_connector(connector).await?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
        })
    }

    /// Whether pods can be made: images, runtime and network are there.
    ///
    /// # Errors
    /// What is missing.
    pub async fn ready(&self) -> Result<(), Error> {
        for name in [image::PAUSE, image::ROOT] {
            let request = v1::ImageStatusRequest { image: Some(v1::ImageSpec { image: name.into() }) };
            let answer = self.images.clone().image_status(request).await.map_err(refused("image status"))?;
            answer.into_inner().image.ok_or(Error::NoImage(name))?;
        }
        let answer = self.runtime.clone().status(v1::StatusRequest {}).await.map_err(refused("status"))?;
        let conditions = answer.into_inner().status.unwrap_or_default().conditions;
        match conditions.into_iter().find(|condition| !condition.status) {
            None => Ok(()),
            Some(not) => {
                let status = Box::new(tonic::Status::unavailable(format!("{}: {}", not.r#type, not.message)));
                Err(Error::Refused { call: "status", status })
            }
        }
    }

    /// Makes the pod's sandbox, network included; its id.
    ///
    /// # Errors
    /// What the runtime or a network plugin says.
    pub async fn run_pod(&self, pod: &Pod) -> Result<String, Error> {
        let request =
            v1::RunPodSandboxRequest { config: Some(sandbox(pod)), runtime_handler: pod.handler.into() };
        let answer = self.runtime.clone().run_pod_sandbox(request).await.map_err(refused("run pod"))?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    /// The addresses of a pod.
    ///
    /// # Errors
    /// There is no such pod.
    pub async fn addresses(&self, pod_id: &str) -> Result<Vec<IpAddr>, Error> {
        let network = self.sandbox(pod_id).await?.status.unwrap_or_default().network.unwrap_or_default();
        let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
        Ok(all.filter_map(|ip| ip.parse().ok()).collect())
    }

    /// Where a pod's network namespace is bound.
    ///
    /// # Errors
    /// There is no such pod, or it has the node's.
    pub async fn netns(&self, pod_id: &str) -> Result<PathBuf, Error> {
        let info = self.sandbox(pod_id).await?.info;
        let info: Value =
            info.get("info").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let namespaces = info.pointer("/runtimeSpec/linux/namespaces").and_then(Value::as_array);
        let network = namespaces.into_iter().flatten().find(|one| one["type"] == "network");
        let path = network.and_then(|one| one["path"].as_str());
        path.map(PathBuf::from).ok_or(Error::Incomplete("pod status"))
    }

    async fn sandbox(&self, pod_id: &str) -> Result<v1::PodSandboxStatusResponse, Error> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: pod_id.into(), verbose: true };
        let answer = self.runtime.clone().pod_sandbox_status(request).await.map_err(refused("pod status"))?;
        Ok(answer.into_inner())
    }

    /// Starts a container of the pod; its id.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn start(&self, pod_id: &str, pod: &Pod, program: &Program) -> Result<String, Error> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod_id.into(),
            config: Some(container(pod, program)?),
            sandbox_config: Some(sandbox(pod)),
        };
        let answer =
            self.runtime.clone().create_container(request).await.map_err(refused("create container"))?;
        let container_id = answer.into_inner().container_id;
        let request = v1::StartContainerRequest { container_id: container_id.clone() };
        self.runtime.clone().start_container(request).await.map_err(refused("start container"))?;
        Ok(container_id)
    }

    /// How a container ended, if it did.
    ///
    /// # Errors
    /// There is no such container.
    pub async fn ended(&self, container_id: &str) -> Result<Option<String>, Error> {
        let request = v1::ContainerStatusRequest { container_id: container_id.into() };
        let answer =
            self.runtime.clone().container_status(request).await.map_err(refused("container status"))?;
        let status = answer.into_inner().status.unwrap_or_default();
        let how = format!("exit status: {} {} {}", status.exit_code, status.reason, status.message);
        Ok((status.state == EXITED).then(|| how.trim().to_owned()))
    }

    /// Runs a program inside a container.
    ///
    /// # Errors
    /// It cannot be started, or takes more than half a minute.
    pub async fn exec(&self, container_id: &str, words: &[&str]) -> Result<Exec, Error> {
        let cmd = words.iter().map(|word| (*word).to_owned()).collect();
        let request = v1::ExecSyncRequest { container_id: container_id.into(), cmd, timeout: 30 };
        let answer = self.runtime.clone().exec_sync(request).await.map_err(refused("exec"))?.into_inner();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok(Exec { code: answer.exit_code, stdout: text(answer.stdout), stderr: text(answer.stderr) })
    }

    /// Ends a container, by force after `grace`, and removes it.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn end(&self, container_id: &str, grace: Duration) -> Result<(), Error> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = v1::StopContainerRequest { container_id: container_id.into(), timeout };
        self.runtime.clone().stop_container(request).await.map_err(refused("stop container"))?;
        let request = v1::RemoveContainerRequest { container_id: container_id.into() };
        self.runtime.clone().remove_container(request).await.map_err(refused("remove container"))?;
        Ok(())
    }

    /// Ends all of a pod and takes its network down. One that is stopped, or not there, is a success.
    ///
    /// # Errors
    /// What the runtime or a network plugin says.
    pub async fn stop_pod(&self, pod_id: &str) -> Result<(), Error> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: pod_id.into() };
        self.runtime.clone().stop_pod_sandbox(request).await.map_err(refused("stop pod"))?;
        Ok(())
    }

    /// Removes what is left of a pod.
    ///
    /// # Errors
    /// It runs.
    pub async fn remove_pod(&self, pod_id: &str) -> Result<(), Error> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: pod_id.into() };
        self.runtime.clone().remove_pod_sandbox(request).await.map_err(refused("remove pod"))?;
        Ok(())
    }
}

fn refused(call: &'static str) -> impl Fn(tonic::Status) -> Error {
    move |status| Error::Refused { call, status: Box::new(status) }
}

fn sandbox(pod: &Pod) -> v1::PodSandboxConfig {
    let (namespace, name) = pod.name.split_once('/').unwrap_or(("default", &pod.name));
    let metadata = v1::PodSandboxMetadata {
        name: name.into(),
        uid: pod.uid.clone(),
        namespace: namespace.into(),
        attempt: 0,
    };
    let port_mappings = pod.ports.iter().map(|port| v1::PortMapping {
        protocol: port.is_udp.into(),
        host_port: port.node.into(),
        container_port: port.pod.into(),
        host_ip: port.address.clone(),
    });
    v1::PodSandboxConfig {
        metadata: Some(metadata),
        hostname: if pod.host_network { String::new() } else { name.into() },
        log_directory: pod.logs.display().to_string(),
        port_mappings: port_mappings.collect(),
        annotations: pod.annotations.iter().cloned().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: format!("/{}", pod.cgroup),
            security_context: Some(v1::LinuxSandboxSecurityContext { namespace_options: Some(network(pod)) }),
        }),
    }
}

fn network(pod: &Pod) -> v1::NamespaceOption {
    v1::NamespaceOption { network: if pod.host_network { NODE_NETWORK } else { 0 } }
}

fn container(pod: &Pod, program: &Program) -> Result<v1::ContainerConfig, Error> {
    let mut environment: HashMap<String, String> = program.environment.iter().cloned().collect();
    environment.insert("PATH".into(), search_path()?.to_string_lossy().into_owned());
    let mount = |path: PathBuf| {
        let path = path.display().to_string();
        v1::Mount { container_path: path.clone(), host_path: path, readonly: true }
    };
    let mounts = image::mounts().into_iter().chain([binaries()?]).map(mount);
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: program.name.clone(), attempt: program.attempt }),
        image: Some(v1::ImageSpec { image: image::ROOT.into() }),
        command: program.command.clone(),
        envs: environment.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
        mounts: mounts.collect(),
        log_path: program.log.clone(),
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(network(pod)),
            }),
        }),
    })
}
