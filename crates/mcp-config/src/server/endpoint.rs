//! Where a server is: the keys of each transport, checked.

use std::collections::{BTreeMap, HashSet};

use mcp_transport::{Endpoint, HttpEndpoint, StdioEndpoint, TransportKind};
use mcp_transport_stdio::is_refused;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::ServerSpec;
use crate::checks::Checks;
use crate::invalid::InvalidField;

/// The endpoint a definition names. `refused` gets what is written well and yet refused by the transport.
pub(super) fn endpoint(spec: &ServerSpec, refused: &mut Checks) -> Result<Endpoint, Vec<InvalidField>> {
    let kind = kind(spec).map_err(|fault| vec![fault])?;
    let mut checks = Checks::default();
    for (field, belongs_to, given) in [
        ("url", TransportKind::Http, spec.url.is_some()),
        ("headers", TransportKind::Http, spec.headers.is_some()),
        ("allow_insecure_http", TransportKind::Http, spec.allow_insecure_http.is_some()),
        ("command", TransportKind::Stdio, spec.command.is_some()),
        ("args", TransportKind::Stdio, spec.args.is_some()),
        ("env", TransportKind::Stdio, spec.env.is_some()),
        ("inherit_env", TransportKind::Stdio, spec.inherit_env.is_some()),
        ("allow_env", TransportKind::Stdio, spec.allow_env.is_some()),
        ("cwd", TransportKind::Stdio, spec.cwd.is_some()),
    ] {
        if given && belongs_to != kind {
            checks.fail([field], format!("is for servers of transport `{belongs_to}`, this one is `{kind}`"));
        }
    }
    let endpoint = match kind {
        TransportKind::Stdio => stdio(spec, &mut checks, refused).map(Endpoint::Stdio),
        _ => http(spec, &mut checks, refused).map(Endpoint::Http),
    };
    match (endpoint, checks.into_faults()) {
        (Some(endpoint), faults) if faults.is_empty() => Ok(endpoint),
        (_, faults) => Err(faults),
    }
}

fn kind(spec: &ServerSpec) -> Result<TransportKind, InvalidField> {
    let kind = match spec.transport.as_deref() {
        Some("stdio") => Some(TransportKind::Stdio),
        Some("http") => Some(TransportKind::Http),
        Some("sse") => {
            let reason = "`sse` is not available in this version; supported: `stdio`, `http`";
            return Err(InvalidField::new(["transport"], reason));
        }
        Some(_) => {
            let reason = "unknown transport; supported: `stdio`, `http`";
            return Err(InvalidField::new(["transport"], reason));
        }
        None => None,
    };
    let missing = |key: &str| InvalidField::new([], format!("`{key}` is missing"));
    match (kind, spec.command.is_some(), spec.url.is_some()) {
        (_, true, true) => Err(InvalidField::new([], "has both `command` and `url`; keep one")),
        (Some(TransportKind::Stdio), false, false) => Err(missing("command")),
        (Some(_), false, false) => Err(missing("url")),
        (None, false, false) => {
            Err(InvalidField::new([], "needs a `command` (a program to start) or a `url`"))
        }
        (Some(kind), _, _) => Ok(kind),
        (None, true, false) => Ok(TransportKind::Stdio),
        (None, false, true) => Ok(TransportKind::Http),
    }
}

