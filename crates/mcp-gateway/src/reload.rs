//! Reading the configuration file again: on SIGHUP, on `POST /reload`, and when it changes (product §3).

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp_api::{Reload, ReloadError};
use mcp_api_types::ReloadReport;
use mcp_bridge::Bridge;
use mcp_config::{Config, ConfigError, GatewaySettings};
use mcp_manager::Manager;
use mcp_registry::{Policy, ServerName};
use tokio::sync::Mutex;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// The file, and what was taken from it.
#[derive(Debug)]
pub(crate) struct Reloader {
    path: PathBuf,
    manager: Manager,
    bridge: Bridge,
    /// What needs a restart to take effect, as the file had it at the start.
    gateway: GatewaySettings,
    policy: Policy,
    /// The servers that came from the file. Locked while it is read, so that two reloads do not mix.
    servers: Arc<Mutex<Vec<ServerName>>>,
}

impl Reloader {
    /// For a configuration whose servers are registered already.
    pub(crate) fn new(
        path: PathBuf,
        manager: Manager,
        bridge: Bridge,
        gateway: GatewaySettings,
        servers: Vec<ServerName>,
    ) -> Arc<Self> {
        let policy = manager.policy().clone();
        Arc::new(Self { path, manager, bridge, gateway, policy, servers: Arc::new(Mutex::new(servers)) })
    }

    /// The servers that come from the file.
    pub(crate) fn servers(&self) -> Arc<Mutex<Vec<ServerName>>> {
        self.servers.clone()
    }

    /// A valid file is applied without touching servers that did not change, a wrong one not at all.
    async fn read_again(&self) -> Result<ReloadReport, ReloadError> {
        let mut servers = self.servers.lock().await;
        let config = Config::load(&self.path, &mcp_config::process_env).map_err(|error| mistakes(&error))?;
        let mut warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        let later = [("policy", config.policy != self.policy), ("gateway", config.gateway != self.gateway)];
        for (section, _) in later.into_iter().filter(|(_, changed)| *changed) {
            warnings.push(format!("changes of [{section}] take effect at the next start"));
        }
        let settings = crate::start::settings(&self.gateway.bridge, &config.views);
        let names = config.servers.iter().map(|definition| definition.name.clone()).collect();
        let applied = self
            .manager
            .apply(&servers, config.servers)
            .map_err(|error| ReloadError { mistakes: vec![error.to_string()] })?;
        *servers = names;
        self.bridge.set(settings);
        for name in applied.added.iter().chain(&applied.changed) {
            let (manager, name) = (self.manager.clone(), name.to_string());
            // What comes of it is in the server's record.
            tokio::spawn(async move { manager.initialize(&name, false).await });
        }
        let list = |names: &[ServerName]| names.iter().map(ToString::to_string).collect();
        Ok(ReloadReport {
            added: list(&applied.added),
            changed: list(&applied.changed),
            removed: list(&applied.removed),
            unchanged: list(&applied.unchanged),
            warnings,
        })
    }

    /// Reads the file again and logs the outcome.
    pub(crate) async fn reload_because(&self, why: &str) {
        match self.read_again().await {
            Ok(report) => {
                for warning in &report.warnings {
                    tracing::warn!("{warning}");
                }
                tracing::info!(why, added = ?report.added, changed = ?report.changed, removed = ?report.removed,
                    unchanged = report.unchanged.len(), "configuration read again");
            }
            Err(error) => {
                for mistake in error.mistakes {
                    tracing::error!(why, "configuration not applied: {mistake}");
                }
            }
        }
    }

    /// Looks at the file until the process ends, and reads it again when it has changed.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut seen = stamp(&self.path);
        loop {
            tokio::time::sleep(LOOK).await;
            let now = stamp(&self.path);
            // A file that is gone is being replaced: what is there next counts.
            if now.is_some() && now != seen {
                seen = now;
                self.reload_because("the file changed").await;
            }
        }
    }
}

/// What SIGHUP asks for.
pub(crate) async fn hung_up(reloader: Option<&Reloader>) {
    match reloader {
        Some(reloader) => reloader.reload_because("SIGHUP").await,
        None => tracing::info!("SIGHUP: there is no configuration file to read again"),
    }
}

impl Reload for Reloader {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<ReloadReport, ReloadError>> + Send + '_>> {
        Box::pin(self.read_again())
    }
}

/// What tells one version of the file from another.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn mistakes(error: &ConfigError) -> ReloadError {
    let text = crate::with_causes(error);
    ReloadError { mistakes: text.lines().map(str::to_owned).collect() }
}
