//! What clients may take.

use std::time::Duration;

/// What clients may take of a front end. The defaults are those of the product (reliability document §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontLimits {
    /// Largest request body, or line, in bytes.
    pub max_body: usize,
    /// Most calls in flight in one session of the handshake era, or on one pipe.
    pub in_flight_per_session: usize,
    /// Most calls in flight on behalf of one principal. The anonymous one is many clients and has no such limit.
    pub in_flight_per_principal: usize,
    /// Most calls in flight altogether.
    pub in_flight: usize,
    /// Most sessions at once. A new one beyond that is refused.
    pub sessions: usize,
    /// A session with neither a stream nor a call ends when it was not used for this long.
    pub session_idle: Duration,
    /// A session whose client does not come back after `initialize` ends after this long.
    pub uninitialised: Duration,
    /// Most messages waiting on one stream. Notifications and questions beyond that are dropped or refused.
    pub queue_messages: usize,
    /// Most bytes waiting on one stream.
    pub queue_bytes: usize,
    /// Most events of one session that are kept to be sent again, those that still wait included.
    pub kept_events: usize,
    /// Most bytes of them.
    pub kept_bytes: usize,
    /// How long the events of a request that was answered are kept.
    pub kept_for: Duration,
    /// After this long without a word the answer to a POST begins as a stream, and a stream gets a comment.
    pub keep_alive: Duration,
    /// After this long the answer to a POST of a client of 2025-11-25 begins as a stream: its first event names it, so that
    /// the client can take it up again if its connection breaks during a long call.
    pub stream_after: Duration,
    /// stdio: how long a client may leave what is written untaken.
    pub write_stall: Duration,
    /// stdio: how long the calls that are under way may go on after the client has closed its side.
    pub linger: Duration,
}

impl Default for FrontLimits {
    /// Bodies 4 MiB; calls 64 per session, 256 per principal, 8 192 in all; 20 000 sessions, idle 30 min,
    /// uninitialised 30 s; 256 messages or 16 MiB waiting; 1 000 events or 16 MiB kept, 5 min after the answer;
    /// keep-alive 15 s, streams after 50 ms; write stall 30 s; linger 10 s.
    fn default() -> Self {
        Self {
            max_body: 4 << 20,
            in_flight_per_session: 64,
            in_flight_per_principal: 256,
            in_flight: 8192,
            sessions: 20_000,
            session_idle: Duration::from_secs(30 * 60),
            uninitialised: Duration::from_secs(30),
            queue_messages: 256,
            queue_bytes: 16 << 20,
            kept_events: 1000,
            kept_bytes: 16 << 20,
            kept_for: Duration::from_secs(5 * 60),
            keep_alive: Duration::from_secs(15),
            stream_after: Duration::from_millis(50),
            write_stall: Duration::from_secs(30),
            linger: Duration::from_secs(10),
        }
    }
}
