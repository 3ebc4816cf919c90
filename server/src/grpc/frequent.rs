//! Unary calls that most of a server's time goes to: one message in, one out, without the general
//! router, its boxed bodies and its streams of messages.
//!
//! Must hold: a client sees no difference to the general way: same codes, texts and headers; a
//! message above the limit is refused before it is held in memory whole.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use super::frames::HEAD;
use super::methods::Method;

/// How a message may be packed; one that is goes the general way.
const ENCODING: &str = "grpc-encoding";
/// What a whole answer ends with.
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Services that answer some methods this way.
pub trait Frequent: Send + Sync + 'static {
    /// Whether it answers a method.
    fn serves(&self, method: &Method) -> bool;

    /// Answers a call with a message in its frame, made by [`answer`].
    fn answer(
        &self,
        method: &Method,
        request: tonic::Request<Bytes>,
    ) -> BoxFuture<'_, Result<Bytes, Status>>;
}

/// Reads the message, has `call` answer it, and frames the answer.
///
/// # Errors
/// A message that cannot be read; the call's.
pub async fn answer<Q, A, F>(
    request: tonic::Request<Bytes>,
    call: impl FnOnce(tonic::Request<Q>) -> F,
) -> Result<Bytes, Status>
where
    Q: Message + Default,
    A: Message,
    F: Future<Output = Result<tonic::Response<A>, Status>>,
{
    let (metadata, extensions, message) = request.into_parts();
    let message = Q::decode(message).map_err(|error| Status::internal(error.to_string()))?;
    let request = tonic::Request::from_parts(metadata, extensions, message);
    let answer = call(request).await?.into_inner();
    let length = answer.encoded_len();
    let prefix = u32::try_from(length).map_err(|_| {
        let text = format!("grpc: message too large ({length} bytes)");
        Status::resource_exhausted(text)
    })?;
    let mut frame = BytesMut::with_capacity(HEAD + length);
    frame.put_u8(0);
    frame.put_u32(prefix);
    answer.encode(&mut frame).map_err(|error| Status::internal(error.to_string()))?;
    Ok(frame.freeze())
}

/// Whether the message stands as it is.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    headers.get(ENCODING).is_none_or(|encoding| encoding.as_bytes() == b"identity")
}

/// Takes the one message of a call, of at most so many bytes, and all that the body holds.
/// Says how many bytes came, framing included.
pub(super) async fn receive(
    request: Request<Body>,
    most: usize,
) -> Result<(tonic::Request<Bytes>, u64), Status> {
    let (parts, mut body) = request.into_parts();
    let (mut gathered, mut total, mut message) = (BytesMut::new(), 0, None);
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        total += data.len() as u64;
        // What follows the one message is nobody's.
        if message.is_some() {
            continue;
        }
        if gathered.is_empty()
            && let Some(length) = length(&data, most)?
            && data.len() >= HEAD + length
        {
            // As it nearly always comes: nothing is copied.
            data.advance(HEAD);
            message = Some(data.split_to(length));
            continue;
        }
        gathered.extend_from_slice(&data);
        if let Some(length) = length(&gathered, most)? {
            if gathered.len() >= HEAD + length {
                gathered.advance(HEAD);
                message = Some(gathered.split_to(length).freeze());
            } else {
                gathered.reserve(HEAD + length - gathered.len());
            }
        }
    }
    let Some(message) = message else {
        return Err(Status::internal(if gathered.is_empty() {
            "Missing request message."
        } else {
            "Unexpected EOF decoding stream."
        }));
    };
    let metadata = tonic::metadata::MetadataMap::from_headers(parts.headers);
    Ok((tonic::Request::from_parts(metadata, parts.extensions, message), total))
}

