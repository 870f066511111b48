//! The least level of log messages that a server of the handshake era sends: one for the whole connection, however
//! many want to hear something. Source: bridging §5.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::logging::{LogLevel, SetLevelParams};
use mcp_protocol::{Era, Method, RawJson};
use tokio::time::Instant;

use crate::call::Outgoing;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::link::Link;

/// Until a server is told that less is wanted, since that may change from call to call.
const LOWERED_AFTER: Duration = Duration::from_secs(60);
/// How long a call waits for the server to take its level.
const LIMIT: Duration = Duration::from_secs(5);

/// Who wants to hear what.
#[derive(Debug, Default)]
pub(crate) struct Levels(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    /// The connection's.
    own: Option<LogLevel>,
    /// Those of the calls under way, by our ids.
    of_calls: BTreeMap<i64, LogLevel>,
    /// What the server was told last, and when somebody last wanted that much.
    told: Option<(LogLevel, Instant)>,
}

impl Wanted {
    fn least(&self) -> Option<LogLevel> {
        self.of_calls.values().copied().chain(self.own).min()
    }

    /// What the server is to be told now.
    fn due(&mut self) -> Option<LogLevel> {
        let (least, now) = (self.least()?, Instant::now());
        match self.told {
            Some((told, since)) if told < least && now - since < LOWERED_AFTER => None,
            Some((told, _)) => {
                self.told = Some((least, now));
                (told != least).then_some(least)
            }
            None => {
                self.told = Some((least, now));
                Some(least)
            }
        }
    }
}

impl Levels {
    /// Sets the connection's own; gives what the server is to be told.
    pub(crate) fn set(&self, level: LogLevel) -> LogLevel {
        let mut wanted = self.lock();
        wanted.own = Some(level);
        let least = wanted.least().unwrap_or(level);
        wanted.told = Some((least, Instant::now()));
        least
    }

    /// The session is a new one, which was told nothing; gives what it is to be told.
    pub(crate) fn renew(&self) -> Option<LogLevel> {
        let mut wanted = self.lock();
        wanted.told.take()?;
        wanted.due()
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wish of one call, for as long as it lives.
pub(crate) struct Leveled {
    link: Arc<Link>,
    id: i64,
}

impl Drop for Leveled {
    fn drop(&mut self) {
        self.link.levels.lock().of_calls.remove(&self.id);
    }
}

impl Client {
    /// Has a server of the handshake era send what a call wants to hear, if it says anything at all.
    pub(crate) async fn leveled(&self, id: i64, level: LogLevel) -> Option<Leveled> {
        let profile = self.profile();
        let says = profile.capabilities.as_ref().is_some_and(|all| all.get("logging").is_some());
        if profile.era != Era::Handshake || !says {
            return None;
        }
        let link = self.link().clone();
        let due = {
            let mut wanted = link.levels.lock();
            wanted.of_calls.insert(id, level);
            wanted.due()
        };
        let leveled = Leveled { link, id };
        if let Some(level) = due {
            self.tell_level(level).await;
        }
        Some(leveled)
    }

    /// Boxed, as it is a call in the course of another one.
    fn tell_level(&self, level: LogLevel) -> BoxFuture<'_, ()> {
        async move {
            let Ok(params) = RawJson::encode(&SetLevelParams::new(level)) else { return };
            let request = Outgoing::new(Method::LoggingSetLevel, Some(params));
            if let Err(error) = self.call_until(request, Deadline::after(LIMIT)).await {
                tracing::debug!(%error, "the server does not take the log level");
            }
        }
        .boxed()
    }

    /// Tells a new session what the one before was told.
    pub(crate) fn renew_level(&self) {
        if let Some(level) = self.link().levels.renew() {
            let client = self.clone();
            self.link().in_background(async move { client.tell_level(level).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LogLevel::{Debug, Error, Info};

    #[tokio::test(start_paused = true)]
    async fn the_least_level_is_told_at_once_and_a_higher_one_by_and_by() {
        let levels = Levels::default();
        assert_eq!(levels.renew(), None, "nothing to tell");
        assert_eq!(levels.set(Error), Error);
        let want = |id, level| {
            let mut wanted = levels.lock();
            wanted.of_calls.insert(id, level);
            wanted.due()
        };
        let done = |id| levels.lock().of_calls.remove(&id);
        assert_eq!(want(1, Error), None);
        assert_eq!(want(2, Debug), Some(Debug));
        done(2);
        assert_eq!(want(3, Info), None, "not yet");
        tokio::time::advance(LOWERED_AFTER).await;
        assert_eq!(want(4, Error), Some(Info));
        done(3);
        tokio::time::advance(LOWERED_AFTER).await;
        assert_eq!(levels.renew(), Some(Error));
    }
}
