//! Being told of changes, in both eras. Source: wire reference §3.6 and §2.3.

use std::time::Duration;

use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::subscription::{AcknowledgedParams, ListenParams};
use mcp_protocol::{Era, Method, RawJson};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::call::{Call, CallEvent, Outgoing};
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::CallError;
use crate::interest::Interest;

/// Waits before a lost subscription is made again: the first, doubled up to the longest, until one has lasted
/// for the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Longest time for the server to agree to a subscription made again.
const RENEWAL_LIMIT: Duration = Duration::from_secs(30);

/// A subscription that lives as long as this value, which keeps the connection open. What the server tells
/// comes as [`Client::notifications`].
///
/// It is kept alive: what is lost while the connection lives is made again, and as nothing is said again that
/// was missed meanwhile, every list and resource of it is then told as changed once.
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct Subscription {
    client: Client,
    accepted: Interest,
    /// Reads the server's stream, in the stateless era.
    listening: Option<AbortHandle>,
}

impl Subscription {
    /// What of the wish the server will tell of.
    #[must_use]
    pub fn accepted(&self) -> &Interest {
        &self.accepted
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        match &self.listening {
            Some(listening) => listening.abort(),
            None => self.client.link().watch.give_up(&self.accepted.uris),
        }
    }
}

impl Client {
    /// Asks the server to tell of changes: `subscriptions/listen`, or `resources/subscribe` for each resource
    /// in the handshake era, where servers tell of changed lists by themselves if they declare to.
    ///
    /// # Errors
    /// [`CallError`] if the server has not agreed within `timeout`; nothing is then subscribed to.
    pub async fn subscribe(&self, interest: Interest, timeout: Duration) -> Result<Subscription, CallError> {
        self.subscribe_for(interest, None, timeout).await
    }

    /// The same where each request says what the client is able to do, with other `capabilities` than the
    /// connection's.
    ///
    /// # Errors
    /// As for [`subscribe`](Self::subscribe).
    pub async fn subscribe_for(
        &self,
        interest: Interest,
        capabilities: Option<ClientCapabilities>,
        timeout: Duration,
    ) -> Result<Subscription, CallError> {
        let deadline = Deadline::after(timeout);
        match self.profile().era {
            Era::Stateless => {
                let (call, accepted) = deadline.bound(self.listen(&interest, capabilities.clone())).await?;
                self.link().also_told(&accepted);
                let kept = keep(self.clone(), call, interest, capabilities);
                let listening = Some(tokio::spawn(kept).abort_handle());
                Ok(Subscription { client: self.clone(), accepted, listening })
            }
            Era::Handshake => {
                let accepted = Interest { uris: interest.uris.clone(), ..interest.and(&self.declared()) };
                // From here on dropped, it gives up what was agreed to so far.
                let mut subscription =
                    Subscription { client: self.clone(), accepted: Interest::default(), listening: None };
                self.watch(&interest.uris, &mut subscription.accepted.uris, deadline).await?;
                subscription.accepted = accepted;
                Ok(subscription)
            }
        }
    }

    fn declared(&self) -> Interest {
        Interest::declared(&self.profile())
    }

    /// Opens a stream of changes and waits until the server says what it will tell of.
    async fn listen(
        &self,
        interest: &Interest,
        capabilities: Option<ClientCapabilities>,
    ) -> Result<(Call, Interest), CallError> {
        let params = RawJson::encode(&ListenParams::new(interest.to_filter()));
        let params = params.map_err(|error| CallError::malformed(error.to_string()))?;
        let request = Outgoing { capabilities, ..Outgoing::new(Method::SubscriptionsListen, Some(params)) };
        let mut call = self.start(request).await?;
        match call.next().await {
            Some(Ok(CallEvent::Notification(told))) if told.method == Method::SubscriptionsAcknowledged => {
                let accepted = told.params.and_then(|params| params.to::<AcknowledgedParams>().ok());
                let accepted = accepted.map(|accepted| Interest::of_filter(&accepted.notifications));
                Ok((call, accepted.unwrap_or_default().and(interest)))
            }
            Some(Ok(CallEvent::Notification(told))) => {
                let reason =
                    format!("the server told of {} before it agreed to tell of anything", told.method);
                Err(CallError::malformed(reason))
            }
            Some(Ok(CallEvent::Done(answer))) => {
                Err(CallError::unusable("the server ended the subscription at once", answer.frame))
            }
            Some(Err(error)) => Err(error),
            None => Err(CallError::malformed("the call was polled after its end")),
        }
    }
}

/// Reads a stream of changes, and opens another one when it ends, as long as the connection lives.
async fn keep(client: Client, mut call: Call, interest: Interest, capabilities: Option<ClientCapabilities>) {
    let mut pause = PAUSES.0;
    loop {
        let opened = Instant::now();
        while let Some(Ok(CallEvent::Notification(told))) = call.next().await {
            client.link().publish(told);
        }
        if opened.elapsed() >= PAUSES.1 {
            pause = PAUSES.0;
        }
        call = loop {
            if client.is_closed() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = client.closed() => return,
            }
            pause = (pause * 2).min(PAUSES.1);
            match Deadline::after(RENEWAL_LIMIT).bound(client.listen(&interest, capabilities.clone())).await {
                Ok((call, accepted)) => {
                    client.link().publish_changes(&accepted);
                    break call;
                }
                Err(error) => tracing::debug!(%error, "the subscription is not made again yet"),
            }
        };
    }
}
