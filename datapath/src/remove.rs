//! Takes everything off the node again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aya::programs::TcAttachType;
use aya::programs::tc::{TcError, qdisc_detach_program};

use crate::{Datapath, Error};

/// The programs at devices, and their direction.
const AT_DEVICES: [(&str, TcAttachType); 6] = [
    ("from_pod", TcAttachType::Ingress),
    ("to_pod", TcAttachType::Egress),
    ("from_network", TcAttachType::Ingress),
    ("to_network", TcAttachType::Egress),
    ("from_tunnel", TcAttachType::Ingress),
    ("to_tunnel", TcAttachType::Egress),
];

/// What agents make below their BPF root: links, and the maps of each layout.
fn is_ours(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let version = name.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
    name == "links" || version
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("read", directory)(error)),
    };
    paths.sort();
    Ok(paths)
}

impl Datapath {
    /// What is pinned below `pins`, links before maps: a program without its maps is never attached.
    pub fn pinned(pins: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut all = Vec::new();
        for directory in entries(pins)?.into_iter().filter(|path| is_ours(path)) {
            all.extend(entries(&directory)?);
        }
        Ok(all)
    }

    /// Unpins everything below `pins`, and so detaches it. Goes on after an error and reports all of them; what is not
    /// there is a success, what others put there stays.
    pub fn remove(pins: &Path) -> Result<(), Error> {
        let mut failed = Vec::new();
        let mut note = |path: &Path, result: std::io::Result<()>| match result {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                failed.push(format!("`{}`: {error}", path.display()));
            }
            _ => {}
        };
        for path in Self::pinned(pins)? {
            note(&path, std::fs::remove_file(&path));
        }
        for directory in entries(pins)?.iter().filter(|path| is_ours(path)) {
            note(directory, std::fs::remove_dir(directory));
        }
        if entries(pins)?.is_empty() {
            note(pins, std::fs::remove_dir(pins));
        }
        if failed.is_empty() { Ok(()) } else { Err(Error::Remove(failed.join(", "))) }
    }

    /// Deletes the clsact filters of kernels before 6.6, known by their programs' names, at all devices of this network
    /// namespace; returns which. The queue that holds filters stays: others may use it.
    pub fn remove_filters() -> Result<Vec<String>, Error> {
        let devices = nix::net::if_::if_nameindex()
            .map_err(|error| Error::io("list", "network devices")(error.into()))?;
        let mut removed = Vec::new();
        for device in devices.iter() {
            let Ok(name) = device.name().to_str() else { continue };
            for (program, direction) in AT_DEVICES {
                match qdisc_detach_program(name, direction, program) {
                    Ok(()) => removed.push(format!("{program}@{name}")),
                    // No such filter, no such queue, or no such device any more.
                    Err(TcError::IoError(_) | TcError::NetlinkError(_)) => {}
                    Err(error) => {
                        return Err(Error::io("remove filters of", name)(std::io::Error::other(error)));
                    }
                }
            }
        }
        Ok(removed)
    }
}
