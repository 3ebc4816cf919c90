//! Runs a request where its connection runs, for as long as it need not wait.
//!
//! A range that is answered from memory is done at its first poll; a task of its own would cost it
//! more than the work: an allocation, a place in a queue, often the other processor's attention.
//! What does wait goes on as a task. Must hold: a future is polled by one task at a time, and the
//! task it becomes polls it at once, so that no wake-up of the first poll is needed; whoever works
//! long without waiting yields first ([`tokio::task::yield_now`]), or the connection's other
//! requests wait for it.

use std::future::Future;
use std::task::{Context, Waker};

/// See the file's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eager;

impl<F> hyper::rt::Executor<F> for Eager
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        let mut request = Box::pin(request);
        let mut context = Context::from_waker(Waker::noop());
        if request.as_mut().poll(&mut context).is_pending() {
            tokio::spawn(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::rt::Executor;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_need_not_wait_is_done_at_once_and_the_rest_goes_on() {
        let (done, mut is_done) = oneshot::channel();
        Eager.execute(async move { done.send(1).unwrap() });
        assert_eq!(is_done.try_recv(), Ok(1));
        let (begin, begins) = oneshot::channel();
        let (done, mut is_done) = oneshot::channel();
        Eager.execute(async move { done.send(begins.await.unwrap()).unwrap() });
        assert!(is_done.try_recv().is_err());
        begin.send(2).unwrap();
        assert_eq!(is_done.await, Ok(2));
        let (done, mut is_done) = oneshot::channel();
        Eager.execute(async move {
            tokio::task::yield_now().await;
            done.send(3).unwrap();
        });
        assert!(is_done.try_recv().is_err(), "who yields is not waited for");
        assert_eq!(is_done.await, Ok(3));
    }

    /// Counts how often it is polled; ready at once.
    struct Counted(std::sync::Arc<std::sync::atomic::AtomicUsize>);

    impl Future for Counted {
        type Output = ();

        fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> std::task::Poll<()> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::task::Poll::Ready(())
        }
    }

    #[tokio::test]
    async fn what_is_done_is_polled_no_more() {
        let polls = std::sync::Arc::default();
        Eager.execute(Counted(std::sync::Arc::clone(&polls)));
        // A task of its own would have its turn now.
        tokio::task::yield_now().await;
        assert_eq!(polls.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
