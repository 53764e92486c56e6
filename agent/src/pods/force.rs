//! Puts pods in force and takes them back: state, devices and programs in step.

use std::sync::Arc;
use std::time::SystemTime;

use fairway_datapath::Pod;
use fairway_proto::deletions::Deletions;
use fairway_proto::node::{
    AddRequest, AddResponse, Attachment, CollectRequest, DeleteRequest, SetStatusRequest,
};
use ipnet::IpNet;
use tokio::sync::watch;

use super::error::chain;
use super::fault::{self, Step};
use super::ledger::Ledger;
use super::limits::Limits;
use super::state::Record;
use super::turns::Turns;
use super::{DELETIONS, Error, Mtu, Options, ProgramError, Programs, host_ports, sysctl, wiring};
use crate::netlink::Netlink;

/// All that a change of the pods needs.
pub(super) struct Force {
    pub(super) mtu: Mtu,
    pub(super) cidrs: watch::Sender<Vec<IpNet>>,
    pub(super) netlink: Netlink,
    programs: Arc<dyn Programs>,
    pub(super) turns: Turns,
    pub(super) deletions: Deletions,
    pub(super) ledger: Ledger,
}

impl Force {
    pub(super) async fn open(
        options: Options,
        netlink: Netlink,
        programs: Arc<dyn Programs>,
    ) -> Result<Self, Error> {
        let deletions = Deletions::new(options.state_dir.join(DELETIONS));
        let directory = options.state_dir;
        let opened = tokio::task::spawn_blocking(move || Ledger::open(&directory)).await;
        let force = Self {
            mtu: options.mtu,
            cidrs: watch::Sender::default(),
            netlink,
            programs,
            turns: Turns::default(),
            deletions,
            ledger: opened.map_err(|_| Error::Stopping)??,
        };
        force.set_cidrs(options.cidrs);
        force.catch_up().await;
        force.restore().await?;
        Ok(force)
    }

    pub(super) fn set_cidrs(&self, cidrs: Vec<IpNet>) {
        self.cidrs.send_if_modified(|current| {
            let changed = *current != cidrs;
            if changed {
                sysctl::warn_if_not_forwarding(&cidrs);
                *current = cidrs;
            }
            changed
        });
    }

    pub(super) async fn have_ranges(&self) {
        let mut cidrs = self.cidrs.subscribe();
        // The sender is this struct's own: there is always one.
        let _ranges = cidrs.wait_for(|cidrs| !cidrs.is_empty()).await;
    }

    pub(super) async fn add(&self, request: AddRequest) -> Result<AddResponse, Error> {
        present("container_id", &request.container_id)?;
        present("netns", &request.netns)?;
        present("interface", &request.interface)?;
        self.catch_up().await;
        let attachment =
            Attachment { container_id: request.container_id.clone(), interface: request.interface.clone() };
        let _turn = self.turns.take(&attachment.container_id, &attachment.interface).await;
        self.carry_out(&attachment).await?;
        if let Some(record) = self.find(&request.container_id, &request.interface) {
            if self.is_in_force(&record, &request.netns).await? {
                return Ok(self.response(&record));
            }
            self.remove(&record).await?;
        }
        let (netns, pod) = wiring::enter(&request.netns).await?;
        if pod.link(&request.interface).await?.is_some() {
            return Err(Error::InterfaceExists { interface: request.interface });
        }
        // Written before anything is made, so that a crash leaves nothing that nobody knows.
        let record = self.reserve(request).await?;
        fault::after(Step::Reserved);
        let result = async {
            let ifindex = wiring::connect(&self.netlink, &pod, &netns, self.mtu, &record).await?;
            let record = Record { ifindex, complete: true, ..record.clone() };
            self.put_programs(&record).await?;
            fault::after(Step::Served);
            self.ledger.change(|state| state.put(record.clone())).await?;
            fault::after(Step::Complete);
            Ok(self.response(&record))
        }
        .await;
        if result.is_err()
            && let Err(left) = self.remove(&record).await
        {
            tracing::warn!("after a pod could not be added: {}", chain(&left));
        }
        result
    }

    pub(super) async fn delete(&self, request: DeleteRequest) -> Result<(), Error> {
        let _turn = self.turns.take(&request.container_id, &request.interface).await;
        self.delete_in_turn(&request).await
    }

    pub(super) async fn delete_in_turn(&self, request: &DeleteRequest) -> Result<(), Error> {
        match self.find(&request.container_id, &request.interface) {
            Some(record) => self.remove(&record).await,
            None => {
                self.remove_unknown(request).await?;
                // An earlier deletion of it may have failed at the disk alone.
                self.ledger.settle().await
            }
        }
    }

    /// Removes the device of a pod that was added before the state was lost, if there is one.
    async fn remove_unknown(&self, request: &DeleteRequest) -> Result<(), Error> {
        let name = wiring::node_interface(&request.container_id, &request.interface);
        if self.ledger.look(|state| state.pods().iter().any(|record| record.node_interface == name)) {
            return Ok(());
        }
        Ok(self.netlink.delete_link(&name).await?)
    }

