//! What a client says of itself.

use std::fmt;

/// What an [`HttpClient`](crate::HttpClient) is doing, at one moment or since it was made. Shown as one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Exchanges of [`Lane::Call`](crate::Lane::Call) under way.
    pub calls: usize,
    /// Most of them at once.
    pub calls_limit: usize,
    /// Exchanges of [`Lane::Control`](crate::Lane::Control) under way.
    pub control: usize,
    /// Most of them at once.
    pub control_limit: usize,
    /// Exchanges of [`Lane::Stream`](crate::Lane::Stream) under way.
    pub streams: usize,
    /// Most of them at once.
    pub streams_limit: usize,
    /// How many wait for a place.
    pub waiting: usize,
    /// Connections that were opened.
    pub opened: u64,
    /// Answers that came on them: their heads at least.
    pub answers: u64,
}

impl fmt::Display for ClientStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            calls,
            calls_limit,
            control,
            control_limit,
            streams,
            streams_limit,
            waiting,
            opened,
            answers,
        } = self;
        write!(
            f,
            "{calls} of {calls_limit} calls, {control} of {control_limit} others, {streams} of {streams_limit} streams, \
             {waiting} waiting; {opened} connections opened, {answers} answers"
        )
    }
}
