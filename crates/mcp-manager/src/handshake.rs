//! Making a server ready: connect, handshake, watch. Source: contract §3.1–§3.3.

use std::sync::Arc;

use mcp_client::{CallError, Client, ConnectError, ConnectOptions, ServerProfile};
use mcp_registry::{
    CorrelationId, ErrorCategory, Failure, Gate, Handshake, Loss, ResetRetryOn, ServerRecord,
};
use mcp_transport::TransportKind;

use crate::failure;
use crate::link::Link;
use crate::manager::{Inner, Manager, UnknownServer, close_in_background};

/// Whether a handshake in force is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Yes, if it is fresh and the server healthy (the gate of §3.2).
    Fresh,
    /// Yes, even if it is stale.
    Any,
    /// No: do it again.
    Another,
}

/// What a look at a server came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The handshake in force was enough.
    Enough,
    /// There was another one.
    Done,
}

impl Manager {
    /// Hands shakes with a server, unless it is initialised and `force` is false. Ignores the retry
    /// window. The outcome is in the record.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn initialize(&self, name: &str, force: bool) -> Result<Arc<ServerRecord>, UnknownServer> {
        let link = self.link(name)?;
        let need = if force { Need::Another } else { Need::Any };
        // A failure is in the record, where the caller looks for it.
        let _ = self.0.ready(&link, need, None).await;
        self.server(name)
    }

    /// Closes a server's session; says whether there was one (contract §3.7).
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn invalidate(&self, name: &str) -> Result<bool, UnknownServer> {
        let link = self.link(name)?;
        let client = link.take();
        link.forget_activity();
        self.0.record(|registry, now| registry.disconnected(now, &link.key));
        let Some(client) = client else { return Ok(false) };
        client.close().await;
        Ok(true)
    }

    /// Closes a server's session and opens a new one.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn refresh(&self, name: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        self.invalidate(name).await?;
        self.initialize(name, true).await
    }
}

impl Inner {
    /// Sees to it that a handshake is in force. One at a time per server; callers that come meanwhile
    /// share its outcome.
    pub(crate) async fn ready(
        self: &Arc<Self>,
        link: &Arc<Link>,
        need: Need,
        correlation: Option<CorrelationId>,
    ) -> Result<(), Failure> {
        loop {
            let work = || {
                let (inner, link, correlation) = (self.clone(), link.clone(), correlation.clone());
                async move { inner.shake_hands(&link, need, correlation).await }
            };
            match link.handshakes.run(work).await {
                // Somebody else's look at the server found nothing to do; we want it done.
                Some(Ok(Outcome::Enough)) if need == Need::Another => {}
                Some(outcome) => return outcome.map(|_| ()),
                None => {
                    let text = "the handshake ended unexpectedly";
                    return Err(Failure::new(ErrorCategory::InitializeError, text));
                }
            }
        }
    }

    async fn shake_hands(
        self: &Arc<Self>,
        link: &Arc<Link>,
        need: Need,
        correlation: Option<CorrelationId>,
    ) -> Result<Outcome, Failure> {
        let Some(record) = self.current(&link.key).filter(|_| !link.is_retired()) else {
            return Err(Failure::new(ErrorCategory::InitializeError, "server not found"));
        };
        // Another handshake may have ended between the caller's look and this one.
        let enough = match need {
            Need::Fresh => Gate::of(&record, self.now()) == Gate::Cached && link.session().is_some(),
            Need::Any => record.initialized && link.session().is_some(),
            Need::Another => false,
        };
        if enough {
            return Ok(Outcome::Enough);
        }
        let key = &link.key;
        self.record(|registry, now| registry.connecting(now, key));
        match self.open(link, &record).await {
            Ok((profile, opened)) => {
                let keep_count =
                    correlation.is_some() && self.policy.reset_retry_on == ResetRetryOn::InvokeSuccess;
                self.record(|registry, now| {
                    let handshake = handshake(&profile);
                    registry.handshake_succeeded(now, key, handshake, correlation.as_ref(), !keep_count);
                });
                tracing::info!(server = %key.name, era = %profile.era, version = %profile.version, "connected");
                // After the success is recorded: a loss is told only of what was there.
                if let Some(client) = opened {
                    self.install(link, client).await;
                }
                if link.definition.discover_tools {
                    self.discover_tools(link);
                }
                Ok(Outcome::Done)
            }
            Err(error) => {
                let failure = failure::of_error(&error.error);
                let partial = error.profile.as_deref().map(handshake);
                self.record(|registry, now| {
                    registry.handshake_failed(now, key, failure.clone(), correlation.as_ref(), partial);
                });
                tracing::warn!(server = %key.name, error = %failure.text, tried = ?error.tried, "handshake failed");
                Err(failure)
            }
        }
    }

