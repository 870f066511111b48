//! Being told of changes by a server, across its connections.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mcp_client::{CallError, Client, Interest, Subscription};
use mcp_protocol::resource::ResourceUpdatedParams;
use mcp_protocol::{Era, Method, Notification};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::client::McpClient;

/// Notifications a subscriber may leave unread; the oldest are dropped and counted.
const UNREAD: usize = 256;

/// Subscriptions the server is asked for at the same time.
const AT_ONCE: usize = 8;

/// How long the server may take to agree to a subscription.
const LIMIT: Duration = Duration::from_secs(30);

/// Wait before a subscription the server did not agree to is asked for again.
const PAUSE: Duration = Duration::from_secs(30);

/// What a server tells of by itself, for one interest, as long as this value lives.
///
/// It outlives connections: on each new one the server is asked again, and as nothing is said again that was missed
/// in between, every list and resource of the interest is then told as changed once; once more if the server agrees
/// only when it is asked again.
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct Notifications {
    interest: Option<Interest>,
    receiver: broadcast::Receiver<Notification>,
    dropped: u64,
    _wish: Wish,
}

impl Notifications {
    /// The next notification; `None` once the client is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Notification> {
        loop {
            match self.receiver.recv().await {
                Ok(notification) if self.wants(&notification) => return Some(notification),
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => self.dropped += lost,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// How many notifications of the server, wanted or not, were lost because this subscriber was too slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn wants(&self, Notification { method, params }: &Notification) -> bool {
        let Some(interest) = &self.interest else { return true };
        match method {
            Method::ToolsListChanged => interest.tools,
            Method::PromptsListChanged => interest.prompts,
            Method::ResourcesListChanged => interest.resources,
            Method::ResourcesUpdated => {
                let params = params.as_ref().and_then(|params| params.to::<ResourceUpdatedParams>().ok());
                // The server may tell of a part of what was subscribed to.
                params.is_some_and(|told| interest.uris.iter().any(|uri| told.uri.starts_with(uri.as_str())))
            }
            _ => false,
        }
    }
}

impl McpClient {
    /// Asks to be told of changes, from now on and on all connections to come. Whether the server tells of them is
    /// its affair; what it refuses is logged. Source: wire reference §3.6.
    pub fn subscribe(&self, interest: Interest) -> Notifications {
        self.shared().hub.subscribe(Some(interest))
    }

    /// All that the server tells by itself, such as log messages, and what others have subscribed to.
    pub fn notifications(&self) -> Notifications {
        self.shared().hub.subscribe(None)
    }
}

/// The notifications of all connections of a client, and what its users want to be told of.
#[derive(Debug)]
pub(crate) struct Hub {
    notifications: broadcast::Sender<Notification>,
    wishes: Arc<watch::Sender<Wishes>>,
    /// Whether there was a connection before: something may have been missed since.
    connected_before: AtomicBool,
}

#[derive(Debug, Default)]
struct Wishes {
    last: u64,
    interests: BTreeMap<u64, Interest>,
}

impl Wishes {
    /// All of them as one.
    fn together(&self) -> Interest {
        let mut all = Interest::default();
        for interest in self.interests.values() {
            all.tools |= interest.tools;
            all.prompts |= interest.prompts;
            all.resources |= interest.resources;
            all.uris.extend(interest.uris.iter().cloned());
        }
        all
    }
}

/// One interest among those of all users.
#[derive(Debug)]
struct Wish {
    id: u64,
    wishes: Arc<watch::Sender<Wishes>>,
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.wishes.send_if_modified(|wishes| wishes.interests.remove(&self.id).is_some());
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            notifications: broadcast::Sender::new(UNREAD),
            wishes: Arc::new(watch::Sender::new(Wishes::default())),
            connected_before: AtomicBool::new(false),
        }
    }
}

impl Hub {
    fn subscribe(&self, interest: Option<Interest>) -> Notifications {
        let receiver = self.notifications.subscribe();
        let mut id = 0;
        self.wishes.send_if_modified(|wishes| {
            wishes.last += 1;
            id = wishes.last;
            interest.as_ref().is_some_and(|interest| {
                wishes.interests.insert(id, interest.clone());
                !interest.is_empty()
            })
        });
        Notifications { interest, receiver, dropped: 0, _wish: Wish { id, wishes: self.wishes.clone() } }
    }

    fn publish(&self, notification: Notification) {
        // That nobody wants it is no error.
        let _ = self.notifications.send(notification);
    }

