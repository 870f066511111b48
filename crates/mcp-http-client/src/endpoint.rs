//! Which URLs may be used at all.

use mcp_transport::{HttpEndpoint, TransportError};
use url::{Host, Url};

use crate::failure::unusable;

/// Checks the URL of an endpoint, before anything is looked up or sent.
pub(crate) fn check(endpoint: &HttpEndpoint) -> Result<(), TransportError> {
    let url = &endpoint.url;
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
        check(&endpoint)
    }

    #[test]
    fn unusable_endpoints_are_refused_before_anything_is_sent() {
        for (url, insecure, reason) in [
            ("http://example.com/mcp", false, "allow_insecure_http"),
            ("http://localhost.example.com/mcp", false, "allow_insecure_http"),
            ("http://127.0.0.1.example.com/mcp", false, "allow_insecure_http"),
            ("http://10.0.0.1/mcp", false, "allow_insecure_http"),
            ("http://[::2]/mcp", false, "allow_insecure_http"),
            ("https://user@example.com/mcp", false, "credentials"),
            ("https://:hunter2@example.com/mcp", true, "credentials"),
            ("ftp://example.com/mcp", true, "scheme"),
            ("file:///mcp", true, "scheme"),
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
}
