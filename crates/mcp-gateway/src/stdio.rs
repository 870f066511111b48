//! `stdio`: all servers as one, for a client that starts its servers itself.

use std::process::ExitCode;

use mcp_bridge::Scope;
use mcp_cli::Exit;
use mcp_server::serve_stdio;

use crate::Failed;
use crate::args::StdioArgs;
use crate::reload;
use crate::signals::{Hangup, Signals};
use crate::start::{self, Started};

/// Runs until the client closes its side or a signal asks for the end.
pub(crate) async fn run(args: StdioArgs) -> Result<ExitCode, Failed> {
    let config = start::load(args.config.as_deref())?;
    let as_written = config.gateway.clone();
    let limits = start::front_limits(&config.gateway.bridge);
    let mut signals = Signals::listen().map_err(|error| Failed::new(Exit::Failed, error))?;
    let mut hangup = Hangup::listen().map_err(|error| Failed::new(Exit::Failed, error))?;
    let Started { manager, bridge, reloader, demo } = Started::from(config, as_written).await?;
    let scope = match args.only.as_deref().map(|only| (only, only.strip_prefix("views/"))) {
        None => Scope::All,
        Some((_, Some(view))) => Scope::View(view.into()),
        Some((name, None)) => Scope::One(name.into()),
    };
    let Some(service) = bridge.endpoint(&scope) else {
        let name = args.only.unwrap_or_default();
        let text = format!("--only {name}: no server, group or view has that name");
        return Err(Failed::new(Exit::Usage, text));
    };
    let watching = reloader.clone().map(|reloader| tokio::spawn(reloader.watch()));
    let ended = {
        let serving = serve_stdio(service, tokio::io::stdin(), tokio::io::stdout(), limits);
        tokio::pin!(serving);
        loop {
            tokio::select! {
                ended = serving.as_mut() => break ended,
                signal = signals.next() => {
                    tracing::info!(signal, "shutting down");
                    break Ok(());
                }
                () = hangup.next() => reload::hung_up(reloader.as_deref()).await,
            }
        }
    };
    if let Some(watching) = watching {
        watching.abort();
    }
    bridge.close();
    // Nobody is left to wait for an answer.
    let report = manager.shutdown(std::time::Duration::ZERO).await;
    if let Some(error) = &report.not_saved {
        tracing::error!(error, "registered servers could not be saved");
    }
    start::save_tools(&bridge).await;
    if let Some(demo) = demo {
        demo.stop().await;
    }
    ended.map_err(|error| Failed::new(Exit::Failed, format!("stdin or stdout failed: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
