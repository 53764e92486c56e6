//! The data path of one node, as the agent holds it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aya::maps::RingBuf;
use fairway_common::{Reason, reason::Count};

use crate::attach::{Attachments, Place};
use crate::load::{PROGRAMS, Programs, SOCKET_PROGRAMS, WIRE_PROGRAM, map_directory};
use crate::maps::Maps;
use crate::table::{Image, Op, StateVersion, Tables};
use crate::{
    Connection, Error, Events, Network, Options, Pod, ProgramInfo, Repair, Timeouts, Tracker, TunnelDevice,
    XdpMode,
};

/// The loaded and attached data path of one node.
///
/// Dropping it leaves everything in force: links and maps are pinned.
pub struct Datapath {
    options: Options,
    programs: Programs,
    attachments: Attachments,
    maps: Maps,
    /// The pods that it was told of.
    pods: BTreeMap<IpAddr, Pod>,
    /// Put back before the programs were loaded anew, and not told yet.
    repaired: Vec<Repair>,
}

impl Datapath {
    /// Loads the programs, and takes over the maps that an earlier agent pinned. Its links keep the programs they
    /// have until `attach_*` names their place again.
    pub fn open(options: Options) -> Result<Self, Error> {
        let programs = Programs::load(&options)?;
        let attachments = Attachments::open(&options.pins)?;
        let mut maps = Maps::open(&map_directory(&options.pins))?;
        maps.begin()?;
        Ok(Self { options, programs, attachments, maps, pods: BTreeMap::new(), repaired: Vec::new() })
    }

    /// Attaches to a device through which traffic reaches and leaves the node. Again is a success.
    pub fn attach_network(&mut self, interface: &str) -> Result<(), Error> {
        self.attach_device(interface, "from_network", "to_network")
    }

    /// Attaches to the driver of a network device: what can be sent back out of it at once never gets further. Again is a
    /// success; another mode takes the place of an earlier agent's. For [`Options::xdp`] only.
    ///
    /// # Errors
    ///
    /// [`Error::XdpTaken`], [`Error::NoXdp`]: everything goes on without.
    pub fn attach_wire(&mut self, interface: &str, mode: XdpMode) -> Result<(), Error> {
        self.attachments.unpin_wire(interface, mode)?;
        let place = Place::Wire { interface: interface.to_owned(), mode };
        self.attachments.attach(&mut self.programs, WIRE_PROGRAM, place)
    }

    /// Attaches to a pod's device on the node's side. Again is a success.
    pub fn attach_pod(&mut self, interface: &str) -> Result<(), Error> {
        self.attach_device(interface, "from_pod", "to_pod")
    }

    /// The egress program first: replies must be known before connections are made.
    fn attach_device(
        &mut self,
        interface: &str,
        ingress: &'static str,
        egress: &'static str,
    ) -> Result<(), Error> {
        for (program, ingress) in [(egress, false), (ingress, true)] {
            let place = Place::Device { interface: interface.to_owned(), ingress };
            self.attachments.attach(&mut self.programs, program, place)?;
        }
        Ok(())
    }

    /// Attaches to the device of tunnels to other nodes. Again is a success.
    pub fn attach_tunnel(&mut self, interface: &str) -> Result<(), Error> {
        self.attach_device(interface, "from_tunnel", "to_tunnel")
    }

    /// Attaches to the sockets of a cgroup v2 directory and everything below it. Again is a success.
    pub fn attach_sockets(&mut self, cgroup: &Path) -> Result<(), Error> {
        // In reverse: what shows the Service address is there before what hides it.
        for program in SOCKET_PROGRAMS.into_iter().rev() {
            self.attachments.attach(&mut self.programs, program, Place::Cgroup(cgroup.to_owned()))?;
        }
        Ok(())
    }

    /// Forgets what was attached to a device that is gone or about to go.
    pub fn detach(&mut self, interface: &str) -> Result<(), Error> {
        self.attachments.detach(interface)
    }

    /// Adds or replaces a pod's address.
    pub fn put_pod(&mut self, pod: &Pod) -> Result<(), Error> {
        self.pods.insert(pod.address, *pod);
        self.maps.put_pod(pod)
    }

    /// Makes what is known beyond this node exactly this.
    pub fn set_networks(&mut self, networks: &[Network]) -> Result<(), Error> {
        self.maps.set_networks(networks)
    }

    /// Gives packets for other nodes' pods another device of tunnels, or none; attachments never have a gap.
    pub fn set_tunnel(datapath: &Mutex<Self>, tunnel: Option<TunnelDevice>) -> Result<(), Error> {
        Self::reload(datapath, |options| options.tunnel = tunnel)
    }

    /// Removes a pod's address; one that is not there is a success. Whether connections of it were translated on the wire:
    /// the next pod of this address must not meet them, see [`Tracker::forget_pod`].
    pub fn delete_pod(&mut self, address: IpAddr) -> Result<bool, Error> {
        self.pods.remove(&address);
        self.maps.delete_pod(address)
    }

    /// The pods in the kernel, sorted by address.
    pub fn pods(&self) -> Result<Vec<Pod>, Error> {
        self.maps.pods()
    }

    /// Detaches what an earlier agent attached to places that this one has not named: to be called when all are.
    pub fn detach_others(&mut self) -> Result<(), Error> {
        self.attachments.detach_others()
    }

