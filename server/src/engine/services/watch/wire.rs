//! Watch on the wire: the service's one method, whose answers may bring their events encoded.
//!
//! Generated stubs take messages only, and would encode the events of an answer for each watcher
//! anew. Must hold: a client sees no difference to them.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use futures::future::BoxFuture;
use holdfast_api::etcdserverpb::watch_server::SERVICE_NAME;
use holdfast_api::etcdserverpb::{WatchRequest, WatchResponse};
use http::{Request, Response};
use prost::Message;
use tonic::body::Body;
use tonic::codec::{
    BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder,
};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};

use super::Answers;
use crate::engine::handle::Handle;

/// The service's method.
const METHOD: &str = "/etcdserverpb.Watch/Watch";
/// Bytes that a stream's buffers begin with: most streams wait most of the time, and there may be
/// very many.
const IDLE_BUFFER: usize = 256;
/// Bytes of answers that are gathered into one piece of the body.
const PIECE: usize = 32 << 10;

/// An answer: a message, and events that are encoded already.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// All, or the head of it.
    pub(super) head: WatchResponse,
    /// What follows it: bytes of whole fields.
    pub(super) events: Bytes,
}

/// The service.
#[derive(Clone)]
pub(crate) struct WatchService {
    handle: Handle,
    most_bytes: usize,
}

impl WatchService {
    /// Takes no message of more than so many bytes.
    pub(crate) fn new(handle: Handle, most_bytes: usize) -> WatchService {
        WatchService { handle, most_bytes }
    }
}

impl NamedService for WatchService {
    const NAME: &'static str = SERVICE_NAME;
}

impl tower::Service<Request<Body>> for WatchService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("").into_http());
            }
            let most_bytes = service.most_bytes;
            let mut grpc = Grpc::new(WatchCodec)
                .max_decoding_message_size(most_bytes)
                .accept_compressed(CompressionEncoding::Gzip);
            Ok(grpc.streaming(service, request).await)
        })
    }
}

impl StreamingService<WatchRequest> for WatchService {
    type Response = Outgoing;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<tonic::Response<Answers>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<WatchRequest>>) -> Self::Future {
        let answers = self.handle.watch(request);
        Box::pin(std::future::ready(Ok(tonic::Response::new(answers))))
    }
}

/// Messages as their bytes.
struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = Outgoing;
    type Decode = WatchRequest;
    type Encoder = WatchCodec;
    type Decoder = WatchCodec;

    fn encoder(&mut self) -> WatchCodec {
        WatchCodec
    }

    fn decoder(&mut self) -> WatchCodec {
        WatchCodec
    }
}

impl Encoder for WatchCodec {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, answer: Outgoing, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(answer.head.encoded_len() + answer.events.len());
        answer.head.encode(to).map_err(|error| Status::internal(error.to_string()))?;
        to.put_slice(&answer.events);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(IDLE_BUFFER, PIECE)
    }
}

impl Decoder for WatchCodec {
    type Item = WatchRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<WatchRequest>, Status> {
        let request = WatchRequest::decode(from);
        request.map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(IDLE_BUFFER, PIECE)
    }
}
