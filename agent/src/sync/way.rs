//! A way to the control plane that is given: a simulated network's.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection.
pub(super) type Connection = Pin<Box<dyn Both + Send>>;

/// Both directions.
pub(super) trait Both: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Both for T {}

/// Connects to a place by its name.
#[doc(hidden)]
#[derive(Clone)]
pub struct Way(Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<TokioIo<Connection>>> + Send + Sync>);

impl Way {
    /// By this function.
    pub fn new<F, T>(connect: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<T>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        Self(Arc::new(move |place| {
            let connecting = connect(place);
            Box::pin(async move {
                let connection: Connection = Box::pin(connecting.await?);
                Ok(TokioIo::new(connection))
            })
        }))
    }

    /// Connects.
    pub(super) fn to(&self, place: String) -> BoxFuture<'static, io::Result<TokioIo<Connection>>> {
        (self.0)(place)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Way")
    }
}
