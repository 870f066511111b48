//! What servers tell of by themselves: their tools have changed. Source: contract §8.3.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mcp_client::{CallError, Client, Interest, Notifications, Subscription};
use mcp_protocol::{Era, Method};

use crate::link::Link;
use crate::manager::Inner;
use crate::session::Session;

/// Shortest time between two looks at the tools of a server that says again and again that they have changed.
const PAUSE: Duration = Duration::from_millis(500);

/// First and longest wait before a server that did not answer is asked again to tell of changes; each wait is twice
/// as long as the one before.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Inner {
    /// Reads the tools of a server again whenever it says, on this session, that they have changed; if its
    /// tools are to be discovered at all.
    pub(crate) fn follow_changes(self: &Arc<Self>, link: &Arc<Link>, session: &Arc<Session>) {
        if !link.definition().discover_tools || link.definition().tools.is_some() {
            return;
        }
        let (inner, link) = (Arc::downgrade(self), Arc::downgrade(link));
        let session = session.clone();
        // From here on: nothing that is told while we subscribe is missed.
        let told = session.client().notifications();
        tokio::spawn(follow(inner, link, session, told));
    }
}

/// Reads the tools whenever they have changed. Returns, always with `None`, once the session is over or replaced.
async fn follow(
    inner: Weak<Inner>,
    link: Weak<Link>,
    session: Arc<Session>,
    mut told: Notifications,
) -> Option<()> {
    let (subscribed, mut changed) = meanwhile(&mut told, subscribe(&inner, session.client())).await?;
    // Kept for as long as it is to be told of them.
    let _subscription = subscribed.map(|Subscribed { subscription, late }| {
        // What has changed in the meantime was told to nobody.
        changed |= late;
        subscription
    });
    loop {
        if !changed {
            next_change(&mut told).await?;
        }
        let look = async {
            let pause = {
                let (inner, link) = (inner.upgrade()?, link.upgrade()?);
                if !link.holds(&session) {
                    return None;
                }
                // The list that is being read may be from before the change.
                link.listings.settle().await;
                inner.discover_tools(&link);
                link.listings.settle().await;
                inner.timer.sleep_until(inner.now() + PAUSE)
            };
            pause.await;
            Some(())
        };
        let looked;
        (looked, changed) = meanwhile(&mut told, look).await?;
        looked?;
    }
}

/// A server that tells of changed tools.
struct Subscribed {
    subscription: Subscription,
    /// It had to be asked more than once.
    late: bool,
}

/// Asks a stateless server that offers it to tell of changed tools, until it says yes or no. One of the handshake
/// era does so by itself.
async fn subscribe(inner: &Weak<Inner>, client: &Client) -> Option<Subscribed> {
    let profile = client.profile();
    let offered = profile.capabilities.as_ref().and_then(|all| all.get("tools")?.get("listChanged"));
    if profile.era == Era::Handshake || offered.is_none_or(|offered| offered.as_str() != "true") {
        return None;
    }
    let limit = inner.upgrade()?.policy.handshake_timeout;
    let (mut wait, mut late) = (ASK_AGAIN.0, false);
    loop {
        let interest = Interest { tools: true, ..Interest::default() };
        let error = match client.subscribe(interest, limit).await {
            Ok(subscription) => return Some(Subscribed { subscription, late }),
            Err(error) => error,
        };
        tracing::debug!(%error, "the server does not tell of changed tools");
        if matches!(error, CallError::Rpc { .. }) {
            return None;
        }
        let again = inner.upgrade().map(|inner| inner.timer.sleep_until(inner.now() + wait))?;
        again.await;
        wait = (wait * 2).min(ASK_AGAIN.1);
        late = true;
    }
}

/// Listens to the end of `work`, so that nothing is lost in other talk of the server: what came of it, and whether
/// the tools have changed since. `None` at the end of the session.
async fn meanwhile<T>(told: &mut Notifications, work: impl Future<Output = T>) -> Option<(T, bool)> {
    let (mut work, mut changed) = (pin!(work), false);
    loop {
        tokio::select! {
            biased;
            change = next_change(told) => {
                change?;
                changed = true;
            }
            done = &mut work => return Some((done, changed)),
        }
    }
}

/// Waits for the next word of a changed tool list; `None` at the end of the session. Cancel safe.
async fn next_change(told: &mut Notifications) -> Option<()> {
    loop {
        if told.recv().await?.method == Method::ToolsListChanged {
            return Some(());
        }
    }
}