    /// Serves the users from a connection, until dropped.
    pub(crate) async fn feed(&self, client: &Client) -> Infallible {
        let mut notifications = client.notifications();
        let pass_on = async {
            while let Some(notification) = notifications.recv().await {
                self.publish(notification);
            }
            std::future::pending().await
        };
        futures::future::select(Box::pin(pass_on), Box::pin(self.keep_subscribed(client)))
            .await
            .factor_first()
            .0
    }

    /// Subscribes to what is wanted and to nothing else. One subscription that the server is slow to agree to
    /// holds up no other.
    async fn keep_subscribed(&self, client: &Client) -> Infallible {
        let era = client.profile().era;
        let mut wishes = self.wishes.subscribe();
        let mut wanted = parts(era, wishes.borrow_and_update().together());
        let connected_before = self.connected_before.swap(true, Ordering::SeqCst);
        let missed = if connected_before { wanted.clone() } else { BTreeSet::new() };
        let mut asked: BTreeMap<Interest, Asked> = BTreeMap::new();
        let mut asking = FuturesUnordered::new();
        loop {
            // A stream of everything ends when the next one is there: nothing is missed in between.
            let between = era == Era::Stateless
                && !wanted.iter().all(|part| matches!(asked.get(part), Some(Asked::Settled(_))));
            asked.retain(|part, state| match state {
                Asked::UnderWay => true,
                Asked::Settled(_) => between || wanted.contains(part),
                Asked::Failed { .. } => wanted.contains(part),
            });
            let now = Instant::now();
            let mut due: Vec<_> = wanted
                .iter()
                .filter_map(|part| match asked.get(part) {
                    None => Some((None, part.clone())),
                    Some(state) => Some((Some(state.until().filter(|until| *until <= now)?), part.clone())),
                })
                .collect();
            // What was never asked for comes first.
            due.sort();
            for (failed, part) in due.into_iter().take(AT_ONCE - asking.len()) {
                asked.insert(part.clone(), Asked::UnderWay);
                asking.push(async move {
                    let outcome = subscribe(client, part.clone()).await;
                    (part, failed.is_some(), outcome)
                });
            }
            let room = asking.len() < AT_ONCE;
            let next = asked.values().filter_map(Asked::until).min().filter(|_| room);
            tokio::select! {
                // The hub holds the sender.
                _ = wishes.changed() => wanted = parts(era, wishes.borrow_and_update().together()),
                Some((part, again, outcome)) = asking.next() => {
                    // Not earlier: a change just before the server agreed would be told of by nobody. Nor much
                    // later: a server that does not answer is not waited for.
                    let tell = if again { outcome.is_ok() } else { missed.contains(&part) };
                    if tell {
                        part.changes().into_iter().for_each(|change| self.publish(change));
                    }
                    asked.insert(part, match outcome {
                        Ok(subscription) => Asked::Settled(subscription),
                        Err(()) => Asked::Failed { until: Instant::now() + PAUSE },
                    });
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }
}

/// How a part of what is wanted stands on one connection.
#[derive(Debug)]
enum Asked {
    UnderWay,
    /// Agreed to; `None` if refused, which is not asked for again.
    Settled(#[expect(dead_code, reason = "lasts as long as it is held")] Option<Subscription>),
    /// There was no answer. It is asked for again then.
    Failed {
        until: Instant,
    },
}

impl Asked {
    fn until(&self) -> Option<Instant> {
        if let Self::Failed { until } = self { Some(*until) } else { None }
    }
}

/// What is subscribed to by itself: in the stateless era everything at once, in the handshake era the lists and each
/// resource, so that one the server does not know spoils nothing else.
fn parts(era: Era, wanted: Interest) -> BTreeSet<Interest> {
    let mut parts = BTreeSet::new();
    match era {
        Era::Stateless => {
            parts.insert(wanted);
        }
        Era::Handshake => {
            let uris = wanted.uris.iter().cloned();
            parts.extend(uris.map(|uri| Interest { uris: [uri].into(), ..Interest::default() }));
            parts.insert(Interest { uris: BTreeSet::new(), ..wanted });
        }
    }
    parts.remove(&Interest::default());
    parts
}

/// A subscription; `None` if the server refuses it. An error if it may agree later.
async fn subscribe(client: &Client, interest: Interest) -> Result<Option<Subscription>, ()> {
    match client.subscribe(interest, LIMIT).await {
        Ok(subscription) => Ok(Some(subscription)),
        Err(error) => {
            tracing::warn!(%error, "the server does not agree to a subscription");
            if matches!(error, CallError::Rpc { .. }) { Ok(None) } else { Err(()) }
        }
    }
}
