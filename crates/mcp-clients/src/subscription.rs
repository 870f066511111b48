//! Being told of changes by a server, across its connections.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcp_client::{CallError, Client, Interest, Subscription};
use mcp_protocol::resource::ResourceUpdatedParams;
use mcp_protocol::{Era, Method, Notification};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::client::McpClient;

/// Notifications a subscriber may leave unread; the oldest are dropped and counted.
const UNREAD: usize = 256;

/// How long the server may take to agree to a subscription.
const LIMIT: Duration = Duration::from_secs(30);

/// Wait before a subscription the server did not agree to is asked for again.
const PAUSE: Duration = Duration::from_secs(30);

/// What a server tells of by itself, for one interest, as long as this value lives.
///
/// It outlives connections: on each new one the server is asked again, and as nothing is said again that was missed
/// in between, every list and resource of the interest is then told as changed once.
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

    async fn keep_subscribed(&self, client: &Client) -> Infallible {
        let mut wishes = self.wishes.subscribe();
        let mut held = Held::default();
        let mut missed = self.connected_before.swap(true, Ordering::SeqCst);
        loop {
            let wanted = wishes.borrow_and_update().together();
            let complete = held.adjust(client, &wanted).await;
            if std::mem::take(&mut missed) {
                for change in wanted.changes() {
                    self.publish(change);
                }
            }
            let again = async {
                if complete { std::future::pending().await } else { tokio::time::sleep(PAUSE).await }
            };
            tokio::select! {
                // The hub holds the sender.
                _ = wishes.changed() => {}
                () = again => {}
            }
        }
    }
}

/// What is subscribed to on one connection.
#[derive(Debug, Default)]
struct Held {
    /// In the handshake era each resource by itself, so that one the server does not know spoils nothing else.
    resources: BTreeMap<String, Option<Subscription>>,
    /// In the stateless era everything at once.
    everything: Option<(Interest, Option<Subscription>)>,
}

impl Held {
    /// Subscribes to what is wanted and to nothing else. False if it should be tried again later.
    async fn adjust(&mut self, client: &Client, wanted: &Interest) -> bool {
        match client.profile().era {
            Era::Handshake => self.adjust_resources(client, wanted).await,
            Era::Stateless => self.adjust_everything(client, wanted).await,
        }
    }

    async fn adjust_resources(&mut self, client: &Client, wanted: &Interest) -> bool {
        self.resources.retain(|uri, _| wanted.uris.contains(uri));
        let mut complete = true;
        for uri in &wanted.uris {
            if self.resources.contains_key(uri) {
                continue;
            }
            let interest = Interest { uris: [uri.clone()].into(), ..Interest::default() };
            match subscribe(client, interest).await {
                Ok(subscription) => {
                    self.resources.insert(uri.clone(), subscription);
                }
                Err(()) => complete = false,
            }
        }
        complete
    }

    async fn adjust_everything(&mut self, client: &Client, wanted: &Interest) -> bool {
        if wanted.is_empty() {
            self.everything = None;
            return true;
        }
        if self.everything.as_ref().is_some_and(|(held, _)| held == wanted) {
            return true;
        }
        match subscribe(client, wanted.clone()).await {
            // The old one ends only now: nothing is missed in between.
            Ok(subscription) => self.everything = Some((wanted.clone(), subscription)),
            Err(()) => return false,
        }
        true
    }
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
