//! Puts pods in force and takes them back: state, devices and programs in step.

use std::net::IpAddr;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use fairway_datapath::Pod;
use fairway_proto::control::PodStatus;
use fairway_proto::node::{AddRequest, AddResponse, CollectRequest, DeleteRequest, SetStatusRequest};
use ipnet::IpNet;
use tokio::sync::{Mutex, watch};

use super::error::chain;
use super::ipam::Exhausted;
use super::state::{Record, State, StateFile};
use super::{Error, Options, PodEntry, ProgramError, Programs, host_ports, sysctl, wiring};
use crate::netlink::Netlink;
use crate::resolve::HostPorts;

/// All that a change of the pods needs.
pub(super) struct Force {
    mtu: u32,
    cidrs: StdMutex<Vec<IpNet>>,
    file: StateFile,
    pub(super) netlink: Netlink,
    programs: Arc<dyn Programs>,
    /// Held for the whole of a change.
    pub(super) state: Mutex<State>,
    pub(super) entries: watch::Sender<Vec<PodEntry>>,
    pub(super) statuses: watch::Sender<Vec<PodStatus>>,
    pub(super) host_ports: watch::Sender<HostPorts>,
}

impl Force {
    pub(super) async fn open(
        options: Options,
        netlink: Netlink,
        programs: Arc<dyn Programs>,
    ) -> Result<Self, Error> {
        let file = StateFile::new(&options.state_dir)?;
        let state = file.read()?;
        let force = Self {
            mtu: options.mtu,
            cidrs: StdMutex::default(),
            file,
            netlink,
            programs,
            entries: watch::Sender::default(),
            statuses: watch::Sender::default(),
            host_ports: watch::Sender::default(),
            state: Mutex::new(state),
        };
        force.set_cidrs(options.cidrs);
        force.restore().await?;
        Ok(force)
    }

    pub(super) fn set_cidrs(&self, cidrs: Vec<IpNet>) {
        let mut current = self.cidrs.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != cidrs {
            sysctl::warn_if_not_forwarding(&cidrs);
            *current = cidrs;
        }
    }

    pub(super) async fn add(&self, request: AddRequest) -> Result<AddResponse, Error> {
        present("container_id", &request.container_id)?;
        present("netns", &request.netns)?;
        present("interface", &request.interface)?;
        let mut state = self.state.lock().await;
        if let Some(record) = state.find(&request.container_id, &request.interface).cloned() {
            if self.is_in_force(&record, &request.netns).await? {
                return Ok(self.response(&record));
            }
            self.remove(&mut state, &record).await?;
        }
        let (netns, pod) = wiring::enter(&request.netns).await?;
        if pod.link(&request.interface).await?.is_some() {
            return Err(Error::InterfaceExists { interface: request.interface });
        }
        // Written before anything is made, so that a crash leaves nothing that nobody knows.
        let mut record = self.reserve(&mut state, request).await?;
        let result = async {
            record.ifindex = wiring::connect(&self.netlink, &pod, &netns, self.mtu, &record).await?;
            self.put_programs(&record).await?;
            record.complete = true;
            let mut next = state.clone();
            next.put(record.clone());
            self.commit(&mut state, next).await
        }
        .await;
        if let Err(error) = result {
            if let Err(left) = self.remove(&mut state, &record).await {
                tracing::warn!("after a pod could not be added: {}", chain(&left));
            }
            return Err(error);
        }
        Ok(self.response(&record))
    }

