//! The keys of servers that are reached over HTTP, whatever the transport.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use mcp_transport::{HttpEndpoint, TlsSettings};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::{Host, Url};

use super::ServerSpec;
use crate::checks::{Checks, set};

/// The keys of `tls` as written. Files are in PEM.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsSpec {
    /// Certificates of authorities that are trusted besides those of the operating system.
    pub ca_file: Option<PathBuf>,
    /// Our certificate chain, for servers that ask for one; with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Whether any certificate is accepted (false).
    pub danger_skip_verify: Option<bool>,
}

const SHAPE: &str = "must be an absolute `http` or `https` URL";
const PLAIN_HTTP: &str = "plain http to another machine is refused when connecting; \
                          use https, or set `allow_insecure_http = true`";
const FRAMES: &str = "must not be set: it is derived from the URL and the request";

/// How requests are made. A URL without a path gets `path`, if there is one.
pub(super) fn endpoint(
    spec: &ServerSpec,
    path: Option<&str>,
    checks: &mut Checks,
    refused: &mut Checks,
) -> Option<HttpEndpoint> {
    let given = spec.url.as_deref()?;
    let target = checks.valid(["url"], url(given, "; send them in `headers`"));
    let headers = spec.headers.clone().unwrap_or_default();
    check_headers(&headers, checks);
    let mut headers: Vec<_> = headers.into_iter().collect();
    let auth = spec.auth.as_ref().and_then(|auth| auth.check(&mut headers, checks));
    let tls = spec.tls.as_ref().map(|tls| tls.check(checks));
    let proxy = spec
        .proxy
        .as_deref()
        .and_then(|text| checks.valid(["proxy"], url(text, ": a proxy that asks for them is not supported")));

    let mut endpoint = HttpEndpoint::new(target?);
    if let Some(path) = path
        && !has_path(given)
    {
        endpoint.url.set_path(path);
    }
    endpoint.headers = headers;
    endpoint.auth = auth;
    endpoint.proxy = proxy;
    set(&mut endpoint.tls, tls);
    set(&mut endpoint.allow_insecure_http, spec.allow_insecure_http);
    refused.ensure(is_safe(&endpoint.url) || endpoint.allow_insecure_http, ["url"], PLAIN_HTTP);
    Some(endpoint)
}

/// A URL to send requests to; `advice` says what to do instead of putting credentials in it.
pub(super) fn url(text: &str, advice: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| {
        // The parser forgives what is left out: `https:x` is a URL to it.
        text.contains("://") && matches!(url.scheme(), "http" | "https")
    });
    let url = url.ok_or(SHAPE)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("must not hold a user name or password{advice}"));
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (`#…`): it is never sent".into());
    }
    Ok(url)
}

/// Whether a URL that can be parsed was written with a path, if only `/`.
fn has_path(text: &str) -> bool {
    let (_, rest) = text.split_once("://").unwrap_or_default();
    rest.find(['/', '\\', '?']).is_some_and(|end| !rest[end..].starts_with('?'))
}

/// Whether nobody on the way reads what is sent there.
pub(super) fn is_safe(url: &Url) -> bool {
    url.scheme() == "https"
        || match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

impl TlsSpec {
    /// The keys that name files, with what they name.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let files =
            [("ca_file", &self.ca_file), ("cert_file", &self.cert_file), ("key_file", &self.key_file)];
        files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?)))
    }

    fn check(&self, checks: &mut Checks) -> TlsSettings {
        for (key, file) in self.files() {
            checks.ensure(!file.as_os_str().is_empty(), ["tls", key], "must not be empty");
        }
        let pair = self.cert_file.is_some() == self.key_file.is_some();
        checks.ensure(pair, ["tls"], "`cert_file` and `key_file` belong together; one is missing");
        TlsSettings {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            danger_skip_verify: self.danger_skip_verify.unwrap_or(false),
        }
    }
}

/// Headers that frame a request; no transport lets a configuration set them.
const FRAMING: [&str; 7] =
    ["connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"];

fn check_headers(headers: &BTreeMap<String, SecretString>, checks: &mut Checks) {
    let mut seen = HashSet::new();
    for (name, value) in headers {
        check_header_name(["headers", name], name, checks);
        let new = seen.insert(name.to_ascii_lowercase());
        checks.ensure(new, ["headers", name], "stands twice; case does not matter here");
        checks.ensure(is_visible(value.expose_secret()), ["headers", name], NOT_VISIBLE);
    }
}

pub(super) const NOT_VISIBLE: &str = "must hold visible ASCII characters only";

/// Whether it can be the value of a header.
pub(super) fn is_visible(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

/// Checks the name of a header that a configuration may set.
pub(super) fn check_header_name(path: [&str; 2], name: &str, checks: &mut Checks) {
    // A token of RFC 9110.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(token);
    checks.ensure(is_name, path, "is no name of an HTTP header");
    checks.ensure(!FRAMING.contains(&&*name.to_ascii_lowercase()), path, FRAMES);
}
