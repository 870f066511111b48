//! What every service of the binary begins with: the configuration, the servers, the bridge.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use mcp_bridge::guard::Guard;
use mcp_bridge::{Bridge, Settings, ToolStore, View};
use mcp_cli::Exit;
use mcp_client::ClientInfo;
use mcp_config::{BridgeSettings, Config, GatewaySettings};
use mcp_manager::{Manager, Setup, SystemTimer};
use mcp_protocol::RawJson;
use mcp_registry::{Policy, SystemRandom};
use mcp_server::FrontLimits;

use crate::demo_servers::DemoServers;
use crate::kept::ToolFile;
use crate::reload::Reloader;
use crate::{Failed, connector, kept};

/// The servers and what stands in front of them, started.
pub(crate) struct Started {
    pub(crate) manager: Manager,
    pub(crate) bridge: Bridge,
    /// Reads the configuration again, if there is a file.
    pub(crate) reloader: Option<Arc<Reloader>>,
    /// The built-in servers, if there is none.
    pub(crate) demo: Option<DemoServers>,
}

impl Started {
    /// Registers and connects what the configuration has. `as_written`: the gateway's settings before the command line
    /// changed them.
    pub(crate) async fn from(config: Config, as_written: GatewaySettings) -> Result<Self, Failed> {
        let manager = manager(config.policy, &config.gateway.outbound_allow)?;
        let settings = settings(&config.gateway.bridge, &config.views);
        let demo = match config.source {
            Some(_) => None,
            None => Some(DemoServers::start().await.map_err(|error| Failed::because(Exit::Failed, &error))?),
        };
        let definitions = demo.as_ref().map_or(config.servers, |demo| demo.definitions.clone());
        let names = definitions.iter().map(|definition| definition.name.clone()).collect();
        for definition in definitions {
            manager.register(definition).map_err(|error| Failed::new(Exit::InvalidConfig, error))?;
        }
        let bridge = bridge(&manager, settings, config.gateway.state_file.as_deref())?;
        let reloader =
            config.source.map(|path| Reloader::new(path, manager.clone(), bridge.clone(), as_written, names));
        if let (Some(path), Some(reloader)) = (config.gateway.state_file, &reloader) {
            kept::keep(&manager, path, reloader.servers())?;
        }
        manager.start_monitor();
        // In the background: a server that takes its time delays nobody but its own callers.
        tokio::spawn({
            let manager = manager.clone();
            async move { manager.initialize_all(false).await }
        });
        Ok(Self { manager, bridge, reloader, demo })
    }
}

/// The configuration, or the defaults if there is no file.
pub(crate) fn load(explicit: Option<&Path>) -> Result<Config, Failed> {
    let directory = std::env::current_dir().map_err(|error| Failed::new(Exit::Failed, error))?;
    let Some(path) = mcp_config::locate(explicit, &directory, &mcp_config::process_env) else {
        tracing::info!("no configuration file; starting with the built-in demo servers");
        return Ok(Config::default());
    };
    let config = Config::load(&path, &mcp_config::process_env)
        .map_err(|error| Failed::because(Exit::InvalidConfig, &error))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(file = %path.display(), servers = config.servers.len(), "configuration read");
    Ok(config)
}

/// A manager over every transport.
pub(crate) fn manager(policy: Policy, networks: &[IpNet]) -> Result<Manager, Failed> {
    let connector =
        connector::built_in(&policy, networks).map_err(|error| Failed::because(Exit::Failed, &error))?;
    Ok(Manager::new(Setup {
        policy,
        client_info: ClientInfo::new("mcp-gateway", env!("CARGO_PKG_VERSION")),
        connector: Arc::new(connector),
        timer: Arc::new(SystemTimer::default()),
        random: Arc::new(SystemRandom),
    }))
}

fn bridge(manager: &Manager, settings: Settings, state_file: Option<&Path>) -> Result<Bridge, Failed> {
    let (guard, store) = match state_file.map(ToolFile::beside) {
        Some(file) => (file.load()?, Some(Arc::new(file) as Arc<dyn ToolStore>)),
        None => (Guard::default(), None),
    };
    let info = ClientInfo::new("mcp-gateway", env!("CARGO_PKG_VERSION"));
    let info = RawJson::encode(&info).map_err(|error| Failed::new(Exit::Failed, error))?;
    Bridge::remembering(manager.clone(), settings, info, guard, store)
        .map_err(|error| Failed::because(Exit::Failed, &error))
}

/// Saves what is known of tools, at the end; says whether that worked.
pub(crate) async fn save_tools(bridge: &Bridge) -> bool {
    let saved = bridge.save_tools().await;
    if let Err(error) = &saved {
        tracing::error!(%error, "what is known of tools could not be saved");
    }
    saved.is_ok()
}

/// The bridge's settings as the configuration has them.
pub(crate) fn settings(bridge: &BridgeSettings, views: &[mcp_config::View]) -> Settings {
    let mut settings = Settings::default();
    settings.prefix = bridge.prefix;
    settings.page_size = bridge.page_size;
    settings.list_wait = bridge.list_wait;
    settings.park_timeout = bridge.park_timeout;
    settings.max_parked = bridge.max_parked;
    settings.idle = bridge.session_idle_timeout;
    settings.views = views
        .iter()
        .map(|view| View {
            name: view.name.to_string(),
            servers: view.servers.clone(),
            exposure: view.exposure.clone(),
        })
        .collect();
    settings
}

/// What clients may take.
pub(crate) fn front_limits(bridge: &BridgeSettings) -> FrontLimits {
    FrontLimits {
        sessions: bridge.max_sessions,
        session_idle: bridge.session_idle_timeout,
        ..FrontLimits::default()
    }
}
