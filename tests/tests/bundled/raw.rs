//! gRPC without a client's library, which would end calls by itself: one call a connection.

use std::time::{Duration, Instant};

use futures::StreamExt;
use holdfast_tests::etcd::Etcd;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tonic::Status;
use tonic::body::Body;

/// Longest that a call may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes before a message.
const HEAD: usize = 5;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// HTTP's status, gRPC's code and text.
    Status(u16, i32, String),
    /// It reset the stream with this code of HTTP/2.
    Reset(String),
}

/// How a call went.
#[derive(Debug)]
pub struct Ended {
    pub said: Said,
    /// The first message of the answer.
    pub first: Option<Bytes>,
    pub took: Duration,
}

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    path: String,
    times: Vec<String>,
    frame: Option<Bytes>,
    /// Whether the client says that no more comes.
    ends: bool,
}

impl Call {
    /// Of a method such as `KV/Put`, with one message.
    pub fn new(method: &str, message: &impl Message) -> Call {
        let package = match method.split('/').next().unwrap() {
            "Lock" => "v3lockpb",
            "Election" => "v3electionpb",
            "Health" => "grpc.health.v1",
            _ => "etcdserverpb",
        };
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap();
        let frame = [&[0][..], &length.to_be_bytes(), &message].concat();
        Call {
            path: format!("/{package}.{method}"),
            times: Vec::new(),
            frame: Some(frame.into()),
            ends: true,
        }
    }

    /// The client may send more.
    pub fn open(self) -> Call {
        Call { ends: false, ..self }
    }

    /// The client sends nothing, and may do so later.
    pub fn silent(self) -> Call {
        Call { frame: None, ends: false, ..self }
    }

    /// With a `grpc-timeout`.
    pub fn within(mut self, time: &str) -> Call {
        self.times.push(time.to_owned());
        self
    }

    /// Makes the call, and waits for its end.
    pub async fn make(self, etcd: &Etcd) -> Ended {
        tokio::time::timeout(PATIENCE, self.run(etcd)).await.expect("a call that ends")
    }

    async fn run(self, etcd: &Etcd) -> Ended {
        let address = etcd.endpoint().trim_start_matches("http://").to_owned();
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::post(format!("http://{address}{}", self.path))
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        for time in &self.times {
            request = request.header("grpc-timeout", time);
        }
        let frames = self.frame.into_iter().map(|frame| Ok::<_, Status>(Frame::data(frame)));
        let frames = futures::stream::iter(frames.collect::<Vec<_>>());
        let body = match self.ends {
            true => Body::new(StreamBody::new(frames)),
            false => Body::new(StreamBody::new(frames.chain(futures::stream::pending()))),
        };
        let began = Instant::now();
        let mut data = Vec::new();
        let answer = sender.send_request(request.body(body).unwrap()).await;
        let said = match answer {
            Ok(response) => {
                let (head, mut body) = response.into_parts();
                let mut said = status(head.status.as_u16(), &head.headers);
                while let Some(frame) = body.frame().await {
                    match frame.map(Frame::into_data) {
                        Ok(Ok(piece)) => data.extend_from_slice(&piece),
                        Ok(Err(trailers)) => {
                            let trailers = trailers.into_trailers().unwrap();
                            said = status(head.status.as_u16(), &trailers);
                        }
                        Err(error) => {
                            said = Some(reset(&error));
                            break;
                        }
                    }
                }
                said.expect("a status")
            }
            Err(error) => reset(&error),
        };
        connection.abort();
        let first = (data.len() >= HEAD).then(|| {
            let length = u32::from_be_bytes(data[1..HEAD].try_into().unwrap()) as usize;
            Bytes::from(data[HEAD..HEAD + length].to_vec())
        });
        Ended { said, first, took: began.elapsed() }
    }
}

fn status(http: u16, headers: &HeaderMap) -> Option<Said> {
    let status = Status::from_header_map(headers)?;
    Some(Said::Status(http, status.code().into(), status.message().to_owned()))
}

fn reset(error: &hyper::Error) -> Said {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    Said::Reset(text)
}
