//! `serve`: the service from start to orderly end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mcp_api::{ApiKeys, ApiState, Reload, Settings};
use mcp_cli::Exit;
use mcp_config::{GatewaySettings, ListenAddress};
use mcp_serve_http::{HostPolicy, ServeLimits};
use mcp_server::HttpFront;
use tokio::net::TcpListener;

use crate::Failed;
use crate::args::ServeArgs;
use crate::reload;
use crate::signals::{Hangup, Signals};
use crate::start::{self, Started};

/// Time that is left to close connections once the second signal has come.
const HARD_STOP: Duration = Duration::from_secs(2);

/// What callers get to read the answer of a call that was cut, after the grace.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs until a signal asks for the end.
pub(crate) async fn run(args: ServeArgs) -> Result<ExitCode, Failed> {
    let mut config = start::load(args.config.as_deref())?;
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
    let keys = ApiKeys::new(&config.gateway.api_keys);
    let front = HttpFront::new(start::front_limits(&config.gateway.bridge));
    let Started { manager, bridge, reloader, demo } = Started::from(config, as_written).await?;

    let settings = Settings { api_keys: keys.clone(), version: env!("CARGO_PKG_VERSION") };
    let reload = reloader.clone().map(|reloader| reloader as Arc<dyn Reload>);
    let state = ApiState::with_bridge(manager.clone(), settings, bridge.clone(), reload);
    let api = mcp_api::router(state.clone());
    let site = hosts.guard(mcp_api::mcp_site(bridge.clone(), front.clone(), keys, api));
    state.set_ready();
    tracing::info!(servers = manager.table().servers().len(), "listening on http://{address}");

    let grace = manager.policy().shutdown_drain_timeout;
    let limits = ServeLimits { grace: grace + LAST_WORDS, ..ServeLimits::default() };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(mcp_serve_http::serve(listener, site, limits, async move {
        let _ = stopped.await; // an error means that `stop` is gone, which is the same
    }));
    let watching = reloader.clone().map(|reloader| tokio::spawn(reloader.watch()));
    let signal = loop {
        tokio::select! {
            signal = signals.next() => break signal,
            () = hangup.next() => reload::hung_up(reloader.as_deref()).await,
        }
    };
    if let Some(watching) = watching {
        watching.abort();
    }
    tracing::info!(signal, ?grace, "shutting down; another signal ends it at once");
    // Streams that only wait for news would hold up the end for all of the grace.
    bridge.close();
    front.shutdown();
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
        let saved = start::save_tools(&bridge).await;
        report.calls_cut == 0 && report.not_saved.is_none() && cut == 0 && saved
    };
    let clean = tokio::select! {
        clean = orderly => clean,
        signal = signals.next() => {
            tracing::warn!(signal, "ending at once");
            // Children must not be left behind even then.
            let _ = tokio::time::timeout(HARD_STOP, manager.shutdown(Duration::ZERO)).await;
            let _ = tokio::time::timeout(HARD_STOP, start::save_tools(&bridge)).await;
            false
        }
    };
    if let Some(demo) = demo {
        demo.stop().await;
    }
    Ok(if clean { ExitCode::SUCCESS } else { Exit::Failed.into() })
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
