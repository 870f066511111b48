//! Configuration files for tests.

use std::fmt::Write as _;

use url::Url;

use super::binary;
use crate::peers::Program;
use crate::process::HttpServer;

/// The text of a TOML file.
#[derive(Debug, Clone)]
pub(crate) struct Configuration(String);

impl Configuration {
    /// One without servers; `tables` come before them.
    pub(crate) fn new(tables: &str) -> Self {
        Self(format!("{tables}\n"))
    }

    /// One in which only calls and crashes tell how the servers are, and every call may try all of them.
    pub(crate) fn left_alone() -> Self {
        Self::new(
            "[policy]\nmax_backoff = 0\nhealth_interval = 600000\ndegraded_health_interval = 300000\n\
             process_stop_timeout = 1000",
        )
    }

    /// A server that the gateway starts. `keys` are further lines of its table.
    pub(crate) fn stdio(mut self, name: &str, program: &Program, keys: &str) -> Self {
        let endpoint = program.endpoint();
        let args = serde_json::to_string(&endpoint.args).unwrap();
        writeln!(self.0, "[servers.{name}]\ncommand = {:?}\nargs = {args}\n{keys}", endpoint.command)
            .unwrap();
        self
    }

    /// A server that runs somewhere. `keys` are further lines of its table.
    pub(crate) fn http(mut self, name: &str, url: &Url, keys: &str) -> Self {
        writeln!(self.0, "[servers.{name}]\nurl = \"{url}\"\n{keys}").unwrap();
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// The built-in demo server.
pub(crate) fn demo(args: &[&str]) -> Program {
    Program::at(binary::path()).with_args(["demo-server"]).with_args(args.iter().copied())
}

/// A built-in demo server over HTTP, in a process of the test's.
pub(crate) async fn demo_over_http(args: &[&str]) -> HttpServer {
    demo_at_a_url("http", args).await
}

/// The same over the two-endpoint transport of 2024-11-05.
pub(crate) async fn demo_over_sse(args: &[&str]) -> HttpServer {
    demo_at_a_url("sse", args).await
}

async fn demo_at_a_url(transport: &str, args: &[&str]) -> HttpServer {
    let program = demo(&["--transport", transport, "--listen", "127.0.0.1:0", "--until-stdin-closes"]);
    HttpServer::announcing(program.with_args(args.iter().copied()).command()).await
}
