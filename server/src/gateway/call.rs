//! One request of the gateway: from an HTTP body to frames, through the gate, and back.
//!
//! Must hold: a request body is bounded; a stream's answers leave as they come, one JSON object a
//! line; an error has upstream's HTTP status and `{"code":…,"message":…}`.

use super::json;
use super::routes;
use crate::grpc::deadline::Deadline;
use crate::grpc::frames::{Gathering, framed};
use crate::grpc::metadata::Peer;
use crate::grpc::methods::{Method, methods};
use crate::grpc::{Gate, Shape};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use std::convert::Infallible;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Code, Status};

/// JSON is larger than what it says: bytes in base64 take a third more, and texts around them.
const JSON_FACTOR: usize = 2;
/// Frames of a request that wait to be taken.
const WAITING: usize = 16;
/// What upstream puts before metadata in HTTP headers.
const METADATA: &str = "grpc-metadata-";

/// Answers a request below `/v3/`.
pub async fn answer(
    gate: &Gate,
    max_receive_bytes: usize,
    request: Request<Body>,
) -> Response<Body> {
    let Some(path) = routes::method_path(request.uri().path()) else {
        return refusal(StatusCode::NOT_FOUND, &Status::not_found("Not Found"));
    };
    if request.method() != Verb::POST {
        let status = Status::unimplemented("Method Not Allowed");
        return refusal(StatusCode::NOT_IMPLEMENTED, &status);
    }
    let Some(method) = methods().find(&path) else {
        return refusal(StatusCode::NOT_FOUND, &Status::not_found("Not Found"));
    };
    let (head, body) = request.into_parts();
    let deadline = match Deadline::of_gateway(&head.headers) {
        Ok(deadline) => deadline,
        Err(status) => return refusal(http_status(status.code()), &status),
    };
    let limited = Limited::new(body, max_receive_bytes.saturating_mul(JSON_FACTOR));
    let sent = match method.shape {
        Shape::Unary | Shape::ServerStream => whole(method, limited).await,
        Shape::ClientStream | Shape::BothStream => pieces(method, limited).await,
    };
    let body = match sent {
        Ok(body) => body,
        Err(status) => return refusal(http_status(status.code()), &status),
    };
    let mut inner = Request::new(body);
    *inner.method_mut() = Verb::POST;
    if let Ok(uri) = path.parse() {
        *inner.uri_mut() = uri;
    }
    *inner.headers_mut() = metadata(&head.headers);
    let mut peer = head.extensions.get::<Peer>().cloned().unwrap_or_default();
    peer.through_gateway = true;
    inner.extensions_mut().insert(peer);
    inner.extensions_mut().insert(deadline);
    let response = gate.call(inner).await;
    if let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
    {
        return match method.shape {
            Shape::Unary | Shape::ClientStream => refusal(http_status(status.code()), &status),
            _ => in_stream(&status),
        };
    }
    match method.shape {
        Shape::Unary | Shape::ClientStream => one(method, response.into_body()).await,
        Shape::ServerStream | Shape::BothStream => many(method, response.into_body()).await,
    }
}

fn invalid(why: String) -> Status {
    Status::invalid_argument(why)
}

/// The one message of a request.
async fn whole(method: &Method, body: Limited<Body>) -> Result<Body, Status> {
    let text = body.collect().await.map_err(|error| invalid(error.to_string()))?.to_bytes();
    let decoded = json::decode(method.descriptor.input(), &text).map_err(invalid)?;
    let (message, _) = decoded.unwrap_or_default();
    let frame = framed(&message).ok_or_else(|| invalid("message too large".to_owned()))?;
    Ok(Body::new(http_body_util::Full::new(frame)))
}

