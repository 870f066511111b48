//! What all handles of a client share: its state, and who works on its connection.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mcp_client::{Client, RateLimit, ServerProfile};
use mcp_protocol::Era;
use mcp_registry::{ConnectionState, Definition, ErrorCategory, Failure, Timestamp};
use mcp_transport::Connector;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::breaker::Breaker;
use crate::event::{BACKLOG, ClientChange, ClientEvent};
use crate::options::ClientOptions;
use crate::result::ConnectionResult;
use crate::subscription::Hub;

/// What all handles of a client share.
pub(crate) struct Shared {
    pub(crate) definition: Arc<Definition>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) options: ClientOptions,
    pub(crate) breaker: Option<Mutex<Breaker>>,
    pub(crate) hub: Hub,
    /// Locked for the length of one change, never across I/O.
    state: Mutex<State>,
    events: broadcast::Sender<ClientEvent>,
}

pub(crate) struct State {
    pub(crate) connection: ConnectionState,
    pub(crate) session: Option<Arc<Session>>,
    /// Who works on the connection; kept after its end, which the next one waits for.
    pub(crate) run: Option<Run>,
    pub(crate) last_run: u64,
    /// What the server spoke last time.
    pub(crate) era: Option<Era>,
    watchers: Vec<Weak<dyn Watcher>>,
}

/// One task that makes a connection and keeps it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) id: u64,
    pub(crate) stop: CancellationToken,
    /// Raised when the task has ended and closed what it had open.
    pub(crate) ended: CancellationToken,
    /// How its first attempts ended.
    pub(crate) first: watch::Receiver<Option<ConnectionResult>>,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) opened_at: Timestamp,
    /// Calls whose tool said that it failed.
    pub(crate) tool_errors: AtomicU64,
    /// Set when a request showed that the server is out of reach.
    lost: watch::Sender<Option<Failure>>,
    /// Raised when it is to be closed.
    stop: CancellationToken,
}

impl Session {
    pub(crate) fn new(client: Client, now: Timestamp, stop: CancellationToken) -> Self {
        let (tool_errors, lost) = (AtomicU64::new(0), watch::Sender::new(None));
        Self { client, opened_at: now, tool_errors, lost, stop }
    }

    /// Whether we end it ourselves.
    pub(crate) fn is_given_up(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub(crate) fn count_tool_error(&self) {
        self.tool_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// A request found the server out of reach.
    pub(crate) fn report_loss(&self, failure: Failure) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            if first {
                *lost = Some(failure);
            }
            first
        });
    }

    /// Waits until a request finds the server out of reach.
    pub(crate) async fn lost(&self) -> Failure {
        let mut lost = self.lost.subscribe();
        // The sender lives as long as this.
        match lost.wait_for(Option::is_some).await.map(|lost| lost.clone()) {
            Ok(Some(failure)) => failure,
            _ => std::future::pending().await,
        }
    }
}

/// A change of the connection state, with what belongs to it. Source: contract §1.5, §2.6.
#[derive(Debug, Clone)]
pub(crate) enum Change<'a> {
    /// K1, K6.
    Connecting(ConnectionState),
    /// K2, K7.
    Connected(&'a ServerProfile),
    /// K3, K8: the attempts of a connect are used up.
    Exhausted { failure: &'a Failure, attempts: u32 },
    /// K8: an attempt in the background failed.
    Failed(&'a Failure),
    /// K5.
    Lost(&'a Failure),
    /// K4.
    Disconnected,
    /// A reconnection was planned; the state stays.
    Scheduled { delay: Duration, attempt: u32 },
}

impl Change<'_> {
    fn to(&self) -> Option<ConnectionState> {
        Some(match self {
            Self::Connecting(state) => *state,
            Self::Connected(_) => ConnectionState::Connected,
            Self::Exhausted { .. } | Self::Failed(_) | Self::Lost(_) => ConnectionState::Error,
            Self::Disconnected => ConnectionState::Disconnected,
            Self::Scheduled { .. } => return None,
        })
    }

    fn cause(&self) -> Option<Failure> {
        match self {
            Self::Exhausted { failure, .. } | Self::Failed(failure) | Self::Lost(failure) => {
                Some((*failure).clone())
            }
            _ => None,
        }
    }
}

/// Told of each change while it is made, in order; it must neither block nor call the client.
pub(crate) trait Watcher: Send + Sync {
    fn changed(&self, change: &Change<'_>);
}

impl Shared {
    pub(crate) fn new(
        definition: Definition,
        connector: Arc<dyn Connector>,
        mut options: ClientOptions,
    ) -> Self {
        if let Some(limit) = definition.rate_limit {
            // One for all connections to the server.
            options.connect.rate_limit = Some(RateLimit::new(limit.requests, limit.per, limit.burst));
        }
        Self {
            definition: Arc::new(definition),
            connector,
            breaker: options.breaker.map(|options| Mutex::new(Breaker::new(options))),
            options,
            hub: Hub::default(),
            state: Mutex::new(State {
                connection: ConnectionState::Disconnected,
                session: None,
                run: None,
                last_run: 0,
                era: None,
                watchers: Vec::new(),
            }),
            events: broadcast::Sender::new(BACKLOG),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.options.timer.now()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<ClientEvent> {
        self.events.subscribe()
    }

    /// Tells a watcher of all changes from now on, and at once of how things stand.
    pub(crate) fn watch(&self, watcher: Weak<dyn Watcher>) {
        let mut state = self.state();
        state.watchers.retain(|watcher| watcher.strong_count() > 0);
        if let Some(watcher) = watcher.upgrade() {
            match (state.connection, &state.session) {
                (ConnectionState::Connected, Some(session)) => {
                    watcher.changed(&Change::Connected(&session.client.profile()));
                }
                (ConnectionState::Initializing | ConnectionState::Reconnecting, _) => {
                    watcher.changed(&Change::Connecting(state.connection));
                }
                (ConnectionState::Error, _) => {
                    let failure = Failure::new(ErrorCategory::Unknown, "the client had lost its connection");
                    watcher.changed(&Change::Connecting(ConnectionState::Initializing));
                    watcher.changed(&Change::Lost(&failure));
                }
                _ => {}
            }
        }
        state.watchers.push(watcher);
    }

    /// Makes a change that the table of contract §1.5 allows; others are left out.
    pub(crate) fn make(&self, state: &mut State, change: &Change<'_>) {
        let tell = |change| {
            // That nobody watches is no error.
            let _ = self.events.send(ClientEvent { at: self.now(), change });
        };
        if let Some(to) = change.to() {
            let from = state.connection;
            if !from.may_become(to) {
                debug_assert!(false, "{from:?} -> {to:?}");
                return;
            }
            state.connection = to;
            if from != to {
                tell(ClientChange::State { from, to, cause: change.cause() });
            }
        }
        match change {
            Change::Exhausted { failure, attempts } => {
                tell(ClientChange::Unavailable { failure: (*failure).clone(), attempts: *attempts });
            }
            Change::Scheduled { delay, attempt } => {
                tell(ClientChange::ReconnectScheduled { delay: *delay, attempt: *attempt });
            }
            _ => {}
        }
        for watcher in state.watchers.iter().filter_map(Weak::upgrade) {
            watcher.changed(change);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpClient")
            .field("server", &self.definition.name.as_str())
            .field("state", &self.state().connection.as_str())
            .finish_non_exhaustive()
    }
}
