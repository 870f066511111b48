//! Ids that wait for their answers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::{ErrorCode, RequestId, RpcError};
use mcp_server::Outcome;

/// The requests of one client that are not answered yet. The front end bounds how many.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashSet<RequestId>>>);

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Entry(InFlight, RequestId);

impl InFlight {
    /// Takes on a request.
    ///
    /// # Errors
    /// Its id is taken (wire reference §1.1). The gateway is lenient about that; a peer to test clients with is not.
    pub(crate) fn enter(&self, id: &RequestId) -> Result<Entry, RpcError> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone()) {
            return Ok(Entry(self.clone(), id.clone()));
        }
        Err(RpcError::new(ErrorCode::INVALID_REQUEST, "a request with this id is still in flight"))
    }
}

impl Entry {
    /// Lets the request be in flight until its answer is there, or is not waited for any more.
    pub(crate) fn until(self, answer: BoxFuture<'static, Outcome>) -> BoxFuture<'static, Outcome> {
        async move {
            let _entry = self;
            answer.await
        }
        .boxed()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}
