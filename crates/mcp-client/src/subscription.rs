//! Being told of changes, in both eras. Source: wire reference §3.6, issue of `resources/subscribe` in §2.3.

use std::sync::PoisonError;
use std::time::Duration;

use mcp_protocol::subscription::{AcknowledgedParams, ListenParams};
use mcp_protocol::{Era, Method, RawJson};
use mcp_transport::Header;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::call::{Call, CallEvent, Outgoing};
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::CallError;
use crate::interest::Interest;
use crate::link::REPLY_LIMIT;

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
    /// Keeps it alive.
    keeping: AbortHandle,
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
        self.keeping.abort();
        self.client.unwatch(&self.accepted);
    }
}

impl Client {
    /// Asks the server to tell of changes: `subscriptions/listen`, or `resources/subscribe` for each resource
    /// in the handshake era, where servers tell of changed lists by themselves if they declare to.
    ///
    /// # Errors
    /// [`CallError`] if the server has not agreed within `timeout`; nothing is then subscribed to.
    pub async fn subscribe(&self, interest: Interest, timeout: Duration) -> Result<Subscription, CallError> {
        let deadline = Deadline::after(timeout);
        match self.profile().era {
            Era::Stateless => {
                let (call, accepted) = deadline.bound(self.listen(&interest)).await?;
                let keeping = tokio::spawn(keep(self.clone(), call, interest)).abort_handle();
                Ok(Subscription { client: self.clone(), accepted, keeping })
            }
            Era::Handshake => {
                let accepted = Interest { uris: interest.uris.clone(), ..interest.and(&self.declared()) };
                let keeping = tokio::spawn(revive(self.clone())).abort_handle();
                // From here on dropped, it unsubscribes from what was subscribed to so far.
                let mut subscription =
                    Subscription { client: self.clone(), accepted: Interest::default(), keeping };
                for uri in &interest.uris {
                    self.call_until(of_resource(Method::ResourcesSubscribe, uri)?, deadline).await?;
                    self.watch(uri);
                    subscription.accepted.uris.insert(uri.clone());
                }
                subscription.accepted = accepted;
                Ok(subscription)
            }
        }
    }

    fn declared(&self) -> Interest {
        Interest::declared(&self.profile())
    }

    /// Opens a stream of changes and waits until the server says what it will tell of.
    async fn listen(&self, interest: &Interest) -> Result<(Call, Interest), CallError> {
        let params = RawJson::encode(&ListenParams::new(interest.to_filter()));
        let params = params.map_err(|error| CallError::malformed(error.to_string()))?;
        let mut call = self.start(Outgoing::new(Method::SubscriptionsListen, Some(params))).await?;
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

    fn watch(&self, uri: &str) {
        let mut watched = self.link().watched.lock().unwrap_or_else(PoisonError::into_inner);
        *watched.entry(uri.to_owned()).or_default() += 1;
    }

    /// Ends the interest in resources, and tells the server of those that nobody else is interested in.
    fn unwatch(&self, interest: &Interest) {
        let mut last = Vec::new();
        let mut watched = self.link().watched.lock().unwrap_or_else(PoisonError::into_inner);
        for uri in &interest.uris {
            let Some(users) = watched.get_mut(uri) else { continue };
            *users -= 1;
            if *users == 0 {
                watched.remove(uri);
                last.push(uri.clone());
            }
        }
        drop(watched);
        if last.is_empty() || self.is_closed() {
            return;
        }
        let client = self.clone();
        self.link().in_background(async move {
            for uri in last {
                let Ok(request) = of_resource(Method::ResourcesUnsubscribe, &uri) else { continue };
                // A server that has forgotten us has forgotten this, too.
                let _ = client.call(request, REPLY_LIMIT).await;
            }
        });
    }

    /// In a new session: subscribes to what the old one was told of, and says that it may have changed.
    pub(crate) fn watch_again(&self, headers: Vec<Header>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let watched = self.link().watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = self.clone();
        let work = async move {
            for uri in watched.into_keys() {
                let Ok(mut request) = of_resource(Method::ResourcesSubscribe, &uri) else { continue };
                request.headers.clone_from(&headers);
                if let Err(error) = client.call(request, REPLY_LIMIT).await {
                    tracing::warn!(%error, "a resource is not subscribed to any more");
                }
            }
            client.link().publish_changes(&client.link().told());
        };
        runtime.spawn(work);
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

/// Asks the server whether it is there whenever its messages were interrupted: if it has forgotten the session,
/// that brings about a new one, in which everything is subscribed to again.
async fn revive(client: Client) {
    loop {
        tokio::select! {
            () = client.link().interrupted.notified() => {}
            _ = client.closed() => return,
        }
        if let Err(error) = client.ping(REPLY_LIMIT).await {
            tracing::debug!(%error, "no answer after an interruption");
        }
    }
}

/// Reads a stream of changes, and opens another one when it ends, as long as the connection lives.
async fn keep(client: Client, mut call: Call, interest: Interest) {
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
            match Deadline::after(RENEWAL_LIMIT).bound(client.listen(&interest)).await {
                Ok((call, accepted)) => {
                    client.link().publish_changes(&accepted);
                    break call;
                }
                Err(error) => tracing::debug!(%error, "the subscription is not made again yet"),
            }
        };
    }
}
