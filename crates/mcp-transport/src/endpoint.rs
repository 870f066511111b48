//! Where a server is and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::auth::Auth;

/// The transports a server can be reached through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// A child process, one JSON message a line.
    Stdio,
    /// Streamable HTTP, both eras.
    Http,
    /// HTTP with two endpoints, of 2024-11-05: one event stream for all that the server says.
    Sse,
}

impl fmt::Display for TransportKind {
    /// `stdio`, `http` or `sse`, the words of the configuration and the REST API.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Sse => "sse",
        })
    }
}

/// Where a server is. Secrets in it do not show in `Debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// A program to start.
    Stdio(StdioEndpoint),
    /// A URL to post to.
    Http(HttpEndpoint),
    /// A URL whose event stream names another one to post to.
    Sse(SseEndpoint),
}

impl Endpoint {
    /// Which transport reaches it.
    #[must_use]
    pub fn kind(&self) -> TransportKind {
        match self {
            Self::Stdio(_) => TransportKind::Stdio,
            Self::Http(_) => TransportKind::Http,
            Self::Sse(_) => TransportKind::Sse,
        }
    }

    /// The URL, for transports that have one.
    #[must_use]
    pub fn url(&self) -> Option<&Url> {
        self.http().map(|http| &http.url)
    }

    /// Takes away what is or may be secret; gives the keys it was under, such as `headers.X-API-Key`. Values of
    /// variables and headers count as secrets, whatever they are. Source: contract §7.8, Credentials.
    pub fn take_secrets(&mut self) -> Vec<String> {
        match self {
            Self::Stdio(StdioEndpoint { env, command: _, args: _, inherit_env: _, allow_env: _, cwd: _ }) => {
                std::mem::take(env).into_keys().map(|name| format!("env.{name}")).collect()
            }
            Self::Http(http) => http.take_secrets(),
            Self::Sse(sse) => sse.http.take_secrets(),
        }
    }

    /// How HTTP requests are made, for transports that make any.
    #[must_use]
    pub fn http(&self) -> Option<&HttpEndpoint> {
        match self {
            Self::Stdio(_) => None,
            Self::Http(http) => Some(http),
            Self::Sse(sse) => Some(&sse.http),
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

/// A URL that speaks MCP, and how requests to it are made. A Streamable HTTP endpoint is no more than that.
#[derive(Clone)]
pub struct HttpEndpoint {
    /// The MCP endpoint, used as given.
    pub url: Url,
    /// Headers sent with every request, for example `X-API-Key`.
    pub headers: Vec<(String, SecretString)>,
    /// Whether plain `http` to a host that is not loopback is accepted.
    pub allow_insecure_http: bool,
    /// Where `Authorization` comes from, if not from `headers`.
    pub auth: Option<Auth>,
    /// Whom to trust, and who we are.
    pub tls: TlsSettings,
    /// The proxy all requests go through, perhaps with a name and password in it; `None`: none, whatever the
    /// environment says.
    pub proxy: Option<Url>,
}

impl HttpEndpoint {
    /// An endpoint without further headers, reached directly, with the trust of the operating system.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            headers: Vec::new(),
            allow_insecure_http: false,
            auth: None,
            tls: TlsSettings::default(),
            proxy: None,
        }
    }
}

impl HttpEndpoint {
    fn take_secrets(&mut self) -> Vec<String> {
        let headers = std::mem::take(&mut self.headers);
        let mut taken: Vec<String> = headers.into_iter().map(|(name, _)| format!("headers.{name}")).collect();
        if self.auth.take().is_some() {
            taken.push("auth".into());
        }
        // Whoever may use the proxy may be named in its URL.
        let named = |proxy: &mut Url| !proxy.username().is_empty() || proxy.password().is_some();
        if self.proxy.take_if(named).is_some() {
            taken.push("proxy".into());
        }
        taken
    }
}

/// What may be shown of a URL: its path, query and user may be secret.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Of URLs it shows the origin: path and query may hold a key.
impl fmt::Debug for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, headers, allow_insecure_http, auth, tls, proxy } = self;
        f.debug_struct("HttpEndpoint")
            .field("url", &origin(url))
            .field("headers", headers)
            .field("allow_insecure_http", allow_insecure_http)
            .field("auth", auth)
            .field("tls", tls)
            .field("proxy", &proxy.as_ref().map(origin))
            .finish()
    }
}

/// TLS of one server, beyond what the operating system trusts. Files are in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates of authorities that are trusted besides those of the operating system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate chain, for servers that ask for one; with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Whether any certificate is accepted. Whoever is on the way can then read and change everything.
    pub danger_skip_verify: bool,
}

/// An endpoint of the transport of 2024-11-05.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEndpoint {
    /// The URL of the event stream, and how requests are made, to it and to the URL it names.
    pub http: HttpEndpoint,
    /// How often the server sends something at least, comments included. Silent for twice as long, the
    /// stream counts as dead. `None`: it may be silent for ever.
    pub heartbeat: Option<Duration>,
    /// How the stream is opened.
    pub open_method: OpenMethod,
}

