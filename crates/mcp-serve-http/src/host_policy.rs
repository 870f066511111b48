//! Which `Host` and `Origin` a request may name.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, Uri, header, uri::Scheme};
use tower::Layer;

use crate::authority::{Authority, HostName, InvalidAuthority};
use crate::guard::{HostGuard, HostGuardLayer};

/// The hosts under which a server may be addressed, and the web origins that may address it.
///
/// Defence against DNS rebinding: a page whose name was re-pointed at this machine still sends its own
/// name in `Host` and `Origin`. Source: MCP Streamable HTTP, "Security & Endpoint"; S02 and S03 of the
/// reliability document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPolicy {
    hosts: Vec<Authority>,
    origins: Vec<(Scheme, Authority)>,
    /// For entries that name none. `None`: any.
    port: Option<u16>,
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No `Host`, several, a malformed one, one not on the list, or one that contradicts the request line.
    #[error("this server is not reachable under the name in the Host header")]
    Host,
    /// Several `Origin`s, `null`, a malformed one, or one not on the list.
    #[error("requests from this Origin are not allowed")]
    Origin,
}

impl HostPolicy {
    /// `localhost`, `127.0.0.1` and `[::1]`, on any port.
    #[must_use]
    pub fn loopback() -> Self {
        let hosts = [
            HostName::Name("localhost".into()),
            HostName::V4(Ipv4Addr::LOCALHOST),
            HostName::V6(Ipv6Addr::LOCALHOST),
        ];
        let hosts = hosts.map(|host| Authority { host, port: None }).into();
        Self { hosts, origins: Vec::new(), port: None }
    }

    /// Wants this port wherever an entry names none. A missing port means 80, in an `https` origin 443.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Also allows a host, `name` or `name:port`, and with it the origins on that host.
    ///
    /// # Errors
    /// [`InvalidAuthority`] if the text is neither.
    pub fn allow_host(mut self, host: &str) -> Result<Self, InvalidAuthority> {
        self.hosts.push(host.parse()?);
        Ok(self)
    }

    /// Also allows the pages of one origin, `https://app.example.com` or `http://localhost:5173`, exactly.
    ///
    /// # Errors
    /// [`InvalidAuthority`] if the text is no `http` or `https` origin.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, InvalidAuthority> {
        let invalid = || InvalidAuthority { text: origin.into() };
        self.origins.push(parse_origin(origin).ok_or_else(invalid)?);
        Ok(self)
    }

    /// The policy as a layer for a router: host refused → 421, origin refused → 403.
    #[must_use]
    pub fn layer(self) -> HostGuardLayer {
        HostGuardLayer::new(self)
    }

    /// The policy in front of a whole site, which is less work for a request than a layer at every route.
    #[must_use]
    pub fn guard<S>(self, site: S) -> HostGuard<S> {
        self.layer().layer(site)
    }

    /// Judges a request by its request target and headers. No `Origin` is fine: only browsers send it.
    ///
    /// # Errors
    /// [`Refusal`], the first reason found.
    pub fn check(&self, target: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        self.check_host(target, headers)?;
        self.check_origin(headers)
    }

    pub(crate) fn check_host(&self, target: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host =
            single(headers, &header::HOST).map_err(|Unreadable| Refusal::Host)?.ok_or(Refusal::Host)?;
        // An absolute request target must agree with the header, or two parties could read two hosts.
        if target.authority().is_some_and(|named| !named.as_str().eq_ignore_ascii_case(host)) {
            return Err(Refusal::Host);
        }
        let host = host.parse().map_err(|_: InvalidAuthority| Refusal::Host)?;
        if self.allows(&host, &Scheme::HTTP) { Ok(()) } else { Err(Refusal::Host) }
    }

    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match single(headers, &header::ORIGIN) {
            Ok(None) => Ok(()),
            Ok(Some(origin)) if self.allows_origin(origin) => Ok(()),
            _ => Err(Refusal::Origin),
        }
    }

    fn allows_origin(&self, origin: &str) -> bool {
        parse_origin(origin).is_some_and(|(scheme, authority)| {
            let port = authority.port.unwrap_or(default_port(&scheme));
            let listed = self.origins.iter().any(|(allowed, entry)| {
                *allowed == scheme
                    && entry.host == authority.host
                    && entry.port.unwrap_or(default_port(allowed)) == port
            });
            listed || self.allows(&authority, &scheme)
        })
    }

    fn allows(&self, named: &Authority, scheme: &Scheme) -> bool {
        let port = named.port.unwrap_or(default_port(scheme));
        self.hosts.iter().any(|entry| {
            entry.host == named.host && entry.port.or(self.port).is_none_or(|wanted| wanted == port)
        })
    }
}

struct Unreadable;

/// The value of a header that may stand at most once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Unreadable> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Unreadable),
        (Some(_), Some(_)) => Err(Unreadable),
    }
}

/// Reads `scheme://host[:port]`; `null`, lists and anything with a path are no origins.
fn parse_origin(origin: &str) -> Option<(Scheme, Authority)> {
    let (scheme, authority) = origin.split_once("://")?;
    let scheme = match scheme {
        "http" => Scheme::HTTP,
        "https" => Scheme::HTTPS,
        _ => return None,
    };
    Some((scheme, authority.parse().ok()?))
}

fn default_port(scheme: &Scheme) -> u16 {
    if *scheme == Scheme::HTTPS { 443 } else { 80 }
}

#[cfg(test)]
mod tests;
