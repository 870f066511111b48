//! How a client behaves.

use std::fmt;
use std::sync::Arc;

use mcp_client::ConnectOptions;
use mcp_registry::{Policy, Random, SystemRandom, Timer};

use crate::breaker::BreakerOptions;
use crate::timer::TokioTimer;

/// How clients behave, apart from what the definition of their server says.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Attempts, waits and time limits: `connect_*`, `handshake_timeout` and `ping_timeout`. Each request has
    /// the limit of the server's definition.
    pub policy: Arc<Policy>,
    /// Who we are, what we offer to servers, and who answers what they ask. Its `policy`, `hint` and time limits
    /// are set anew for each connection, and so is its `rate_limit` if the server's definition has one.
    pub connect: ConnectOptions,
    /// The circuit breaker; `None`: off, as it has to be where a manager decides which servers are called.
    pub breaker: Option<BreakerOptions>,
    /// Whether a connection that is lost, or that `connect` could not make, is made again in the background. After a
    /// loss it is not if the server's definition has `restart` off.
    pub reconnect: bool,
    /// Tells the time and waits.
    pub timer: Arc<dyn Timer>,
    /// Where jitter comes from.
    pub random: Arc<dyn Random>,
}

impl Default for ClientOptions {
    /// The defaults of contract §0.3, breaker and background reconnection on, tokio's clock.
    fn default() -> Self {
        Self {
            policy: Arc::default(),
            connect: ConnectOptions::default(),
            breaker: Some(BreakerOptions::default()),
            reconnect: true,
            timer: Arc::new(TokioTimer::new()),
            random: Arc::new(SystemRandom),
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("policy", &self.policy)
            .field("breaker", &self.breaker)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}
