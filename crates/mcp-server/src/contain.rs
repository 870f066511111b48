//! A service that panics fails one request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::task::{ArcWake, AtomicWaker, waker_ref};
use mcp_protocol::{ErrorCode, RpcError};

use crate::service::{Opened, Outcome};

/// Waits for the answer to `initialize`.
pub(crate) async fn open(opening: BoxFuture<'static, Result<Opened, RpcError>>) -> Result<Opened, RpcError> {
    AssertUnwindSafe(opening).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
}

/// The answer to a request, being worked out. Must not be polled after it was ready.
///
/// The task of a connection is woken for more than the answer: hyper does it for each body it reads. All the layers of a
/// call are looked at only if they asked for it.
pub(crate) struct Working {
    work: BoxFuture<'static, Outcome>,
    gate: Arc<Gate>,
}

struct Gate {
    woken: AtomicBool,
    owner: AtomicWaker,
}

impl ArcWake for Gate {
    fn wake_by_ref(this: &Arc<Self>) {
        this.woken.store(true, Ordering::Release);
        this.owner.wake();
    }
}

impl Working {
    pub(crate) fn new(work: BoxFuture<'static, Outcome>) -> Self {
        Self { work, gate: Arc::new(Gate { woken: AtomicBool::new(true), owner: AtomicWaker::new() }) }
    }
}

impl Future for Working {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Self { work, gate } = &mut *self;
        gate.owner.register(cx.waker());
        if !gate.woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = waker_ref(gate);
        let poll = || work.as_mut().poll(&mut Context::from_waker(&waker));
        // What it leaves half done is dropped with it.
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    }
}

fn panicked() -> RpcError {
    tracing::error!("answering a request panicked");
    RpcError::new(ErrorCode::INTERNAL_ERROR, "internal error")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::task::Waker;

    use futures::future::poll_fn;
    use futures::task::ArcWake;
    use mcp_protocol::RawJson;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl ArcWake for Woken {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn work_is_looked_at_when_it_asked_for_it_and_tells_whoever_polled_it_last() {
        let polls = Arc::new(AtomicUsize::new(0));
        let inner = Arc::new(Mutex::new(None::<Waker>));
        let (count, waker) = (Arc::clone(&polls), Arc::clone(&inner));
        let work = poll_fn(move |cx| match count.fetch_add(1, Ordering::Relaxed) {
            0..2 => {
                *waker.lock().unwrap() = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(Ok(RawJson::empty_object())),
        });
        let mut working = Working::new(work.boxed());
        let owners = [Arc::<Woken>::default(), Arc::default()];
        let mut poll = |owner: usize| {
            let waker = futures::task::waker(Arc::clone(&owners[owner]));
            working.poll_unpin(&mut Context::from_waker(&waker)).is_ready()
        };
        let wake = || inner.lock().unwrap().as_ref().unwrap().wake_by_ref();
        assert!(!poll(0) && !poll(0) && !poll(0));
        assert_eq!(polls.load(Ordering::Relaxed), 1, "nothing has happened since the first one");
        wake();
        assert_eq!(owners[0].0.load(Ordering::Relaxed), 1);
        assert!(!poll(0));
        assert_eq!(polls.load(Ordering::Relaxed), 2);
        assert!(!poll(1), "another task has taken it over");
        wake();
        let woken = owners.each_ref().map(|owner| owner.0.load(Ordering::Relaxed));
        assert_eq!(woken, [1, 1]);
        assert!(poll(1));
    }

    #[test]
    fn a_wake_during_the_poll_is_not_lost() {
        let mut polls = 0;
        let work = poll_fn(move |cx| {
            polls += 1;
            if polls < 3 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(RawJson::empty_object()))
        });
        let mut working = Working::new(work.boxed());
        let owner = Arc::<Woken>::default();
        let waker = futures::task::waker(Arc::clone(&owner));
        let mut cx = Context::from_waker(&waker);
        assert!(working.poll_unpin(&mut cx).is_pending());
        assert!(working.poll_unpin(&mut cx).is_pending());
        assert!(working.poll_unpin(&mut cx).is_ready());
        assert_eq!(owner.0.load(Ordering::Relaxed), 2);
    }
}
