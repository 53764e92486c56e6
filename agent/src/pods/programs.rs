//! What pods need of the data path.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_datapath::{Datapath, Pod};

/// Any error of the data path.
pub type ProgramError = Box<dyn std::error::Error + Send + Sync>;

/// What pods need of the data path. The calls may block.
pub trait Programs: Send + Sync + 'static {
    /// As [`Datapath::attach_pod`].
    fn attach_pod(&self, interface: &str) -> Result<(), ProgramError>;
    /// As [`Datapath::detach`].
    fn detach(&self, interface: &str) -> Result<(), ProgramError>;
    /// Whether a program is attached to this device.
    fn is_attached(&self, interface: &str) -> Result<bool, ProgramError>;
    /// As [`Datapath::put_pod`].
    fn put_pod(&self, pod: &Pod) -> Result<(), ProgramError>;
    /// As [`Datapath::delete_pod`]; the pod's connections go with it.
    fn delete_pod(&self, address: IpAddr) -> Result<(), ProgramError>;
    /// As [`Datapath::pods`].
    fn pods(&self) -> Result<Vec<Pod>, ProgramError>;
}

impl Programs for Mutex<Datapath> {
    fn attach_pod(&self, interface: &str) -> Result<(), ProgramError> {
        Ok(locked(self).attach_pod(interface)?)
    }

    fn detach(&self, interface: &str) -> Result<(), ProgramError> {
        Ok(locked(self).detach(interface)?)
    }

    fn is_attached(&self, interface: &str) -> Result<bool, ProgramError> {
        let programs = locked(self).programs()?;
        Ok(programs.iter().any(|program| program.attached.iter().any(|it| it == interface)))
    }

    fn put_pod(&self, pod: &Pod) -> Result<(), ProgramError> {
        Ok(locked(self).put_pod(pod)?)
    }

    fn delete_pod(&self, address: IpAddr) -> Result<(), ProgramError> {
        let mut datapath = locked(self);
        if datapath.delete_pod(address)? {
            // A large table takes its time: without the lock.
            let mut tracker = datapath.tracker()?;
            drop(datapath);
            tracker.forget_pod(address)?;
        }
        Ok(())
    }

    fn pods(&self) -> Result<Vec<Pod>, ProgramError> {
        Ok(locked(self).pods()?)
    }
}

/// The data path's state is in the kernel: a panic elsewhere leaves nothing half-done here.
fn locked(datapath: &Mutex<Datapath>) -> MutexGuard<'_, Datapath> {
    datapath.lock().unwrap_or_else(PoisonError::into_inner)
}
