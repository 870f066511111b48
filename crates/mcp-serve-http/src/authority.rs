//! `host[:port]`, read strictly.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The host of a `Host` header, an `Origin` or an allow-list entry.
///
/// Addresses are compared as addresses, names without regard to case. There is no resolution and no
/// guessing: `127.1`, `2130706433` and `localhost.` are names, and other names than `localhost`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum HostName {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Name(Box<str>),
}

/// A host with the port that was written behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Authority {
    pub(crate) host: HostName,
    pub(crate) port: Option<u16>,
}

/// A text that is no `host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no host or host:port: use a DNS name, an IPv4 address or an IPv6 address in brackets")]
pub struct InvalidAuthority {
    /// What was given.
    pub text: Box<str>,
}

impl FromStr for Authority {
    type Err = InvalidAuthority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or_else(|| InvalidAuthority { text: text.into() })
    }
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (HostName::V6(address.parse().ok()?), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, port) = text.split_at(end);
                (HostName::parse(name)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }
}

impl HostName {
    fn parse(name: &str) -> Option<Self> {
        if let Ok(address) = name.parse() {
            return Some(Self::V4(address));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let well_formed = (1..=253).contains(&name.len()) && name.chars().all(allowed);
        well_formed.then(|| Self::Name(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Digits only: `str::parse` would also take `+80`.
fn parse_port(digits: &str) -> Option<u16> {
    let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_authorities_are_read() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("LocalHost:8300", "localhost", Some(8300)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:65535", "[::1]", Some(65535)),
            ("my_host.example-1.com", "my_host.example-1.com", None),
        ] {
            let read: Authority = text.parse().unwrap();
            assert_eq!((read.host.to_string().as_str(), read.port), (host, port), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "a".repeat(254);
        for text in [
            "",
            ":80",
            "localhost:",
            "localhost:+80",
            "localhost:65536",
            "localhost:8 0",
            "localhost:80:80",
            "a b",
            "user@localhost",
            "localhost/",
            "localhost?",
            "localhost#",
            "http://localhost",
            "::1",
            "[::1",
            "[::1]80",
            "[::1%25eth0]",
            "[localhost]",
            "локалхост",
            "local\thost",
            "a,b",
            "localhost%2e",
            &long,
        ] {
            assert_eq!(text.parse::<Authority>(), Err(InvalidAuthority { text: text.into() }));
        }
    }
}
