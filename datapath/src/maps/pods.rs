//! Pods of one family: the table of all, and the two arrays that the kernel looks into first.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::{Array, HashMap, MapData};
use fairway_common::link::Link;
use fairway_common::pod::{Device, Near, Pod as KernelPod, place};
use fairway_common::{Family, limits};

use super::half::{Address, gone_is_fine, open, write_error};
use crate::{Error, Pod};

/// The pods of one family.
pub(super) struct Pods<A: Address> {
    all: HashMap<MapData, Words<A>, KernelPod>,
    near: Array<MapData, Near<A>>,
    devices: Array<MapData, Device<A>>,
}

/// An address as a map's key.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words<A>(pub(super) A);

#[expect(unsafe_code, reason = "an array of 32-bit words")]
// SAFETY: `repr(transparent)` over an array of integers.
unsafe impl<A: Family> aya::Pod for Words<A> {}

impl<A: Address> Pods<A> {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let [.., all] = A::NAMES;
        let [near, devices] = A::NEAR;
        Ok(Self {
            all: open(directory, all)?.try_into().map_err(Error::map("open", all))?,
            near: open(directory, near)?.try_into().map_err(Error::map("open", near))?,
            devices: open(directory, devices)?.try_into().map_err(Error::map("open", devices))?,
        })
    }

    /// Makes the arrays agree with what the table has.
    pub(super) fn begin(&mut self, all: &[(Words<A>, KernelPod)]) -> Result<(), Error> {
        let mut others = BTreeMap::<u32, (A, u32)>::new();
        for (Words(address), pod) in all {
            let flags = pod.flags | KernelPod::TRANSLATES;
            let near = self.near(*address)?;
            if near.pod.ifindex == 0 {
                let pod = KernelPod { flags, others: near.pod.others, ..*pod };
                self.set_near(Near { pod, address: *address }, *address)?;
            } else if near.address != *address {
                others.entry(place(*address)).or_insert((*address, 0)).1 += 1;
            }
            if self.device(pod.ifindex)?.ifindex == 0 {
                self.put_device(pod.ifindex, Device { ifindex: pod.ifindex, flags, address: *address })?;
            }
        }
        for (address, count) in others.into_values() {
            let near = self.near(address)?;
            if near.pod.others < count {
                self.set_near(shared(near, count), address)?;
            }
        }
        Ok(())
    }

    /// The kernel programs set a bit of the value: where another value was, it may have been set since. `was_there`: even if
    /// it is not now.
    pub(super) fn put(&mut self, address: A, pod: &Pod, was_there: bool) -> Result<(), Error> {
        let old = self.all.get(&Words(address), 0).ok();
        let translates = if was_there || old.is_some() { KernelPod::TRANSLATES } else { 0 };
        let shaped = if pod.shaped { KernelPod::SHAPED } else { 0 };
        let value = KernelPod {
            ifindex: pod.ifindex,
            flags: translates | shaped,
            link: Link::new(pod.node_mac, pod.pod_mac),
            others: 0,
        };
        if old.is_some_and(|old| KernelPod { flags: old.flags | KernelPod::TRANSLATES, ..old } == value) {
            return Ok(());
        }
        // The arrays first: the kernel marks a pod there once it finds it in the table.
        self.put_near(address, value, old.is_some())?;
        self.put_device(pod.ifindex, Device { ifindex: pod.ifindex, flags: value.flags, address })?;
        if let Some(old) = old.filter(|old| old.ifindex != pod.ifindex) {
            self.leave_device(old.ifindex, address)?;
        }
        self.all
            .insert(Words(address), value, 0)
            .map_err(|error| write_error(error, A::NAMES[2], limits::PODS))
    }

    /// Whether the pod had connections that were translated on the wire: its flag says so.
    pub(super) fn delete(&mut self, address: A) -> Result<bool, Error> {
        let old = self.all.get(&Words(address), 0).ok();
        let Some(old) = old else { return Ok(false) };
        // A place of its own is given up first, and another one's is left last: what stops in between costs time at most.
        let near = self.near(address)?;
        let own = near.pod.ifindex != 0 && near.address == address;
        if own {
            let none = KernelPod { others: near.pod.others, ..KernelPod::default() };
            self.set_near(Near { pod: none, address: A::UNSPECIFIED }, address)?;
        }
        gone_is_fine(self.all.remove(&Words(address))).map_err(Error::map("write", A::NAMES[2]))?;
        if !own {
            self.set_near(shared(near, near.pod.others.saturating_sub(1)), address)?;
        }
        self.leave_device(old.ifindex, address)?;
        Ok(old.flags & KernelPod::TRANSLATES != 0)
    }

    /// What has the place of a device.
    fn device(&self, index: u32) -> Result<Device<A>, Error> {
        self.devices.get(&(index % limits::DEVICES), 0).map_err(Error::map("read", A::NEAR[1]))
    }

    /// From now on nobody sends from the address at this device (S89).
    fn leave_device(&mut self, index: u32, address: A) -> Result<(), Error> {
        let device = self.device(index)?;
        if device.ifindex != index || device.address != address {
            return Ok(());
        }
        self.put_device(index, Device { ifindex: 0, flags: 0, address: A::UNSPECIFIED })
    }

    fn put_device(&mut self, index: u32, device: Device<A>) -> Result<(), Error> {
        self.devices.set(index % limits::DEVICES, device, 0).map_err(Error::map("write", A::NEAR[1]))
    }

    fn near(&self, address: A) -> Result<Near<A>, Error> {
        self.near.get(&place(address), 0).map_err(Error::map("read", A::NEAR[0]))
    }

    fn set_near(&mut self, near: Near<A>, at: A) -> Result<(), Error> {
        self.near.set(place(at), near, 0).map_err(Error::map("write", A::NEAR[0]))
    }

    /// Where another pod has the place it stays.
    fn put_near(&mut self, address: A, pod: KernelPod, known: bool) -> Result<(), Error> {
        let near = self.near(address)?;
        let others = near.pod.others;
        if near.pod.ifindex == 0 || near.address == address {
            // One of those that have no place may have it now.
            let others = if known && near.address != address { others.saturating_sub(1) } else { others };
            return self.set_near(Near { pod: KernelPod { others, ..pod }, address }, address);
        }
        if known {
            return Ok(());
        }
        self.set_near(shared(near, others + 1), address)
    }
}

/// A place with so many others in the table only. Its pod may have been marked since it was read.
fn shared<A>(near: Near<A>, others: u32) -> Near<A> {
    let flags = near.pod.flags | KernelPod::TRANSLATES;
    Near { pod: KernelPod { others, flags, ..near.pod }, ..near }
}
