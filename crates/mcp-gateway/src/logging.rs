//! Logs go to stderr, so that stdout stays free for results and for MCP.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{LogFormat, Top};

/// The variable that chooses what is logged, for example `mcp_manager=debug`.
const VARIABLE: &str = "MCP_GATEWAY_LOG";

/// Starts logging: from `info` on for the service, from `warn` on for everything else.
pub(crate) fn init(top: &Top) {
    let (level, format) = match top {
        Top::Serve(args) => (LevelFilter::INFO, args.log_format),
        // Clients show what is said on stderr: no more than what somebody has to do something about.
        Top::Stdio(args) => (LevelFilter::WARN, args.log_format),
        Top::DemoServer(_) => (LevelFilter::WARN, LogFormat::Text),
        Top::Command(_) => (LevelFilter::ERROR, LogFormat::Text),
    };
    let filter =
        EnvFilter::builder().with_default_directive(level.into()).with_env_var(VARIABLE).from_env_lossy();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
        }
    }
}
