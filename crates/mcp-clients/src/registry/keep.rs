//! Keeping what is registered between runs.

use std::sync::Arc;

use mcp_registry::{Definition, Kept, ServerName, Store, StoreError};

use super::{ClientRegistry, RegistryError};
use crate::client::McpClient;

/// A server that a store held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Its name.
    pub name: ServerName,
    /// The keys of the secrets that were not kept, such as `env.TOKEN`.
    pub left_out: Vec<String>,
    /// Why it could not be registered; `None` if it was.
    pub error: Option<RegistryError>,
}

impl ClientRegistry {
    /// Saves names and configurations, without secrets and without anything that changes by itself.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn save(&self, store: Arc<dyn Store>) -> Result<(), StoreError> {
        let servers = self.get_all_servers();
        let kept: Vec<Kept> = servers.iter().map(|server| Kept::from(&*server.record.definition)).collect();
        blocking(move || store.save(&kept)).await
    }

    /// Registers anew what was saved, with clients that `make` makes, such as
    /// [`ClientFactory::client`](crate::ClientFactory::client); it may put secrets back in. Names that are taken stay
    /// as they are.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn load(
        &self,
        store: Arc<dyn Store>,
        make: impl Fn(Definition) -> McpClient,
    ) -> Result<Vec<Restored>, StoreError> {
        let servers = blocking(move || store.load()).await?;
        let restore = |Kept { definition, left_out }: Kept| {
            let name = definition.name.clone();
            let error = self.register(name.clone(), make(definition)).err();
            Restored { name, left_out, error }
        };
        Ok(servers.into_iter().map(restore).collect())
    }
}

/// Runs what may block where that does no harm.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError(format!("the store failed: {error}"))),
    }
}
