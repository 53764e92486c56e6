//! Limits of what a pod receives and sends, measured by what arrives.
//!
//! The limit is far below what any machine does, and all senders of a run share it: a way past it shows at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fairway_tests::eventually;
use fairway_tests::lab::{Netns, server_pod};
use futures::FutureExt;

use super::own::Own;
use super::trial::Trial;
use super::world::World;

pub(crate) const TRIALS: &[Trial] = &[
    ("what_a_pod_receives_is_limited_whichever_way_it_comes", |world| ingress(world).boxed()),
    ("what_a_pod_sends_is_limited_wherever_it_goes", |world| egress(world).boxed()),
    ("a_pod_without_limits_is_not_limited", |world| unlimited(world).boxed()),
];

/// Bytes a second.
const RATE: f64 = 20e6 / 8.0;
/// The burst of a limit that has none of its own.
const BURST: f64 = 65_536.0;
const TIME: Duration = Duration::from_secs(3);
/// The first port that the runs listen on.
const PORT: u16 = 9_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// Somebody who sends as much as goes, and where it should arrive.
struct Flow {
    from: Netns,
    to: SocketAddr,
    receiver: Netns,
    port: u16,
}

fn pod(name: &str, limit: &str) -> String {
    let pod = server_pod(name, "node1", &format!("app: {name}"));
    let ports =
        ["TCP", "UDP"].map(|it| format!("{{hostPort: 18090, containerPort: {PORT}, protocol: {it}}}"));
    let pod = pod.replace("metadata: {", &format!("metadata: {{annotations: {{{limit}}}, "));
    format!("{pod}      ports: [{}]\n", ports.join(", "))
}

fn netns(world: &World, target: &str) -> anyhow::Result<Netns> {
    Ok(Netns::named(&world.lab.place(target)?.netns))
}

async fn ready(world: &World, name: &str) -> anyhow::Result<()> {
    let look = || async { world.lab.pod(&format!("default/{name}")).map_err(|error| error.to_string()) };
    eventually(name, look, |pod| pod.as_ref().is_ok_and(|pod| pod.ready)).await?.ok();
    Ok(())
}

/// What both ends of a flow do once all are there.
type Ends = (Box<dyn FnOnce() + Send>, Box<dyn FnOnce() -> u64 + Send>);

impl Flow {
    fn connect(self, kind: Kind) -> anyhow::Result<Ends> {
        let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port));
        let patience = Some(Duration::from_millis(100));
        Ok(match kind {
            Kind::Tcp => {
                let listener = self.receiver.within(|| TcpListener::bind(at))?;
                let out = self.from.within(|| TcpStream::connect_timeout(&self.to, Duration::from_secs(5)));
                let out = out.with_context(|| format!("to {}", self.to))?;
                let (received, _) = listener.accept()?;
                received.set_read_timeout(patience)?;
                let sender = move || send(|bytes| (&out).write(bytes), 64 << 10);
                (Box::new(sender), Box::new(move || receive(|bytes| (&received).read(bytes))))
            }
            Kind::Udp => {
                let received = self.receiver.within(|| UdpSocket::bind(at))?;
                received.set_read_timeout(patience)?;
                let any = if self.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let out = self.from.within(|| UdpSocket::bind(any))?;
                out.connect(self.to)?;
                let mut sent = 0_u32;
                let paced = move |bytes: &[u8]| {
                    // Five times the limit at most: enough to be limited, and no more work than that.
                    sent += 1;
                    if sent.is_multiple_of(10) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    out.send(bytes)
                };
                (Box::new(move || send(paced, 1400)), Box::new(move || receive(|bytes| received.recv(bytes))))
            }
        })
    }
}

/// Sends until nobody takes it any more.
fn send(mut write: impl FnMut(&[u8]) -> std::io::Result<usize>, size: usize) {
    let (bytes, end) = (vec![7; size], Instant::now() + TIME + Duration::from_millis(500));
    while Instant::now() < end && write(&bytes).is_ok() {}
}

