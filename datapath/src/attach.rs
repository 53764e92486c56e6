//! Attachments: made once, pinned, and from then on only given new programs.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{CgroupAttachMode, TcAttachType};

use crate::load::{Programs, WIRE_PROGRAM};
use crate::repair::{Repair, What};
use crate::{Error, XdpMode, raw};

/// Priority and handle of clsact filters: fixed, so that the next agent finds and replaces them.
const PRIORITY: u16 = 0xfa;
const HANDLE: u32 = 1;

/// Where a program is attached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A device, by name, and a direction.
    Device { interface: String, ingress: bool },
    /// The driver of a device, by name.
    Wire { interface: String, mode: XdpMode },
    /// A cgroup directory.
    Cgroup(PathBuf),
}

impl Place {
    /// What listings print.
    pub(crate) fn text(&self) -> String {
        match self {
            Place::Device { interface, .. } | Place::Wire { interface, .. } => interface.clone(),
            Place::Cgroup(path) => path.display().to_string(),
        }
    }

    /// What a link at this place says of it: interface index, or cgroup id.
    fn target(&self) -> Result<u64, Error> {
        match self {
            Place::Device { interface, .. } | Place::Wire { interface, .. } => {
                Ok(u64::from(ifindex(interface)?))
            }
            Place::Cgroup(path) => {
                use std::os::unix::fs::MetadataExt;
                Ok(std::fs::metadata(path).map_err(Error::io("open cgroup", path))?.ino())
            }
        }
    }

    fn direction(&self) -> TcAttachType {
        match self {
            Place::Device { ingress: true, .. } => TcAttachType::Ingress,
            _ => TcAttachType::Egress,
        }
    }
}

/// How a program is attached.
#[derive(Debug)]
pub(crate) enum Method {
    /// A pinned BPF link. It is held as well, so that it stays when somebody removes its pin.
    Link(OwnedFd),
    /// A clsact filter, which the kernel keeps (before Linux 6.6).
    Clsact,
}

/// All attachments of a node.
#[derive(Debug)]
pub(crate) struct Attachments {
    directory: PathBuf,
    places: BTreeMap<(&'static str, Place), Method>,
}

fn ifindex(interface: &str) -> Result<u32, Error> {
    nix::net::if_::if_nametoindex(interface)
        .map_err(|error| Error::io("find device", interface)(error.into()))
}

/// A file name for a place: a cgroup's path has slashes.
fn pin_name(program: &str, place: &Place) -> String {
    match place {
        Place::Device { interface, .. } | Place::Wire { interface, mode: XdpMode::Native } => {
            format!("{program}@{interface}")
        }
        // A link does not say in which mode it is.
        Place::Wire { interface, mode: XdpMode::Generic } => format!("{program}-generic@{interface}"),
        Place::Cgroup(_) => format!("{program}@cgroup"),
    }
}

impl Attachments {
    /// Attachments whose links are pinned below `pins`.
    pub(crate) fn open(pins: &Path) -> Result<Self, Error> {
        let directory = pins.join("links");
        std::fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        Ok(Self { directory, places: BTreeMap::new() })
    }

    /// Attaches a program, or gives it to the link that an earlier agent pinned.
    pub(crate) fn attach(
        &mut self,
        programs: &mut Programs,
        program: &'static str,
        place: Place,
    ) -> Result<(), Error> {
        let method = self.place(programs, program, &place)?;
        self.places.insert((program, place), method);
        Ok(())
    }

    fn place(&self, programs: &mut Programs, program: &'static str, place: &Place) -> Result<Method, Error> {
        let pin = self.directory.join(pin_name(program, place));
        if let Some(link) = self.take_over(programs, program, place, &pin)? {
            return Ok(Method::Link(link));
        }
        match place {
            Place::Device { interface, .. } => {
                let classifier = programs.classifier(program)?;
                let order = TcAttachOptions::TcxOrder(LinkOrder::default());
                let Ok(id) = classifier.attach_with_options(interface, place.direction(), order) else {
                    // No TCX: the filter of before Linux 6.6.
                    attach_clsact(programs, program, interface, place.direction())?;
                    return Ok(Method::Clsact);
                };
                let link = classifier.take_link(id).map_err(Error::program("attach", program))?;
                pin_link(FdLink::try_from(link), program, &pin)?;
            }
            Place::Wire { interface, mode } => {
                let link = attach_wire(programs, interface, *mode)?;
                raw::pin_again(&link, &pin).map_err(Error::io("pin link", &pin))?;
                return Ok(Method::Link(link));
            }
            Place::Cgroup(path) => {
                let cgroup = File::open(path).map_err(Error::io("open cgroup", path))?;
                let hook = programs.socket(program)?;
                // A link takes no mode: it always shares the cgroup with other links.
                let id = hook
                    .attach(&cgroup, CgroupAttachMode::Single)
                    .map_err(Error::program("attach", program))?;
                let link = hook.take_link(id).map_err(Error::program("attach", program))?;
                pin_link(FdLink::try_from(link), program, &pin)?;
            }
        }
        Ok(Method::Link(raw::get(&pin).map_err(Error::io("open link", &pin))?))
    }

