//! Ends connected UDP sockets whose backend is gone: their programs connect again, to one that is there (S61).
//!
//! Only sockets that Fairway translated are ended: a socket is known by its cookie and by the backend that it was given,
//! so one that was connected to the pod itself is never touched.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairway_datapath::{Error, Socket, Tracker};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::SocketLb;
use crate::netlink::namespace;
use crate::netlink::sockets::{self, UdpSocket};
use crate::node::Shared;
use crate::reconcile::BackendKey;
use crate::sync::{Origin, SyncState, chain};

/// Changes in this time are looked at together.
const BURST: Duration = Duration::from_millis(500);
/// How many times as long as a look it is until the next one.
const REST: u32 = 20;
/// Sockets of all backends are looked for so long after the tables changed, or so many times as long as that took before: what
/// came and went faster than states are seen is known by nothing else.
const ALL: (Duration, u32) = (Duration::from_secs(10), 200);
/// How long a socket is looked for: it may have been about to connect when its backend went.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which sockets to end.
fn chosen(open: Vec<UdpSocket>, stranded: &HashSet<(u64, SocketAddr)>) -> Vec<UdpSocket> {
    open.into_iter().filter(|socket| stranded.contains(&(socket.cookie(), socket.peer()))).collect()
}

/// Ends those of the calling thread's network namespace; returns how many.
fn end(stranded: &HashSet<(u64, SocketAddr)>) -> std::io::Result<usize> {
    let chosen = chosen(sockets::connected()?, stranded);
    chosen.iter().try_for_each(sockets::destroy)?;
    Ok(chosen.len())
}

/// Looks after each change of the tables, until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    if shared.config.socket_lb == SocketLb::Off {
        return;
    }
    let able = tokio::task::spawn_blocking(sockets::can_destroy).await.unwrap_or(false);
    if !able {
        let line = "the kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY): connected UDP sockets keep a backend that \
                    is gone";
        warn!("{line}");
        shared.repairs.set("sockets", Some(line.to_owned()));
        return;
    }
    let mut state = shared.state.subscribe();
    let (mut known, mut left, mut tracker) = (Known::default(), Left::new(Instant::now()), None);
    let mut began = Instant::now();
    loop {
        if left.follow(&mut state) {
            began = Instant::now();
            look(&shared, &mut tracker, &mut known, &mut left).await;
        }
        let rest = BURST.max(began.elapsed() * REST);
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(PATIENCE), if known.expects_more() || left.expects_more() => {}
            () = stop.cancelled() => return,
        }
        let rested = tokio::time::sleep(rest);
        tokio::pin!(rested);
        loop {
            left.follow(&mut state);
            tokio::select! {
                () = &mut rested => break,
                changed = state.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }
}

/// Backends that runs named once, and do not any more.
struct Left {
    /// All that runs named when a state was noted last.
    used: OrdMap<BackendKey, u32>,
    /// Those that may still answer, and the ids that they had.
    leaving: HashMap<BackendKey, u32>,
    /// Those that are gone, and since when.
    gone: HashMap<BackendKey, Instant>,
    /// When sockets of all backends are looked for: at first at once, for what went before this agent came.
    all: Option<Instant>,
    /// How long that took.
    cost: Duration,
}

impl Left {
    fn new(now: Instant) -> Self {
        Self {
            used: OrdMap::new(),
            leaving: HashMap::new(),
            gone: HashMap::new(),
            all: Some(now),
            cost: Duration::ZERO,
        }
    }

    /// Notes the latest state. False: until one is there, nobody knows what is gone.
    fn follow(&mut self, state: &mut watch::Receiver<Arc<SyncState>>) -> bool {
        let latest = state.borrow_and_update().clone();
        let known = latest.origin != Origin::Kernel;
        if known {
            self.note(&latest.backend_ids, Instant::now());
        }
        known
    }

    /// Notes what is different in what runs name.
    fn note(&mut self, used: &OrdMap<BackendKey, u32>, now: Instant) {
        if self.used.ptr_eq(used) {
            return;
        }
        self.all.get_or_insert(now + ALL.0.max(self.cost * ALL.1));
        for item in self.used.diff(used) {
            match item {
                DiffItem::Remove(key, id) => drop(self.leaving.insert(*key, *id)),
                DiffItem::Add(key, _) | DiffItem::Update { new: (key, _), .. } => {
                    self.leaving.remove(key);
                    self.gone.remove(key);
                }
            }
        }
        self.used = used.clone();
    }

    /// Notes which of them are gone by now; returns those that went lately.
    fn take(
        &mut self,
        now: Instant,
        is_gone: impl Fn(u32, &BackendKey) -> bool,
    ) -> HashSet<(u32, SocketAddr)> {
        let gone = self.leaving.extract_if(|key, id| is_gone(*id, key));
        self.gone.extend(gone.map(|(key, _)| (key, now)));
        self.gone.retain(|_, since| now - *since <= 2 * PATIENCE);
        self.gone
            .keys()
            .map(|(service, address, port)| (*service, SocketAddr::new(*address, *port)))
            .collect()
    }

    fn expects_more(&self) -> bool {
        !self.gone.is_empty() || self.all.is_some()
    }

    /// Looks for sockets whose backend is gone: for those of backends that went lately, and at times for all.
    fn stranded(&mut self, tracker: &Tracker) -> Result<Vec<Socket>, Error> {
        let is_gone = |id, (service, address, port): &BackendKey| {
            tracker.is_gone(id, *service, SocketAddr::new(*address, *port))
        };
        let now = Instant::now();
        let gone = self.take(now, is_gone);
        if self.all.is_some_and(|due| due <= now) {
            let stranded = tracker.stranded_sockets()?;
            (self.all, self.cost) = (None, now.elapsed());
            return Ok(stranded);
        }
        if gone.is_empty() { Ok(Vec::new()) } else { tracker.sockets_of(&gone) }
    }
}

