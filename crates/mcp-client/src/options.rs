//! How to connect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::{Era, EraPolicy, RawJson};
use mcp_transport::Header;

use crate::handler::RequestHandler;
use crate::rate::RateLimit;

/// What the client says about itself, as `clientInfo`. For display at the server, nothing more.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Name of the program.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl ClientInfo {
    /// A name and a version.
    #[must_use]
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into() }
    }
}

impl Default for ClientInfo {
    /// The name and version of this crate.
    fn default() -> Self {
        Self::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    }
}

/// How [`connect`](crate::connect) negotiates, and how the connection behaves.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Who we are.
    pub client_info: ClientInfo,
    /// The `ClientCapabilities` object to declare. Must be a JSON object.
    pub capabilities: RawJson,
    /// Which eras may be used.
    pub policy: EraPolicy,
    /// The era this server had last time: tried first; if it does not work any more, the other follows.
    pub hint: Option<Era>,
    /// How long the first request (`server/discover`, unless the hint says otherwise) may stay
    /// unanswered before the other era is tried as well. Only of use if it ends before
    /// `handshake_timeout`, of which it is a part.
    pub probe_timeout: Duration,
    /// Time for the whole of [`connect`](crate::connect): opening the transport, the first request, a
    /// second start of the server where one is needed, and the handshake.
    pub handshake_timeout: Duration,
    /// Further headers, for transports that have them, of the messages that open the connection:
    /// `server/discover`, `initialize` and `notifications/initialized`. The client does not keep them: they
    /// may hold a caller's token, which no other message may carry. Source: contract §8.5.
    pub headers: Vec<Header>,
    /// Answers what the server asks, within what `capabilities` declare. `None`: such requests are refused,
    /// and an `input_required` result is given to the caller as it is.
    pub handler: Option<Arc<dyn RequestHandler>>,
    /// Longest time for one answer of the handler; there may be a person behind it. The call that led to the
    /// question has its own limits ([`Patience`](crate::Patience)).
    pub handler_timeout: Duration,
    /// Whether a session the server has forgotten is replaced silently: one new handshake, however many calls
    /// noticed, and each of them is sent once more. Otherwise the connection ends. Source: contract §7.5.
    pub recover_session: bool,
    /// How many requests the server is sent; `None`: as many as there are.
    pub rate_limit: Option<RateLimit>,
}

impl Default for ConnectOptions {
    /// This crate's name, no capabilities, both eras, no further headers, and 10 s, half of them for the probe;
    /// no handler (5 min if there is one), sessions are recovered, and no limit of the rate.
    fn default() -> Self {
        Self {
            client_info: ClientInfo::default(),
            capabilities: RawJson::empty_object(),
            policy: EraPolicy::Auto,
            hint: None,
            probe_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            headers: Vec::new(),
            handler: None,
            handler_timeout: Duration::from_secs(300),
            recover_session: true,
            rate_limit: None,
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("client_info", &self.client_info)
            .field("capabilities", &self.capabilities)
            .field("policy", &self.policy)
            .field("hint", &self.hint)
            .field("probe_timeout", &self.probe_timeout)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("headers", &self.headers)
            .field("handler", &self.handler.is_some())
            .field("handler_timeout", &self.handler_timeout)
            .field("recover_session", &self.recover_session)
            .field("rate_limit", &self.rate_limit)
            .finish()
    }
}
