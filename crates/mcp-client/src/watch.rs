//! Resources a server of the handshake era was asked to tell of, for as long as anybody wants to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mcp_protocol::{Method, RawJson};
use tokio::sync::Notify;

use crate::call::Outgoing;
use crate::client::{Client, Inner};
use crate::deadline::Deadline;
use crate::error::CallError;
use crate::link::{Link, REPLY_LIMIT};

/// Waits before the server is asked again: the first, doubled up to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The wishes of all subscriptions of a connection, and what is to be done about them.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    state: Mutex<State>,
    /// There is something to do.
    work: Notify,
    /// Held while the server is told anything, so that it hears it in order. New wishes share it: one that it is
    /// slow to agree to holds up no other.
    turn: tokio::sync::RwLock<()>,
    /// Whether somebody does it.
    attended: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Each resource with the number of those who want to know of it.
    wanted: BTreeMap<String, usize>,
    /// Resources the server need not tell of any more, unless they are wanted again.
    given_up: BTreeSet<String>,
    /// The session is a new one, which knows nothing of this.
    renew: bool,
    /// Messages of the server were interrupted: the session may be gone.
    check: bool,
}

impl State {
    fn has_work(&self) -> bool {
        self.renew || self.check || !self.given_up.is_empty()
    }
}

impl Watch {
    /// The resources somebody wants to know of.
    pub(crate) fn wanted(&self) -> Vec<String> {
        self.lock().wanted.keys().cloned().collect()
    }

    /// Ends the interest of one subscription.
    pub(crate) fn give_up(&self, uris: &BTreeSet<String>) {
        let mut state = self.lock();
        for uri in uris {
            let Some(users) = state.wanted.get_mut(uri) else { continue };
            *users -= 1;
            if *users == 0 {
                state.wanted.remove(uri);
                state.given_up.insert(uri.clone());
            }
        }
        drop(state);
        self.work.notify_one();
    }

    /// Messages of the server were interrupted.
    pub(crate) fn interrupted(&self) {
        self.lock().check = true;
        self.work.notify_one();
    }

    /// There is a new session. Says whether somebody will see to what follows from that.
    pub(crate) fn replaced(&self) -> bool {
        self.lock().renew = true;
        self.work.notify_one();
        self.attended.load(Ordering::Acquire)
    }

    fn has_work(&self) -> bool {
        self.lock().has_work()
    }

    /// A resource that nobody wants to know of any more.
    fn next_given_up(&self) -> Option<String> {
        let mut state = self.lock();
        loop {
            let uri = state.given_up.pop_first()?;
            if !state.wanted.contains_key(&uri) {
                return Some(uri);
            }
        }
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Asks the server to tell of resources. `accepted` grows with each that it agreed to.
    pub(crate) async fn watch(
        &self,
        uris: &BTreeSet<String>,
        accepted: &mut BTreeSet<String>,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let watch = &self.link().watch;
        self.attend_to_changes();
        let _turn = deadline.bound(async { Ok(watch.turn.read().await) }).await?;
        for uri in uris {
            self.call_until(of_resource(Method::ResourcesSubscribe, uri)?, deadline).await?;
            *watch.lock().wanted.entry(uri.clone()).or_default() += 1;
            accepted.insert(uri.clone());
        }
        Ok(())
    }

    /// Sees to it that from now on somebody does what the wishes need.
    pub(crate) fn attend_to_changes(&self) {
        let watch = &self.link().watch;
        if !watch.attended.swap(true, Ordering::AcqRel) {
            // What happened while nobody was interested does not matter.
            let mut state = watch.lock();
            (state.renew, state.check) = (false, false);
            drop(state);
            tokio::spawn(attend(self.downgrade(), self.link().clone()));
        }
    }

    /// Does what there is to do; an error if it has to be tried again.
    async fn attend(&self) -> Result<(), CallError> {
        let watch = &self.link().watch;
        let _turn = watch.turn.write().await;
        if std::mem::take(&mut watch.lock().renew) {
            let renewed = self.renew().await;
            if renewed.is_err() {
                watch.lock().renew = true;
            }
            renewed?;
            self.link().publish_changes(&self.link().told());
        }
        while let Some(uri) = watch.next_given_up() {
            // A server that has forgotten us has forgotten this, too.
            let _ = self.tell(Method::ResourcesUnsubscribe, &uri).await;
        }
        if std::mem::take(&mut watch.lock().check)
            && let Err(error) = answered(self.ping(REPLY_LIMIT).await)
        {
            watch.lock().check = true;
            return Err(error);
        }
        Ok(())
    }

    /// Asks for everything again, in a new session.
    async fn renew(&self) -> Result<(), CallError> {
        for uri in self.link().watch.wanted() {
            self.tell(Method::ResourcesSubscribe, &uri).await?;
        }
        Ok(())
    }

    async fn tell(&self, method: Method, uri: &str) -> Result<(), CallError> {
        answered(self.call(of_resource(method, uri)?, REPLY_LIMIT).await.map(|_| ()))
    }
}

/// A refusal is an answer, too: asking again would get the same.
fn answered(outcome: Result<(), CallError>) -> Result<(), CallError> {
    match outcome {
        Err(error @ CallError::Rpc { .. }) => {
            tracing::warn!(%error, "the server refuses to go on telling of resources");
            Ok(())
        }
        other => other,
    }
}

/// Does for a connection what its subscriptions need, until it ends.
async fn attend(client: Weak<Inner>, link: Arc<Link>) {
    let mut pause = PAUSES.0;
    loop {
        if !link.watch.has_work() {
            tokio::select! {
                biased;
                _ = link.ended.wait() => return,
                () = link.watch.work.notified() => continue,
            }
        }
        let Some(client) = Client::upgrade(&client) else { return };
        let done = tokio::select! {
            biased;
            _ = link.ended.wait() => return,
            done = client.attend() => done,
        };
        drop(client);
        match done {
            Ok(()) => pause = PAUSES.0,
            Err(error) => {
                tracing::debug!(%error, "subscriptions are not renewed yet");
                tokio::select! {
                    biased;
                    _ = link.ended.wait() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

fn of_resource(method: Method, uri: &str) -> Result<Outgoing, CallError> {
    #[derive(serde::Serialize)]
    struct Params<'a> {
        uri: &'a str,
    }
    let params = RawJson::encode(&Params { uri }).map_err(|error| CallError::malformed(error.to_string()))?;
    Ok(Outgoing::new(method, Some(params)))
}
