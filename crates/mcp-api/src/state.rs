//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_api_types::ReadyState;
use mcp_bridge::Bridge;
use mcp_manager::Manager;
use mcp_registry::Timestamp;

use crate::auth::ApiKeys;
use crate::reload::Reload;

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Keys of which a client must present one; none: nobody is asked.
    pub api_keys: ApiKeys,
    /// Shown by the readiness endpoint.
    pub version: &'static str,
}

/// Shared by all handlers; cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    manager: Manager,
    settings: Settings,
    bridge: Option<Bridge>,
    reloader: Option<Arc<dyn Reload>>,
    started_at: Timestamp,
    started: AtomicBool,
}

impl ApiState {
    /// An API that is not ready yet, over servers alone.
    #[must_use]
    pub fn new(manager: Manager, settings: Settings) -> Self {
        Self::build(manager, settings, None, None)
    }

    /// The same, with the bridge that serves their clients, and maybe a configuration that can be read again.
    #[must_use]
    pub fn with_bridge(
        manager: Manager,
        settings: Settings,
        bridge: Bridge,
        reloader: Option<Arc<dyn Reload>>,
    ) -> Self {
        Self::build(manager, settings, Some(bridge), reloader)
    }

    fn build(
        manager: Manager,
        settings: Settings,
        bridge: Option<Bridge>,
        reloader: Option<Arc<dyn Reload>>,
    ) -> Self {
        let (started_at, started) = (manager.now(), AtomicBool::new(false));
        Self(Arc::new(Shared { manager, settings, bridge, reloader, started_at, started }))
    }

    /// From now on `/readyz` says ready, until the manager shuts down.
    pub fn set_ready(&self) {
        self.0.started.store(true, Ordering::SeqCst);
    }

    pub(crate) fn ready(&self) -> ReadyState {
        match (self.manager().is_accepting(), self.0.started.load(Ordering::SeqCst)) {
            (false, _) => ReadyState::Draining,
            (true, false) => ReadyState::Starting,
            (true, true) => ReadyState::Ready,
        }
    }

    pub(crate) fn manager(&self) -> &Manager {
        &self.0.manager
    }

    pub(crate) fn bridge(&self) -> Option<&Bridge> {
        self.0.bridge.as_ref()
    }

    pub(crate) fn reloader(&self) -> Option<&Arc<dyn Reload>> {
        self.0.reloader.as_ref()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn uptime_ms(&self) -> u64 {
        let uptime = self.manager().now().since(self.0.started_at);
        u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
    }
}
