//! How fast a pod may receive and send.

use fairway_proto::node::Bandwidth;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::netlink::Limit;

/// The smallest burst where none is asked for, in bytes: a whole large send.
const BURST: u64 = 64 << 10;
/// The burst of fast limits where none is asked for, in fractions of a second: 10 ms.
const BURSTS: u64 = 100;
/// What a packet has beside those bytes that the MTU counts: an Ethernet header, with room for tags.
const FRAME: u32 = 22;

/// Limits of a pod; none: as fast as it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    /// Of what it receives: at its device on the node's side.
    pub(super) ingress: Option<Limit>,
    /// Of what it sends: at its device inside it, where its programs wait for their turn.
    pub(super) egress: Option<Limit>,
}

impl Limits {
    /// Reads what a request asks for, in bits; `mtu` is that of the pod's devices.
    pub(super) fn read(asked: Option<&Bandwidth>, mtu: u32) -> Result<Self, Error> {
        let Some(asked) = asked else { return Ok(Self::default()) };
        Ok(Self {
            ingress: limit(
                ["ingress_rate", "ingress_burst"],
                [asked.ingress_rate, asked.ingress_burst],
                mtu,
            )?,
            egress: limit(["egress_rate", "egress_burst"], [asked.egress_rate, asked.egress_burst], mtu)?,
        })
    }
}

fn limit(fields: [&'static str; 2], bits: [u64; 2], mtu: u32) -> Result<Option<Limit>, Error> {
    let invalid = |index: usize| Error::Invalid { field: fields[index], value: bits[index].to_string() };
    let [rate, burst] = bits.map(|bits| bits / 8);
    match bits {
        [0, 0] => return Ok(None),
        [0, _] => return Err(invalid(1)),
        _ if rate == 0 => return Err(invalid(0)),
        _ => {}
    }
    let burst = match bits[1] {
        0 => u32::try_from(BURST.max(rate / BURSTS)).unwrap_or(u32::MAX),
        _ => u32::try_from(burst).map_err(|_| invalid(1))?,
    };
    // A packet larger than the burst would never leave.
    Ok(Some(Limit { rate, burst: burst.max(mtu.saturating_add(FRAME)) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_bytes_and_let_every_packet_through() {
        let read = |ingress_rate, ingress_burst| {
            let asked = Bandwidth { ingress_rate, ingress_burst, ..Bandwidth::default() };
            let limits = Limits::read(Some(&asked), 1500).unwrap();
            assert_eq!(limits.egress, None);
            limits.ingress.map(|limit| (limit.rate, limit.burst))
        };
        assert_eq!(read(0, 0), None);
        assert_eq!(read(20_000_000, 800_000), Some((2_500_000, 100_000)));
        assert_eq!(read(1_000, 0), Some((125, 64 << 10)));
        assert_eq!(read(10_000_000_000, 0), Some((1_250_000_000, 12_500_000)));
        assert_eq!(read(1_000, 8_000), Some((125, 1522)));
        let both = Bandwidth { egress_rate: 8_000, ..Bandwidth::default() };
        assert_eq!(Limits::read(Some(&both), 1500).unwrap().egress.unwrap().rate, 1000);
        assert_eq!(Limits::read(None, 1500).unwrap(), Limits::default());
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        for (ingress_rate, ingress_burst, field) in
            [(0, 1, "ingress_burst"), (7, 0, "ingress_rate"), (8, 1 << 36, "ingress_burst")]
        {
            let asked = Bandwidth { ingress_rate, ingress_burst, ..Bandwidth::default() };
            let error = Limits::read(Some(&asked), 1500).unwrap_err();
            assert!(error.cni_code() == 7 && error.to_string().contains(field), "{error}");
        }
    }
}