/// Sockets that were looked for, and since when: an entry outlives its socket.
#[derive(Default)]
struct Known(HashMap<(u64, SocketAddr), Instant>);

impl Known {
    /// Those that are worth another look.
    fn fresh(&mut self, stranded: &[Socket], now: Instant) -> HashSet<(u64, SocketAddr)> {
        let all: HashSet<_> = stranded.iter().map(|it| (it.cookie, it.backend)).collect();
        self.0.retain(|socket, _| all.contains(socket));
        let since = |socket: &(u64, SocketAddr)| *self.0.entry(*socket).or_insert(now);
        let mut since = since;
        all.into_iter().filter(|socket| now - since(socket) <= 2 * PATIENCE).collect()
    }

    fn expects_more(&self) -> bool {
        self.0.values().any(|since| since.elapsed() <= 2 * PATIENCE)
    }
}

async fn look(shared: &Shared, tracker: &mut Option<Tracker>, known: &mut Known, left: &mut Left) {
    let pins = shared.config.bpf_root.clone();
    let (taken, mut asked) = (tracker.take(), std::mem::replace(left, Left::new(Instant::now())));
    let found = tokio::task::spawn_blocking(move || {
        let found = taken.map_or_else(|| Tracker::open(&pins), Ok).and_then(|tracker| {
            let stranded = asked.stranded(&tracker)?;
            Ok((tracker, stranded))
        });
        (asked, found)
    });
    let Ok((asked, found)) = found.await else { return };
    *left = asked;
    let stranded = match found {
        Ok((opened, stranded)) => {
            *tracker = Some(opened);
            stranded
        }
        Err(error) => return debug!("sockets whose backend is gone: {}", chain(&error)),
    };
    let stranded = Arc::new(known.fresh(&stranded, Instant::now()));
    if stranded.is_empty() {
        return;
    }
    let mut ended = 0;
    let mut note = |place: &str, result: std::io::Result<usize>| match result {
        Ok(count) => ended += count,
        Err(error) => debug!("sockets of {place}: {error}"),
    };
    let here = stranded.clone();
    if let Ok(result) = tokio::task::spawn_blocking(move || end(&here)).await {
        note("the node", result);
    }
    for pod in shared.pods.list() {
        // A pod that has gone has no sockets.
        let Ok(netns) = File::open(&pod.netns) else { continue };
        let there = stranded.clone();
        let result = namespace::run(&netns, move || end(&there)).await.and_then(|result| result);
        note(&pod.netns, result);
    }
    if ended > 0 {
        info!(ended, "connected UDP sockets of backends that are gone were ended");
        shared.metrics.collected("socket", ended as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S61
    #[test]
    fn only_a_socket_that_was_given_the_backend_that_is_gone_is_chosen() {
        let gone: SocketAddr = "10.244.0.7:53".parse().unwrap();
        let there: SocketAddr = "10.244.0.8:53".parse().unwrap();
        let open = vec![
            UdpSocket::for_test(1, gone),
            UdpSocket::for_test(2, gone),
            UdpSocket::for_test(1, there),
            UdpSocket::for_test(3, "[fd00::7]:53".parse().unwrap()),
        ];
        let stranded = HashSet::from([(1, gone), (3, "[fd00::7]:53".parse().unwrap()), (4, there)]);
        let chosen = chosen(open.clone(), &stranded);
        // Cookie 2 was connected to the pod itself.
        assert_eq!(chosen, [open[0], open[3]]);
    }

    // S57, S61
    #[test]
    fn sockets_are_looked_for_when_their_backend_is_gone_and_not_while_it_still_answers() {
        let [stays, goes, returns]: [BackendKey; 3] = [7, 8, 9].map(|last| (1, [10, 0, 0, last].into(), 53));
        let place = |key: BackendKey| (key.0, SocketAddr::new(key.1, key.2));
        let start = Instant::now();
        let mut left = Left { all: None, ..Left::new(start) };
        left.note(&OrdMap::from_iter([(stays, 1_u32), (goes, 2), (returns, 3)]), start);
        // What comes and goes before it is noted is found by the look for all.
        assert!(left.expects_more() && left.all.take() == Some(start + ALL.0));
        assert!(left.take(start, |_, _| true).is_empty());
        left.note(&OrdMap::from_iter([(stays, 1_u32)]), start);
        left.all = None;
        assert!(left.take(start, |_, _| false).is_empty() && !left.expects_more());
        let gone = left.take(start, |id, key| (id, *key) == (2, goes));
        assert_eq!(gone, HashSet::from([place(goes)]));
        left.note(&OrdMap::from_iter([(stays, 1_u32), (returns, 4)]), start);
        left.all = None;
        assert_eq!(left.take(start + PATIENCE, |_, _| true), HashSet::from([place(goes)]));
        assert!(left.take(start + 3 * PATIENCE, |_, _| true).is_empty() && !left.expects_more());
    }

    #[test]
    fn an_entry_that_outlives_its_socket_is_not_looked_for_for_ever() {
        let socket = Socket { cookie: 1, backend: "10.244.0.7:53".parse().unwrap(), service: 1 };
        let mut known = Known::default();
        let start = Instant::now();
        assert_eq!(known.fresh(&[socket], start).len(), 1);
        assert_eq!(known.fresh(&[socket], start + PATIENCE).len(), 1);
        assert_eq!(known.fresh(&[socket], start + 3 * PATIENCE).len(), 0);
        assert!(known.fresh(&[], start).is_empty() && known.0.is_empty());
    }
}
