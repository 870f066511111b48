//! What is kept between runs: servers that were registered over the REST API, and what is known of tools.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcp_bridge::ToolStore;
use mcp_bridge::guard::{Guard, Saved};
use mcp_cli::Exit;
use mcp_config::{StateFile, WholeFile};
use mcp_manager::Manager;
use mcp_registry::{Kept, ServerName, Store, StoreError};
use serde::{Deserialize, Serialize};
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

/// Version of the format of [`ToolFile`].
const VERSION: u32 = 1;

/// What is remembered of the tools of servers, in a file beside the state file.
pub(crate) struct ToolFile(WholeFile);

#[derive(Serialize, Deserialize)]
struct Tools<T> {
    version: u32,
    tools: T,
}

impl ToolFile {
    /// The file that goes with this state file: `state.tools.json` with `state.json`.
    pub(crate) fn beside(state_file: &Path) -> Self {
        Self(WholeFile::new(state_file.with_extension("tools.json")))
    }

    /// What was remembered. Whoever starts without that approves whatever the servers offer by now, so a file that
    /// cannot be read stops the start.
    pub(crate) fn load(&self) -> Result<Guard, Failed> {
        self.read().map_err(|error| {
            let text = format!(
                "{error}; mend the file, or move it away to approve all tools as they are at this start"
            );
            Failed::new(Exit::InvalidConfig, text)
        })
    }

    fn read(&self) -> Result<Guard, StoreError> {
        let failed = |error: &dyn std::error::Error| self.error("read", &crate::with_causes(error));
        let Some(bytes) = self.0.read().map_err(|error| failed(&error))? else { return Ok(Guard::default()) };
        let Tools::<Saved> { version, tools } =
            serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
        if version != VERSION {
            let text = format!("it has version {version}, this gateway reads {VERSION}");
            return Err(self.error("read", &text));
        }
        Guard::from_saved(tools).map_err(|error| failed(&error))
    }

    fn error(&self, doing: &str, error: &str) -> StoreError {
        StoreError(format!("cannot {doing} the file of known tools {}: {error}", self.0.path().display()))
    }
}

impl ToolStore for ToolFile {
    fn save(&self, tools: &Saved) -> Result<(), StoreError> {
        let failed = |error: &dyn std::error::Error| self.error("write", &crate::with_causes(error));
        let mut bytes =
            serde_json::to_vec(&Tools { version: VERSION, tools }).map_err(|error| failed(&error))?;
        bytes.push(b'\n');
        self.0.write(&bytes).map_err(|error| failed(&error))
    }
}
