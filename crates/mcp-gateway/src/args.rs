//! The command line of the binary: what `mcp-cli` offers, and the services.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mcp_cli::GlobalArgs;
use mcp_config::ListenAddress;

/// An MCP client manager and gateway: many MCP servers behind one address that keeps working when they do not.
#[derive(Debug, Parser)]
#[command(name = "mcp-gateway", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) top: Top,
}

const EXAMPLES: &str = "\
Examples:
  mcp-gateway serve                          start with the built-in demo servers
  mcp-gateway serve --config gateway.toml    start with your own
  mcp-gateway stdio --config gateway.toml    the same for one client, over stdin and stdout
  mcp-gateway call echo message=hello        call a tool through the running gateway
  mcp-gateway status --watch                 every server on one screen";

#[derive(Debug, Subcommand)]
pub(crate) enum Top {
    /// Run the gateway
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Serve all servers as one over stdin and stdout, for clients that start their servers themselves
    #[command(after_help = STDIO_EXAMPLES)]
    Stdio(StdioArgs),
    /// Run a built-in MCP server that exercises every feature
    #[command(after_help = DEMO_EXAMPLES)]
    DemoServer(DemoArgs),
    #[command(flatten)]
    Command(Box<mcp_cli::Command>),
}

const SERVE_EXAMPLES: &str = "\
Without --config the file is looked for at $MCP_GATEWAY_CONFIG, ./mcp-gateway.toml and
$XDG_CONFIG_HOME/mcp-gateway/config.toml. Without any file two demo servers are started.

Examples:
  mcp-gateway serve
  mcp-gateway serve --config ~/.config/Claude/claude_desktop_config.json
  mcp-gateway serve --listen 127.0.0.1:9000 --log-format json

On SIGTERM and Ctrl-C calls under way get policy.shutdown_drain_timeout (10 s) to end.
Exit codes: 0 ended in order, 1 could not start, or calls were cut at the end, 2 usage, 4 configuration invalid.";

const STDIO_EXAMPLES: &str = "\
The configuration is looked for as `serve` looks for it; nothing listens on any port. Warnings go to
stderr, more with MCP_GATEWAY_LOG=info. Paths in clients' configurations should be absolute: clients start programs in
directories of their own. It ends with its client: calls under way then have 10 s to be answered.

Examples:
  mcp-gateway stdio
  mcp-gateway stdio --config gateway.toml
  {\"mcpServers\": {\"all\": {\"command\": \"mcp-gateway\", \"args\": [\"stdio\", \"--config\", \"/etc/gateway.toml\"]}}}";

const DEMO_EXAMPLES: &str = "\
Examples:
  mcp-gateway demo-server                                    over stdin and stdout
  mcp-gateway demo-server --transport http --listen 127.0.0.1:8401
  mcp-gateway demo-server --transport sse                    over HTTP as it was in 2024-11-05
  mcp-gateway demo-server --protocol legacy                  only revisions up to 2025-11-25";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file: TOML, JSON, or the `mcpServers` document of an MCP client
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address to listen on, instead of the configured one
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<ListenAddress>,
    /// How log lines on stderr look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Args)]
pub(crate) struct StdioArgs {
    /// Configuration file: TOML, JSON, or the `mcpServers` document of an MCP client
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The one server, group, or view (`views/NAME`) to serve as it is, instead of all as one
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Option<String>,
    /// How log lines on stderr look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How it is reached
    #[arg(long, value_enum, default_value_t = DemoTransport::Stdio)]
    pub(crate) transport: DemoTransport,
    /// Which protocol eras it serves
    #[arg(long, value_enum, default_value_t = DemoProtocol::Auto)]
    pub(crate) protocol: DemoProtocol,
    /// Address to listen on (http, sse)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8400")]
    pub(crate) listen: SocketAddr,
    /// What it calls itself
    #[arg(long, default_value = "demo")]
    pub(crate) name: String,
    /// Whether the tool `crash` is offered, which ends the process
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) allow_crash: bool,
    /// End when stdin closes, so that a child does not outlive its parent (http, sse)
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoTransport {
    /// Standard input and output
    Stdio,
    /// Streamable HTTP, at /mcp
    Http,
    /// HTTP with two endpoints, of 2024-11-05, at /sse; it has no modern era
    Sse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoProtocol {
    /// Every revision
    Auto,
    /// Only those with a handshake, up to 2025-11-25
    Legacy,
    /// Only the stateless one, 2026-07-28
    Modern,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
