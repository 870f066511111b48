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
