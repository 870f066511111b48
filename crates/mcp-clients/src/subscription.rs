//! Notifications of a server, across its connections.

use std::convert::Infallible;

use mcp_client::Client;
use mcp_protocol::Notification;
use tokio::sync::broadcast;

/// Notifications a subscriber may leave unread; the oldest are dropped and counted.
const UNREAD: usize = 256;

#[derive(Debug)]
pub(crate) struct Hub {
    notifications: broadcast::Sender<Notification>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { notifications: broadcast::Sender::new(UNREAD) }
    }
}

impl Hub {
    pub(crate) async fn feed(&self, client: &Client) -> Infallible {
        let mut notifications = client.notifications();
        while let Some(notification) = notifications.recv().await {
            let _ = self.notifications.send(notification);
        }
        std::future::pending().await
    }
}
