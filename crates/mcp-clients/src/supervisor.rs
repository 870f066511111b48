//! The one task that makes a connection and keeps it. Source: contract §1.5, §2.6.

use std::sync::Arc;
use std::time::Duration;

use mcp_client::ConnectOptions;
use mcp_registry::{ConnectionState, ErrorCategory, Failure};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{ClientError, of_connect, of_request};
use crate::result::{ConnectionMetadata, ConnectionResult};
use crate::state::{Change, Run, Session, Shared, State};

/// A connection that held this long starts the waits anew (product §5, Backoff).
const FORGIVEN: Duration = Duration::from_secs(60);

/// What `connect` and `reconnect` wait for.
pub(crate) type First = watch::Receiver<Option<ConnectionResult>>;

impl Shared {
    /// Begins to connect, unless that is under way.
    ///
    /// # Errors
    /// The connection that is there.
    pub(crate) fn connect(self: &Arc<Self>) -> Result<First, Arc<Session>> {
        let runtime = Handle::current();
        let mut state = self.state();
        if let Some(run) = state.run.as_ref().filter(|run| !run.stop.is_cancelled()) {
            if let Some(session) = &state.session {
                return Err(session.clone());
            }
            if run.first.borrow().is_none() && !run.ended.is_cancelled() {
                return Ok(run.first.clone());
            }
        }
        if matches!(state.connection, ConnectionState::Disconnected | ConnectionState::Error) {
            self.make(&mut state, &Change::Connecting(ConnectionState::Initializing));
        }
        let (first, work) = self.start(&mut state);
        drop(state);
        runtime.spawn(work);
        Ok(first)
    }

    /// Begins to connect anew, whatever there is.
    pub(crate) fn reconnect(self: &Arc<Self>) -> First {
        let runtime = Handle::current();
        tracing::info!(server = %self.definition.name, "reconnecting");
        let mut state = self.state();
        // The table has no way from `initializing` to `reconnecting`: that attempt is given up.
        if state.connection == ConnectionState::Initializing {
            self.make(&mut state, &Change::Disconnected);
        }
        self.make(&mut state, &Change::Connecting(ConnectionState::Reconnecting));
        let (first, work) = self.start(&mut state);
        drop(state);
        runtime.spawn(work);
        first
    }

    /// What is under way, if anything.
    pub(crate) fn under_way(&self) -> Option<First> {
        let state = self.state();
        let run = state.run.as_ref().filter(|run| !run.stop.is_cancelled() && !run.ended.is_cancelled())?;
        Some(run.first.clone())
    }

    /// Takes the connection away. Returns what to wait for until everything is closed.
    pub(crate) fn disconnect(&self) -> Option<CancellationToken> {
        let mut state = self.state();
        if state.connection != ConnectionState::Disconnected {
            tracing::info!(server = %self.definition.name, "disconnecting");
        }
        state.session = None;
        self.make(&mut state, &Change::Disconnected);
        state.run.as_ref().map(|run| {
            run.stop.cancel();
            run.ended.clone()
        })
    }

    /// Puts a new task in the place of the one there is. It is to be spawned when the lock is gone: a runtime that
    /// is about to end drops it at once, and it takes the lock then.
    fn start(self: &Arc<Self>, state: &mut State) -> (First, impl Future<Output = ()> + Send + use<>) {
        let previous = state.run.take().map(|run| {
            run.stop.cancel();
            run.ended
        });
        state.session = None;
        state.last_run += 1;
        let (tell, first) = watch::channel(None);
        let run = Run {
            id: state.last_run,
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            first: first.clone(),
        };
        let supervisor = Supervisor { shared: self.clone(), id: run.id, stop: run.stop.clone() };
        let ended = run.ended.clone().drop_guard();
        state.run = Some(run);
        let work = async move {
            let _ended = ended;
            // Two processes of one server could get in each other's way.
            if let Some(previous) = previous {
                previous.cancelled().await;
            }
            supervisor.run(tell).await;
        };
        (first, work)
    }

    pub(crate) fn success(&self, session: &Session, attempts: u32) -> ConnectionResult {
        let mut metadata = self.metadata(attempts);
        metadata.protocol_version = Some(session.client.profile().protocol_version.clone());
        let details = session.client.details();
        let pid = details.iter().find(|(name, _)| *name == "pid");
        metadata.pid = pid.and_then(|(_, pid)| pid.parse().ok());
        ConnectionResult { error: None, metadata }
    }

    pub(crate) fn failure(&self, failure: Failure, attempts: u32) -> ConnectionResult {
        ConnectionResult { error: Some(failure), metadata: self.metadata(attempts) }
    }

    fn metadata(&self, attempts: u32) -> ConnectionMetadata {
        let endpoint = &self.definition.endpoint;
        ConnectionMetadata {
            transport: endpoint.kind(),
            host: endpoint.url().and_then(|url| url.host_str()).map(str::to_owned),
            attempts,
            protocol_version: None,
            pid: None,
        }
    }
}

/// The task of one [`Run`].
struct Supervisor {
    shared: Arc<Shared>,
    id: u64,
    stop: CancellationToken,
}

/// However the task ends, nobody is left to keep the connection.
impl Drop for Supervisor {
    fn drop(&mut self) {
        let failure = Failure::new(ErrorCategory::TransportError, "nobody keeps the connection any more");
        let mut state = self.shared.state();
        if self.is_current(&state) && state.connection != ConnectionState::Error {
            state.session = None;
            self.shared.make(&mut state, &Change::Lost(&failure));
        }
    }
}

