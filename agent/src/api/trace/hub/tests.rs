use std::io::{Read, Write};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;

use super::super::convert::tests::event;
use super::*;

/// A data path whose ring is a socket: each byte stands for an event with that length.
struct Fake {
    tracing: AtomicBool,
    swaps: AtomicU64,
    lost: AtomicU64,
    writer: Mutex<Option<UnixStream>>,
}

struct FakeRing(UnixStream);

impl AsRawFd for FakeRing {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Ring for FakeRing {
    fn next_event(&mut self) -> Option<Event> {
        let mut byte = [0];
        let read = self.0.read(&mut byte).ok().filter(|count| *count == 1);
        read.map(|_| Event { length: byte[0].into(), ..event() })
    }
}

impl Tap for Fake {
    type Ring = FakeRing;

    fn set_tracing(&self, on: bool) -> Result<(), Error> {
        self.swaps.fetch_add(1, Ordering::SeqCst);
        self.tracing.store(on, Ordering::SeqCst);
        Ok(())
    }

    fn open(&self) -> Result<FakeRing, Error> {
        let (writer, reader) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        *self.writer.lock().unwrap() = Some(writer);
        Ok(FakeRing(reader))
    }

    fn lost(&self) -> Option<u64> {
        Some(self.lost.load(Ordering::SeqCst))
    }
}

impl Fake {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tracing: AtomicBool::new(false),
            swaps: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            writer: Mutex::new(None),
        })
    }

    fn emit(&self, lengths: &[u8]) {
        self.writer.lock().unwrap().as_mut().unwrap().write_all(lengths).unwrap();
    }

    async fn eventually_off(&self) {
        let off = async {
            while self.tracing.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), off).await.expect("tracing is turned off");
    }
}

async fn lengths(subscription: &mut Subscription, count: usize) -> Vec<u32> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(subscription.events.recv().await.unwrap().event.length);
    }
    seen
}

#[tokio::test]
async fn the_first_caller_turns_tracing_on_and_the_last_one_off() {
    let fake = Fake::new();
    let hub = Hub::new(fake.clone());
    let first = hub.clone().subscribe().await.unwrap();
    assert!(fake.tracing.load(Ordering::SeqCst));
    let second = hub.clone().subscribe().await.unwrap();
    assert_eq!((hub.readers(), fake.swaps.load(Ordering::SeqCst)), (2, 1));
    drop(first);
    tokio::task::yield_now().await;
    assert!(fake.tracing.load(Ordering::SeqCst));
    drop(second);
    fake.eventually_off().await;
    assert_eq!(fake.swaps.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn tracing_can_be_turned_on_again() {
    let fake = Fake::new();
    let hub = Hub::new(fake.clone());
    for _ in 0..3 {
        let mut subscription = hub.clone().subscribe().await.unwrap();
        fake.emit(&[5]);
        assert_eq!(lengths(&mut subscription, 1).await, [5]);
        drop(subscription);
        fake.eventually_off().await;
    }
}

#[tokio::test]
async fn every_caller_gets_every_event_in_order() {
    let fake = Fake::new();
    let hub = Hub::new(fake.clone());
    let mut first = hub.clone().subscribe().await.unwrap();
    let mut second = hub.clone().subscribe().await.unwrap();
    fake.emit(&[1, 2, 3]);
    assert_eq!(lengths(&mut first, 3).await, [1, 2, 3]);
    assert_eq!(lengths(&mut second, 3).await, [1, 2, 3]);
    fake.emit(&[4]);
    assert_eq!(lengths(&mut first, 1).await, [4]);
}

#[tokio::test]
async fn a_caller_that_gives_up_while_tracing_is_turned_on_leaves_it_off() {
    let fake = Fake::new();
    let hub = Hub::new(fake.clone());
    let mut call = Box::pin(hub.clone().subscribe());
    assert!(futures::poll!(call.as_mut()).is_pending());
    drop(call);
    let swapped = async {
        while fake.swaps.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), swapped)
        .await
        .expect("tracing is turned on, and off again");
    fake.eventually_off().await;
}

#[tokio::test]
async fn what_the_ring_lost_is_told_once_to_each_caller() {
    let fake = Fake::new();
    fake.lost.store(5, Ordering::SeqCst);
    let mut subscription = Hub::new(fake).subscribe().await.unwrap();
    assert_eq!([5, 7, 7, 10].map(|total| subscription.ring_lost_since(total)), [0, 2, 0, 3]);
}
