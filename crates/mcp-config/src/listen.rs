//! The address the gateway listens on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// A host and a port, as `127.0.0.1:8300`, `[::1]:8300` or `localhost:8300`. Port 0 means any free one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

/// Why a text is no listen address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be host:port, for example \"127.0.0.1:8300\", or \"0.0.0.0:8300\" for every interface")]
pub struct InvalidListen;

impl ListenAddress {
    /// Host to bind: an address without brackets, or a name to resolve.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    /// Port to bind.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can connect. Of names only `localhost` counts.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Address(address) => address.to_canonical().is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl Default for ListenAddress {
    /// `127.0.0.1:8300`.
    fn default() -> Self {
        Self { host: Host::Address(Ipv4Addr::LOCALHOST.into()), port: 8300 }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<std::net::SocketAddr>() {
            return Ok(Self { host: Host::Address(address.ip()), port: address.port() });
        }
        let (name, port) = text.rsplit_once(':').ok_or(InvalidListen)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // A name of digits and dots is an address with a mistake in it.
        let named = name.contains(|c: char| c.is_ascii_alphabetic()) && name.len() <= 253;
        if !named || !name.chars().all(allowed) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidListen);
        }
        let port = port.parse().map_err(|_| InvalidListen)?;
        Ok(Self { host: Host::Name(name.to_owned()), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => std::net::SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_know_who_can_reach_them() {
        for (text, host, loopback) in [
            ("127.0.0.1:8300", "127.0.0.1", true),
            ("127.8.8.8:1", "127.8.8.8", true),
            ("[::1]:8300", "::1", true),
            ("[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", true),
            ("localhost:0", "localhost", true),
            ("LOCALHOST:80", "LOCALHOST", true),
            ("0.0.0.0:8300", "0.0.0.0", false),
            ("[::]:8300", "::", false),
            ("192.168.0.7:8300", "192.168.0.7", false),
            ("gateway.example:8300", "gateway.example", false),
            ("localhost.example:8300", "localhost.example", false),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.host(), host, "{text}");
            assert_eq!(address.is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "8300",
            ":8300",
            "localhost",
            "localhost:",
            "localhost:99999",
            "127.0.0:80",
            "::1:80",
            "a b:80",
            "h:+1",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(InvalidListen), "{text}");
        }
    }
}
