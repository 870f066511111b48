//! Tools whose definitions change behind the back of whoever approved them. Source: product §5, S22.

use std::collections::{BTreeMap, HashSet, VecDeque};

use mcp_protocol::RawJson;
use mcp_registry::{ServerName, Timestamp};

use crate::digest::Digest;

mod saved;

pub use saved::{InvalidSaved, Saved};

/// Most tools of one server that are remembered; as many as a list may hold.
pub const MAX_TOOLS: usize = 10_000;

/// Most versions of one tool that are remembered: the latest.
pub const MAX_VERSIONS: usize = 16;

/// Longest name of a tool that is remembered, in bytes.
pub const MAX_NAME: usize = 1024;

/// The members that say what a tool is to those who call it.
const DEFINING: [&str; 9] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
    "icons",
    "execution",
    "_meta",
];

/// Remembers how every tool was defined, and which definition is approved: the one seen first, until somebody approves
/// another one.
///
/// A tool that disappears stays remembered, so that it cannot come back in another shape unseen. Nothing is forgotten
/// to make room, as a server could make use of that: from its 10 001st tool on none is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guard {
    servers: BTreeMap<ServerName, BTreeMap<Box<str>, History>>,
    revision: u64,
}

/// What is known of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    approved: Digest,
    current: Version,
    /// Oldest first, one less than [`MAX_VERSIONS`] at most.
    earlier: VecDeque<Version>,
}

/// One definition of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Tells it from others.
    pub digest: Digest,
    /// When it took the place of the one before.
    pub since: Timestamp,
}

/// What is to be thought of a tool in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was never seen before, and is approved thereby.
    New,
    /// It is as approved.
    Same,
    /// It is not as approved.
    Changed {
        /// What it is now.
        digest: Digest,
        /// Whether it was something else at the look before: what is worth a report.
        fresh: bool,
    },
    /// It is not remembered, so nothing can be said: it has no name or one over [`MAX_NAME`], a member stands twice,
    /// or the server has more than [`MAX_TOOLS`].
    Unjudged,
}

impl Verdict {
    /// Whether the tool is offered where changed ones are not.
    #[must_use]
    pub fn is_approved(self) -> bool {
        matches!(self, Self::New | Self::Same)
    }
}

/// What should be approved is not what the tool is now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tool {tool:?} of {server} is not, or no longer, defined like that; look at its changes again")]
pub struct NotCurrent {
    /// The server.
    pub server: ServerName,
    /// The tool, by the name its server gave it.
    pub tool: Box<str>,
}

impl Guard {
    /// Looks at all the tools of a server, as they were listed: one verdict for each, in order.
    ///
    /// Of tools with the same name the first is remembered.
    pub fn look(&mut self, server: &ServerName, tools: &[RawJson], now: Timestamp) -> Vec<Verdict> {
        let known = self.servers.entry(server.clone()).or_default();
        let revision = &mut self.revision;
        let mut seen = HashSet::with_capacity(tools.len());
        let judge = |tool| {
            let Some((name, digest)) = identify(tool) else { return Verdict::Unjudged };
            let first = seen.insert(name.clone());
            let room = known.len() < MAX_TOOLS;
            let Some(history) = known.get_mut(&name) else {
                if !room {
                    return Verdict::Unjudged;
                }
                let current = Version { digest, since: now };
                known.insert(name, History { approved: digest, current, earlier: VecDeque::new() });
                *revision += 1;
                return Verdict::New;
            };
            let fresh = first && history.record(Version { digest, since: now });
            *revision += u64::from(fresh);
            if digest == history.approved { Verdict::Same } else { Verdict::Changed { digest, fresh } }
        };
        tools.iter().map(judge).collect()
    }

    /// Approves what a tool is now. The digest says what it was when somebody decided: a tool that has changed since
    /// is not approved.
    ///
    /// # Errors
    /// [`NotCurrent`].
    pub fn approve(&mut self, server: &ServerName, tool: &str, digest: Digest) -> Result<(), NotCurrent> {
        let history = self.servers.get_mut(server).and_then(|tools| tools.get_mut(tool));
        let Some(history) = history.filter(|history| history.current.digest == digest) else {
            return Err(NotCurrent { server: server.clone(), tool: tool.into() });
        };
        if history.approved != digest {
            history.approved = digest;
            self.revision += 1;
        }
        Ok(())
    }

    /// Forgets the tools of a server that is not configured any more: one that comes under its name starts anew.
    pub fn forget(&mut self, server: &ServerName) {
        self.revision += u64::from(self.servers.remove(server).is_some());
    }

    /// Whether a tool is approved as it was defined at the latest look. One that was never seen is not.
    #[must_use]
    pub fn is_approved(&self, server: &ServerName, tool: &str) -> bool {
        self.history(server, tool).is_some_and(History::is_approved)
    }

    /// What is known of a tool.
    #[must_use]
    pub fn history(&self, server: &ServerName, tool: &str) -> Option<&History> {
        self.servers.get(server)?.get(tool)
    }

    /// Every tool that is not as approved, by server and name. Some may have disappeared since.
    pub fn changes(&self) -> impl Iterator<Item = (&ServerName, &str, &History)> {
        self.histories().filter(|(_, _, history)| !history.is_approved())
    }

    /// Every tool that is, or was, defined in another way than when it was first seen, by server and name.
    pub fn changed(&self) -> impl Iterator<Item = (&ServerName, &str, &History)> {
        self.histories().filter(|(_, _, history)| !history.earlier.is_empty() || !history.is_approved())
    }

    /// Grows with every change of what is remembered: what was saved at the same revision is up to date.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn histories(&self) -> impl Iterator<Item = (&ServerName, &str, &History)> {
        self.servers
            .iter()
            .flat_map(|(server, tools)| tools.iter().map(move |(tool, history)| (server, &**tool, history)))
    }
}

impl History {
    /// What the tool is now, or was when it was last there.
    #[must_use]
    pub fn current(&self) -> Version {
        self.current
    }

    /// What the tool was before, oldest first.
    pub fn earlier(&self) -> impl Iterator<Item = Version> {
        self.earlier.iter().copied()
    }

    /// The digest of the definition that is approved. It may be older than all versions that are remembered.
    #[must_use]
    pub fn approved(&self) -> Digest {
        self.approved
    }

    /// Whether the tool is as approved.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.current.digest == self.approved
    }

    /// Takes note of what the tool is now; says whether it was something else before.
    fn record(&mut self, version: Version) -> bool {
        let changed = version.digest != self.current.digest;
        if changed {
            if self.earlier.len() + 1 == MAX_VERSIONS {
                self.earlier.pop_front();
            }
            self.earlier.push_back(std::mem::replace(&mut self.current, version));
        }
        changed
    }
}

/// The name of a tool and the digest of what defines it.
fn identify(tool: &RawJson) -> Option<(Box<str>, Digest)> {
    let members = tool.members().ok()?;
    let name: Box<str> = tool.get("name")?.to().ok()?;
    let digest = Digest::of(members.texts().filter(|(member, _)| DEFINING.contains(member)));
    (name.len() <= MAX_NAME).then_some((name, digest))
}

#[cfg(test)]
mod tests;