impl SseEndpoint {
    /// An endpoint opened with `GET` that may be silent for ever.
    #[must_use]
    pub fn new(http: HttpEndpoint) -> Self {
        Self { http, heartbeat: None, open_method: OpenMethod::Get }
    }
}

/// The HTTP method that opens an event stream. Source: contract §7.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OpenMethod {
    /// `GET`, as 2024-11-05 has it.
    #[default]
    Get,
    /// `POST` without a body, for servers that deviate.
    Post,
}

/// Equal if a server reached through one would be reached the same way through the other, secrets included.
impl PartialEq for StdioEndpoint {
    fn eq(&self, other: &Self) -> bool {
        let Self { command, args, env, inherit_env, allow_env, cwd } = self;
        let secrets = |env: &BTreeMap<String, SecretString>| -> Vec<(String, String)> {
            env.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
        };
        (command, args, inherit_env, allow_env, cwd)
            == (&other.command, &other.args, &other.inherit_env, &other.allow_env, &other.cwd)
            && secrets(env) == secrets(&other.env)
    }
}

impl Eq for StdioEndpoint {}

/// Equal if a server reached through one would be reached the same way through the other, secrets included.
impl PartialEq for HttpEndpoint {
    fn eq(&self, other: &Self) -> bool {
        let Self { url, headers, allow_insecure_http, auth, tls, proxy } = self;
        let same = |((name, value), (other_name, other_value)): (
            &(String, SecretString),
            &(String, SecretString),
        )| { name == other_name && value.expose_secret() == other_value.expose_secret() };
        (url, allow_insecure_http, auth, tls, proxy)
            == (&other.url, &other.allow_insecure_http, &other.auth, &other.tls, &other.proxy)
            && headers.len() == other.headers.len()
            && headers.iter().zip(&other.headers).all(same)
    }
}

impl Eq for HttpEndpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_and_told_by_their_keys() {
        let mut stdio = StdioEndpoint::new("server", ["-v"]);
        stdio.env.insert("KEY".into(), "hunter2".into());
        let mut stdio = Endpoint::Stdio(stdio);
        assert_eq!(stdio.take_secrets(), ["env.KEY"]);
        assert_eq!(stdio, Endpoint::Stdio(StdioEndpoint::new("server", ["-v"])));
        assert_eq!(stdio.take_secrets(), [""; 0]);

        let url: Url = "https://u:p@a.example/hunter2?key=hunter2".parse().unwrap();
        for (proxy, left) in [("http://u:p@proxy:3128", false), ("http://proxy:3128", true)] {
            let mut http = HttpEndpoint::new(url.clone());
            http.headers.push(("X-API-Key".into(), "hunter2".into()));
            http.proxy = Some(proxy.parse().unwrap());
            http.auth = Some(Auth::ClientCredentials(Box::new(crate::auth::ClientCredentials {
                token_url: url.clone(),
                client_id: "id".into(),
                client_secret: "hunter2".into(),
                scope: None,
                resource: Some(url.clone()),
                method: crate::auth::ClientAuthentication::Basic,
            })));
            let mut endpoint = Endpoint::Sse(SseEndpoint::new(http));
            let shown = format!("{endpoint:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("u:p"), "{shown}");
            assert_eq!(shown.matches(r#""https://a.example""#).count(), 3, "{shown}");
            let expected: &[&str] =
                if left { &["headers.X-API-Key", "auth"] } else { &["headers.X-API-Key", "auth", "proxy"] };
            assert_eq!(endpoint.take_secrets(), expected);
            let mut bare = HttpEndpoint::new(url.clone());
            bare.proxy = left.then(|| proxy.parse().unwrap());
            assert_eq!(endpoint, Endpoint::Sse(SseEndpoint::new(bare)));
        }
    }

    #[test]
    fn endpoints_differ_by_their_secrets_too() {
        let stdio = |key: &str| {
            let mut endpoint = StdioEndpoint::new("server", ["-v"]);
            endpoint.env.insert("KEY".into(), key.into());
            Endpoint::Stdio(endpoint)
        };
        assert_eq!(stdio("a"), stdio("a"));
        assert_ne!(stdio("a"), stdio("b"));
        let http = |key: &str| {
            let mut endpoint = HttpEndpoint::new("https://a.example/mcp".parse().unwrap());
            endpoint.headers.push(("Authorization".into(), key.into()));
            Endpoint::Http(endpoint)
        };
        assert_eq!(http("a"), http("a"));
        assert_ne!(http("a"), http("b"));
        assert_ne!(http("a"), Endpoint::Http(HttpEndpoint::new("https://a.example/mcp".parse().unwrap())));
        assert_ne!(stdio("a"), http("a"));
    }
}
