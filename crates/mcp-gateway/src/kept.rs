//! Servers that were registered over the REST API, kept between runs.

use std::path::PathBuf;
use std::sync::Arc;

use mcp_cli::Exit;
use mcp_config::StateFile;
use mcp_manager::Manager;
use mcp_registry::{Kept, ServerName, Store, StoreError};
use tokio::sync::Mutex;

use crate::Failed;

/// The state file, which has nothing of what the configuration file says.
struct RegisteredOnly {
    file: StateFile,
    /// The servers that came from the configuration.
    configured: Arc<Mutex<Vec<ServerName>>>,
}

impl Store for RegisteredOnly {
    fn save(&self, servers: &[Kept]) -> Result<(), StoreError> {
        let configured = self.configured.blocking_lock();
        let mut servers = servers.to_vec();
        servers.retain(|kept| !configured.contains(&kept.definition.name));
        self.file.save(&servers)
    }

    fn load(&self) -> Result<Vec<Kept>, StoreError> {
        self.file.load()
    }
}

/// Registers what the state file holds, and keeps in it what is registered from now on.
pub(crate) fn keep(
    manager: &Manager,
    path: PathBuf,
    configured: Arc<Mutex<Vec<ServerName>>>,
) -> Result<(), Failed> {
    let file = StateFile::new(path.clone(), manager.policy().clone());
    let restored = manager
        .keep_in(Arc::new(RegisteredOnly { file, configured }))
        .map_err(|error| Failed::new(Exit::InvalidConfig, error))?;
    for server in &restored {
        let name = &server.kept.definition.name;
        if !server.registered {
            tracing::warn!(server = %name, "kept in the state file, but the configuration has a server of that \
                name, or there is no room");
        } else if !server.kept.left_out.is_empty() {
            tracing::warn!(server = %name, left_out = ?server.kept.left_out, "comes from the state file without \
                its secrets, which are never kept; register it again, or put it into the configuration");
        }
    }
    let count = restored.iter().filter(|server| server.registered).count();
    tracing::info!(file = %path.display(), servers = count, "state file read");
    Ok(())
}
