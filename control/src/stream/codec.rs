//! Writes responses from bytes that are encoded already.

use bytes::BufMut;
use fairway_proto::control::{SubscribeRequest, SubscribeResponse};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use super::cursor::Frame;

/// Bytes that a stream's buffers begin with, instead of 8 KiB each: there are thousands of streams, and most of what they
/// carry is small. They grow with what is larger, and give that back.
const BUFFER: usize = 512;
/// What is ready is handed on when it has so many bytes.
const READY: usize = 32 * 1024;

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
        ProstDecoder::new(BufferSettings::new(BUFFER, READY))
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

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, READY)
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
