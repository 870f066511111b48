//! Tasks: requests that outlive their answer. Source: wire reference §2.9 (2025-11-25) and §3.10 (the
//! extension of 2026-07-28).

use serde::de::{Deserialize, Deserializer};

use crate::json::RawJson;
use crate::number::Number;
use crate::structure::{structure, words};

/// The id of the tasks extension in 2026-07-28.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";

words! {
    /// Where a task stands. The last three are final.
    pub open enum TaskStatus {
        /// Running.
        Working "working",
        /// Waiting for answers.
        InputRequired "input_required",
        /// Done.
        Completed "completed",
        /// Ended by an error.
        Failed "failed",
        /// Taken back.
        Cancelled "cancelled",
    }
}

impl TaskStatus {
    /// Whether the task will never change again.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// How long a task is kept, in milliseconds; `null` on the wire means without limit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Ttl(pub Option<Number>);

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self)
    }
}

structure! {
    /// The wish to run a request as a task: `params.task` in 2025-11-25.
    pub struct TaskMetadata {
        /// How long to keep it, in milliseconds.
        opt ttl "ttl": Number;
    }
}

structure! {
    /// A task of 2025-11-25, also the result of its `tasks/get` and `tasks/cancel`.
    pub struct Task {
        /// Its id.
        req task_id "taskId": Box<str>;
        /// Where it stands.
        req status "status": TaskStatus;
        /// The same in words.
        opt status_message "statusMessage": Box<str>;
        /// ISO 8601 time of its creation.
        req created_at "createdAt": Box<str>;
        /// ISO 8601 time of its last change.
        req last_updated_at "lastUpdatedAt": Box<str>;
        /// How long it is kept.
        req ttl "ttl": Ttl;
        /// How often to ask, in milliseconds.
        opt poll_interval "pollInterval": Number;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// The first answer to a request that runs as a task, in 2025-11-25.
    pub struct CreateTaskResult {
        /// The task.
        req task "task": Task;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// Names a task: the params of `tasks/get`, `tasks/result` and `tasks/cancel`, and the value of the
    /// `_meta` key [`crate::meta::RELATED_TASK`].
    pub struct TaskReference {
        /// The task.
        req task_id "taskId": Box<str>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// A task of the 2026-07-28 extension: flat in the first answer, in `tasks/get` and in
    /// `notifications/tasks`.
    pub struct ExtensionTask {
        /// Its id.
        req task_id "taskId": Box<str>;
        /// Where it stands.
        req status "status": TaskStatus;
        /// The same in words.
        opt status_message "statusMessage": Box<str>;
        /// ISO 8601 time of its creation.
        req created_at "createdAt": Box<str>;
        /// ISO 8601 time of its last change.
        req last_updated_at "lastUpdatedAt": Box<str>;
        /// How long it is kept, in milliseconds.
        req ttl_ms "ttlMs": Ttl;
        /// How often to ask, in milliseconds.
        opt poll_interval_ms "pollIntervalMs": Number;
        /// What it waits for, while `input_required`.
        opt input_requests "inputRequests": RawJson;
        /// Its result, once `completed`.
        any result "result": RawJson;
        /// Its JSON-RPC error, once `failed`.
        opt error "error": RawJson;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}
