//! Many clients by name. Source: contract §7.3, second paragraph.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use mcp_client::ServerProfile;
use mcp_protocol::resource::ResourceContents;
use mcp_registry::{
    ConnectionState, Definition, Handshake, InvalidTransition, Journal, Loss, Registry, RegistryFull,
    ServerKey, ServerName, ServerRecord, Subscription, Timer, Timestamp,
};

use crate::client::McpClient;
use crate::options::ClientOptions;
use crate::state::{Change, Watcher};

mod bulk;
mod keep;
mod query;
mod refresh;

pub use keep::Restored;
pub use query::RegistryStatistics;
pub use refresh::Refreshed;

/// A registry could not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name is taken.
    #[error("a server named {name:?} is registered already; unregister it first")]
    AlreadyExists {
        /// The name.
        name: String,
    },
    /// No server has the name.
    #[error("no server is named {requested:?}")]
    NotFound {
        /// What was asked for.
        requested: String,
        /// What there is, sorted.
        available: Vec<String>,
    },
    /// There are as many servers as there may be.
    #[error(transparent)]
    Full(#[from] RegistryFull),
    /// The change of state is none of contract §1.5.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
}

/// Clients by name, with what is known of their servers. Clones are the same registry.
///
/// What happens to a client shows in its record at once, and as an event. The registry keeps its clients alive; they
/// disconnect when they are unregistered, or with the last handle of a registry that is dropped.
#[derive(Clone)]
pub struct ClientRegistry(Arc<Inner>);

struct Inner {
    journal: Arc<Journal>,
    records: Arc<Records>,
    /// Locked for the length of one change, never across I/O, and before the records.
    entries: Mutex<Entries>,
}

type Entries = BTreeMap<ServerName, Arc<Entry>>;

/// What is known of the servers, without their clients: those call in with their own lock held, and nothing that a
/// client holds for that time may end one.
struct Records {
    timer: Arc<dyn Timer>,
    /// Locked for the length of one change.
    registry: Mutex<Registry>,
}

/// The live side of one registration.
struct Entry {
    key: ServerKey,
    client: McpClient,
    contents: Mutex<Arc<[ResourceContents]>>,
    /// Held for as long as the registration lasts: the client knows it weakly.
    _link: Arc<Link>,
}

/// Carries the changes of one client to its record.
struct Link {
    key: ServerKey,
    records: Arc<Records>,
}

/// One registered server at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RegisteredServer {
    /// What is known of it.
    pub record: Arc<ServerRecord>,
    /// Its client.
    pub client: McpClient,
    /// What was read of its resources by the last refresh.
    pub resources: Arc<[ResourceContents]>,
}

impl RegisteredServer {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ServerName {
        self.record.name()
    }
}

impl ClientRegistry {
    /// An empty registry with the policy and the clock of these options, which should be those of its clients.
    #[must_use]
    pub fn new(options: &ClientOptions) -> Self {
        let journal = Arc::new(Journal::new(&options.policy));
        let registry = Mutex::new(Registry::new(options.policy.clone(), journal.clone()));
        let records = Arc::new(Records { timer: options.timer.clone(), registry });
        Self(Arc::new(Inner { journal, records, entries: Mutex::default() }))
    }

    /// Registers a client under a name, whatever its state. Its configuration is the client's definition with this
    /// name. A client may have several names; each removal of one disconnects it.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`], [`RegistryError::Full`]; the client stays as it is.
    pub fn register(&self, name: ServerName, client: McpClient) -> Result<Arc<ServerRecord>, RegistryError> {
        let mut definition = Definition::clone(client.definition());
        definition.name = name.clone();
        let (record, link) = {
            let mut entries = self.0.entries();
            if entries.contains_key(&name) {
                return Err(RegistryError::AlreadyExists { name: name.to_string() });
            }
            let record = self.0.registry().register(self.0.now(), definition)?;
            let link = Arc::new(Link { key: record.key(), records: self.0.records.clone() });
            let entry = Entry {
                key: record.key(),
                client: client.clone(),
                contents: Mutex::new(Arc::default()),
                _link: link.clone(),
            };
            entries.insert(name, Arc::new(entry));
            (record, link)
        };
        let link: Weak<Link> = Arc::downgrade(&link);
        client.shared().watch(link);
        Ok(record)
    }

    /// Removes a server and disconnects its client.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn unregister(&self, name: &str) -> Result<(), RegistryError> {
        let entry = {
            let mut entries = self.0.entries();
            let Some(entry) = entries.remove(name) else { return Err(not_found(&entries, name)) };
            self.0.registry().unregister(self.0.now(), name);
            entry
        };
        entry.client.disconnect().await;
        Ok(())
    }

    /// Takes a server out of service (contract §1.4, S12) and marks its connection as broken, without touching
    /// it. What the client does next shows again.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn mark_unavailable(&self, name: &str, reason: &str) -> Result<(), RegistryError> {
        let entry = self.entry(name)?;
        self.0.registry().mark_unavailable(self.0.now(), &entry.key, reason);
        Ok(())
    }

    /// Sets the connection state in the record of a server, without touching its connection.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], or [`RegistryError::InvalidTransition`] for a change contract §1.5 does not
    /// know; nothing is changed.
    pub fn update_state(&self, name: &str, to: ConnectionState) -> Result<(), RegistryError> {
        let entry = self.entry(name)?;
        Ok(self.0.registry().set_connection(self.0.now(), &entry.key, to)?)
    }

    /// Tells of registrations, removals and changes from now on.
    #[must_use]
    pub fn events(&self) -> Subscription {
        self.0.journal.subscribe()
    }

    /// The events that are retained.
    #[must_use]
    pub fn journal(&self) -> &Arc<Journal> {
        &self.0.journal
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>, RegistryError> {
        let entries = self.0.entries();
        entries.get(name).cloned().ok_or_else(|| not_found(&entries, name))
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.records.timer.now()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.records.registry()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_found(entries: &Entries, name: &str) -> RegistryError {
    RegistryError::NotFound {
        requested: name.to_owned(),
        available: entries.keys().map(ToString::to_string).collect(),
    }
}

impl Watcher for Link {
    fn changed(&self, change: &Change<'_>) {
        let (now, key) = (self.records.timer.now(), &self.key);
        let mut registry = self.records.registry();
        match change {
            Change::Connecting(ConnectionState::Reconnecting) => registry.reconnecting(now, key),
            Change::Connecting(_) => registry.connecting(now, key),
            Change::Connected(profile) => {
                registry.handshake_succeeded(now, key, handshake(profile), None, true);
            }
            Change::Exhausted { failure, .. } => registry.connect_failed(now, key, (*failure).clone()),
            Change::Failed(failure) => {
                registry.handshake_failed(now, key, (*failure).clone(), None, None, true);
            }
            Change::Lost(_) => registry.connection_lost(now, key, Loss::Lazy),
            Change::Disconnected => registry.disconnected(now, key),
            Change::Scheduled { .. } => {}
        }
    }
}

fn handshake(profile: &ServerProfile) -> Handshake {
    Handshake {
        era: profile.era,
        protocol_version: Some(profile.protocol_version.clone()),
        server_info: profile.server_info.clone(),
        capabilities: profile.capabilities.clone(),
        ttl: profile.ttl,
    }
}

impl fmt::Debug for ClientRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRegistry").field("servers", &self.0.entries().len()).finish_non_exhaustive()
    }
}
