//! The handshake: `initialize`. Source: wire reference §2.1.

use crate::capability::{ClientCapabilities, ServerCapabilities};
use crate::implementation::Implementation;
use crate::json::RawJson;
use crate::structure::structure;
use crate::version::{Era, ProtocolVersion};

structure! {
    /// What a client offers.
    pub struct InitializeParams {
        /// The revision it would like, as it was written: it may be one this build does not know.
        req protocol_version "protocolVersion": Box<str>;
        /// What it can do.
        req capabilities "capabilities": ClientCapabilities;
        /// Who it is.
        req client_info "clientInfo": Implementation;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What a server answers.
    pub struct InitializeResult {
        /// The revision that applies, as it was written.
        req protocol_version "protocolVersion": Box<str>;
        /// What it can do.
        req capabilities "capabilities": ServerCapabilities;
        /// Who it is.
        req server_info "serverInfo": Implementation;
        /// How to use it, for models.
        opt instructions "instructions": Box<str>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

/// The revision a server answers `initialize` with: the wanted one if it has a handshake, else the newest
/// that has one. A stateless revision cannot be had this way. Source: wire reference §2.1.
#[must_use]
pub fn counter_offer(wanted: &str) -> ProtocolVersion {
    let wanted = wanted.parse::<ProtocolVersion>().ok();
    wanted.filter(|version| version.era() == Era::Handshake).unwrap_or(ProtocolVersion::LATEST_HANDSHAKE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_stateless_revisions_get_the_newest_handshake() {
        for (wanted, offered) in [
            ("2024-11-05", "2024-11-05"),
            ("2025-11-25", "2025-11-25"),
            ("2026-07-28", "2025-11-25"),
            ("1999-01-01", "2025-11-25"),
            ("", "2025-11-25"),
        ] {
            assert_eq!(counter_offer(wanted).as_str(), offered, "{wanted}");
        }
    }
}