fn receive(mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize>) -> u64 {
    let (mut bytes, mut count, end) = (vec![0; 64 << 10], 0, Instant::now() + TIME);
    while Instant::now() < end {
        match read(&mut bytes) {
            Ok(0) => break,
            Ok(more) => count += more as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    count
}

/// What all flows bring together, in bytes a second, the burst not counted.
async fn rate(flows: Vec<Flow>, kind: Kind) -> anyhow::Result<f64> {
    let count = tokio::task::spawn_blocking(move || {
        let all: Vec<Ends> =
            flows.into_iter().map(|flow| flow.connect(kind)).collect::<anyhow::Result<_>>()?;
        let running: Vec<JoinHandle<u64>> = all
            .into_iter()
            .map(|(sender, receiver)| {
                std::thread::spawn(sender);
                std::thread::spawn(receiver)
            })
            .collect();
        let counts = running.into_iter().map(|flow| flow.join().map_err(|_| anyhow::anyhow!("a panic")));
        counts.sum::<anyhow::Result<u64>>()
    });
    Ok((count.await?? as f64 - BURST) / TIME.as_secs_f64())
}

/// Payload is a few hundredths less than what the limit counts.
fn expect(what: &str, kind: Kind, rate: f64) -> anyhow::Result<()> {
    println!("    {what}, {kind:?}: {:.2} Mbit/s", rate * 8.0 / 1e6);
    ensure!((rate / RATE - 1.0).abs() < 0.1, "{what}, {kind:?}: {rate} bytes a second, not {RATE}");
    Ok(())
}

async fn ingress(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    own.apply(&pod("limited-in", "kubernetes.io/ingress-bandwidth: 20M"))?;
    ready(world, "limited-in").await?;
    let (node4, node6) = (world.node_address(1, false), world.node_address(1, true));
    let (pod4, pod6) = (world.pod_address("limited-in", false)?, world.pod_address("limited-in", true)?);
    for kind in [Kind::Tcp, Kind::Udp] {
        let all: [(&str, IpAddr, u16); 4] = [
            ("default/client-1", pod4, PORT + 1),
            ("default/client-2", pod6, PORT + 2),
            ("node1", pod6, PORT + 3),
            ("client", if kind == Kind::Tcp { node4 } else { node6 }, 18_090),
        ];
        let flows = all.into_iter().map(|(from, to, port)| {
            let (from, receiver) = (netns(world, from)?, netns(world, "default/limited-in")?);
            let listens = if port == 18_090 { PORT } else { port };
            Ok(Flow { from, to: (to, port).into(), receiver, port: listens })
        });
        let rate = rate(flows.collect::<anyhow::Result<_>>()?, kind).await?;
        expect("received by four ways", kind, rate)?;
    }
    Ok(())
}

async fn egress(world: &World) -> anyhow::Result<()> {
    let mut own = Own::new(world);
    own.apply(&pod("limited-out", "kubernetes.io/egress-bandwidth: 20M"))?;
    ready(world, "limited-out").await?;
    for kind in [Kind::Tcp, Kind::Udp] {
        let all = [
            ("default/client-1", world.pod_address("client-1", false)?),
            ("default/client-2", world.pod_address("client-2", true)?),
            ("node2", world.node_address(2, false)),
        ];
        let flows = all.into_iter().map(|(receiver, to)| {
            let (from, receiver) = (netns(world, "default/limited-out")?, netns(world, receiver)?);
            Ok(Flow { from, to: (to, PORT + 9).into(), receiver, port: PORT + 9 })
        });
        let rate = rate(flows.collect::<anyhow::Result<_>>()?, kind).await?;
        expect("sent to three", kind, rate)?;
    }
    Ok(())
}

/// What the measured limit stands out against.
async fn unlimited(world: &World) -> anyhow::Result<()> {
    let flow = |from: &str, to: &str| {
        let receiver = netns(world, &format!("default/{to}"))?;
        let to = (world.pod_address(to, false)?, PORT + 10).into();
        anyhow::Ok(Flow { from: netns(world, from)?, to, receiver, port: PORT + 10 })
    };
    let rate = rate(vec![flow("default/client-1", "local-pod")?], Kind::Tcp).await?;
    println!("    without a limit: {:.0} Mbit/s", rate * 8.0 / 1e6);
    ensure!(rate > 3.0 * RATE, "{rate} bytes a second");
    Ok(())
}