    pub(super) async fn collect(&self, request: CollectRequest) -> Result<(), Error> {
        self.catch_up().await;
        let listed =
            |record: &Record| request.valid.iter().any(|it| record.is(&it.container_id, &it.interface));
        let mut gone = self.ledger.look(|state| state.pods().to_vec());
        gone.retain(|record| !listed(record));
        let mut errors = Vec::new();
        for Record { container_id, interface, .. } in gone {
            let request = DeleteRequest { container_id, interface, netns: String::new() };
            errors.extend(self.delete(request).await.err());
        }
        all(errors)
    }

    pub(super) async fn ready(&self) -> Result<(), Error> {
        self.catch_up().await;
        self.ranges().await.map(|_| ())
    }

    pub(super) async fn set_status(&self, request: SetStatusRequest) -> Result<(), Error> {
        present("name", &request.name)?;
        let SetStatusRequest { namespace, name, ready, terminating } = request;
        self.ledger.change(|state| state.set_status(&namespace, &name, ready, terminating)).await
    }

    pub(super) fn find(&self, container_id: &str, interface: &str) -> Option<Record> {
        self.ledger.look(|state| state.find(container_id, interface).cloned())
    }

    /// The ranges that the next pod's addresses come from. If they have none, it is looked at what is in use in the
    /// kernel: a pod of a lost state may have gone.
    async fn ranges(&self) -> Result<Vec<IpNet>, Error> {
        let cidrs = self.cidrs.borrow().clone();
        if cidrs.is_empty() {
            return Err(Error::NoCidrs);
        }
        let (full, strays) =
            self.ledger.look(|state| (state.next_addresses(&cidrs).is_err(), !state.strays().is_empty()));
        if full && strays {
            self.look_for_strays().await?;
        }
        self.ledger.look(|state| state.next_addresses(&cidrs))?;
        Ok(cidrs)
    }

    /// Finds out which addresses are in use by pods that were added before the state was lost.
    pub(super) async fn look_for_strays(&self) -> Result<(), Error> {
        let routes = self.netlink.pod_routes().await?.into_iter();
        let addresses = routes.map(|(address, _)| address).collect();
        self.ledger.change(|state| state.set_in_use(addresses)).await
    }

    async fn reserve(&self, request: AddRequest) -> Result<Record, Error> {
        let ports = host_ports::read(&request.port_mappings)?;
        let limits = Limits::read(request.bandwidth.as_ref(), self.mtu.device)?;
        let (pod_mac, node_mac) = wiring::macs(&request.container_id, &request.interface);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            node_interface: wiring::node_interface(&request.container_id, &request.interface),
            container_id: request.container_id,
            interface: request.interface,
            netns: request.netns,
            namespace: request.pod_namespace,
            name: request.pod_name,
            ifindex: 0,
            addresses: Vec::new(),
            pod_mac,
            node_mac,
            ports,
            limits,
            complete: false,
            since: since.as_secs(),
        };
        let cidrs = self.ranges().await?;
        let reserved = self.ledger.change(|state| {
            host_ports::require_free(&record.ports, state)?;
            Ok(state.reserve(&cidrs, record.clone())?)
        });
        match reserved.await {
            Ok(reserved) => reserved,
            Err(unwritten) => {
                // In memory only: nothing was made for it.
                let _fails_as_well = self.ledger.change(|state| state.remove(&record)).await;
                Err(unwritten)
            }
        }
    }

    /// Removes a pod from the kernel, then from the state. After an error it stays in the state, as incomplete.
    pub(super) async fn remove(&self, record: &Record) -> Result<(), Error> {
        let mut errors = Vec::new();
        for address in record.addresses.clone() {
            let deleted = self.with_programs(move |programs| programs.delete_pod(address)).await;
            errors.extend(deleted.err());
        }
        fault::after(Step::Unserved);
        let interface = record.node_interface.clone();
        errors.extend(self.with_programs(move |programs| programs.detach(&interface)).await.err());
        fault::after(Step::Detached);
        errors.extend(self.netlink.delete_link(&record.node_interface).await.err().map(Error::from));
        fault::after(Step::Unpaired);
        let everything = errors.is_empty();
        let changed = self.ledger.change(|state| match everything {
            true => state.remove(record),
            false => state.put(Record { complete: false, ..record.clone() }),
        });
        errors.extend(changed.await.err());
        fault::after(Step::Forgotten);
        all(errors)
    }

    /// Whether the pod is served as it was added.
    pub(super) async fn is_in_force(&self, record: &Record, netns: &str) -> Result<bool, Error> {
        let link = self.netlink.link(&record.node_interface).await?;
        Ok(record.complete && record.netns == netns && link.is_some_and(|link| link.mac == record.node_mac))
    }

    pub(super) async fn put_programs(&self, record: &Record) -> Result<(), Error> {
        let Record { node_interface, addresses, ifindex, pod_mac, node_mac, limits, .. } = record.clone();
        let shaped = limits.ingress.is_some();
        self.with_programs(move |programs| {
            programs.attach_pod(&node_interface)?;
            fault::after(Step::Attached);
            let pod = |address| Pod { address, ifindex, pod_mac, node_mac, shaped };
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

    fn response(&self, record: &Record) -> AddResponse {
        AddResponse {
            node_interface: record.node_interface.clone(),
            node_mac: text(record.node_mac),
            pod_mac: text(record.pod_mac),
            addresses: record.addresses.iter().map(|&address| IpNet::from(address).to_string()).collect(),
            gateways: record.addresses.iter().map(|&it| wiring::gateway(it).to_string()).collect(),
            mtu: self.mtu.device,
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