    /// Gives the program to a pinned link, if there is one and it is still where it should be.
    fn take_over(
        &self,
        programs: &Programs,
        program: &'static str,
        place: &Place,
        pin: &Path,
    ) -> Result<Option<OwnedFd>, Error> {
        let Ok(link) = raw::get(pin) else { return Ok(None) };
        let target = raw::link_info(&link).map_err(Error::io("inspect link", pin))?.target;
        if target == place.target()? {
            let fd = programs.fd(program)?;
            raw::update_link(&link, fd.as_fd()).map_err(Error::io("update link", pin))?;
            return Ok(Some(link));
        }
        std::fs::remove_file(pin).map_err(Error::io("remove", pin))?;
        Ok(None)
    }

    /// Gives every attachment the same program of another build.
    pub(crate) fn swap(&self, programs: &mut Programs) -> Result<(), Error> {
        for ((program, place), method) in &self.places {
            let pin = self.directory.join(pin_name(program, place));
            match (method, place) {
                (Method::Link(link), _) => {
                    // A device may have gone with its pod.
                    let result = raw::update_link(link, programs.fd(program)?.as_fd());
                    match result {
                        Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => {
                            return Err(Error::io("update link", pin)(error));
                        }
                        _ => {}
                    }
                }
                (Method::Clsact, Place::Device { interface, .. }) => {
                    if ifindex(interface).is_ok() {
                        attach_clsact(programs, program, interface, place.direction())?;
                    }
                }
                (Method::Clsact, Place::Cgroup(_) | Place::Wire { .. }) => {}
            }
        }
        Ok(())
    }

    /// Puts back what is not as it was made: a link that was detached or given another program, a pin that was removed,
    /// a filter that was deleted. A device or cgroup that is gone is no fault. Goes on after an error.
    pub(crate) fn repair(
        &mut self,
        programs: &mut Programs,
        repaired: &mut Vec<Repair>,
        failed: &mut Vec<Error>,
    ) {
        let keys: Vec<(&'static str, Place)> = self.places.keys().cloned().collect();
        for (program, place) in keys {
            match self.repair_one(programs, program, &place) {
                Ok(None) => {}
                Ok(Some(what)) => {
                    let at = place.text();
                    repaired.push(Repair { what, subject: format!("{program} at {at}") });
                }
                Err(error) => failed.push(error),
            }
        }
    }

    fn repair_one(
        &mut self,
        programs: &mut Programs,
        program: &'static str,
        place: &Place,
    ) -> Result<Option<What>, Error> {
        let Ok(wanted) = place.target() else { return Ok(None) };
        let pin = self.directory.join(pin_name(program, place));
        let Some(method) = self.places.get(&(program, place.clone())) else { return Ok(None) };
        let what = match method {
            Method::Clsact => {
                let added = add_filter(programs, program, &place.text(), place.direction()).is_ok();
                return Ok(added.then_some(What::Filter));
            }
            Method::Link(link) => {
                let info = raw::link_info(link).map_err(Error::io("inspect link", &pin))?;
                if info.target != wanted {
                    What::Link
                } else if info.program != programs.info(program)?.id() {
                    raw::update_link(link, programs.fd(program)?.as_fd())
                        .map_err(Error::io("update link", &pin))?;
                    return Ok(Some(What::Link));
                } else if raw::is_pinned(link, &pin) {
                    return Ok(None);
                } else {
                    raw::pin_again(link, &pin).map_err(Error::io("pin link", &pin))?;
                    return Ok(Some(What::LinkPin));
                }
            }
        };
        // The link is at no place any more: another one takes its pin.
        remove_if_there(&pin)?;
        let method = self.place(programs, program, place)?;
        self.places.insert((program, place.clone()), method);
        Ok(Some(what))
    }

    /// Forgets a device, and unpins its links, also those that an earlier agent has pinned.
    pub(crate) fn detach(&mut self, interface: &str) -> Result<(), Error> {
        let at = |place: &Place| matches!(place, Place::Device { .. } | Place::Wire { .. });
        self.places.retain(|(_, place), _| !(at(place) && place.text() == interface));
        self.unpin(|name| name.split_once('@').is_some_and(|(_, place)| place == interface))
    }

    /// Detaches what an earlier agent attached to a device's driver in another mode: a device is in one mode at a time.
    pub(crate) fn unpin_wire(&self, interface: &str, mode: XdpMode) -> Result<(), Error> {
        let other = if mode == XdpMode::Native { XdpMode::Generic } else { XdpMode::Native };
        let place = Place::Wire { interface: interface.to_owned(), mode: other };
        let pin = self.directory.join(pin_name(WIRE_PROGRAM, &place));
        let Ok(link) = raw::get(&pin) else { return Ok(()) };
        // At once, and not when the kernel has time for it: else the device would be found taken.
        raw::detach_link(&link).map_err(Error::io("detach link", &pin))?;
        remove_if_there(&pin)
    }

    /// Unpins, and so detaches, what an earlier agent attached to places that no longer are any. Pods' devices stay as
    /// long as they are there: one that could not be attached anew is still served as before.
    pub(crate) fn detach_others(&mut self) -> Result<(), Error> {
        let kept: Vec<String> = self.places.keys().map(|(program, place)| pin_name(program, place)).collect();
        self.unpin(|name| {
            let pod = name.split_once("_pod@").is_some_and(|(_, interface)| ifindex(interface).is_ok());
            !pod && !kept.iter().any(|kept| kept == name)
        })
    }

    fn unpin(&self, gone: impl Fn(&str) -> bool) -> Result<(), Error> {
        let pins = std::fs::read_dir(&self.directory).map_err(Error::io("read", &self.directory))?;
        for pin in pins.flatten().filter(|pin| pin.file_name().to_str().is_some_and(&gone)) {
            remove_if_there(&pin.path())?;
        }
        Ok(())
    }

    /// Places and method of a program.
    pub(crate) fn of(&self, program: &str) -> (Vec<String>, &'static str) {
        let all = || self.places.iter().filter(|((name, _), _)| *name == program);
        let clsact = all().any(|(_, method)| matches!(method, Method::Clsact));
        (all().map(|((_, place), _)| place.text()).collect(), if clsact { "clsact" } else { "link" })
    }
}

fn pin_link<E>(link: Result<FdLink, E>, program: &'static str, pin: &Path) -> Result<(), Error> {
    let link = link.map_err(|_| Error::program("pin", program)(aya::programs::ProgramError::NotAttached))?;
    link.pin(pin).map_err(|error| Error::io("pin link", pin)(std::io::Error::other(error)))?;
    Ok(())
}

fn attach_wire(programs: &Programs, interface: &str, mode: XdpMode) -> Result<OwnedFd, Error> {
    let program = programs.fd(WIRE_PROGRAM)?;
    raw::link_xdp(program.as_fd(), ifindex(interface)?, mode).map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => Error::XdpTaken { interface: interface.to_owned() },
        _ => Error::NoXdp { interface: interface.to_owned(), mode: mode.name(), source },
    })
}

