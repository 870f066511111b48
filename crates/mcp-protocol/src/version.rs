//! Protocol revisions and the two eras they belong to.

use std::fmt;
use std::str::FromStr;

/// How a connection is opened and what state it has. Source: MCP 2026-07-28, Versioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Era {
    /// `initialize` and sessions: revisions up to 2025-11-25 ("legacy" in the specification).
    Handshake,
    /// No handshake, every request carries its own context: 2026-07-28 on ("modern").
    Stateless,
}

impl fmt::Display for Era {
    /// `legacy` or `modern`, the words of the specification and of the REST API.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "legacy",
            Self::Stateless => "modern",
        })
    }
}

/// Which eras a connection may use. Source: contract §7.4, key `protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EraPolicy {
    /// Find out: stateless first, then the handshake.
    #[default]
    Auto,
    /// Only this era, without a probe.
    Only(Era),
}

/// A released revision of the specification.
///
/// Deliberately an enumeration and not an ordered string: an unknown revision is not "newer".
/// The order of the variants is the order of release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// 2024-11-05, the first one; HTTP+SSE.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, batches, tool annotations, audio.
    V2025_03_26,
    /// 2025-06-18: no batches, version header, structured content, elicitation.
    V2025_06_18,
    /// 2025-11-25: tasks, icons, URL elicitation, SSE polling.
    V2025_11_25,
    /// 2026-07-28: stateless.
    V2026_07_28,
}

impl ProtocolVersion {
    /// Every revision, oldest first.
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// The newest revision with a handshake, the one `initialize` offers.
    pub const LATEST_HANDSHAKE: Self = Self::V2025_11_25;

    /// The newest stateless revision.
    pub const LATEST_STATELESS: Self = Self::V2026_07_28;

    /// The revision as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The era the revision belongs to.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2024_11_05 | Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => Era::Handshake,
            Self::V2026_07_28 => Era::Stateless,
        }
    }

    /// Whether a receiver must accept JSON-RPC batches. Only 2025-03-26 has them.
    #[must_use]
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProtocolVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownVersion(text.into()))
    }
}

impl serde::Serialize for ProtocolVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for ProtocolVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A revision this build does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol version {0:?}")]
pub struct UnknownVersion(pub Box<str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_version_match_both_ways() {
        for version in ProtocolVersion::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        for text in ["", "2026-07-29", "zzz", "2025-11-25 ", "draft"] {
            assert_eq!(text.parse::<ProtocolVersion>(), Err(UnknownVersion(text.into())));
        }
    }

    #[test]
    fn only_the_newest_revision_is_stateless() {
        let stateless: Vec<_> =
            ProtocolVersion::ALL.into_iter().filter(|v| v.era() == Era::Stateless).collect();
        assert_eq!(stateless, [ProtocolVersion::LATEST_STATELESS]);
    }
}
