//! Where a server is: the keys of each transport, checked.

use mcp_registry::Policy;
use mcp_transport::{Endpoint, OpenMethod, SseEndpoint, StdioEndpoint, TransportKind};
use mcp_transport_stdio::is_refused;
use secrecy::ExposeSecret;

use super::{ServerSpec, http};
use crate::checks::{Checks, set};
use crate::invalid::InvalidField;

const STDIO: &[TransportKind] = &[TransportKind::Stdio];
const SSE: &[TransportKind] = &[TransportKind::Sse];
const OVER_HTTP: &[TransportKind] = &[TransportKind::Http, TransportKind::Sse];

/// The endpoint a definition names. `refused` gets what is written well and yet refused by the transport.
pub(super) fn endpoint(
    spec: &ServerSpec,
    policy: &Policy,
    refused: &mut Checks,
) -> Result<Endpoint, Vec<InvalidField>> {
    let kind = kind(spec).map_err(|fault| vec![fault])?;
    let mut checks = Checks::default();
    for (field, belongs_to, given) in [
        ("url", OVER_HTTP, spec.url.is_some()),
        ("headers", OVER_HTTP, spec.headers.is_some()),
        ("allow_insecure_http", OVER_HTTP, spec.allow_insecure_http.is_some()),
        ("auth", OVER_HTTP, spec.auth.is_some()),
        ("tls", OVER_HTTP, spec.tls.is_some()),
        ("proxy", OVER_HTTP, spec.proxy.is_some()),
        ("rate_limit", OVER_HTTP, spec.rate_limit.is_some()),
        ("heartbeat_ms", SSE, spec.heartbeat_ms.is_some()),
        ("open_method", SSE, spec.open_method.is_some()),
        ("command", STDIO, spec.command.is_some()),
        ("args", STDIO, spec.args.is_some()),
        ("env", STDIO, spec.env.is_some()),
        ("inherit_env", STDIO, spec.inherit_env.is_some()),
        ("allow_env", STDIO, spec.allow_env.is_some()),
        ("cwd", STDIO, spec.cwd.is_some()),
        ("restart", STDIO, spec.restart.is_some()),
    ] {
        if given && !belongs_to.contains(&kind) {
            let kinds: Vec<String> = belongs_to.iter().map(|kind| format!("`{kind}`")).collect();
            let kinds = kinds.join(" or ");
            checks.fail([field], format!("is for servers of transport {kinds}, this one is `{kind}`"));
        }
    }
    let endpoint = match kind {
        TransportKind::Stdio => stdio(spec, &mut checks, refused).map(Endpoint::Stdio),
        TransportKind::Sse => sse(spec, policy, &mut checks, refused).map(Endpoint::Sse),
        _ => http::endpoint(spec, Some("/mcp"), &mut checks, refused).map(Endpoint::Http),
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
        Some("sse") => Some(TransportKind::Sse),
        Some(_) => {
            let reason = "unknown transport; supported: `stdio`, `http`, `sse`";
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

const OPEN_METHODS: [(&str, OpenMethod); 2] = [("get", OpenMethod::Get), ("post", OpenMethod::Post)];

fn sse(spec: &ServerSpec, policy: &Policy, checks: &mut Checks, refused: &mut Checks) -> Option<SseEndpoint> {
    let heartbeat = checks.millis(["heartbeat_ms"], spec.heartbeat_ms, 0).unwrap_or(policy.sse_heartbeat);
    let open_method = checks.word(["open_method"], spec.open_method.as_deref(), &OPEN_METHODS);
    let mut endpoint = SseEndpoint::new(http::endpoint(spec, None, checks, refused)?);
    endpoint.heartbeat = (!heartbeat.is_zero()).then_some(heartbeat);
    set(&mut endpoint.open_method, open_method);
    Some(endpoint)
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

fn is_one_line(text: &str) -> bool {
    !text.contains(['\0', '\n', '\r'])
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
