//! Looks at the tools of every server, and sees to what is done about those that have changed. Source: product §5, S22.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use mcp_manager::Manager;
use mcp_protocol::{RawJson, RpcError};
use mcp_registry::{OnToolChange, RegistryChange, Selection, ServerName, ServerRecord, StoreError};
use mcp_transport::Delivery;
use tokio::sync::{Notify, watch};

use crate::convert::error::{InternalError, reason};
use crate::digest::Digest;
use crate::guard::{Guard, NotCurrent, Saved, Verdict};

/// Between something new to remember and its saving: news come in bursts.
const BURST: Duration = Duration::from_millis(500);
/// Until saving is tried again that has failed.
const AGAIN: Duration = Duration::from_secs(30);

/// Where what is remembered of tools is kept between runs.
pub trait ToolStore: Send + Sync + 'static {
    /// Replaces what is kept. May block.
    ///
    /// # Errors
    /// [`StoreError`]; what was kept before is still there then.
    fn save(&self, tools: &Saved) -> Result<(), StoreError>;
}

/// Why a tool was not approved, or may not stay so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApproveError {
    /// It is something else by now.
    #[error(transparent)]
    NotCurrent(#[from] NotCurrent),
    /// It is approved, but would not be after a restart.
    #[error("approved, but until the next start only: {0}")]
    NotSaved(#[from] StoreError),
}

/// A tool that nobody may call, as its definition is not one that was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// Whose it is.
    pub server: ServerName,
    /// The name the server gave it.
    pub tool: Box<str>,
    /// Whether it was ever listed, so that there is something to approve.
    pub known: bool,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, tool, known } = self;
        write!(f, "tool {tool:?} of server {server} is withheld: ")?;
        match known {
            true => write!(
                f,
                "its definition is not the one that was approved; `mcp-gateway changes` shows what there is to \
                 approve, `mcp-gateway changes approve {server} TOOL` approves it"
            ),
            false => f.write_str("the server has listed none like that which could be approved"),
        }
    }
}

impl std::error::Error for Withheld {}

impl From<Withheld> for RpcError {
    fn from(withheld: Withheld) -> Self {
        let mut refused = InternalError::new(reason::TOOL_CHANGED, &withheld.to_string());
        refused.delivery = Some(Delivery::NotSent);
        refused.to_error()
    }
}

pub(crate) struct Watchman {
    manager: Manager,
    guard: Mutex<Guard>,
    store: Option<Arc<dyn ToolStore>>,
    /// Rung when there is something new to be saved.
    changed: Arc<Notify>,
    /// Told when tools may be withheld that were not, or the other way round.
    turned: watch::Sender<()>,
    /// The revision that is saved; held while saving, so that an older one never takes the place of a newer one.
    saved: Arc<tokio::sync::Mutex<u64>>,
}

impl Watchman {
    /// One that goes on from what is remembered, and keeps it in the store if there is one.
    pub(crate) fn start(manager: Manager, guard: Guard, store: Option<Arc<dyn ToolStore>>) -> Arc<Self> {
        let saved = Arc::new(tokio::sync::Mutex::new(guard.revision()));
        let (guard, turned) = (Mutex::new(guard), watch::Sender::new(()));
        let watchman = Arc::new(Self { manager, guard, store, changed: Arc::default(), turned, saved });
        if watchman.store.is_some() {
            tokio::spawn(keep(Arc::downgrade(&watchman), watchman.changed.clone()));
        }
        watchman
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at tools as a server listed them: one verdict for each. What has changed is reported, or approved where
    /// the operator lets every change pass.
    pub(crate) fn look(&self, server: &ServerRecord, tools: &[RawJson]) -> Arc<[Verdict]> {
        let (name, policy) = (server.name(), server.definition.on_tool_change);
        let now = self.manager.now();
        let mut guard = self.guard();
        let revision = guard.revision();
        let verdicts = guard.look(name, tools, now);
        let mut changed: Vec<(Box<str>, Digest)> = Vec::new();
        for (tool, verdict) in tools.iter().zip(&verdicts) {
            let Verdict::Changed { digest, fresh } = *verdict else { continue };
            let Some(tool) = tool.get("name").and_then(|tool| tool.to::<Box<str>>().ok()) else { continue };
            if policy == OnToolChange::Allow {
                // An error means that it is the second of its name, which nobody can call.
                let _ = guard.approve(name, &tool, digest);
            } else if fresh {
                changed.push((tool, digest));
            }
        }
        let is_new = guard.revision() != revision;
        drop(guard);
        let withheld = policy == OnToolChange::Block;
        if is_new {
            self.changed.notify_one();
            if withheld {
                self.turned.send_replace(());
            }
        }
        for (tool, digest) in changed {
            tracing::warn!(server = %name, %tool, %digest, withheld, "the definition of a tool has changed");
            let change = RegistryChange::ToolChanged {
                tool: tool.into(),
                digest: digest.to_string().into(),
                withheld,
            };
            self.manager.journal().registry(now, name.clone(), change);
        }
        verdicts.into()
    }

    /// Whether a tool is offered that was judged like that when it was listed. Calls of one that is not offered to
    /// somebody are refused to all, so it is in nobody's list either.
    pub(crate) fn offers(&self, server: &ServerRecord, tool: &str, verdict: Verdict) -> bool {
        if server.definition.on_tool_change != OnToolChange::Block {
            return true;
        }
        let guard = self.guard();
        let Some(history) = guard.history(server.name(), tool).filter(|history| history.is_approved()) else {
            return false;
        };
        match verdict {
            Verdict::New | Verdict::Same => true,
            // It may have been approved since.
            Verdict::Changed { digest, .. } => history.approved() == digest,
            Verdict::Unjudged => false,
        }
    }

    /// Is told when tools may be withheld that were not, or the other way round.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.turned.subscribe()
    }