    /// Swaps all programs for builds that do or do not write events; attachments never have a gap.
    pub fn set_tracing(datapath: &Mutex<Self>, on: bool) -> Result<(), Error> {
        Self::reload(datapath, |options| options.trace = on)
    }

    /// Gives the connections that this node sends on new sources, one of each family that the node has; attachments
    /// never have a gap.
    pub fn set_node_addresses(datapath: &Mutex<Self>, addresses: &[IpAddr]) -> Result<(), Error> {
        Self::reload(datapath, |options| addresses.clone_into(&mut options.node_addresses))
    }

    /// The kernel checks programs for seconds: they are loaded without the lock, and swapped under it.
    fn reload(datapath: &Mutex<Self>, change: impl Fn(&mut Options)) -> Result<(), Error> {
        let lock = || datapath.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let before = lock().options.clone();
            let mut options = before.clone();
            change(&mut options);
            if options == before {
                return Ok(());
            }
            lock().pin_maps_again();
            let mut programs = Programs::load(&options)?;
            let mut this = lock();
            if this.options != before {
                // Another change came first: this one is made upon it.
                continue;
            }
            this.attachments.swap(&mut programs)?;
            this.options = options;
            let old = std::mem::replace(&mut this.programs, programs);
            drop(this);
            drop(old);
            return Ok(());
        }
    }

    /// Programs are loaded with the maps that are pinned: where there is no pin they would get new ones.
    fn pin_maps_again(&mut self) {
        // What cannot be pinned is told by the next repair.
        self.maps.repair(&mut self.repaired, &mut Vec::new());
    }

    /// Looks whether everything that was made is still in force, and puts back what is not. Says what, and what could
    /// not be put back. Cheap: some system calls for each attachment and map.
    pub fn repair(&mut self) -> (Vec<Repair>, Vec<Error>) {
        let (mut repaired, mut failed) = (std::mem::take(&mut self.repaired), Vec::new());
        self.maps.repair(&mut repaired, &mut failed);
        self.maps.repair_pods(self.pods.values(), &mut repaired, &mut failed);
        self.attachments.repair(&mut self.programs, &mut repaired, &mut failed);
        (repaired, failed)
    }

    /// Lets the kernel forget where Services were that are gone, and have no connections any more: packets for such addresses
    /// are looked up for nothing until then. Does something only where much is gone.
    pub fn tidy(&mut self) -> Result<(), Error> {
        self.maps.tidy()
    }

    /// A packet program by name, for test runs.
    pub fn classifier(&mut self, name: &'static str) -> Result<&aya::programs::SchedClassifier, Error> {
        self.programs.classifier(name).map(|program| &*program)
    }

    /// The program at drivers, for test runs.
    pub fn xdp(&mut self) -> Result<&aya::programs::Xdp, Error> {
        self.programs.xdp().map(|program| &*program)
    }

    /// The name of any program in the kernel, by its id; none: there is no such program.
    pub fn name_of_program(id: u32) -> Option<String> {
        let mut all = aya::programs::loaded_programs().flatten();
        all.find(|program| program.id() == id)?.name_as_str().map(str::to_owned)
    }

    /// Opens the event ring. One reader at a time.
    pub fn events(&self) -> Result<Events, Error> {
        let ring = RingBuf::try_from(self.maps.events()?).map_err(Error::map("open", "EVENTS"))?;
        Ok(Events::new(ring))
    }

    /// Counts of all reasons, summed over CPUs.
    pub fn counts(&self) -> Result<Vec<(Reason, Count)>, Error> {
        self.maps.counts()
    }

    /// Events that found the ring full.
    pub fn events_lost(&self) -> Result<u64, Error> {
        self.maps.events_lost()
    }

    /// Translated connections, sorted.
    pub fn connections(&self) -> Result<Vec<Connection>, Error> {
        self.tracker()?.list(&Timeouts::default())
    }

    /// The tables of connections, to be used without this.
    pub fn tracker(&self) -> Result<Tracker, Error> {
        Tracker::open(&self.options.pins)
    }

    /// The loaded programs, by name.
    pub fn programs(&self) -> Result<Vec<ProgramInfo>, Error> {
        let mut infos = PROGRAMS
            .into_iter()
            .filter(|name| self.programs.has(name))
            .map(|name| {
                let info = self.programs.info(name)?;
                let (attached, method) = self.attachments.of(name);
                Ok(ProgramInfo {
                    name: name.to_owned(),
                    attached,
                    method,
                    id: info.id(),
                    tag: info.tag(),
                    verified_instructions: info.verified_instruction_count().unwrap_or(0),
                    memory: info.memory_locked().unwrap_or(0),
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }
}

impl Tables for Datapath {
    type Error = Error;

    fn image(&self) -> Result<Image, Error> {
        self.maps.image(true)
    }

    fn image_apart(datapath: &Mutex<Self>) -> Result<Image, Error> {
        let pins = datapath.lock().unwrap_or_else(PoisonError::into_inner).options.pins.clone();
        Maps::open(&map_directory(&pins))?.image(false)
    }

    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        self.maps.apply(std::slice::from_ref(op))
    }

    fn apply_all(&mut self, ops: &[Op]) -> Result<(), Error> {
        self.maps.apply(ops)
    }

    fn begun(&self) -> Result<StateVersion, Error> {
        self.maps.begun()
    }

    fn begin(&mut self, version: StateVersion) -> Result<(), Error> {
        self.maps.begin_version(version)
    }
}