impl Supervisor {
    async fn run(self, tell: watch::Sender<Option<ConnectionResult>>) {
        let Some(first) = self.connect(&tell).await else { return };
        // Failures in a row that the next wait is made of.
        let (mut open, mut failures) = match first {
            Ok(session) => (Some(session), 0),
            Err(attempts) => (None, attempts),
        };
        loop {
            let session = match open.take() {
                Some(session) => session,
                None if !self.shared.options.reconnect => return,
                None => match self.connect_in_background(&mut failures).await {
                    Some(session) => session,
                    None => return,
                },
            };
            if !self.attend(&session).await {
                return session.client.close().await;
            }
            if !self.shared.definition.restart {
                return;
            }
            let held = self.shared.now().since(session.opened_at);
            failures = if held < FORGIVEN { failures.saturating_add(1) } else { 1 };
        }
    }

    /// Attempts with growing waits (contract §2.6, steps 1 to 4): the connection, or how many attempts failed.
    /// `None` if stopped.
    async fn connect(
        &self,
        tell: &watch::Sender<Option<ConnectionResult>>,
    ) -> Option<Result<Arc<Session>, u32>> {
        let policy = self.shared.options.policy.clone();
        let server = &self.shared.definition.name;
        for attempt in 1.. {
            let failure = match self.open().await? {
                Ok(session) => {
                    let result = self.shared.success(&session, attempt);
                    self.put(&session).await?;
                    tracing::info!(%server, attempt, "connected");
                    // Whoever asked may have gone.
                    tell.send_replace(Some(result));
                    return Some(Ok(session));
                }
                Err(failure) => failure,
            };
            if attempt >= policy.connect_attempts {
                tracing::error!(%server, attempt, error = %failure.text, "no connection");
                self.make(&Change::Exhausted { failure: &failure, attempts: attempt })?;
                tell.send_replace(Some(self.shared.failure(failure, attempt)));
                return Some(Err(attempt));
            }
            let wait = policy.connect_wait(attempt, self.shared.options.random.unit());
            tracing::warn!(%server, attempt, ?wait, error = %failure.text, "connecting again");
            self.sleep(wait).await?;
        }
        None
    }

    /// Attempts until one succeeds (contract §2.6, step 5). `None` if stopped.
    async fn connect_in_background(&self, failures: &mut u32) -> Option<Arc<Session>> {
        let server = &self.shared.definition.name;
        loop {
            let unit = self.shared.options.random.unit();
            let delay = self.shared.options.policy.connect_wait(*failures, unit);
            self.make(&Change::Scheduled { delay, attempt: *failures })?;
            self.sleep(delay).await?;
            self.make(&Change::Connecting(ConnectionState::Reconnecting))?;
            match self.open().await? {
                Ok(session) => {
                    self.put(&session).await?;
                    tracing::info!(%server, failures, "connected again");
                    return Some(session);
                }
                Err(failure) => {
                    tracing::warn!(%server, failures, error = %failure.text, "still no connection");
                    self.make(&Change::Failed(&failure))?;
                    *failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// One attempt. `None` if stopped.
    async fn open(&self) -> Option<Result<Arc<Session>, Failure>> {
        let shared = &self.shared;
        let limit = shared.options.policy.handshake_timeout;
        let hint = shared.state().era;
        let options = ConnectOptions {
            policy: shared.definition.protocol,
            hint,
            handshake_timeout: limit,
            // A server that does not answer the probe of the other era is asked in its own soon enough.
            probe_timeout: limit / 2,
            ..shared.options.connect.clone()
        };
        let connecting = mcp_client::connect(&*shared.connector, &shared.definition.endpoint, &options);
        let connected = self.unless_stopped(connecting).await?;
        let session = |client| Arc::new(Session::new(client, shared.now(), self.stop.clone()));
        Some(connected.map(session).map_err(of_connect))
    }

    /// Puts a connection in place. `None` if stopped: then it is closed again.
    async fn put(&self, session: &Arc<Session>) -> Option<()> {
        if self.try_put(session) {
            return Some(());
        }
        session.client.close().await;
        None
    }

    fn try_put(&self, session: &Arc<Session>) -> bool {
        let profile = session.client.profile();
        let mut state = self.shared.state();
        let current = self.is_current(&state);
        if current {
            // The handshake has answered what the breaker waits to find out.
            if let Some(mut breaker) = self.shared.breaker() {
                breaker.close();
            }
            state.session = Some(session.clone());
            state.era = Some(profile.era);
            self.shared.make(&mut state, &Change::Connected(&profile));
        }
        current
    }

    /// Keeps an eye on the connection until it is lost. False if stopped.
    async fn attend(&self, session: &Arc<Session>) -> bool {
        let watching = async {
            tokio::select! {
                biased;
                error = session.client.closed() => of_request(&ClientError::from(error)),
                failure = session.lost() => failure,
                never = self.shared.hub.feed(&session.client) => match never {},
            }
        };
        let Some(failure) = self.unless_stopped(watching).await else { return false };
        tracing::warn!(server = %self.shared.definition.name, error = %failure.text, "connection lost");
        let mut state = self.shared.state();
        if !self.is_current(&state) {
            return false;
        }
        // Requests under way keep it open until they end.
        state.session = None;
        self.shared.make(&mut state, &Change::Lost(&failure));
        true
    }

    async fn sleep(&self, wait: Duration) -> Option<()> {
        let timer = &self.shared.options.timer;
        self.unless_stopped(timer.sleep_until(timer.now() + wait)).await
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(work).await
    }

    /// Makes a change. `None` if stopped.
    fn make(&self, change: &Change<'_>) -> Option<()> {
        let mut state = self.shared.state();
        self.is_current(&state).then(|| self.shared.make(&mut state, change))
    }

    fn is_current(&self, state: &State) -> bool {
        state.run.as_ref().is_some_and(|run| run.id == self.id && !run.stop.is_cancelled())
    }
}
