//! An MCP server on the `rmcp` SDK, so that tests have an independent peer on a machine with Rust alone.
//!
//! usage: `rmcp-server stdio|http [--handshake-only]`
//!
//! Over HTTP it listens on a free loopback port, prints the URL of its endpoint as its first line, and
//! ends when its standard input does, so that it never outlives the test that started it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "prints its address, or its usage")]

use std::borrow::Cow;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{
    CallToolResult, ContentBlock, Implementation, ProtocolVersion, ServerCapabilities, ServerConfig,
};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt, schemars, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

/// Which revisions the server speaks: all that the SDK knows, or those with a handshake.
#[derive(Debug, Clone, Copy)]
enum Revisions {
    All,
    HandshakeOnly,
}

#[derive(Debug, Clone)]
struct Peer {
    revisions: Revisions,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Echo {
    message: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Debug, Serialize, schemars::JsonSchema)]
struct Sum {
    total: i64,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Fail {
    reason: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Slow {
    ms: u64,
}

#[tool_router]
impl Peer {
    #[tool(description = "Returns the message", annotations(read_only_hint = true))]
    async fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        format!("Echo: {message}")
    }

    #[tool(description = "Adds two numbers; the result is structured", annotations(read_only_hint = true))]
    async fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> Json<Sum> {
        Json(Sum { total: a + b })
    }

    #[tool(description = "Fails with the given reason")]
    async fn fail(&self, Parameters(Fail { reason }): Parameters<Fail>) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text(reason)])
    }

    #[tool(description = "Answers after the given number of milliseconds")]
    async fn slow(&self, Parameters(Slow { ms }): Parameters<Slow>) -> String {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        format!("waited {ms} ms")
    }
}

#[tool_handler]
impl ServerHandler for Peer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("rmcp-peer", "1.0.0"))
            .with_instructions("A peer for tests")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.revisions {
            Revisions::All => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
            Revisions::HandshakeOnly => ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25).into(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["stdio"] => stdio(Revisions::All).await,
        ["stdio", "--handshake-only"] => stdio(Revisions::HandshakeOnly).await,
        ["http"] => http(Revisions::All).await,
        ["http", "--handshake-only"] => http(Revisions::HandshakeOnly).await,
        _ => Err("usage: rmcp-server stdio|http [--handshake-only]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn stdio(revisions: Revisions) -> Result<(), Box<dyn Error>> {
    Peer { revisions }.serve(rmcp::transport::stdio()).await?.waiting().await?;
    Ok(())
}

async fn http(revisions: Revisions) -> Result<(), Box<dyn Error>> {
    // rmcp checks `Host` by itself, `Origin` only with a list.
    let config = StreamableHttpServerConfig::default().with_allowed_origins(["http://127.0.0.1:*"]);
    let service: StreamableHttpService<Peer, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(Peer { revisions }), Default::default(), config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/mcp", listener.local_addr()?);
    let server = axum::serve(listener, axum::Router::new().nest_service("/mcp", service));
    tokio::select! {
        result = server.into_future() => result?,
        result = end_of_stdin() => result?,
    }
    Ok(())
}

async fn end_of_stdin() -> std::io::Result<()> {
    let mut buffer = [0; 1024];
    while tokio::io::stdin().read(&mut buffer).await? > 0 {}
    Ok(())
}