/// Attaches as a clsact filter, in place of our own filter if there is one.
fn attach_clsact(
    programs: &mut Programs,
    program: &'static str,
    interface: &str,
    direction: TcAttachType,
) -> Result<(), Error> {
    if add_filter(programs, program, interface, direction).is_ok() {
        return Ok(());
    }
    let old = SchedClassifierLink::attached(interface, direction, PRIORITY, TcHandle::from(HANDLE), None)
        .map_err(Error::io("find device", interface))?;
    let classifier = programs.classifier(program)?;
    let id = classifier.attach_to_link(old).map_err(Error::program("attach", program))?;
    let link = classifier.take_link(id).map_err(Error::program("attach", program))?;
    // The filter outlives us: dropping the link would remove it.
    std::mem::forget(link);
    Ok(())
}

/// Adds our filter, and the clsact queue before it. Fails when the filter is there already.
fn add_filter(
    programs: &mut Programs,
    program: &'static str,
    interface: &str,
    direction: TcAttachType,
) -> Result<(), Error> {
    // Fails when it is there already.
    let _ = qdisc_add_clsact(interface);
    let options = NlOptions { priority: PRIORITY, handle: TcHandle::from(HANDLE), classid: None };
    let classifier = programs.classifier(program)?;
    let id = classifier
        .attach_with_options(interface, direction, TcAttachOptions::Netlink(options))
        .map_err(Error::program("attach", program))?;
    let link = classifier.take_link(id).map_err(Error::program("attach", program))?;
    // The filter outlives us: dropping the link would remove it.
    std::mem::forget(link);
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_an_earlier_agent_attached_to_leaves_no_pin() {
        let pins = tempfile::tempdir().unwrap();
        let mut attachments = Attachments::open(pins.path()).unwrap();
        let links = pins.path().join("links");
        for name in ["from_pod@fw1", "to_pod@fw1", "from_pod@fw2"] {
            std::fs::write(links.join(name), "").unwrap();
        }
        attachments.detach("fw1").unwrap();
        attachments.detach("fw1").unwrap();
        let left: Vec<_> = std::fs::read_dir(links).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["from_pod@fw2"]);
    }
}