    pub(super) async fn delete(&self, request: DeleteRequest) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let record = state.find(&request.container_id, &request.interface).cloned();
        match record {
            Some(record) => self.remove(&mut state, &record).await,
            None => self.remove_unknown(&state, &request).await,
        }
    }

    /// Removes the device of a pod that was added before the state was lost, if there is one.
    async fn remove_unknown(&self, state: &State, request: &DeleteRequest) -> Result<(), Error> {
        let name = wiring::node_interface(&request.container_id, &request.interface);
        if state.pods.iter().any(|record| record.node_interface == name) {
            return Ok(());
        }
        Ok(self.netlink.delete_link(&name).await?)
    }

    pub(super) async fn collect(&self, request: CollectRequest) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let listed =
            |record: &Record| request.valid.iter().any(|it| record.is(&it.container_id, &it.interface));
        let gone: Vec<Record> = state.pods.iter().filter(|record| !listed(record)).cloned().collect();
        let mut errors = Vec::new();
        for record in gone {
            errors.extend(self.remove(&mut state, &record).await.err());
        }
        all(errors)
    }

    pub(super) async fn ready(&self) -> Result<(), Error> {
        let state = self.state.lock().await;
        self.pick(&state).await.map(|_| ())
    }

    pub(super) async fn set_status(&self, request: SetStatusRequest) -> Result<(), Error> {
        present("name", &request.name)?;
        let mut state = self.state.lock().await;
        let mut next = state.clone();
        next.set_status(&request.namespace, &request.name, request.ready, request.terminating);
        if next == *state { Ok(()) } else { self.commit(&mut state, next).await }
    }

    /// Free addresses, and the state in which they are the last ones given out.
    async fn pick(&self, state: &State) -> Result<(Vec<IpAddr>, State), Error> {
        let cidrs = self.cidrs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if cidrs.is_empty() {
            return Err(Error::NoCidrs);
        }
        let mut used = state.used();
        // Pods that were added before the state was lost.
        used.extend(self.netlink.pod_routes().await?);
        let mut next = state.clone();
        match next.ipam.reserve(&cidrs, &used) {
            Ok(addresses) => Ok((addresses, next)),
            Err(Exhausted { cidrs }) => Err(Error::Exhausted { cidrs }),
        }
    }

    async fn reserve(&self, state: &mut State, request: AddRequest) -> Result<Record, Error> {
        let ports = host_ports::read(&request.port_mappings)?;
        host_ports::require_free(&ports, state)?;
        let (addresses, mut next) = self.pick(state).await?;
        let (pod_mac, node_mac) = wiring::macs(&request.container_id, &request.interface);
        let record = Record {
            node_interface: wiring::node_interface(&request.container_id, &request.interface),
            container_id: request.container_id,
            interface: request.interface,
            netns: request.netns,
            namespace: request.pod_namespace,
            name: request.pod_name,
            ifindex: 0,
            addresses,
            pod_mac,
            node_mac,
            ports,
            complete: false,
        };
        next.put(record.clone());
        self.commit(state, next).await?;
        Ok(record)
    }

    /// Removes a pod from the kernel, then from the state. After an error it stays in the state, as incomplete.
    pub(super) async fn remove(&self, state: &mut State, record: &Record) -> Result<(), Error> {
        let mut errors = Vec::new();
        for address in record.addresses.clone() {
            let deleted = self.with_programs(move |programs| programs.delete_pod(address)).await;
            errors.extend(deleted.err());
        }
        let interface = record.node_interface.clone();
        errors.extend(self.with_programs(move |programs| programs.detach(&interface)).await.err());
        errors.extend(self.netlink.delete_link(&record.node_interface).await.err().map(Error::from));

        let mut next = state.clone();
        if errors.is_empty() {
            next.remove(record);
        } else {
            next.put(Record { complete: false, ..record.clone() });
        }
        errors.extend(self.commit(state, next).await.err());
        all(errors)
    }

    async fn is_in_force(&self, record: &Record, netns: &str) -> Result<bool, Error> {
        let link = self.netlink.link(&record.node_interface).await?;
        Ok(record.complete && record.netns == netns && link.is_some_and(|link| link.mac == record.node_mac))
    }

    pub(super) async fn put_programs(&self, record: &Record) -> Result<(), Error> {
        let Record { node_interface, addresses, ifindex, pod_mac, node_mac, .. } = record.clone();
        self.with_programs(move |programs| {
            programs.attach_pod(&node_interface)?;
            let pod = |address| Pod { address, ifindex, pod_mac, node_mac };
            addresses.into_iter().try_for_each(|address| programs.put_pod(&pod(address)))
        })
        .await
    }

    pub(super) async fn with_programs<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Programs) -> Result<T, ProgramError> + Send + 'static,
    ) -> Result<T, Error> {
        let programs = self.programs.clone();
        let done = tokio::task::spawn_blocking(move || work(programs.as_ref())).await;
        done.unwrap_or_else(|error| Err(error.into())).map_err(Error::Programs)
    }

    /// Makes `next` the state, on disk first; shows it to all who watch.
    pub(super) async fn commit(&self, state: &mut State, next: State) -> Result<(), Error> {
        self.file.write(&next).await?;
        *state = next;
        self.entries.send_replace(state.entries());
        self.host_ports.send_if_modified(|shown| host_ports::refresh(shown, state));
        let statuses = state.statuses();
        self.statuses.send_if_modified(|shown| {
            let changed = *shown != statuses;
            *shown = statuses;
            changed
        });
        Ok(())
    }

    fn response(&self, record: &Record) -> AddResponse {
        AddResponse {
            node_interface: record.node_interface.clone(),
            node_mac: text(record.node_mac),
            pod_mac: text(record.pod_mac),
            addresses: record.addresses.iter().map(|&address| IpNet::from(address).to_string()).collect(),
            gateways: record.addresses.iter().map(|&it| wiring::gateway(it).to_string()).collect(),
            mtu: self.mtu,
        }
    }
}

fn all(mut errors: Vec<Error>) -> Result<(), Error> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Removal(errors)),
    }
}

fn present(field: &'static str, value: &str) -> Result<(), Error> {
    if value.is_empty() { Err(Error::Missing(field)) } else { Ok(()) }
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
