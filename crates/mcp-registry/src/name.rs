//! Names of servers and groups.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The operator-chosen name of one upstream server (or of a group of servers), unique in a configuration.
///
/// 1 to 64 characters from `[A-Za-z0-9._-]`, a letter or digit first. It holds no `__` and does not end
/// in `_`, so that the first `__` of an exposed tool name is always where the server name ends.
/// Compared byte-wise, case-sensitively. Source: contract §0.2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// Longest name in bytes.
    pub const MAX_LEN: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no server name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidServerName {
    /// Empty or too long.
    #[error("a server name has 1 to {} characters, this one has {len}", ServerName::MAX_LEN)]
    Length {
        /// Length in bytes.
        len: usize,
    },
    /// A character outside the allowed set.
    #[error(
        "a server name holds letters, digits, '.', '_' and '-', a letter or digit first; found {found:?} at position {at}"
    )]
    Character {
        /// The character.
        found: char,
        /// Its position in bytes.
        at: usize,
    },
    /// Would make exposed tool names ambiguous.
    #[error("a server name holds no \"__\" and does not end in '_'")]
    Separator,
}

impl FromStr for ServerName {
    type Err = InvalidServerName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > Self::MAX_LEN {
            return Err(InvalidServerName::Length { len: text.len() });
        }
        let allowed =
            |at: usize, c: char| c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '.' | '_' | '-'));
        if let Some((at, found)) = text.char_indices().find(|&(at, c)| !allowed(at, c)) {
            return Err(InvalidServerName::Character { found, at });
        }
        if text.contains("__") || text.ends_with('_') {
            return Err(InvalidServerName::Separator);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "7", "a.b-c_d", "A1", &"x".repeat(64)] {
            assert_eq!(good.parse::<ServerName>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", InvalidServerName::Length { len: 0 }),
            (&*"x".repeat(65), InvalidServerName::Length { len: 65 }),
            (".a", InvalidServerName::Character { found: '.', at: 0 }),
            ("a b", InvalidServerName::Character { found: ' ', at: 1 }),
            ("aé", InvalidServerName::Character { found: 'é', at: 1 }),
            ("a__b", InvalidServerName::Separator),
            ("a_", InvalidServerName::Separator),
        ] {
            assert_eq!(bad.parse::<ServerName>(), Err(why), "{bad:?}");
        }
    }
}