fn stdio(spec: &ServerSpec, checks: &mut Checks, refused: &mut Checks) -> Option<StdioEndpoint> {
    let command = spec.command.clone()?;
    checks.ensure(!command.is_empty(), ["command"], "must not be empty");
    checks.ensure(is_one_line(&command), ["command"], NOT_ONE_LINE);
    let args = spec.args.clone().unwrap_or_default();
    for (index, arg) in args.iter().enumerate() {
        checks.ensure(is_one_line(arg), ["args", &index.to_string()], NOT_ONE_LINE);
    }
    let allow_env = spec.allow_env.clone().unwrap_or_default();
    for (index, name) in allow_env.iter().enumerate() {
        checks.ensure(is_variable(name), ["allow_env", &index.to_string()], NOT_A_VARIABLE);
    }
    let env = spec.env.clone().unwrap_or_default();
    for (name, value) in &env {
        checks.ensure(is_variable(name), ["env", name], NOT_A_VARIABLE);
        refused.ensure(!is_refused(name, &allow_env), ["env", name], LOADS_CODE);
        let whole = !value.expose_secret().contains('\0');
        checks.ensure(whole, ["env", name], "must not hold a NUL character");
    }
    let inherit_env = spec.inherit_env.clone().unwrap_or_default();
    for (index, name) in inherit_env.iter().enumerate() {
        let path = ["inherit_env", &index.to_string()];
        checks.ensure(is_variable(name), path, NOT_A_VARIABLE);
        refused.ensure(!is_refused(name, &allow_env), path, LOADS_CODE);
    }
    let cwd = spec.cwd.clone();
    let empty = cwd.as_ref().is_some_and(|cwd| cwd.as_os_str().is_empty());
    checks.ensure(!empty, ["cwd"], "must not be empty");
    Some(StdioEndpoint { command, args, env, inherit_env, allow_env, cwd })
}

const NOT_ONE_LINE: &str = "must not hold a NUL character or a line break";
const NOT_A_VARIABLE: &str = "is no name of an environment variable";
const LOADS_CODE: &str = "this variable makes programs load foreign code, so the server is not started; \
                          leave it out, or name it in `allow_env` as well";
const PLAIN_HTTP: &str = "plain http to another machine is refused when connecting; \
                          use https, or set `allow_insecure_http = true`";
const FRAMES: &str = "must not be set: it is derived from the URL and the request";

fn is_one_line(text: &str) -> bool {
    !text.contains(['\0', '\n', '\r'])
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

fn http(spec: &ServerSpec, checks: &mut Checks, refused: &mut Checks) -> Option<HttpEndpoint> {
    let url = match url(spec.url.as_deref()?) {
        Ok(url) => Some(url),
        Err(reason) => {
            checks.fail(["url"], reason);
            None
        }
    };
    let headers = spec.headers.clone().unwrap_or_default();
    check_headers(&headers, checks);
    let mut endpoint = HttpEndpoint::new(url?);
    endpoint.headers = headers.into_iter().collect();
    endpoint.allow_insecure_http = spec.allow_insecure_http.unwrap_or(false);
    let safe = endpoint.url.scheme() == "https" || is_loopback(&endpoint.url);
    refused.ensure(safe || endpoint.allow_insecure_http, ["url"], PLAIN_HTTP);
    Some(endpoint)
}

/// The URL as given; one without a path gets `/mcp`. Source: product, "Configuration".
fn url(text: &str) -> Result<Url, &'static str> {
    const SHAPE: &str = "must be an absolute `http` or `https` URL";
    let (_, rest) = text.split_once("://").ok_or(SHAPE)?;
    let mut url = Url::parse(text).map_err(|_| SHAPE)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(SHAPE);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password; send them in `headers`");
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (`#…`): it is never sent");
    }
    let authority_end = rest.find(['/', '\\', '?']);
    if authority_end.is_none_or(|end| rest[end..].starts_with('?')) {
        url.set_path("/mcp");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Headers that frame a request; no transport lets a configuration set them.
const FRAMING: [&str; 7] =
    ["connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"];

fn check_headers(headers: &BTreeMap<String, SecretString>, checks: &mut Checks) {
    let mut seen = HashSet::new();
    for (name, value) in headers {
        checks.ensure(is_header_name(name), ["headers", name], "is no name of an HTTP header");
        let folded = name.to_ascii_lowercase();
        checks.ensure(!FRAMING.contains(&&*folded), ["headers", name], FRAMES);
        let new = seen.insert(folded);
        checks.ensure(new, ["headers", name], "stands twice; case does not matter here");
        let visible = value.expose_secret().bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        checks.ensure(visible, ["headers", name], "must hold visible ASCII characters only");
    }
}

/// A token of RFC 9110.
fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}
