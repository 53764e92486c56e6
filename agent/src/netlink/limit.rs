//! Limits of what leaves a device: a token bucket (tbf) as its root qdisc.

use futures::TryStreamExt;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla,
    NlaBuffer, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use serde::{Deserialize, Serialize};

use super::{Error, Link, Netlink};

const KIND: &str = "tbf";
/// From linux/pkt_sched.h.
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// How long a packet may wait, in fractions of a second: 25 ms, as with the bandwidth plugin.
const LATENCY: u64 = 40;

/// How fast packets may leave a device, their Ethernet headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    /// Bytes a second, at least 1.
    pub(crate) rate: u64,
    /// Bytes that may leave at once: at least the largest packet, else that one never leaves.
    pub(crate) burst: u32,
}

impl Limit {
    /// The options of the qdisc: `struct tc_tbf_qopt` with its two `struct tc_ratespec`, and what does not fit there.
    fn options(self) -> Vec<TcOption> {
        let mut parms = [0_u8; 36];
        // Ethernet: no table of packet sizes is needed.
        parms[1] = 1;
        let rate = u32::try_from(self.rate).unwrap_or(u32::MAX);
        parms[8..12].copy_from_slice(&rate.to_ne_bytes());
        // Of the second rate, the peak, there is none. Bytes that may wait:
        let waiting = u64::from(self.burst).saturating_add(self.rate / LATENCY);
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        parms[24..28].copy_from_slice(&waiting.to_ne_bytes());
        let option = |kind, value: Vec<u8>| TcOption::Other(DefaultNla::new(kind, value));
        vec![
            option(TCA_TBF_PARMS, parms.to_vec()),
            option(TCA_TBF_RATE64, self.rate.to_ne_bytes().to_vec()),
            option(TCA_TBF_BURST, self.burst.to_ne_bytes().to_vec()),
        ]
    }

    /// Whether a qdisc limits to this rate; its burst comes back rounded.
    fn is_that_of(self, qdisc: &TcMessage) -> bool {
        let is_kind = |it: &TcAttribute| matches!(it, TcAttribute::Kind(kind) if kind == KIND);
        let rate = u32::try_from(self.rate).unwrap_or(u32::MAX).to_ne_bytes();
        // Of a kind that the crate does not know, all options come back as the bytes of one.
        let is_rate = |option: &TcOption| {
            let mut bytes = vec![0; option.value_len()];
            option.emit_value(&mut bytes);
            let is_parms =
                |it: NlaBuffer<&[u8]>| it.kind() == TCA_TBF_PARMS && it.value().get(8..12) == Some(&rate);
            NlasIterator::new(bytes.as_slice()).flatten().any(is_parms)
        };
        let has_rate =
            |it: &TcAttribute| matches!(it, TcAttribute::Options(options) if options.iter().any(is_rate));
        let attributes = &qdisc.attributes;
        qdisc.header.parent == TcHandle::ROOT
            && attributes.iter().any(is_kind)
            && attributes.iter().any(has_rate)
    }
}

impl Netlink {
    /// Limits what leaves a device, in place of any limit that it had.
    pub(crate) async fn put_limit(&self, link: &Link, limit: Limit) -> Result<(), Error> {
        let mut message = TcMessage::with_index(index(link));
        message.header.parent = TcHandle::ROOT;
        message.attributes = vec![TcAttribute::Kind(KIND.to_owned()), TcAttribute::Options(limit.options())];
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let refused = || Error::refused("limiting the bandwidth of the device", &link.name);
        let mut answers = self.handle.clone().request(request).map_err(refused())?;
        while let Some(answer) = futures::StreamExt::next(&mut answers).await {
            if let NetlinkPayload::Error(error) = answer.payload {
                return Err(refused()(rtnetlink::Error::NetlinkError(error)));
            }
        }
        Ok(())
    }

    /// Whether what leaves a device is limited to this rate.
    pub(crate) async fn has_limit(&self, link: &Link, limit: Limit) -> Result<bool, Error> {
        let _alone = self.listing.lock().await;
        let qdiscs = self.handle.qdisc().get().index(index(link)).execute();
        let qdiscs: Vec<TcMessage> =
            qdiscs.try_collect().await.map_err(Error::refused("looking up the qdisc of", &link.name))?;
        Ok(qdiscs.iter().any(|qdisc| qdisc.header.index == index(link) && limit.is_that_of(qdisc)))
    }
}

/// The kernel's numbers of devices are positive.
fn index(link: &Link) -> i32 {
    i32::try_from(link.index).unwrap_or_default()
}
