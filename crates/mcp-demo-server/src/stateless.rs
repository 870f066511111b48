//! What only the stateless era has: the envelope, `server/discover`.

use std::time::Duration;

use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{ErrorCode, ProtocolVersion, Request, RpcError};
use serde_json::json;

use crate::answer::{Answer, raw};
use crate::caller::Caller;
use crate::core::DemoServer;
use crate::handshake::{INSTRUCTIONS, capabilities};
use crate::options::DemoOptions;

/// What this server is does not change while it runs.
const DISCOVER_TTL: Duration = Duration::from_secs(3600);

impl DemoServer {
    /// The context of a request with an envelope: steps 3 and 5 of the ladder (wire reference §3.9).
    pub(crate) fn stateless_caller(&self, request: &Request) -> Result<Caller, RpcError> {
        let meta = RequestMeta::read(request.params.as_ref()).map_err(|invalid| invalid.to_error())?;
        Caller::stateless(&meta).ok_or_else(|| unsupported_version(&meta.protocol_version, &self.options))
    }

    /// `server/discover`
    pub(crate) fn discover(&self, version: ProtocolVersion) -> Answer {
        Answer::cached(
            json!({
                "supportedVersions": self.options.versions(),
                "capabilities": capabilities(version),
                "instructions": INSTRUCTIONS,
            }),
            DISCOVER_TTL,
        )
    }
}

/// The error that names what is served instead.
pub(crate) fn unsupported_version(requested: &str, options: &DemoOptions) -> RpcError {
    let data = raw(&json!({ "supported": options.versions(), "requested": requested }));
    RpcError::with_data(ErrorCode::UNSUPPORTED_PROTOCOL_VERSION, "unsupported protocol version", &data)
}
