//! Taking a request back. Source: wire reference §2.5.

use crate::id::RequestId;
use crate::json::RawJson;
use crate::structure::structure;

structure! {
    /// What `notifications/cancelled` says.
    pub struct CancelledParams {
        /// The request; optional in the schema of 2025-11-25, where tasks have a method of their own.
        opt request_id "requestId": RequestId;
        /// Why, for people.
        opt reason "reason": Box<str>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

impl CancelledParams {
    /// Takes back one request.
    #[must_use]
    pub fn of(request: RequestId) -> Self {
        Self { request_id: Some(request), ..Self::new() }
    }
}
