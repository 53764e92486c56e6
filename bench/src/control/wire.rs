//! Responses as bytes: what a simulated agent looks at, and nothing else of them.

use std::net::Ipv4Addr;

use bytes::{Buf, Bytes};
use fairway_proto::control::{SubscribeRequest, Version};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// The first address of the changes: a range that is set aside for benchmarks (RFC 2544).
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Changes that can be told apart.
pub(super) const MOST: u32 = 1 << 17;

/// Fields of SubscribeResponse.
const VERSION: u32 = 1;
const SNAPSHOT: u32 = 2;
const COMPLETE: u32 = 3;
const CHANGED: u32 = 4;
/// Resource.endpoint_slice, EndpointSlice.endpoints, Endpoint.addresses.
const SLICE: u32 = 2;
const ENDPOINTS: u32 = 5;
const ADDRESSES: u32 = 1;

/// The address of the endpoint that a change puts in place.
pub(super) fn address(change: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FIRST) + change)
}

/// Requests as messages, responses as bytes.
#[derive(Debug, Default)]
pub(super) struct RawCodec;

/// Gives a message's bytes.
#[derive(Debug)]
pub(super) struct RawDecoder;

impl Codec for RawCodec {
    type Encode = SubscribeRequest;
    type Decode = Bytes;
    type Encoder = ProstEncoder<SubscribeRequest>;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> RawDecoder {
        RawDecoder
    }
}

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A response without its resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) snapshot: bool,
    pub(super) complete: bool,
}

/// Reads a response; `changed` gets the numbers of the changes in it. None: it is none.
pub(super) fn read(mut rest: &[u8], mut changed: impl FnMut(u32)) -> Option<Head> {
    let mut head = Head::default();
    while !rest.is_empty() {
        match decode_key(&mut rest).ok()? {
            (VERSION, WireType::LengthDelimited) => head.version = Version::decode(body(&mut rest)?).ok()?,
            (SNAPSHOT, WireType::Varint) => head.snapshot = decode_varint(&mut rest).ok()? != 0,
            (COMPLETE, WireType::Varint) => head.complete = decode_varint(&mut rest).ok()? != 0,
            (CHANGED, WireType::LengthDelimited) => {
                if let Some(change) = first_address(body(&mut rest)?).and_then(change) {
                    changed(change);
                }
            }
            (field, kind) => skip_field(kind, field, &mut rest, DecodeContext::default()).ok()?,
        }
    }
    Some(head)
}

/// The content of a field that says how long it is.
fn body<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = decode_varint(rest).ok()?;
    let (body, after) = rest.split_at_checked(length.try_into().ok()?)?;
    *rest = after;
    Some(body)
}

/// The first field of that number that says how long it is.
fn field(mut rest: &[u8], wanted: u32) -> Option<&[u8]> {
    while !rest.is_empty() {
        match decode_key(&mut rest).ok()? {
            (number, WireType::LengthDelimited) => {
                let body = body(&mut rest)?;
                if number == wanted {
                    return Some(body);
                }
            }
            (number, kind) => skip_field(kind, number, &mut rest, DecodeContext::default()).ok()?,
        }
    }
    None
}

/// The first address of the first endpoint of a slice.
fn first_address(resource: &[u8]) -> Option<&str> {
    let endpoint = field(field(resource, SLICE)?, ENDPOINTS)?;
    str::from_utf8(field(endpoint, ADDRESSES)?).ok()
}

fn change(text: &str) -> Option<u32> {
    let address: Ipv4Addr = text.parse().ok()?;
    let change = u32::from(address).checked_sub(FIRST.into())?;
    (change < MOST).then_some(change)
}

#[cfg(test)]
mod tests {
    use fairway_proto::control::{Endpoint, EndpointSlice, Resource, Service, SubscribeResponse, resource};

    use super::*;

    fn slice(address: &str) -> Resource {
        let endpoint =
            |address: &str| Endpoint { addresses: vec![address.into()], ready: true, ..Default::default() };
        let endpoints = vec![endpoint(address), endpoint("10.128.0.1")];
        let slice = EndpointSlice {
            namespace: "default".into(),
            name: "s-1".into(),
            endpoints,
            ..Default::default()
        };
        Resource { body: Some(resource::Body::EndpointSlice(slice)) }
    }

    #[test]
    fn a_response_shows_its_head_and_the_changes_in_it() {
        let service = Resource { body: Some(resource::Body::Service(Service::default())) };
        let response = SubscribeResponse {
            version: Some(Version { epoch: 7, number: 9, ..Default::default() }),
            snapshot: true,
            complete: true,
            changed: vec![
                slice("10.128.0.7"),
                service,
                slice(&address(5).to_string()),
                slice(&address(70_000).to_string()),
            ],
            removed: vec![],
        };
        let mut changes = vec![];
        let bytes = response.encode_to_vec();
        let head = read(&bytes, |change| changes.push(change)).unwrap();
        assert_eq!((head.version.number, head.snapshot, head.complete), (9, true, true));
        assert_eq!(changes, [5, 70_000]);
        assert!(read(&bytes[..bytes.len() - 3], |_| {}).is_none());
    }
}
