//! Log messages from servers. Source: wire reference §2.6.

use crate::json::RawJson;
use crate::structure::{structure, words};

words! {
    /// How much a log message matters (RFC 5424); ordered from least to most.
    pub enum LogLevel {
        /// Details.
        Debug "debug",
        /// Progress.
        Info "info",
        /// Normal but noteworthy.
        Notice "notice",
        /// Something may be wrong.
        Warning "warning",
        /// Something failed.
        Error "error",
        /// A part failed.
        Critical "critical",
        /// Somebody must act.
        Alert "alert",
        /// Nothing works.
        Emergency "emergency",
    }
}

structure! {
    /// What `logging/setLevel` asks for (handshake era).
    pub struct SetLevelParams {
        /// The least level to send.
        req level "level": LogLevel;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `notifications/message` says.
    pub struct LogMessageParams {
        /// How much it matters.
        req level "level": LogLevel;
        /// Who says it.
        opt logger "logger": Box<str>;
        /// What is said: any JSON.
        req data "data": RawJson;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered() {
        assert!(LogLevel::ALL.is_sorted());
        assert!(LogLevel::Debug < LogLevel::Emergency);
        assert_eq!(LogLevel::from_wire("warning"), Some(LogLevel::Warning));
        assert_eq!(LogLevel::from_wire("WARNING"), None);
    }
}
