//! What only the stateless era has: `server/discover`.

use std::time::Duration;

use mcp_protocol::ProtocolVersion;
use serde_json::json;

use crate::answer::Answer;
use crate::demo::Demo;
use crate::handshake::{INSTRUCTIONS, capabilities};

/// What this server is does not change while it runs.
const DISCOVER_TTL: Duration = Duration::from_secs(3600);

impl Demo {
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
