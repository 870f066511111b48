//! `demo-server`.

use std::process::ExitCode;

use mcp_cli::Exit;
use mcp_demo_server::{DemoOptions, HttpEnd, StdioEnd, serve_http, serve_sse, serve_stdio};
use mcp_protocol::{Era, EraPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::Failed;
use crate::args::{DemoArgs, DemoProtocol, DemoTransport};
use crate::signals::Signals;

/// Serves until the client leaves, a signal comes or the tool `crash` is called.
pub(crate) async fn run(args: DemoArgs) -> Result<ExitCode, Failed> {
    let options = DemoOptions {
        name: args.name.clone(),
        protocol: match args.protocol {
            DemoProtocol::Auto => EraPolicy::Auto,
            DemoProtocol::Legacy => EraPolicy::Only(Era::Handshake),
            DemoProtocol::Modern => EraPolicy::Only(Era::Stateless),
        },
        allow_crash: args.allow_crash,
        ..DemoOptions::default()
    };
    let mut signals = Signals::listen().map_err(|error| Failed::new(Exit::Failed, error))?;
    match args.transport {
        DemoTransport::Stdio => {
            let serving = serve_stdio(options, tokio::io::stdin(), tokio::io::stdout());
            let end = tokio::select! {
                end = serving => end.map_err(|error| Failed::new(Exit::Failed, format!("stdio: {error}")))?,
                _ = signals.next() => return Ok(ExitCode::SUCCESS),
            };
            Ok(match end {
                StdioEnd::Eof => ExitCode::SUCCESS,
                StdioEnd::Crash { status } => ExitCode::from(status),
            })
        }
        DemoTransport::Sse if args.protocol == DemoProtocol::Modern => {
            let text = "the sse transport has no modern era; leave `--protocol modern` out, or use http";
            Err(Failed::new(Exit::Usage, text.to_owned()))
        }
        DemoTransport::Http | DemoTransport::Sse => over_http(options, &args, signals).await,
    }
}

async fn over_http(options: DemoOptions, args: &DemoArgs, mut signals: Signals) -> Result<ExitCode, Failed> {
    if !args.listen.ip().is_loopback() {
        let text = format!("{}: a demo server asks for no key, so it listens on loopback only", args.listen);
        return Err(Failed::new(Exit::Usage, text));
    }
    let failed = |error| Failed::new(Exit::Failed, format!("cannot listen on {}: {error}", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    // The one line on stdout: whoever started this on port 0 reads the address there.
    let is_sse = args.transport == DemoTransport::Sse;
    let line = format!("http://{address}/{}\n", if is_sse { "sse" } else { "mcp" });
    let _ = tokio::io::stdout().write_all(line.as_bytes()).await;
    let _ = tokio::io::stdout().flush().await;
    let until_stdin_closes = args.until_stdin_closes;
    let shutdown = async move {
        tokio::select! {
            _ = signals.next() => {}
            () = stdin_closed(), if until_stdin_closes => {}
        }
    };
    let end = if is_sse {
        serve_sse(options, listener, shutdown).await
    } else {
        serve_http(options, listener, shutdown).await
    };
    Ok(match end {
        HttpEnd::Crash { status } => ExitCode::from(status),
        _ => ExitCode::SUCCESS,
    })
}

async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 256];
    while matches!(stdin.read(&mut buffer).await, Ok(1..)) {}
}
