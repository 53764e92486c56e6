//! Internet checksums that follow a change of what they are over (RFC 1624), without reading the rest again.
//!
//! One's complement sums do not care for byte order, nor for the width of the words that are added: a sum of 32-bit words
//! folds to the same 16 bits. So addresses go in as they stand in a packet.

/// A change of what a checksum is over, as an unfolded sum; nothing has changed yet.
pub const NONE: u64 = 0;

/// Adds to a change: `old` became `new`. A 16-bit field counts as a word, in either half.
#[inline(always)]
pub fn change(sum: u64, old: u32, new: u32) -> u64 {
    sum + !old as u64 + new as u64
}

/// A sum in 16 bits.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// A checksum after a change.
#[inline(always)]
pub fn update(checksum: u16, change: u64) -> u16 {
    !fold(!checksum as u64 + change)
}

/// The checksum of UDP after a change: zero means that there is none, and stays; one that would become zero is written
/// as its other form (RFC 768).
#[inline(always)]
pub fn update_udp(checksum: u16, change: u64) -> u16 {
    if checksum == 0 {
        return 0;
    }
    match update(checksum, change) {
        0 => 0xffff,
        updated => updated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum over words, from scratch.
    fn whole(words: &[u32]) -> u16 {
        !fold(words.iter().map(|word| u64::from(*word)).sum())
    }

    /// Numbers that look drawn.
    fn numbers() -> impl Iterator<Item = u32> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        core::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 5 {
                0 => 0,
                1 => u32::MAX,
                _ => (state >> 16) as u32,
            }
        })
    }

    #[test]
    fn a_change_gives_the_checksum_that_reading_everything_again_gives() {
        let mut numbers = numbers();
        let mut next = || -> [u32; 10] { core::array::from_fn(|_| numbers.next().unwrap()) };
        for _ in 0..20_000 {
            let (old, mut new) = (next(), next());
            new[9] = old[9] | 1;
            let mut old = old;
            old[9] |= 1;
            let changed = old.iter().zip(&new).fold(NONE, |sum, (old, new)| change(sum, *old, *new));
            let changed = update(whole(&old), changed);
            // Both zeros are right to whoever adds everything up.
            let wanted = whole(&new);
            assert!(changed == wanted || changed ^ wanted == 0xffff && (changed == 0 || wanted == 0));
        }
    }

    #[test]
    fn a_checksum_does_not_care_where_in_a_word_a_port_stands() {
        let low = update(0x1234, change(NONE, 0x0000_1f90, 0x0000_0050));
        let high = update(0x1234, change(NONE, 0x1f90_0000, 0x0050_0000));
        assert_eq!(low, high);
    }

    #[test]
    fn no_udp_checksum_stays_none_and_one_that_comes_out_zero_is_not_taken_for_none() {
        assert_eq!(update_udp(0, change(NONE, 1, 2)), 0);
        for checksum in 1..=u16::MAX {
            assert_ne!(update_udp(checksum, change(NONE, 1, 0x1f90)), 0);
        }
    }
}
