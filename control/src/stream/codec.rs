//! Writes responses from bytes that are encoded already.

use bytes::BufMut;
use fairway_proto::control::{SubscribeRequest, SubscribeResponse};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use super::cursor::Frame;

/// The codec of `Subscribe` on the server's side.
#[derive(Debug, Default)]
pub(crate) struct FrameCodec;

/// Writes a frame as the SubscribeResponse that it stands for.
#[derive(Debug)]
pub(crate) struct FrameEncoder;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = SubscribeRequest;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<SubscribeRequest>;

    fn encoder(&mut self) -> FrameEncoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(64 + frame.items().iter().map(|item| item.len()).sum::<usize>());
        write(&frame, buffer);
        Ok(())
    }
}

/// The head, then the items: fields of a message may come in any order and any number of pieces.
pub(crate) fn write(frame: &Frame, buffer: &mut impl BufMut) {
    let head = SubscribeResponse {
        version: Some(frame.version),
        snapshot: frame.snapshot,
        complete: frame.complete,
        ..SubscribeResponse::default()
    };
    head.encode_raw(buffer);
    for item in frame.items() {
        buffer.put_slice(item);
    }
}
