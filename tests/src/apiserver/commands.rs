//! What a trial makes a server do.

use std::time::Duration;

use super::store::{Snapshot, Store};
use super::{ApiServer, Kind, Order, lock};

impl ApiServer {
    /// Forgets all changes so far: watches from earlier versions, and lists that are continued, get 410.
    pub fn compact(&self) {
        lock(&self.shared.store).compact();
    }

    /// Cuts all watches, between two events.
    pub fn drop_watches(&self) {
        let _ = self.shared.orders.send(Order::Cut { inside: false });
    }

    /// Cuts all watches in the middle of a line.
    pub fn drop_watches_inside_a_line(&self) {
        let _ = self.shared.orders.send(Order::Cut { inside: true });
    }

    /// Sends a bookmark to every watch that may get one.
    pub fn send_bookmarks(&self) {
        let _ = self.shared.orders.send(Order::Bookmark);
    }

    /// Cuts all connections and refuses new ones, or takes them again at the same port.
    ///
    /// # Errors
    /// The port is lost.
    pub fn set_down(&self, down: bool) -> anyhow::Result<()> {
        let mut door = lock(&self.door);
        if down {
            door.close();
            return Ok(());
        }
        Ok(door.open()?)
    }

    /// Takes requests for this kind and answers them after [`ApiServer::release`]; its watches get nothing until then.
    pub fn hold(&self, kind: Kind) {
        self.shared.faults.hold([kind]);
    }

    /// As [`ApiServer::hold`], for all requests.
    pub fn hang(&self) {
        self.shared.faults.hold(Kind::ALL);
    }

    /// Answers what was held.
    pub fn release(&self) {
        self.shared.faults.release();
    }

    /// Refuses the next `count` requests with this HTTP status, and says when to come back.
    pub fn fail(&self, count: usize, status: u16, retry_after: Option<Duration>) {
        self.shared.faults.fail(count, status, retry_after);
    }

    /// Answers every request so much later.
    pub fn delay(&self, by: Duration) {
        self.shared.faults.delay(by);
    }

    /// Refuses requests for this kind with 403, as when a ClusterRole lacks it.
    pub fn forbid(&self, kind: Kind) {
        self.shared.faults.forbid(kind, true);
    }

    /// Allows what [`ApiServer::forbid`] has forbidden.
    pub fn allow(&self, kind: Kind) {
        self.shared.faults.forbid(kind, false);
    }

    /// Shows a certificate that has expired from now on, or a good one again; connections that are open are cut.
    ///
    /// # Errors
    /// No certificate can be made, the port is lost.
    pub fn expire_certificate(&self, expired: bool) -> anyhow::Result<()> {
        let mut door = lock(&self.door);
        door.show(self.authority.server(expired)?);
        door.close();
        Ok(door.open()?)
    }

    /// What the server has now, as a backup would hold it.
    pub fn snapshot(&self) -> Snapshot {
        lock(&self.shared.store).snapshot()
    }

    /// Goes back to a backup: objects, and the resourceVersion of that time. All connections are cut.
    ///
    /// # Errors
    /// The port is lost.
    pub fn restore(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        self.restart_with(|store| store.restore(snapshot, None))
    }

    /// As [`ApiServer::restore`], but as etcd's manual asks for it: the version goes on from where it was, and what was
    /// before is marked as compacted.
    ///
    /// # Errors
    /// The port is lost.
    pub fn restore_marked(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        self.restart_with(|store| {
            let next = store.revision() + 1_000;
            store.restore(snapshot, Some(next));
        })
    }

    fn restart_with(&self, change: impl FnOnce(&mut Store)) -> anyhow::Result<()> {
        let mut door = lock(&self.door);
        door.close();
        change(&mut lock(&self.shared.store));
        Ok(door.open()?)
    }
}
