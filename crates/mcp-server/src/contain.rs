//! A service that panics fails one request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::{ErrorCode, RpcError};

use crate::service::{Opened, Outcome};

/// Waits for the answer to `initialize`.
pub(crate) async fn open(opening: BoxFuture<'static, Result<Opened, RpcError>>) -> Result<Opened, RpcError> {
    AssertUnwindSafe(opening).catch_unwind().await.unwrap_or_else(|_| Err(panicked()))
}

/// Polls the answer to a request. It must not be polled again after it was ready.
pub(crate) fn poll(work: &mut BoxFuture<'static, Outcome>, cx: &mut Context<'_>) -> Poll<Outcome> {
    // What it leaves half done is dropped with it.
    catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|_| Poll::Ready(Err(panicked())))
}

fn panicked() -> RpcError {
    tracing::error!("answering a request panicked");
    RpcError::new(ErrorCode::INTERNAL_ERROR, "internal error")
}
