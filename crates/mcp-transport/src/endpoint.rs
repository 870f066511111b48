//! Where a server is and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

/// The transports a server can be reached through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// A child process, one JSON message a line.
    Stdio,
    /// Streamable HTTP, both eras.
    Http,
}

impl fmt::Display for TransportKind {
    /// `stdio` or `http`, the words of the configuration and the REST API.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
        })
    }
}

/// Where a server is. Secrets in it do not show in `Debug`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Endpoint {
    /// A program to start.
    Stdio(StdioEndpoint),
    /// A URL to post to.
    Http(HttpEndpoint),
}

impl Endpoint {
    /// Which transport reaches it.
    #[must_use]
    pub fn kind(&self) -> TransportKind {
        match self {
            Self::Stdio(_) => TransportKind::Stdio,
            Self::Http(_) => TransportKind::Http,
        }
    }

    /// The URL, for transports that have one.
    #[must_use]
    pub fn url(&self) -> Option<&Url> {
        match self {
            Self::Stdio(_) => None,
            Self::Http(http) => Some(&http.url),
        }
    }
}

/// A child process that speaks MCP on its stdin and stdout.
#[derive(Debug, Clone)]
pub struct StdioEndpoint {
    /// Program: a path, or a name looked up in `PATH`. Never given to a shell.
    pub command: String,
    /// Arguments, passed as they are.
    pub args: Vec<String>,
    /// Variables added to the allow-listed environment.
    pub env: BTreeMap<String, SecretString>,
    /// Names of further variables of our own environment that the child inherits.
    pub inherit_env: Vec<String>,
    /// Names that `env` and `inherit_env` may hold although such a variable makes programs load foreign code.
    pub allow_env: Vec<String>,
    /// Working directory; it must exist. `None`: ours.
    pub cwd: Option<PathBuf>,
}

impl StdioEndpoint {
    /// A program with arguments, and nothing else.
    #[must_use]
    pub fn new(command: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            command: command.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            inherit_env: Vec::new(),
            allow_env: Vec::new(),
            cwd: None,
        }
    }
}

/// A Streamable HTTP endpoint.
#[derive(Debug, Clone)]
pub struct HttpEndpoint {
    /// The MCP endpoint, used as given.
    pub url: Url,
    /// Headers sent with every request, for example `Authorization`.
    pub headers: Vec<(String, SecretString)>,
    /// Whether plain `http` to a host that is not loopback is accepted.
    pub allow_insecure_http: bool,
}

impl HttpEndpoint {
    /// An endpoint without further headers.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self { url, headers: Vec::new(), allow_insecure_http: false }
    }
}