/// The messages of a request's stream, as they come; the first must be one.
async fn pieces(method: &'static Method, mut body: Limited<Body>) -> Result<Body, Status> {
    let mut waiting: Vec<u8> = Vec::new();
    let first = loop {
        match json::decode(method.descriptor.input(), &waiting) {
            Ok(Some((message, end))) => {
                waiting.drain(..end);
                break framed(&message);
            }
            Err(why) if why != "unexpected EOF" => return Err(invalid(why)),
            Ok(None) | Err(_) => {}
        }
        if !more(&mut body, &mut waiting).await? {
            match waiting.iter().all(u8::is_ascii_whitespace) {
                true => break None,
                false => return Err(invalid("unexpected EOF".to_owned())),
            }
        }
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(WAITING);
    tokio::spawn(async move {
        let Some(first) = first else { return };
        if sender.send(first).await.is_err() {
            return;
        }
        // A later message that is none ends what is sent, and the stream goes on.
        loop {
            match json::decode(method.descriptor.input(), &waiting) {
                Ok(Some((message, end))) => {
                    waiting.drain(..end);
                    let Some(frame) = framed(&message) else { break };
                    if sender.send(frame).await.is_err() {
                        return;
                    }
                    continue;
                }
                Err(why) if why != "unexpected EOF" => break,
                Ok(None) | Err(_) => {}
            }
            if !matches!(more(&mut body, &mut waiting).await, Ok(true)) {
                break;
            }
        }
    });
    let frames = ReceiverStream::new(receiver).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    Ok(Body::new(StreamBody::new(frames)))
}

/// Takes the next piece of a body in; false at its end.
async fn more(body: &mut Limited<Body>, waiting: &mut Vec<u8>) -> Result<bool, Status> {
    loop {
        match body.frame().await {
            None => return Ok(false),
            Some(Err(error)) => return Err(invalid(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    waiting.extend_from_slice(&data);
                    return Ok(true);
                }
            }
        }
    }
}

/// Takes what comes next of an answer: whether more may come, or why the call failed.
async fn gather(body: &mut Body, gathering: &mut Gathering) -> Result<bool, Status> {
    let ending = match body.frame().await {
        None => None,
        Some(Err(error)) => Some(error),
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => {
                gathering.push(&data);
                return Ok(true);
            }
            Err(frame) => frame.trailers_ref().and_then(Status::from_header_map),
        },
    };
    ending.filter(|status| status.code() != Code::Ok).map_or(Ok(false), Err)
}

/// The answer of a method that gives one.
async fn one(method: &Method, mut body: Body) -> Response<Body> {
    let mut gathering = Gathering::default();
    loop {
        match gather(&mut body, &mut gathering).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(status) => return refusal(http_status(status.code()), &status),
        }
    }
    let message = gathering.next_message().unwrap_or_default();
    match json::encode(method.descriptor.output(), &message) {
        Ok(text) => {
            let mut response = Response::new(Body::new(http_body_util::Full::new(text.into())));
            mark(&mut response, true);
            response
        }
        Err(why) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &Status::internal(why)),
    }
}

/// The answers of a method that streams. The status is known with the first of them.
async fn many(method: &'static Method, mut body: Body) -> Response<Body> {
    let mut gathering = Gathering::default();
    if let Err(status) = gather(&mut body, &mut gathering).await {
        return in_stream(&status);
    }
    let lines = futures::stream::unfold(
        (body, gathering, false),
        move |(mut body, mut gathering, ended)| async move {
            if ended {
                return None;
            }
            loop {
                if let Some(message) = gathering.next_message() {
                    let line = match json::encode(method.descriptor.output(), &message) {
                        Ok(text) => [b"{\"result\":", text.as_slice(), b"}\n"].concat(),
                        Err(why) => error_line(&Status::internal(why)),
                    };
                    return Some((line, (body, gathering, false)));
                }
                match gather(&mut body, &mut gathering).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(status) => return Some((error_line(&status), (body, gathering, true))),
                }
            }
        },
    );
    let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(Bytes::from(line))));
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    mark(&mut response, true);
    response
}

fn told(status: &Status) -> serde_json::Value {
    json!({ "code": i32::from(status.code()), "message": status.message() })
}

fn error_line(status: &Status) -> Vec<u8> {
    (json!({ "error": told(status) }).to_string() + "\n").into_bytes()
}

/// A stream that fails before its first answer.
fn in_stream(status: &Status) -> Response<Body> {
    let body = Body::new(http_body_util::Full::new(error_line(status).into()));
    let mut response = Response::new(body);
    *response.status_mut() = http_status(status.code());
    mark(&mut response, false);
    response
}

/// `{"code":…,"message":…}` with an HTTP status.
fn refusal(http: StatusCode, status: &Status) -> Response<Body> {
    let text = told(status).to_string();
    let mut response = Response::new(Body::new(http_body_util::Full::new(text.into())));
    *response.status_mut() = http;
    mark(&mut response, false);
    response
}

fn mark(response: &mut Response<Body>, from_grpc: bool) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if from_grpc {
        let value = HeaderValue::from_static("application/grpc");
        headers.insert(HeaderName::from_static("grpc-metadata-content-type"), value);
    }
}

/// Metadata of the call: the token, and what `Grpc-Metadata-` names.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert("te", HeaderValue::from_static("trailers"));
    for (name, value) in headers {
        let kept = match name.as_str() {
            "authorization" => Some(name.clone()),
            other => other
                .strip_prefix(METADATA)
                .and_then(|rest| HeaderName::from_bytes(rest.as_bytes()).ok())
                .filter(|name| !matches!(name.as_str(), "content-type" | "te" | "host"))
                .filter(|name| name != CONTENT_LENGTH),
        };
        if let Some(name) = kept {
            metadata.insert(name, value.clone());
        }
    }
    metadata
}

/// The HTTP status that upstream's gateway gives to a code.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // 499 has no name: the client went away.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
