//! The network between an agent and its control plane swallows everything.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use fairway_tests::trial::Trial;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::other::{set, with_agent};
use crate::world::{World, service};

pub(crate) const TRIALS: &[Trial<World>] = &[
    // S104
    ("an_agent_without_a_way_to_its_control_plane_serves_on", |world| Box::pin(swallowed(world))),
];

/// A way that can be made to swallow what is sent, while connections stay open.
struct Way {
    swallows: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Way {
    fn new(from: &Path, to: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(from)?;
        let swallows = watch::Sender::new(false);
        let state = swallows.subscribe();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(carry(near, to.clone(), state.clone()));
            }
        });
        Ok(Self { swallows, task })
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(near: UnixStream, to: PathBuf, swallows: watch::Receiver<bool>) -> io::Result<()> {
    let mut open = swallows.clone();
    open.wait_for(|swallows| !swallows).await.map_err(io::Error::other)?;
    let far = UnixStream::connect(to).await?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::try_join!(one_way(near_in, far_out, swallows.clone()), one_way(far_in, near_out, swallows))?;
    Ok(())
}

/// Ends both directions when one ends. What comes meanwhile waits, as in the buffers of a network that is cut.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut swallows: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        swallows.wait_for(|swallows| !swallows).await.map_err(io::Error::other)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&buffer[..count]).await?;
    }
}

async fn swallowed(world: &World) -> anyhow::Result<()> {
    let socket = world.lab.state.directory().join("way.sock");
    let way = Way::new(&socket, world.lab.state.control_socket())?;
    let control = format!("unix://{}", socket.display());
    let change = |arguments: &mut Vec<String>| {
        set(arguments, "--control", &control);
        Vec::new()
    };
    let address: IpAddr = Ipv4Addr::new(10, 96, 1, 111).into();
    let manifests = world.lab.manifests();
    let trial = async |_| {
        world
            .unnoticed(async {
                way.swallows.send_replace(true);
                manifests.apply_text(&service("beyond", 111, "name: web-2"))?;
                world.a_while().await?;
                way.swallows.send_replace(false);
                world.answers("web-2", address).await
            })
            .await
    };
    let done = with_agent(world, change, trial).await;
    manifests.remove("Service", "default/beyond")?;
    std::fs::remove_file(socket)?;
    done
}