    /// A handshake on the open session, or on a new one, which is then returned as well.
    async fn open(
        self: &Arc<Self>,
        link: &Arc<Link>,
        record: &ServerRecord,
    ) -> Result<(Arc<ServerProfile>, Option<Arc<Client>>), ConnectError> {
        if let Some(client) = link.session() {
            link.touch(&*self.timer);
            match client.handshake(self.policy.handshake_timeout).await {
                Ok(profile) => return Ok((profile, None)),
                // Servers may refuse a second handshake on a session: a new session decides.
                Err(ConnectError { error: CallError::Rpc { .. }, .. }) => {
                    self.drop_session(link, &client);
                }
                Err(error) => {
                    self.drop_session(link, &client);
                    return Err(error);
                }
            }
        }
        link.touch(&*self.timer);
        let options = ConnectOptions {
            client_info: self.client_info.clone(),
            policy: link.definition.protocol,
            hint: record.era,
            handshake_timeout: self.policy.handshake_timeout,
            probe_timeout: self.policy.handshake_timeout,
            ..ConnectOptions::default()
        };
        let client = mcp_client::connect(&*self.connector, &link.definition.endpoint, &options).await?;
        Ok((client.profile(), Some(Arc::new(client))))
    }

    /// Puts a new session in place and watches it.
    async fn install(self: &Arc<Self>, link: &Arc<Link>, client: Arc<Client>) {
        match link.install(client.clone()) {
            // The registration ended meanwhile. Waited for, so that a shutdown that waits for this
            // handshake leaves no child behind.
            Some(unwanted) if Arc::ptr_eq(&unwanted, &client) => unwanted.close().await,
            Some(superseded) => {
                close_in_background(superseded);
                self.watch(link, client);
            }
            None => self.watch(link, client),
        }
    }

    /// Closes a session after a failure that makes it unusable; says whether it still was the link's.
    pub(crate) fn drop_session(&self, link: &Link, client: &Arc<Client>) -> bool {
        let was_current = link.take_if(client);
        if was_current {
            link.forget_activity();
            close_in_background(client.clone());
        }
        was_current
    }

    /// Tells the registry when the session breaks by itself.
    fn watch(self: &Arc<Self>, link: &Arc<Link>, client: Arc<Client>) {
        let (inner, link) = (Arc::downgrade(self), Arc::downgrade(link));
        tokio::spawn(async move {
            let error = client.closed().await;
            let (Some(inner), Some(link)) = (inner.upgrade(), link.upgrade()) else { return };
            // Whoever closes a session on purpose takes it out of the link first.
            if link.take_if(&client) {
                link.forget_activity();
                tracing::warn!(server = %link.key.name, %error, "connection lost");
                let loss = match link.definition.endpoint.kind() {
                    TransportKind::Stdio => Loss::Restartable,
                    _ => Loss::Lazy,
                };
                inner.record(|registry, now| registry.connection_lost(now, &link.key, loss));
            }
        });
    }
}

fn handshake(profile: &ServerProfile) -> Handshake {
    Handshake {
        era: profile.era,
        protocol_version: Some(profile.protocol_version.clone()).filter(|version| !version.is_empty()),
        server_info: profile.server_info.clone(),
        capabilities: profile.capabilities.clone(),
        ttl: profile.ttl,
    }
}
