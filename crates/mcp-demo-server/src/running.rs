//! Calls that are not answered at once.

use std::time::Duration;

use mcp_protocol::progress::ProgressToken;
use mcp_protocol::{Message, Method, Notification, ProtocolVersion, RawJson};
use serde::Serialize;

use crate::ask::Question;
use crate::caller::Caller;

/// A call in flight.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) caller: Caller,
    pub(crate) work: Work,
}

/// What a call waits for.
#[derive(Debug)]
pub(crate) enum Work {
    /// Time.
    Slow(Slow),
    /// The client's answer to a request of ours.
    Asked { ours: i64, question: Question, due: Duration },
}

impl Running {
    /// When something is to be done even if no message comes.
    pub(crate) fn due(&self) -> Duration {
        match &self.work {
            Work::Slow(slow) => slow.due(),
            Work::Asked { due, .. } => *due,
        }
    }
}

/// The tool `slow`: equal steps, progress at the end of each.
#[derive(Debug)]
pub(crate) struct Slow {
    pub(crate) started: Duration,
    pub(crate) total: Duration,
    pub(crate) steps: u32,
    pub(crate) done: u32,
}

impl Slow {
    /// When the next step ends.
    pub(crate) fn due(&self) -> Duration {
        let share = f64::from(self.done + 1) / f64::from(self.steps);
        self.started + self.total.mul_f64(share.min(1.0))
    }

    /// Ends the steps that are due; one progress notification for each, if the caller wants them.
    pub(crate) fn advance(&mut self, now: Duration, caller: &Caller) -> Vec<Message> {
        let mut progress = Vec::new();
        while self.done < self.steps && self.due() <= now {
            self.done += 1;
            if let Some(token) = &caller.progress_token {
                let message = caller
                    .since(ProtocolVersion::V2025_03_26)
                    .then(|| format!("step {} of {}", self.done, self.steps));
                let params = Progress { token, progress: self.done, total: self.steps, message };
                let params = RawJson::encode(&params).ok();
                progress.push(Message::Notification(Notification { method: Method::Progress, params }));
            }
        }
        progress
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done >= self.steps
    }
}

/// Encoded without a detour over numbers, so that the token comes back as it was spelled.
#[derive(Serialize)]
struct Progress<'a> {
    #[serde(rename = "progressToken")]
    token: &'a ProgressToken,
    progress: u32,
    total: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}
