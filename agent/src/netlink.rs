//! The only room that speaks netlink: links, addresses, routes, neighbours.

mod address;
mod limit;
mod link;
pub(crate) mod namespace;
mod neighbour;
mod route;
pub(crate) mod sockets;
mod tunnel;

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::sync::Mutex;

pub(crate) use limit::Limit;
pub use link::Link;
pub(crate) use link::Veth;
pub(crate) use route::everywhere;
pub use route::{ROUTE_PROTOCOL, RouteFailure, Via};
pub(crate) use tunnel::TUNNEL;

/// Why the kernel's network configuration could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No socket.
    #[error("a netlink socket could not be opened")]
    Open(#[source] io::Error),
    /// The kernel refused a request.
    #[error("{what} `{subject}` failed")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The device, address or route that it was asked for.
        subject: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Turns the kernel's answer to a request into an error.
    fn refused(what: &'static str, subject: impl ToString) -> impl FnOnce(rtnetlink::Error) -> Self {
        let subject = subject.to_string();
        move |error| Self::Refused { what, subject, source: into_io(error) }
    }

    /// The number of the kernel's answer (`errno`), if it gave one.
    fn errno(&self) -> Option<i32> {
        match self {
            Self::Open(source) | Self::Refused { source, .. } => source.raw_os_error(),
        }
    }
}

fn into_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

/// Makes "it is not there" a success.
fn ignore_missing(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if matches!(error.errno(), Some(libc::ENODEV | libc::ESRCH | libc::ENOENT)) => Ok(()),
        other => other,
    }
}

/// A connection to the kernel's network configuration in one network namespace. Clones share it.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    /// Held while something is listed: the kernel lists one thing at a time on a socket, else it says EBUSY.
    listing: Arc<Mutex<()>>,
}

impl Netlink {
    /// Connects in the calling thread's network namespace. To be called inside a tokio runtime.
    pub fn connect() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle, listing: Arc::default() })
    }

    /// Connects in another network namespace.
    pub(crate) async fn inside(netns: &File) -> Result<Self, Error> {
        let runtime = tokio::runtime::Handle::current();
        namespace::run(netns, move || {
            let _inside_the_runtime = runtime.enter();
            Self::connect()
        })
        .await
        .map_err(Error::Open)?
    }
}
