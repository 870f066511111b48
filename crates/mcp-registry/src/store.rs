//! Keeping what is registered between runs. Source: contract §7.3.

use std::sync::{Arc, Mutex, PoisonError};

use crate::definition::Definition;

/// A registered server as it is kept: without secrets, and without anything that changes by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The definition, but for what is secret.
    pub definition: Definition,
    /// The keys of what was secret and is left out, such as `env.TOKEN`: the server may not work without.
    pub left_out: Vec<String>,
}

impl From<&Definition> for Kept {
    fn from(definition: &Definition) -> Self {
        let mut definition = definition.clone();
        let left_out = definition.endpoint.take_secrets();
        Self { definition, left_out }
    }
}

/// Where registered servers are kept. Its methods may block.
pub trait Store: Send + Sync + 'static {
    /// Keeps these servers instead of those it holds: all of them or, after an error, what it held.
    ///
    /// # Errors
    /// [`StoreError`].
    fn save(&self, servers: &[Kept]) -> Result<(), StoreError>;

    /// What was kept last; nothing if that never happened.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self) -> Result<Vec<Kept>, StoreError>;
}

/// Servers could not be kept, or what is kept could not be read. The text says where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Keeps servers as long as it lives. Clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Vec<Kept>>>);

impl Store for MemoryStore {
    fn save(&self, servers: &[Kept]) -> Result<(), StoreError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = servers.to_vec();
        Ok(())
    }

    fn load(&self) -> Result<Vec<Kept>, StoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
