//! `serve`: the service from start to orderly end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mcp_api::{ApiKeys, ApiState, Settings};
use mcp_cli::Exit;
use mcp_client::ClientInfo;
use mcp_config::{Config, GatewaySettings, ListenAddress};
use mcp_manager::{Manager, Setup, SystemTimer};
use mcp_registry::{Policy, SystemRandom};
use mcp_serve_http::{HostPolicy, ServeLimits};
use tokio::net::TcpListener;

use crate::Failed;
use crate::args::ServeArgs;
use crate::connector;
use crate::demo_servers::DemoServers;
use crate::kept;
use crate::reload::Reloader;
use crate::signals::{Hangup, Signals};

/// Time that is left to close connections once the second signal has come.
const HARD_STOP: Duration = Duration::from_secs(2);

/// Runs until a signal asks for the end.
pub(crate) async fn run(args: ServeArgs) -> Result<ExitCode, Failed> {
    let mut config = load(&args)?;
    let as_written = config.gateway.clone();
    if let Some(listen) = args.listen {
        config.gateway.listen_on(listen).map_err(|error| Failed::new(Exit::InvalidConfig, error))?;
    }
    let mut signals = Signals::listen().map_err(|error| Failed::new(Exit::Failed, error))?;
    let mut hangup = Hangup::listen().map_err(|error| Failed::new(Exit::Failed, error))?;
    // Before anything is started: a taken port is the usual reason not to start at all.
    let listener = bind(&config.gateway.listen).await?;
    let address = listener.local_addr().map_err(|error| Failed::new(Exit::Failed, error))?;
    let hosts = hosts(&config.gateway, address)?;
    let manager = manager(config.policy, &config.gateway.outbound_allow)?;
    let demo = match config.source {
        Some(_) => None,
        None => Some(DemoServers::start().await.map_err(|error| Failed::because(Exit::Failed, &error))?),
    };
    let definitions = demo.as_ref().map_or(config.servers, |demo| demo.definitions.clone());
    let names = definitions.iter().map(|definition| definition.name.clone()).collect();
    for definition in definitions {
        manager.register(definition).map_err(|error| Failed::new(Exit::InvalidConfig, error))?;
    }
    let reloader = config.source.map(|path| Reloader::new(path, manager.clone(), as_written, names));
    if let (Some(path), Some(reloader)) = (config.gateway.state_file, &reloader) {
        kept::keep(&manager, path, reloader.servers())?;
    }
    manager.start_monitor();
    // In the background: a server that takes its time delays nobody but its own callers.
    tokio::spawn({
        let manager = manager.clone();
        async move { manager.initialize_all(false).await }
    });

    let settings =
        Settings { api_keys: ApiKeys::new(&config.gateway.api_keys), version: env!("CARGO_PKG_VERSION") };
    let state = match &reloader {
        Some(reloader) => ApiState::with_reload(manager.clone(), settings, reloader.clone()),
        None => ApiState::new(manager.clone(), settings),
    };
    let router = mcp_api::router(state.clone()).layer(hosts.layer());
    state.set_ready();
    tracing::info!(servers = manager.table().servers().len(), "listening on http://{address}");

    let grace = manager.policy().shutdown_drain_timeout;
    let limits = ServeLimits { grace, ..ServeLimits::default() };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(mcp_serve_http::serve(listener, router, limits, async move {
        let _ = stopped.await; // an error means that `stop` is gone, which is the same
    }));
    let watching = reloader.clone().map(|reloader| tokio::spawn(reloader.watch()));
    let signal = loop {
        tokio::select! {
            signal = signals.next() => break signal,
            () = hangup.next() => match &reloader {
                Some(reloader) => reloader.reload_because("SIGHUP").await,
                None => tracing::info!("SIGHUP: there is no configuration file to read again"),
            },
        }
    };
    if let Some(watching) = watching {
        watching.abort();
    }
    tracing::info!(signal, ?grace, "shutting down; another signal ends it at once");
    drop(stop);

    let orderly = async {
        let (served, report) = tokio::join!(serving, manager.shutdown(grace));
        let cut = served.map_or(0, |report| report.cut);
        if let Some(error) = &report.not_saved {
            tracing::error!(error, "registered servers could not be saved");
        }
        let unclean: Vec<_> = report.unclean.iter().map(|unclean| unclean.server.as_str()).collect();
        tracing::info!(
            calls_cut = report.calls_cut,
            requests_cut = cut,
            connections_closed = report.connections_closed,
            ?unclean,
            "ended"
        );
        report.calls_cut == 0 && report.not_saved.is_none() && cut == 0
    };
    let clean = tokio::select! {
        clean = orderly => clean,
        signal = signals.next() => {
            tracing::warn!(signal, "ending at once");
            // Children must not be left behind even then.
            let _ = tokio::time::timeout(HARD_STOP, manager.shutdown(Duration::ZERO)).await;
            false
        }
    };
    if let Some(demo) = demo {
        demo.stop().await;
    }
    Ok(if clean { ExitCode::SUCCESS } else { Exit::Failed.into() })
}

/// The configuration, or the defaults if there is no file.
fn load(args: &ServeArgs) -> Result<Config, Failed> {
    let directory = std::env::current_dir().map_err(|error| Failed::new(Exit::Failed, error))?;
    let Some(path) = mcp_config::locate(args.config.as_deref(), &directory, &mcp_config::process_env) else {
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

async fn bind(listen: &ListenAddress) -> Result<TcpListener, Failed> {
    let (host, port) = (listen.host(), listen.port());
    TcpListener::bind((host.as_str(), port)).await.map_err(|error| {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; is a gateway already running? choose another port with --listen"
            }
            _ => "",
        };
        Failed::new(Exit::Failed, format!("cannot listen on {host}:{port}: {error}{advice}"))
    })
}

/// Who may be meant by a Host header, and which web pages may call (S02, S03).
fn hosts(gateway: &GatewaySettings, address: std::net::SocketAddr) -> Result<HostPolicy, Failed> {
    let invalid = |error| Failed::new(Exit::InvalidConfig, error);
    let mut hosts = HostPolicy::loopback();
    if !address.ip().is_loopback() && !address.ip().is_unspecified() {
        hosts = hosts.allow_host(&address.to_string()).map_err(invalid)?;
    }
    for name in &gateway.allowed_hosts {
        hosts = hosts.allow_host(name).map_err(invalid)?;
    }
    for origin in &gateway.allowed_origins {
        hosts = hosts.allow_origin(origin).map_err(invalid)?;
    }
    Ok(hosts)
}