    /// Whether calls of a tool are passed on to a server.
    fn admits(&self, server: &ServerRecord, tool: &str) -> bool {
        server.definition.on_tool_change != OnToolChange::Block
            || self.guard().is_approved(server.name(), tool)
    }

    /// Keeps a call from those of its servers whose tool is not what was approved. `servers` are all that may be asked,
    /// in the order of their priority.
    ///
    /// # Errors
    /// Nobody is left: what the caller is told.
    pub(crate) fn restrict(
        &self,
        selection: &mut Selection,
        servers: &[Arc<ServerRecord>],
        tool: &str,
    ) -> Result<(), Withheld> {
        let admits = |server: &&Arc<ServerRecord>| self.admits(server, tool);
        let Some(withheld) = servers.iter().find(|server| !admits(server)) else { return Ok(()) };
        let admitted: Vec<_> =
            servers.iter().filter(admits).map(|server| server.name().to_string()).collect();
        if admitted.is_empty() {
            return Err(self.withheld(withheld.name(), tool));
        }
        selection.preferred = admitted;
        selection.preferred_only = true;
        Ok(())
    }

    /// What a caller is told of a tool that is withheld.
    pub(crate) fn withheld(&self, server: &ServerName, tool: &str) -> Withheld {
        let known = self.guard().history(server, tool).is_some();
        Withheld { server: server.clone(), tool: tool.into(), known }
    }

    /// Something of what is remembered.
    pub(crate) fn remembered<T>(&self, read: impl FnOnce(&Guard) -> T) -> T {
        read(&self.guard())
    }

    /// Approves what a tool is now, and waits until that is saved.
    pub(crate) async fn approve(
        &self,
        server: &ServerName,
        tool: &str,
        digest: Digest,
    ) -> Result<(), ApproveError> {
        self.guard().approve(server, tool, digest)?;
        self.turned.send_replace(());
        Ok(self.save().await?)
    }

    /// Forgets the tools of a server that an operator has removed.
    pub(crate) fn forget(&self, server: &ServerName) {
        self.guard().forget(server);
        self.changed.notify_one();
    }

    /// Saves what is remembered, if there is a store and something new.
    pub(crate) async fn save(&self) -> Result<(), StoreError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let mut saved = self.saved.clone().lock_owned().await;
        let (revision, tools) = {
            let guard = self.guard();
            if guard.revision() == *saved {
                return Ok(());
            }
            (guard.revision(), guard.to_saved())
        };
        // The lock goes along: it is held to the end, even if nobody waits for that any more.
        let saving = tokio::task::spawn_blocking(move || {
            store.save(&tools)?;
            *saved = revision;
            Ok(())
        });
        saving.await.unwrap_or_else(|error| Err(StoreError(format!("saving ended unexpectedly: {error}"))))
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        // Whoever waits for news learns that there will be none.
        self.changed.notify_one();
    }
}

/// Saves what is remembered whenever that has changed.
async fn keep(watchman: Weak<Watchman>, changed: Arc<Notify>) {
    loop {
        changed.notified().await;
        tokio::time::sleep(BURST).await;
        let Some(this) = watchman.upgrade() else { return };
        let saved = this.save().await;
        drop(this);
        if let Err(error) = saved {
            tracing::error!(%error, "what is known of tools could not be saved");
            tokio::time::sleep(AGAIN).await;
            changed.notify_one();
        }
    }
}
