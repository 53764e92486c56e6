//! Work inside another network namespace, on a thread that ends with it: a thread of the runtime never leaves
//! the node's namespace.

use std::fs::File;
use std::io;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

/// Runs `work` on a thread of its own inside `netns`. Fails if the thread cannot enter the namespace.
pub(crate) async fn run<T: Send + 'static>(
    netns: &File,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let netns = netns.try_clone()?;
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("netns".into()).spawn(move || {
        let result = setns(&netns, CloneFlags::CLONE_NEWNET).map_err(io::Error::from).map(|()| work());
        let _nobody_waits = sender.send(result);
    })?;
    receiver.await.map_err(|_| io::Error::other("the thread in the network namespace panicked"))?
}
