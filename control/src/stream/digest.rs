//! A number for a state: where it is equal the states are, whichever control plane says it.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

/// States that are remembered.
const REMEMBERED: usize = 4 * 1024;

/// What a resource adds to the digest: the first 8 bytes of SHA-256 of the resource as it is encoded, which begins with
/// its kind and name. Control planes of one minor version have to agree on it.
pub(super) fn part(encoded: &[u8]) -> u64 {
    Sha256::digest(encoded).first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

/// The numbers of the last states, by digest.
#[derive(Debug, Default)]
pub(super) struct Digests {
    /// The last number at which the state was this one.
    numbers: HashMap<u64, u64>,
    /// Number and digest, the oldest first.
    order: VecDeque<(u64, u64)>,
}

impl Digests {
    /// The state of this number has this digest.
    pub(super) fn note(&mut self, number: u64, digest: u64) {
        self.numbers.insert(digest, number);
        self.order.push_back((number, digest));
        if self.order.len() > REMEMBERED
            && let Some((oldest, digest)) = self.order.pop_front()
            && self.numbers.get(&digest) == Some(&oldest)
        {
            self.numbers.remove(&digest);
        }
    }

    /// Which number has that state; 0, which says nothing, has none.
    pub(super) fn number(&self, digest: u64) -> Option<u64> {
        self.numbers.get(&digest).copied().filter(|_| digest != 0)
    }
}
