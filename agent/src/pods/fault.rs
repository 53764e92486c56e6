//! Where a test kills the agent in the middle of a change. Releases have none of it.

/// A step of a change that can be the agent's last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// ADD: the addresses are reserved, on disk.
    Reserved,
    /// ADD: the pair of devices is there.
    Paired,
    /// ADD: the pod's side has its addresses and routes.
    Inside,
    /// ADD: the node's side has its routes.
    Outside,
    /// ADD: the programs are attached.
    Attached,
    /// ADD: the data path knows the addresses.
    Served,
    /// ADD: it is done, on disk, and nobody has been told.
    Complete,
    /// DEL: the data path does not know the addresses any more.
    Unserved,
    /// DEL: the programs are detached.
    Detached,
    /// DEL: the devices are gone.
    Unpaired,
    /// DEL: it is done, on disk, and nobody has been told.
    Forgotten,
}

impl Step {
    /// All, in the order in which they come.
    pub const ALL: [Self; 11] = [
        Self::Reserved,
        Self::Paired,
        Self::Inside,
        Self::Outside,
        Self::Attached,
        Self::Served,
        Self::Complete,
        Self::Unserved,
        Self::Detached,
        Self::Unpaired,
        Self::Forgotten,
    ];
}

/// The environment variable that names the step after which the agent is to die.
pub const FAULT: &str = "FAIRWAY_FAULT";

/// Dies here, at once, if the environment says so.
pub(super) fn after(step: Step) {
    if cfg!(debug_assertions) && std::env::var(FAULT).is_ok_and(|wanted| wanted == format!("{step:?}")) {
        let _cannot_be_refused = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