/// Length of the message that begins here, once its head is there.
fn length(gathered: &[u8], most: usize) -> Result<Option<usize>, Status> {
    let [packed, a, b, c, d, ..] = gathered[..] else { return Ok(None) };
    if packed != 0 {
        let text = "protocol error: received message with compressed-flag but no grpc-encoding \
                    was specified";
        return Err(Status::internal(text));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > most {
        let text = format!("grpc: received message larger than max ({length} vs. {most})");
        return Err(Status::resource_exhausted(text));
    }
    Ok(Some(length))
}

/// An answer of one message; `sent` is told of its bytes when all was taken, and dropped untold
/// when the client left before.
pub(super) fn response<S>(frame: Bytes, sent: S) -> Response<Body>
where
    S: FnOnce(&Bytes) + Send + Unpin + 'static,
{
    let body = OneMessage { rest: Rest::Message(frame, sent) };
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A message, then an end without complaint.
struct OneMessage<S> {
    rest: Rest<S>,
}

/// What is still to come.
enum Rest<S> {
    Message(Bytes, S),
    End(Bytes, S),
    Nothing,
}

impl<S: FnOnce(&Bytes) + Unpin> hyper::body::Body for OneMessage<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Message(frame, sent) => {
                self.rest = Rest::End(frame.clone(), sent);
                Some(Ok(Frame::data(frame)))
            }
            Rest::End(frame, sent) => {
                sent(&frame);
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(STATUS, HeaderValue::from_static("0"));
                Some(Ok(Frame::trailers(trailers)))
            }
            Rest::Nothing => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// Nothing is said of it: hyper would put a content length into the headers.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::frames::framed;
    use futures::stream;
    use http_body_util::StreamBody;

    async fn received(pieces: Vec<Bytes>, most: usize) -> Result<(Bytes, u64), Status> {
        let frames = pieces.into_iter().map(|piece| Ok::<_, Status>(Frame::data(piece)));
        let body = Body::new(StreamBody::new(stream::iter(frames.collect::<Vec<_>>())));
        let (request, bytes) = receive(Request::new(body), most).await?;
        Ok((request.into_inner(), bytes))
    }

    #[tokio::test]
    async fn a_message_is_found_however_it_is_cut() {
        let body = framed(b"some message").unwrap();
        for cut in 1..=body.len() {
            let mut pieces: Vec<Bytes> = body.chunks(cut).map(Bytes::copy_from_slice).collect();
            pieces.push(Bytes::from_static(b"what follows"));
            let (message, bytes) = received(pieces, 12).await.unwrap();
            assert_eq!((&message[..], bytes), (&b"some message"[..], 29));
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let body = framed(b"some message").unwrap();
        let refused = received(vec![body.slice(..6)], 11).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert_eq!(refused.message(), "grpc: received message larger than max (12 vs. 11)");
        for (pieces, says) in [
            (vec![], "Missing request message."),
            (vec![body.slice(..3)], "Unexpected EOF decoding stream."),
            (vec![body.slice(..9)], "Unexpected EOF decoding stream."),
            (vec![Bytes::from_static(&[1, 0, 0, 0, 0])], "protocol error"),
        ] {
            let refused = received(pieces, 12).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::Internal);
            assert!(refused.message().starts_with(says), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_ends_well_and_is_counted_when_it_was_taken() {
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let frame = framed(b"answer").unwrap();
        let teller = told.clone();
        let mut body = response(frame.clone(), move |sent| teller.send(sent.len()).unwrap());
        let first = body.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), frame);
        assert!(hears.try_recv().is_err());
        let last = body.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap().get(STATUS).unwrap(), "0");
        assert_eq!(hears.try_recv(), Ok(frame.len()));
        assert!(body.body_mut().frame().await.is_none());
        assert_eq!(body.headers().len(), 1);
        drop(response(frame, move |sent| told.send(sent.len()).unwrap()));
        assert!(hears.try_recv().is_err());
    }

    #[test]
    fn what_is_packed_goes_the_general_way() {
        let mut headers = HeaderMap::new();
        assert!(is_plain(&headers));
        for (encoding, plain) in [("identity", true), ("gzip", false), ("", false)] {
            headers.insert(ENCODING, HeaderValue::from_static(encoding));
            assert_eq!(is_plain(&headers), plain, "{encoding}");
        }
    }
}
