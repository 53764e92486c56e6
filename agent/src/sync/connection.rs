//! What people are told of the connection to the control plane.

use std::collections::BTreeSet;
use std::time::SystemTime;

use tracing::{info, warn};

use super::ControlPlane;

/// The places of the control plane, and what was said of them.
#[derive(Debug, Default)]
pub(super) struct Connection {
    names: Vec<String>,
    /// Why there was no connection, since there was one: told once each.
    told: BTreeSet<String>,
}

impl Connection {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names, told: BTreeSet::new() }
    }

    fn name(&self, place: usize) -> String {
        self.names.get(place).cloned().unwrap_or_default()
    }

    /// There is a stream to this place.
    pub(super) fn connected(&mut self, before: &ControlPlane, place: usize) -> ControlPlane {
        let address = self.name(place);
        let now = SystemTime::now();
        match before {
            ControlPlane::Disconnected { since, .. } => {
                let after = now.duration_since(*since).unwrap_or_default();
                info!(control_plane = %address, without = ?after, "connected");
            }
            _ => info!(control_plane = %address, "connected"),
        }
        self.told.clear();
        let others = self.names.iter().filter(|name| **name != address).cloned().collect();
        ControlPlane::Connected { address, others, since: now }
    }

    /// There is none any more, or none yet.
    pub(super) fn lost(&mut self, before: &ControlPlane, place: usize, reason: String) -> ControlPlane {
        let address = self.name(place);
        if self.told.insert(format!("{address}: {reason}")) {
            warn!(control_plane = %address, "{reason}; the last state stays in force");
        }
        let since = match before {
            ControlPlane::Disconnected { since, .. } => *since,
            _ => SystemTime::now(),
        };
        let reason = if self.names.len() > 1 { format!("{address}: {reason}") } else { reason };
        ControlPlane::Disconnected { address: self.names.join(", "), since, reason }
    }
}
