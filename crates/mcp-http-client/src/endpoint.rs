//! Which URLs may be used at all.

use http::Uri;
use mcp_transport::{Auth, HttpEndpoint, TransportError};
use url::{Host, Url};

use crate::address::AddressPolicy;
use crate::credentials;
use crate::failure::unusable;

/// Checks the URLs of an endpoint, before anything is looked up or sent.
pub(crate) fn check(endpoint: &HttpEndpoint, policy: &AddressPolicy) -> Result<(), TransportError> {
    let url = &endpoint.url;
    if let Some(proxy) = &endpoint.proxy {
        check_proxy(proxy, policy)?;
    }
    if let Some(Auth::ClientCredentials(credentials)) = &endpoint.auth {
        credentials::check(credentials, policy)?;
    }
    policy.check_url(url).map_err(|refused| unusable(format!("the URL cannot be used: {refused}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unusable("the URL holds credentials; send them in a header instead"));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) || endpoint.allow_insecure_http => Ok(()),
        "http" => Err(unusable(
            "plain http is allowed to loopback addresses only; use https or set allow_insecure_http",
        )),
        other => Err(unusable(format!("the URL scheme must be http or https, not {other}"))),
    }
}

fn check_proxy(url: &Url, policy: &AddressPolicy) -> Result<(), TransportError> {
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(unusable("the proxy URL must be http://host:port or https://host:port"));
    }
    policy.check_url(url).map_err(|refused| unusable(format!("the proxy cannot be used: {refused}")))
}

/// Whether two URLs lead to the same scheme, host and port.
#[must_use]
pub fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// The URL as a request takes it, without a fragment.
///
/// # Errors
/// [`Endpoint`](mcp_transport::TransportErrorKind::Endpoint) for a URL that cannot be sent.
pub fn to_uri(url: &Url) -> Result<Uri, TransportError> {
    Uri::try_from(url.as_str()).map_err(|error| unusable(format!("the URL cannot be used: {error}")))
}

/// The URL without its fragment.
pub(crate) fn without_fragment(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    url
}

/// Whether plain http to this URL stays on the machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use mcp_transport::{Delivery, TransportErrorKind};

    use super::*;

    fn checked(url: &str, insecure: bool) -> Result<(), TransportError> {
        let mut endpoint = HttpEndpoint::new(url.parse().unwrap());
        endpoint.allow_insecure_http = insecure;
        check(&endpoint, &AddressPolicy::default())
    }

    #[test]
    fn j14_unusable_endpoints_are_refused_before_anything_is_sent() {
        for (url, insecure, reason) in [
            ("http://example.com/mcp", false, "allow_insecure_http"),
            ("http://localhost.example.com/mcp", false, "allow_insecure_http"),
            ("http://127.0.0.1.example.com/mcp", false, "allow_insecure_http"),
            ("http://10.0.0.1/mcp", false, "allow_insecure_http"),
            ("http://[2001:db8::2]/mcp", false, "allow_insecure_http"),
            ("https://user@example.com/mcp", false, "credentials"),
            ("https://:hunter2@example.com/mcp", true, "credentials"),
            ("ftp://example.com/mcp", true, "scheme"),
            ("file:///mcp", true, "scheme"),
            ("https://169.254.169.254/", true, "169.254.169.254 is refused"),
        ] {
            let error = checked(url, insecure).unwrap_err();
            assert_eq!(error.delivery, Delivery::NotSent, "{url}");
            let TransportErrorKind::Endpoint(text) = error.kind else { panic!("{url}: {error:?}") };
            assert!(text.contains(reason) && !text.contains("hunter2"), "{url}: {text}");
        }
    }

    #[test]
    fn loopback_and_https_are_accepted() {
        for (url, insecure) in [
            ("http://localhost:1/mcp", false),
            ("http://LOCALHOST/", false),
            ("http://127.8.9.1/mcp", false),
            ("http://2130706433/mcp", false), // 127.0.0.1 as one number
            ("http://[::1]:80/mcp", false),
            ("http://example.com/mcp", true),
            ("https://example.com/mcp?key=1", false),
        ] {
            assert!(checked(url, insecure).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for (proxy, reason) in [
            ("http://127.0.0.1:3128", None),
            ("https://proxy.example", None),
            ("http://me:hunter2@127.0.0.1:3128", None),
            ("socks5://127.0.0.1:1080", Some("the proxy URL must be http://host:port or https://host:port")),
            ("data:x", Some("the proxy URL must be http://host:port or https://host:port")),
            (
                "http://169.254.1.1",
                Some(
                    "the proxy cannot be used: the address 169.254.1.1 is refused: \
                     link-local, where cloud metadata is",
                ),
            ),
        ] {
            let mut endpoint = HttpEndpoint::new("https://a.example/mcp".parse().unwrap());
            endpoint.proxy = Some(proxy.parse().unwrap());
            let found = check(&endpoint, &AddressPolicy::default()).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), reason, "{proxy}");
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let same = |one: &str, other: &str| same_origin(&one.parse().unwrap(), &other.parse().unwrap());
        for (other, expected) in [
            ("https://A.example:443/x?y", true),
            ("https://a.example/mcp", true),
            ("http://a.example/mcp", false),
            ("https://a.example:8443/mcp", false),
            ("https://a.example.org/mcp", false),
            ("https://b.example/mcp", false),
        ] {
            assert_eq!(same("https://a.example/mcp", other), expected, "{other}");
        }
    }
}
