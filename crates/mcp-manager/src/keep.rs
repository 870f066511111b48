//! Keeping registered servers between runs. Source: contract §7.3, §7.7.

use std::sync::{Arc, OnceLock, Weak};

use mcp_registry::{Kept, Store, StoreError};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::manager::{Inner, Manager};

/// Where registered servers are kept, if anywhere.
#[derive(Default)]
pub(crate) struct Keeping {
    store: OnceLock<Arc<dyn Store>>,
    /// Rung when a server was registered or removed.
    pub(crate) changed: Arc<Notify>,
    /// Held while servers are saved, so that what is saved last is what is registered last.
    saving: Mutex<()>,
}

/// Why servers could not be taken over from a store, or will not be kept in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// What is kept cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a store already.
    #[error("the servers of this manager are kept in a store already")]
    Already,
}

/// What became of a server that was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// What was kept.
    pub kept: Kept,
    /// Whether it is registered now; not if its name was taken, or there was no room.
    pub registered: bool,
}

impl Manager {
    /// Registers the servers a store holds, but for those whose names are taken, and keeps in it what is
    /// registered from now on, until the end of the manager. Connects nothing. Reading the store may block.
    ///
    /// # Errors
    /// [`KeepError`]; nothing has changed then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn keep_in(&self, store: Arc<dyn Store>) -> Result<Vec<Restored>, KeepError> {
        let keeping = &self.0.keeping;
        let found = store.load()?;
        keeping.store.set(store).map_err(|_| KeepError::Already)?;
        let restore = |kept: Kept| {
            let taken = self.server(kept.definition.name.as_str()).is_ok();
            let registered = !taken && self.register(kept.definition.clone()).is_ok();
            Restored { kept, registered }
        };
        let restored = found.into_iter().map(restore).collect();
        let (changed, closing) = (keeping.changed.clone(), self.0.closing.clone());
        tokio::spawn(keep(Arc::downgrade(&self.0), changed, closing));
        Ok(restored)
    }
}

/// Saves what is registered whenever that changes.
async fn keep(manager: Weak<Inner>, changed: Arc<Notify>, closing: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = changed.notified() => {}
        }
        let Some(inner) = manager.upgrade() else { return };
        if let Err(error) = inner.save().await {
            tracing::error!(%error, "registered servers could not be saved");
        }
    }
}

impl Inner {
    /// Saves what is registered, if there is a store.
    pub(crate) async fn save(&self) -> Result<(), StoreError> {
        let Some(store) = self.keeping.store.get().cloned() else { return Ok(()) };
        let _saving = self.keeping.saving.lock().await;
        let table = self.snapshot().table.clone();
        let kept: Vec<_> = table.servers().iter().map(|record| Kept::from(&*record.definition)).collect();
        let saved = tokio::task::spawn_blocking(move || store.save(&kept)).await;
        saved.unwrap_or_else(|error| Err(StoreError(format!("saving ended unexpectedly: {error}"))))
    }
}
