//! Keep-alive enforcement: a client that pings more often than it may is sent away.
//!
//! hyper answers pings by itself and does not tell. So the bytes that come in are looked at:
//! HTTP/2 frames have nine bytes before them (length 3, type 1, flags 1, stream 4), and a PING is
//! type 6 without the flag ACK. Three pings that came too early end the connection, as grpc-go
//! ends it (there with GOAWAY `too_many_pings`; here the connection is closed, since no frame can
//! be put between hyper's). A connection that speaks HTTP/1 is not looked at.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pings that may come too early before the connection ends, as grpc-go's.
const STRIKES: u32 = 2;
/// Bytes before a frame.
const HEAD: usize = 9;
const TYPE_PING: u8 = 6;
const TYPE_DATA: u8 = 0;
const TYPE_HEADERS: u8 = 1;
const FLAG_ACK: u8 = 1;

/// Where the bytes of one direction stand.
#[derive(Debug)]
enum Reading {
    /// The preface; so many bytes of it were seen.
    Preface(usize),
    /// A frame's head.
    Head([u8; HEAD], usize),
    /// So many bytes of a frame are left.
    Body(usize),
    /// Not HTTP/2.
    Other,
}

impl Reading {
    /// Takes bytes in and gives each frame's type and flags to `found`.
    fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, u8)) {
        while let Some(first) = bytes.first() {
            match self {
                Reading::Other => return,
                Reading::Preface(seen) => {
                    if PREFACE.get(*seen) != Some(first) {
                        *self = Reading::Other;
                        return;
                    }
                    *seen += 1;
                    bytes = &bytes[1..];
                    if *seen == PREFACE.len() {
                        *self = Reading::Head([0; HEAD], 0);
                    }
                }
                Reading::Head(head, seen) => {
                    head[*seen] = *first;
                    *seen += 1;
                    bytes = &bytes[1..];
                    if *seen < HEAD {
                        continue;
                    }
                    let [a, b, c, kind, flags, ..] = *head;
                    found(kind, flags);
                    *self = match u32::from_be_bytes([0, a, b, c]) as usize {
                        0 => Reading::Head([0; HEAD], 0),
                        length => Reading::Body(length),
                    };
                }
                Reading::Body(left) => {
                    let skipped = bytes.len().min(*left);
                    bytes = &bytes[skipped..];
                    *left -= skipped;
                    if *left == 0 {
                        *self = Reading::Head([0; HEAD], 0);
                    }
                }
            }
        }
    }
}

/// What a client did too often.
#[derive(Debug)]
struct Policy {
    min_time: Duration,
    last: Option<Instant>,
    strikes: u32,
}

impl Policy {
    /// A ping came.
    fn ping(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now < last + self.min_time) {
            self.strikes += 1;
        }
        self.last = Some(now);
    }

    /// What we send clears the past, as in grpc-go: a client that is being sent much pings to
    /// measure the way.
    fn forgive(&mut self) {
        self.strikes = 0;
        self.last = None;
    }
}

/// A connection whose pings are counted.
#[derive(Debug)]
pub(super) struct Pinged<S> {
    inner: S,
    incoming: Reading,
    outgoing: Reading,
    policy: Policy,
}

impl<S> Pinged<S> {
    /// With the shortest time between two pings; zero for any.
    pub(super) fn new(inner: S, min_time: Duration) -> Pinged<S> {
        let incoming = if min_time.is_zero() { Reading::Other } else { Reading::Preface(0) };
        let outgoing = Reading::Head([0; HEAD], 0);
        let policy = Policy { min_time, last: None, strikes: 0 };
        Pinged { inner, incoming, outgoing, policy }
    }

    /// Looks at what came in. Whether there were too many pings.
    fn look(&mut self, bytes: &[u8], now: Instant) -> bool {
        let policy = &mut self.policy;
        self.incoming.feed(bytes, |kind, flags| match kind {
            TYPE_PING if flags & FLAG_ACK == 0 => policy.ping(now),
            TYPE_DATA | TYPE_HEADERS => policy.forgive(),
            _ => {}
        });
        self.policy.strikes > STRIKES
    }

    /// Looks at what goes out.
    fn sent(&mut self, bytes: &[u8]) {
        if matches!(self.incoming, Reading::Other) {
            return;
        }
        let policy = &mut self.policy;
        self.outgoing.feed(bytes, |kind, _| {
            if matches!(kind, TYPE_DATA | TYPE_HEADERS) {
                policy.forgive();
            }
        });
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Pinged<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = polled
            && self.look(&buffer.filled()[before..], Instant::now())
        {
            return Poll::Ready(Err(Error::new(ErrorKind::ConnectionAborted, "too_many_pings")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Pinged<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = polled {
            self.sent(&bytes[..count]);
        }
        polled
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        if let Poll::Ready(Ok(mut count)) = polled {
            for part in parts {
                let of_part = part.len().min(count);
                self.sent(&part[..of_part]);
                count -= of_part;
            }
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(TYPE_PING, length.into()));
        frame
    }

    fn too_many(frames: &[Vec<u8>], cut: usize, apart: Duration) -> bool {
        let mut pinged = Pinged::new((), Duration::from_secs(5));
        let mut now = Instant::now();
        let mut found = pinged.look(PREFACE, now);
        for frame in frames {
            for piece in frame.chunks(cut) {
                found |= pinged.look(piece, now);
            }
            now += apart;
        }
        found
    }

    proptest! {
        #[test]
        fn early_pings_are_counted_however_the_bytes_are_cut(cut in 1_usize..30) {
            let ping = || frame(TYPE_PING, 0, 8);
            let second = Duration::from_secs(1);
            let pings = vec![ping(), ping(), ping(), ping()];
            prop_assert!(too_many(&pings, cut, second), "three came early");
            prop_assert!(!too_many(&pings[..3], cut, second));
            prop_assert!(!too_many(&pings, cut, Duration::from_secs(6)), "none came early");
            let acked = vec![frame(TYPE_PING, FLAG_ACK, 8); 9];
            prop_assert!(!too_many(&acked, cut, second), "answers are none");
            let data = frame(TYPE_DATA, 0, 200);
            let busy = vec![ping(), ping(), ping(), data.clone(), ping(), ping(), ping()];
            prop_assert!(!too_many(&busy, cut, second), "calls clear the past");
            let mut answering = Pinged::new((), Duration::from_secs(5));
            let now = Instant::now();
            prop_assert!(!answering.look(PREFACE, now));
            for _ in 0..9 {
                prop_assert!(!answering.look(&ping(), now), "and so do answers");
                for piece in data.chunks(cut) {
                    answering.sent(piece);
                }
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut pinged = Pinged::new((), Duration::from_secs(5));
            pinged.look(&bytes, Instant::now());
        }
    }
}
