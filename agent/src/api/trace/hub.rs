//! Turns tracing on for the first caller and off after the last, and gives every caller every event.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fairway_datapath::common::event::Event;
use fairway_datapath::{Datapath, Events};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::broadcast;

/// Events that a caller may be behind before it loses some.
const CAPACITY: usize = 16_384;
/// How often the kernel's count of lost events is read.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// Where events come from.
pub(in super::super) trait Tap: Send + Sync + 'static {
    /// The ring.
    type Ring: Ring;

    /// Makes the programs write events, or not.
    fn set_tracing(&self, on: bool) -> Result<(), Error>;

    /// Opens the ring.
    fn open(&self) -> Result<Self::Ring, Error>;

    /// Events that found the ring full; none: not known at this moment.
    fn lost(&self) -> Option<u64>;
}

/// A ring of events whose file descriptor is readable when one is there. It is the same descriptor as long as
/// the ring lives.
pub(in super::super) trait Ring: AsRawFd + Send + 'static {
    /// The next event, if there is one.
    fn next_event(&mut self) -> Option<Event>;
}

impl Tap for Mutex<Datapath> {
    type Ring = Events;

    fn set_tracing(&self, on: bool) -> Result<(), Error> {
        Ok(Datapath::set_tracing(self, on)?)
    }

    fn open(&self) -> Result<Events, Error> {
        Ok(self.lock().unwrap_or_else(PoisonError::into_inner).events()?)
    }

    fn lost(&self) -> Option<u64> {
        // Waiting for the lock would hold up the reader, and lose more.
        self.try_lock().ok()?.events_lost().ok()
    }
}

impl Ring for Events {
    fn next_event(&mut self) -> Option<Event> {
        Events::next_event(self)
    }
}

/// Why tracing could not be turned on or off.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Error {
    #[error("the programs cannot be swapped for those that trace")]
    Datapath(#[from] fairway_datapath::Error),
    #[error("the event ring cannot be waited for")]
    Wait(#[from] std::io::Error),
    #[error("tracing was interrupted")]
    Task(#[from] tokio::task::JoinError),
}

/// An event, and what the ring had lost by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) event: Event,
    pub(super) ring_lost: u64,
}

/// One caller's share. Dropping it ends it.
pub(super) struct Subscription {
    pub(super) events: broadcast::Receiver<Seen>,
    ring_lost: u64,
}

impl Subscription {
    /// What the ring lost since the last time this was asked.
    pub(super) fn ring_lost_since(&mut self, total: u64) -> u64 {
        let lost = total.saturating_sub(self.ring_lost);
        self.ring_lost = self.ring_lost.max(total);
        lost
    }
}

/// The one reader of the ring, while there are callers.
pub(in super::super) struct Hub<T> {
    tap: Arc<T>,
    running: tokio::sync::Mutex<Option<broadcast::Sender<Seen>>>,
    ring_lost: AtomicU64,
}

impl<T: Tap> Hub<T> {
    /// A hub that is not tracing.
    pub(in super::super) fn new(tap: Arc<T>) -> Arc<Self> {
        Arc::new(Self { tap, running: tokio::sync::Mutex::new(None), ring_lost: AtomicU64::new(0) })
    }

    /// Callers at this moment; 0 while tracing is being turned on or off.
    pub(in super::super) fn readers(&self) -> usize {
        let running = self.running.try_lock().ok();
        running
            .and_then(|running| running.as_ref().map(broadcast::Sender::receiver_count))
            .unwrap_or_default()
    }

    /// Joins the callers. Tracing is on when this returns.
    pub(super) async fn subscribe(self: Arc<Self>) -> Result<Subscription, Error> {
        // In a task of its own: a caller that goes away meanwhile must not leave tracing half on.
        tokio::spawn(self.join()).await?
    }

    async fn join(self: Arc<Self>) -> Result<Subscription, Error> {
        let mut running = self.running.lock().await;
        let events = match &*running {
            Some(sender) => sender.subscribe(),
            None => {
                let ring = register(self.clone().start().await?)?;
                let (sender, events) = broadcast::channel(CAPACITY);
                *running = Some(sender.clone());
                tokio::spawn(self.clone().read(ring, sender));
                events
            }
        };
        Ok(Subscription { events, ring_lost: self.ring_lost.load(Ordering::Relaxed) })
    }

    /// Opens the ring, throws away what an earlier trace left in it, and turns tracing on.
    async fn start(self: Arc<Self>) -> Result<T::Ring, Error> {
        let start = move || {
            let mut ring = self.tap.open()?;
            while ring.next_event().is_some() {}
            self.ring_lost.store(self.tap.lost().unwrap_or_default(), Ordering::Relaxed);
            self.tap.set_tracing(true)?;
            Ok(ring)
        };
        tokio::task::spawn_blocking(start).await?
    }

    /// Reads the ring until there is no caller any more, then turns tracing off.
    async fn read(self: Arc<Self>, mut ring: AsyncFd<T::Ring>, sender: broadcast::Sender<Seen>) {
        let mut counted = Instant::now();
        loop {
            tokio::select! {
                ready = ring.readable_mut() => {
                    let Ok(mut ready) = ready else { break };
                    if counted.elapsed() >= COUNT_EVERY {
                        counted = Instant::now();
                        if let Some(lost) = self.tap.lost() {
                            self.ring_lost.store(lost, Ordering::Relaxed);
                        }
                    }
                    let ring_lost = self.ring_lost.load(Ordering::Relaxed);
                    while let Some(event) = ready.get_inner_mut().next_event() {
                        // No caller: the other branch sees that.
                        let _ = sender.send(Seen { event, ring_lost });
                    }
                    ready.clear_ready();
                }
                () = sender.closed() => {
                    let mut running = self.running.lock().await;
                    if sender.receiver_count() == 0 {
                        drop(ring);
                        *running = None;
                        self.clone().stop().await;
                        return;
                    }
                }
            }
        }
        *self.running.lock().await = None;
        self.stop().await;
    }

    async fn stop(self: Arc<Self>) {
        let stop = tokio::task::spawn_blocking(move || self.tap.set_tracing(false));
        if let Err(error) = stop.await.map_err(Error::from).flatten() {
            tracing::error!(error = &error as &dyn std::error::Error, "tracing stays on");
        }
    }
}

/// Waits for the ring's descriptor.
fn register<R: Ring>(ring: R) -> Result<AsyncFd<R>, std::io::Error> {
    #[expect(unsafe_code, reason = "Aya's ring has no safe borrow of its descriptor")]
    // SAFETY: the ring owns its descriptor, returns the same one each time and closes it only when dropped.
    let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    Ok(registered?)
}

#[cfg(test)]
mod tests;
