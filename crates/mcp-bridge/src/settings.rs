//! How a bridge behaves.

use std::time::Duration;

use mcp_registry::{Exposure, NameFilter};

/// How a bridge behaves. Defaults are those of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Whether tools and prompts of the aggregate are called `owner__name`. Without that, the first owner in order has
    /// a name that several use.
    pub prefix: bool,
    /// Most entries on a page of an aggregated list.
    pub page_size: usize,
    /// How long a client waits for slow servers when it opens a session, or asks for a list that is not known yet.
    pub list_wait: Duration,
    /// How long a call that a server asked something during is held for its client.
    pub park_timeout: Duration,
    /// Most such calls of one principal.
    pub max_parked: usize,
    /// The longest a call may take, people who are asked included.
    pub call_limit: Duration,
    /// From how many bytes of results of tasks on, which are kept for their clients, no more tasks are begun.
    pub task_results: usize,
    /// How long lists that nobody asks for are kept up to date for a kind of client.
    pub idle: Duration,
    /// Parts of the aggregate with an endpoint of their own.
    pub views: Vec<View>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: true,
            page_size: 1000,
            list_wait: Duration::from_secs(1),
            park_timeout: Duration::from_secs(600),
            max_parked: 64,
            call_limit: Duration::from_secs(900),
            task_results: 64 << 20,
            idle: Duration::from_secs(1800),
            views: Vec::new(),
        }
    }
}

/// A part of the aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The last part of its path.
    pub name: String,
    /// Which servers and groups it has, by their names.
    pub servers: NameFilter,
    /// What it has of them, by the names clients see.
    pub exposure: Exposure,
}

/// What an endpoint shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All servers as one.
    All,
    /// Some of them as one.
    View(Box<str>),
    /// One server or group, as it is.
    One(Box<str>),
}
