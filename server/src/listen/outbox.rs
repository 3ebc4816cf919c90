//! One write to the system for all that a connection has to say at a time.
//!
//! hyper writes each answer of more than 256 bytes by itself, however many are ready. So what is
//! written is gathered here, and sent when the connection has nothing more to do: [`Outlet::drive`]
//! polls it and then sends. Must hold: what was taken is sent in its order, before the connection
//! waits; no more than [`MOST_BYTES`] are gathered, the rest waits for the socket; a connection
//! that is idle holds no buffer.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered at most; larger writes go to the system at once.
const MOST_BYTES: usize = 16 * 1024;

/// A stream whose writes are gathered.
pub(super) struct Gathered<S> {
    shared: Arc<Mutex<Outbox<S>>>,
}

/// Sends what was gathered.
pub(super) struct Outlet<S> {
    shared: Arc<Mutex<Outbox<S>>>,
}

struct Outbox<S> {
    stream: S,
    waiting: BytesMut,
    /// The stream was written to since it was flushed.
    unflushed: bool,
}

/// Splits a stream into what a connection uses and what sends.
pub(super) fn gathered<S>(stream: S) -> (Gathered<S>, Outlet<S>) {
    let outbox = Outbox { stream, waiting: BytesMut::new(), unflushed: false };
    let shared = Arc::new(Mutex::new(outbox));
    (Gathered { shared: shared.clone() }, Outlet { shared })
}

/// One task uses both halves, so nobody ever waits here.
fn locked<S>(shared: &Mutex<Outbox<S>>) -> MutexGuard<'_, Outbox<S>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> Outlet<S> {
    /// Polls a connection and sends what it wrote. Ready when it has ended, or cannot send.
    pub(super) fn drive<C: Future>(
        &self,
        connection: Pin<&mut C>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let ended = connection.poll(context).is_ready();
        // A connection that ends has shut the stream down, which sends too.
        let sent = locked(&self.shared).poll_send(context);
        if ended || matches!(sent, Poll::Ready(Err(_))) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<S: AsyncWrite + Unpin> Outbox<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.waiting.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting))?;
            if sent == 0 {
                return Poll::Ready(Err(Error::from(ErrorKind::WriteZero)));
            }
            self.waiting.advance(sent);
            self.unflushed = true;
        }
        if self.waiting.capacity() > 0 {
            self.waiting = BytesMut::new();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        loop {
            if self.waiting.len() + bytes <= MOST_BYTES {
                parts.iter().for_each(|part| self.waiting.extend_from_slice(part));
                return Poll::Ready(Ok(bytes));
            }
            let mut all = Vec::with_capacity(parts.len() + 1);
            all.extend((!self.waiting.is_empty()).then(|| IoSlice::new(&self.waiting)));
            all.extend(parts.iter().map(|part| IoSlice::new(part)));
            let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &all))?;
            self.unflushed = true;
            let old = sent.min(self.waiting.len());
            self.waiting.advance(old);
            // Nothing sent at all is what the stream says of its end.
            if sent > old || sent == 0 {
                return Poll::Ready(Ok(sent - old));
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut locked(&self.shared).stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        locked(&self.shared).poll_take(context, &[IoSlice::new(bytes)])
    }

    /// What is gathered goes out when the connection was polled.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut outbox = locked(&self.shared);
        ready!(outbox.poll_send(context))?;
        Pin::new(&mut outbox.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        locked(&self.shared).poll_take(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Counts the writes that reach it, and takes few bytes of each.
    struct Slow {
        inner: tokio::io::DuplexStream,
        writes: Arc<Mutex<usize>>,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<Result<usize>> {
            *self.writes.lock().unwrap() += 1;
            let most = bytes.len().min(5_000);
            Pin::new(&mut self.inner).poll_write(context, &bytes[..most])
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
            Pin::new(&mut self.inner).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(context)
        }
    }

    /// What arrives of what is written, and in how many writes it came.
    async fn arrives(pieces: Vec<Vec<u8>>) -> (Vec<u8>, usize) {
        let (inner, mut other) = tokio::io::duplex(3_000);
        let writes = Arc::new(Mutex::new(0));
        let (mut stream, outlet) = gathered(Slow { inner, writes: writes.clone() });
        let (seen, arrived) = tokio::sync::oneshot::channel();
        let length = pieces.iter().map(Vec::len).sum();
        let mut connection = Box::pin(async move {
            for piece in pieces {
                stream.write_all(&piece).await.unwrap();
                stream.flush().await.unwrap();
            }
            // It stays open until all is there: only the outlet sends the rest.
            arrived.await.unwrap();
            drop(stream);
        });
        let reader = tokio::spawn(async move {
            let mut all = vec![0; length];
            other.read_exact(&mut all).await.unwrap();
            seen.send(()).unwrap();
            all
        });
        let patience = std::time::Duration::from_secs(30);
        let driven = poll_fn(|context| outlet.drive(connection.as_mut(), context));
        tokio::time::timeout(patience, driven).await.expect("what was written never arrived");
        (reader.await.unwrap(), *writes.lock().unwrap())
    }

    #[tokio::test]
    async fn what_is_written_at_once_leaves_at_once() {
        let pieces: Vec<Vec<u8>> = (0..7).map(|number| vec![number; 300]).collect();
        let (arrived, writes) = arrives(pieces.clone()).await;
        assert_eq!((arrived, writes), (pieces.concat(), 1));
    }

    #[tokio::test]
    async fn however_large_it_is_all_arrives_in_order() {
        let pieces: Vec<Vec<u8>> =
            (0..40_u8).map(|number| vec![number; 1 + usize::from(number) * 997]).collect();
        let (arrived, _) = arrives(pieces.clone()).await;
        assert!(arrived == pieces.concat());
    }

    /// Both halves, and what reads the other end; a stream that takes so many bytes.
    fn halves(room: usize) -> (Gathered<Slow>, Outlet<Slow>, tokio::io::DuplexStream) {
        let (inner, other) = tokio::io::duplex(room);
        let (stream, outlet) = gathered(Slow { inner, writes: Arc::default() });
        (stream, outlet, other)
    }

    #[tokio::test]
    async fn so_much_is_gathered_and_the_rest_waits_for_the_socket() {
        let (mut stream, outlet, _other) = halves(1_000);
        let mut written = 0;
        let endless = async {
            loop {
                written += stream.write(&[7; 900]).await.unwrap();
            }
        };
        let mut endless = Box::pin(endless);
        let full = poll_fn(|context| Poll::Ready(endless.as_mut().poll(context).is_pending()));
        assert!(full.await, "who writes waits");
        drop(endless);
        let waiting = locked(&outlet.shared).waiting.len();
        assert!(waiting <= MOST_BYTES && written <= MOST_BYTES + 1_000, "{waiting} of {written}");
    }

    #[tokio::test]
    async fn what_was_gathered_leaves_before_the_end() {
        let (mut stream, _outlet, mut other) = halves(10_000);
        stream.write_all(b"the last words").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut arrived = Vec::new();
        other.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived, b"the last words");
    }
}
