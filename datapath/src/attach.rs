//! Attachments: made once, pinned, and from then on only given new programs.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{CgroupAttachMode, TcAttachType};

use crate::load::Programs;
use crate::{Error, raw};

/// Priority and handle of clsact filters: fixed, so that the next agent finds and replaces them.
const PRIORITY: u16 = 0xfa;
const HANDLE: u32 = 1;

/// Where a program is attached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A device, by name, and a direction.
    Device { interface: String, ingress: bool },
    /// A cgroup directory.
    Cgroup(PathBuf),
}

impl Place {
    /// What listings print.
    pub(crate) fn text(&self) -> String {
        match self {
            Place::Device { interface, .. } => interface.clone(),
            Place::Cgroup(path) => path.display().to_string(),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A pinned BPF link.
    Link,
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
        Place::Device { interface, .. } => format!("{program}@{interface}"),
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
        if self.take_over(programs, program, place, &pin)? {
            return Ok(Method::Link);
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
        Ok(Method::Link)
    }

    /// Gives the program to a pinned link, if there is one and it is still where it should be.
    fn take_over(
        &self,
        programs: &Programs,
        program: &'static str,
        place: &Place,
        pin: &Path,
    ) -> Result<bool, Error> {
        let Ok(link) = raw::get(pin) else { return Ok(false) };
        let target = raw::link_target(&link).map_err(Error::io("inspect link", pin))?;
        let wanted = match place {
            Place::Device { interface, .. } => u64::from(ifindex(interface)?),
            Place::Cgroup(path) => {
                use std::os::unix::fs::MetadataExt;
                std::fs::metadata(path).map_err(Error::io("open cgroup", path))?.ino()
            }
        };
        if target == wanted {
            let fd = programs.fd(program)?;
            raw::update_link(&link, fd.as_fd()).map_err(Error::io("update link", pin))?;
            return Ok(true);
        }
        std::fs::remove_file(pin).map_err(Error::io("remove", pin))?;
        Ok(false)
    }

    /// Gives every attachment the same program of another build.
    pub(crate) fn swap(&self, programs: &mut Programs) -> Result<(), Error> {
        for ((program, place), method) in &self.places {
            let pin = self.directory.join(pin_name(program, place));
            match (method, place) {
                (Method::Link, _) => {
                    // A device may have gone with its pod.
                    let Ok(link) = raw::get(&pin) else { continue };
                    let result = raw::update_link(&link, programs.fd(program)?.as_fd());
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
                (Method::Clsact, Place::Cgroup(_)) => {}
            }
        }
        Ok(())
    }

    /// Forgets a device, and unpins its links, also those that an earlier agent has pinned.
    pub(crate) fn detach(&mut self, interface: &str) -> Result<(), Error> {
        self.places.retain(
            |(_, place), _| !matches!(place, Place::Device { interface: name, .. } if name == interface),
        );
        self.unpin(|name| name.split_once('@').is_some_and(|(_, place)| place == interface))
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
            match std::fs::remove_file(pin.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", pin.path())(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Places and method of a program.
    pub(crate) fn of(&self, program: &str) -> (Vec<String>, &'static str) {
        let all = || self.places.iter().filter(|((name, _), _)| *name == program);
        let clsact = all().any(|(_, method)| *method == Method::Clsact);
        (all().map(|((_, place), _)| place.text()).collect(), if clsact { "clsact" } else { "link" })
    }
}

fn pin_link<E>(link: Result<FdLink, E>, program: &'static str, pin: &Path) -> Result<(), Error> {
    let link = link.map_err(|_| Error::program("pin", program)(aya::programs::ProgramError::NotAttached))?;
    link.pin(pin).map_err(|error| Error::io("pin link", pin)(std::io::Error::other(error)))?;
    Ok(())
}

/// Attaches as a clsact filter, in place of our own filter if there is one.
fn attach_clsact(
    programs: &mut Programs,
    program: &'static str,
    interface: &str,
    direction: TcAttachType,
) -> Result<(), Error> {
    // Fails when it is there already.
    let _ = qdisc_add_clsact(interface);
    let handle = TcHandle::from(HANDLE);
    let options = NlOptions { priority: PRIORITY, handle, classid: None };
    let classifier = programs.classifier(program)?;
    let id = match classifier.attach_with_options(interface, direction, TcAttachOptions::Netlink(options)) {
        Ok(id) => id,
        Err(_) => {
            let old = SchedClassifierLink::attached(interface, direction, PRIORITY, handle, None)
                .map_err(Error::io("find device", interface))?;
            classifier.attach_to_link(old).map_err(Error::program("attach", program))?
        }
    };
    let link = classifier.take_link(id).map_err(Error::program("attach", program))?;
    // The filter outlives us: dropping the link would remove it.
    std::mem::forget(link);
    Ok(())
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
