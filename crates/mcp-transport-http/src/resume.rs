//! Where an event stream is to go on after it broke, and when.

use std::time::Duration;

use http::header::HeaderValue;
use mcp_http_client::Event;
use tokio::time::Instant;

/// The wait before a reconnect if the server names none.
const RETRY: Duration = Duration::from_secs(1);

/// Longest wait a server can ask for.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(5 * 60);

/// Longest wait after several attempts in vain, unless the server asked for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Streams are opened this far apart at least.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// A longer id is not sent back.
const LONGEST_ID: usize = 4096;

/// A stream that lasted so long was of use even if nothing came on it: servers let clients poll.
const USEFUL: Duration = Duration::from_secs(5);

/// What a stream has told of how to resume it, and how often that has failed in a row.
/// Source: MCP 2025-11-25, Transports, "Resumability and Redelivery"; wire reference §4.2.
#[derive(Debug)]
pub(crate) struct Resume {
    id: Option<HeaderValue>,
    retry: Duration,
    /// Attempts in a row that brought nothing.
    in_vain: u32,
    /// When the stream was opened.
    opened: Option<Instant>,
    /// Whether it has brought a message, or an id to go on after.
    useful: bool,
}

impl Default for Resume {
    fn default() -> Self {
        Self { id: None, retry: RETRY, in_vain: 0, opened: None, useful: false }
    }
}

impl Resume {
    /// Takes down what an event says, whatever its type and data.
    pub(crate) fn note(&mut self, event: &Event) {
        if let Some(retry) = event.retry {
            self.retry = retry.min(LONGEST_RETRY);
        }
        if let Some(id) = &event.id {
            // An empty id, or one that cannot be sent, takes back the ones before.
            let fit = !id.is_empty() && id.len() <= LONGEST_ID;
            let id = Some(id).filter(|_| fit).and_then(|id| HeaderValue::from_str(id).ok());
            self.useful |= id.is_some() && id != self.id;
            self.id = id;
        }
        self.useful |= event.is_message();
    }

    /// The last id seen, to send as `Last-Event-ID`.
    pub(crate) fn id(&self) -> Option<&HeaderValue> {
        self.id.as_ref()
    }

    /// Forgets the id: the server does not know it, or what follows it cannot be read.
    pub(crate) fn forget(&mut self) {
        self.id = None;
    }

    /// The stream is open.
    pub(crate) fn opened(&mut self) {
        self.opened = Some(Instant::now());
    }

    /// The stream has broken, or could not be opened. Gives the wait before the next attempt: what the server
    /// asked for, and more after attempts in vain.
    pub(crate) fn broken(&mut self) -> Duration {
        let lasted = self.opened.take().map_or(Duration::ZERO, |opened| opened.elapsed());
        if std::mem::take(&mut self.useful) || lasted >= USEFUL {
            self.in_vain = 0;
        }
        let pause = match self.in_vain {
            0 => self.retry.max(SHORTEST_PERIOD.saturating_sub(lasted)),
            n => self.retry.saturating_mul(1 << n.min(16)).clamp(RETRY, LONGEST_PAUSE.max(self.retry)),
        };
        self.in_vain = self.in_vain.saturating_add(1);
        pause
    }

    /// Attempts in a row, the next one included, since the stream was last of use.
    pub(crate) fn attempts(&self) -> u32 {
        self.in_vain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, retry: Option<u64>) -> Event {
        let retry = retry.map(Duration::from_millis);
        Event { name: "message".into(), data: "".into(), id: id.map(Into::into), retry }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_wait_is_what_the_server_asks_for() {
        for (retry, lasted, expected) in [
            (None, 0, 1000),
            (Some(117), 0, 117),
            (Some(17), 0, 100),
            (Some(17), 90, 17),
            (Some(0), 30, 70),
            (Some(0), 100, 0),
            (Some(u64::MAX), 0, 300_000),
        ] {
            let mut resume = Resume::default();
            resume.opened();
            resume.note(&event(None, retry));
            tokio::time::advance(Duration::from_millis(lasted)).await;
            assert_eq!(resume.broken().as_millis(), expected, "{retry:?} after {lasted} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_while_attempts_are_in_vain() {
        let mut resume = Resume::default();
        resume.note(&event(Some("1"), Some(200)));
        let waits: Vec<_> = (0..12).map(|_| resume.broken().as_millis()).collect();
        let expected = [200, 1000, 1000, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000, 60_000];
        assert_eq!(waits, expected);
        assert_eq!(resume.attempts(), 12);
        resume.opened();
        assert_eq!(resume.broken(), LONGEST_PAUSE, "it ended at once");
        resume.opened();
        tokio::time::advance(USEFUL).await;
        assert_eq!((resume.broken().as_millis(), resume.attempts()), (200, 1), "it lasted");
        for (brought, wait, attempts) in [
            (event(Some("1"), Some(200)), 1000, 2),
            (event(Some(""), None), 1000, 3),
            (event(None, None), 1600, 4),
            (event(Some("2"), None), 200, 1),
            (event(Some("2"), None), 1000, 2),
            (Event { data: "{}".into(), ..event(None, None) }, 200, 1),
        ] {
            resume.note(&brought);
            assert_eq!((resume.broken().as_millis(), resume.attempts()), (wait, attempts), "{brought:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_id_counts() {
        let mut resume = Resume::default();
        for (id, expected) in [
            (Some("a"), Some("a")),
            (None, Some("a")),
            (Some("b c"), Some("b c")),
            (Some(""), None),
            (Some("d"), Some("d")),
            (Some("\u{1}"), None),
            (Some("\u{e9}"), Some("\u{e9}")),
            (Some(&*"x".repeat(LONGEST_ID + 1)), None),
        ] {
            resume.note(&event(id, None));
            assert_eq!(resume.id().map(HeaderValue::as_bytes), expected.map(str::as_bytes), "{id:?}");
        }
        resume.note(&event(Some("e"), None));
        resume.forget();
        assert_eq!(resume.id(), None);
    }
}
