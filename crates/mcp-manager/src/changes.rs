//! What servers tell of by themselves: their tools have changed. Source: contract §8.3.

use std::sync::Arc;
use std::time::Duration;

use mcp_client::{Client, Interest, Notifications, Subscription};
use mcp_protocol::{Era, Method};

use crate::link::Link;
use crate::manager::Inner;
use crate::session::Session;

/// Shortest time between two looks at the tools of a server that says again and again that they have changed.
const PAUSE: Duration = Duration::from_millis(500);

impl Inner {
    /// Reads the tools of a server again whenever it says, on this session, that they have changed; if its
    /// tools are to be discovered at all.
    pub(crate) fn follow_changes(self: &Arc<Self>, link: &Arc<Link>, session: &Arc<Session>) {
        if !link.definition.discover_tools || link.definition.tools.is_some() {
            return;
        }
        let (inner, link) = (Arc::downgrade(self), Arc::downgrade(link));
        let session = session.clone();
        let limit = self.policy.handshake_timeout;
        // From here on: nothing that is told while we subscribe is missed.
        let mut told = session.client().notifications();
        tokio::spawn(async move {
            let _subscription = subscribe(session.client(), limit).await;
            while next_change(&mut told).await.is_some() {
                let (Some(inner), Some(link)) = (inner.upgrade(), link.upgrade()) else { return };
                if !link.holds(&session) {
                    return;
                }
                // The list that is being read may be from before the change.
                link.listings.settle().await;
                inner.discover_tools(&link);
                link.listings.settle().await;
                let pause = inner.timer.sleep_until(inner.now() + PAUSE);
                drop((inner, link));
                pause.await;
            }
        });
    }
}

/// Asks a stateless server that offers it to tell of changed tools. One of the handshake era does so by itself.
async fn subscribe(client: &Client, limit: Duration) -> Option<Subscription> {
    let profile = client.profile();
    let offered = profile.capabilities.as_ref().and_then(|all| all.get("tools")?.get("listChanged"));
    if profile.era == Era::Handshake || offered.is_none_or(|offered| offered.as_str() != "true") {
        return None;
    }
    let interest = Interest { tools: true, ..Interest::default() };
    client
        .subscribe(interest, limit)
        .await
        .inspect_err(|error| tracing::debug!(%error, "the server does not tell of changed tools"))
        .ok()
}

/// Waits for the next word of a changed tool list; `None` at the end of the session.
async fn next_change(told: &mut Notifications) -> Option<()> {
    loop {
        if told.recv().await?.method == Method::ToolsListChanged {
            return Some(());
        }
    }
}
