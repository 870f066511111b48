//! What a guard remembers, from one run to the next.

use std::collections::{BTreeMap, VecDeque};

use mcp_registry::{InvalidServerName, ServerName, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Guard, History, MAX_NAME, MAX_TOOLS, MAX_VERSIONS, Version};
use crate::digest::{Digest, InvalidDigest};

/// What a [`Guard`] remembers, in a form that is written and read: by server and tool the digest of the definition that
/// is approved, and the versions, oldest first, each with its digest and since when, in microseconds since the Unix
/// epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Saved(BTreeMap<String, BTreeMap<String, SavedTool>>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTool {
    approved: String,
    versions: Vec<SavedVersion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedVersion {
    digest: String,
    since_us: i64,
}

/// Something a guard never saved. To start without it would approve whatever the servers offer by now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSaved {
    /// A key that is the name of no server.
    #[error("server {name:?} in what is remembered of tools")]
    Server {
        /// The key.
        name: Box<str>,
        /// Why.
        #[source]
        source: InvalidServerName,
    },
    /// More tools than are remembered.
    #[error("more than {MAX_TOOLS} tools of {server} are remembered")]
    Tools {
        /// Their server.
        server: ServerName,
    },
    /// A name longer than any that is remembered.
    #[error("a tool of {server} is remembered by a name of more than {MAX_NAME} bytes")]
    Name {
        /// Its server.
        server: ServerName,
    },
    /// No versions, or more than are remembered.
    #[error("of tool {tool:?} of {server} {found} versions are remembered, not 1 to {MAX_VERSIONS}")]
    Versions {
        /// Its server.
        server: ServerName,
        /// The tool.
        tool: Box<str>,
        /// How many there are.
        found: usize,
    },
    /// A digest that is none.
    #[error("a digest of tool {tool:?} of {server} in what is remembered")]
    Digest {
        /// Its server.
        server: ServerName,
        /// The tool.
        tool: Box<str>,
        /// Why.
        #[source]
        source: InvalidDigest,
    },
}

impl Guard {
    /// What it remembers, to be kept.
    #[must_use]
    pub fn to_saved(&self) -> Saved {
        let mut saved: BTreeMap<String, BTreeMap<String, SavedTool>> = BTreeMap::new();
        for (server, tool, history) in self.histories() {
            let versions = history.earlier().chain([history.current()]);
            let versions = versions.map(|Version { digest, since }| SavedVersion {
                digest: digest.to_string(),
                since_us: since.as_micros(),
            });
            let tools = saved.entry(server.to_string()).or_default();
            let approved = history.approved.to_string();
            tools.insert(tool.to_owned(), SavedTool { approved, versions: versions.collect() });
        }
        Saved(saved)
    }

    /// A guard that remembers what another one did.
    ///
    /// # Errors
    /// [`InvalidSaved`] if none can have remembered that.
    pub fn from_saved(saved: Saved) -> Result<Self, InvalidSaved> {
        let mut guard = Self::default();
        for (name, tools) in saved.0 {
            let server = name.parse::<ServerName>();
            let server = server.map_err(|source| InvalidSaved::Server { name: name.into(), source })?;
            if tools.len() > MAX_TOOLS {
                return Err(InvalidSaved::Tools { server });
            }
            if tools.keys().any(|tool| tool.len() > MAX_NAME) {
                return Err(InvalidSaved::Name { server });
            }
            let tools = tools
                .into_iter()
                .map(|(tool, saved)| Ok((tool.clone().into(), saved.restore(&server, tool)?)));
            let tools = tools.collect::<Result<_, _>>()?;
            guard.servers.insert(server, tools);
        }
        Ok(guard)
    }
}

impl SavedTool {
    fn restore(self, server: &ServerName, tool: String) -> Result<History, InvalidSaved> {
        let found = self.versions.len();
        let digest = |text: &str| {
            let parsed: Result<Digest, _> = text.parse();
            parsed.map_err(|source| InvalidSaved::Digest {
                server: server.clone(),
                tool: tool.clone().into(),
                source,
            })
        };
        let versions = self.versions.iter().map(|SavedVersion { digest: text, since_us }| {
            Ok(Version { digest: digest(text)?, since: Timestamp::from_micros(*since_us) })
        });
        let mut earlier = versions.collect::<Result<VecDeque<_>, _>>()?;
        let approved = digest(&self.approved)?;
        match earlier.pop_back() {
            Some(current) if found <= MAX_VERSIONS => Ok(History { approved, current, earlier }),
            _ => Err(InvalidSaved::Versions { server: server.clone(), tool: tool.into(), found }),
        }
    }
}
