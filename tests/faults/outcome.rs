//! How a call ended, and what a cell says about it.

use std::time::Duration;

use mcp_client::{Answer, CallError};
use mcp_transport::{Delivery, TransportErrorKind};

use crate::watch::{self, Took};

/// An error text longer than this is no clean, short error.
const SHORT: usize = 400;

/// How a call ended, and when.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) result: Result<Answer, CallError>,
    pub(crate) took: Took,
}

impl Ended {
    /// It was answered.
    #[track_caller]
    pub(crate) fn answered(self) -> Took {
        assert!(self.result.is_ok(), "not answered: {self:?}");
        self.took
    }

    /// It failed in one of these ways, and this is known of how far it got.
    #[track_caller]
    pub(crate) fn failed(self, kinds: &[&str], delivery: Delivery) -> Failed {
        let Err(error) = self.result else { panic!("answered instead of {kinds:?}: {self:?}") };
        let text = error.to_string();
        assert!(kinds.contains(&kind(&error)), "{} instead of {kinds:?}: {text}", kind(&error));
        assert_eq!(error.delivery(), delivery, "{text}");
        assert!(text.len() <= SHORT && !text.contains('\n'), "an error is one short line: {text}");
        Failed { error, text, took: self.took }
    }

    /// Its time ran out, when it should.
    #[track_caller]
    pub(crate) fn timed_out(self, limit: Duration) {
        self.failed(&["timeout"], Delivery::Unknown).took.about(limit);
    }
}

/// A call that failed as expected.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: CallError,
    pub(crate) text: String,
    pub(crate) took: Took,
}

impl Failed {
    /// The error says this.
    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.text.contains(part), "{:?} does not say {part:?}", self.text);
        self
    }

    /// How a process ended shows, unless the machine is so busy that its pipes were found closed long before that
    /// was known.
    #[track_caller]
    pub(crate) fn shows(self, how: &str) -> Self {
        if watch::is_crowded() { self } else { self.says(how) }
    }

    /// It came at once.
    #[track_caller]
    pub(crate) fn at_once(self) -> Self {
        self.took.at_once();
        self
    }

    /// The status it failed with, and how long the server asks to wait.
    #[track_caller]
    pub(crate) fn has_status(self, expected: u16) -> Option<Duration> {
        match &self.error {
            CallError::Transport(error) => match error.kind {
                TransportErrorKind::Status { status, retry_after, .. } if status == expected => retry_after,
                _ => panic!("no status {expected}: {error:?}"),
            },
            other => panic!("no status {expected}: {other:?}"),
        }
    }
}

/// One word for what failed.
pub(crate) fn kind(error: &CallError) -> &'static str {
    match error {
        CallError::Rpc { .. } => "rpc",
        CallError::Invalid { .. } => "invalid",
        CallError::Transport(error) => match &error.kind {
            TransportErrorKind::Endpoint(_) => "endpoint",
            TransportErrorKind::Connect(_) => "connect",
            TransportErrorKind::Closed(_) => "closed",
            TransportErrorKind::Exited(_) => "exited",
            TransportErrorKind::Timeout { .. } => "timeout",
            TransportErrorKind::Busy { .. } => "busy",
            TransportErrorKind::Status { .. } => "status",
            TransportErrorKind::Redirect { .. } => "redirect",
            TransportErrorKind::SessionExpired => "session",
            TransportErrorKind::Payload(_) => "payload",
            _ => "other",
        },
        _ => "other",
    }
}
