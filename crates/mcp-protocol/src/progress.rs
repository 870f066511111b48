//! How far a request has come. Source: wire reference §2.5.

use crate::id::RequestId;
use crate::json::RawJson;
use crate::number::Number;
use crate::structure::structure;

/// What ties progress to a request: like an id a string or an integer, kept as it was written.
pub type ProgressToken = RequestId;

structure! {
    /// What `notifications/progress` says.
    pub struct ProgressParams {
        /// The token the request carried.
        req progress_token "progressToken": ProgressToken;
        /// How far it is; rises with every notification.
        req progress "progress": Number;
        /// Where it ends, if known.
        opt total "total": Number;
        /// What is being done; since 2025-03-26.
        opt message "message": Box<str>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}
