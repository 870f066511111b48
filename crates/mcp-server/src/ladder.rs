//! What a request of the stateless era must bring along, whatever it came on (wire reference §3.9).

use std::sync::Arc;

use mcp_protocol::header::name_in;
use mcp_protocol::meta::{self, InvalidMeta, RequestMeta};
use mcp_protocol::{Era, EraPolicy, ErrorCode, Method, ProtocolVersion, RawJson, Request, RpcError};

/// Whether a service has an era.
pub(crate) fn has_era(eras: EraPolicy, era: Era) -> bool {
    matches!(eras, EraPolicy::Auto) || eras == EraPolicy::Only(era)
}

/// Whether the request carries any of an envelope, which makes it one of the stateless era.
pub(crate) fn has_envelope(request: &Request) -> bool {
    request.params.as_ref().and_then(|params| params.get(meta::MEMBER)).is_some_and(|meta| {
        meta.get(meta::PROTOCOL_VERSION).is_some() || meta.get(meta::CLIENT_CAPABILITIES).is_some()
    })
}

/// Step 3: the envelope, and what the request is about. Where there is no handshake, who attempts one learns which
/// revisions there are.
pub(crate) fn envelope(
    request: &Request,
    eras: EraPolicy,
) -> Result<(RequestMeta, Option<Arc<str>>), RpcError> {
    if request.method == Method::Initialize && !has_era(eras, Era::Handshake) && !has_envelope(request) {
        let asked: Option<String> =
            request.params.as_ref().and_then(|params| params.get("protocolVersion")?.to().ok());
        return Err(unsupported_version(eras, &asked.unwrap_or_default()));
    }
    let read = |params: &RawJson| {
        let members = params.members()?;
        Ok((RequestMeta::read_in(params, &members)?, name_in(&request.method, &members)))
    };
    let missing = || Err(InvalidMeta::Missing { key: meta::PROTOCOL_VERSION });
    request.params.as_ref().map_or_else(missing, read).map_err(|invalid| invalid.to_error())
}

/// Steps 5 and 6: the revision is served and has the method. Methods that no revision knows may belong to an
/// extension and are the service's affair.
pub(crate) fn revision(meta: &RequestMeta, method: &Method, eras: EraPolicy) -> Result<(), RpcError> {
    let asked = meta.protocol_version.parse::<ProtocolVersion>().ok();
    let Some(version) = asked.filter(|version| version.era() == Era::Stateless) else {
        return Err(unsupported_version(eras, &meta.protocol_version));
    };
    let known = method.direction().is_some();
    if known && (method.is_notification() || !method.exists_in(version)) {
        return Err(unknown_method(method));
    }
    Ok(())
}

/// The error that names what is served instead, newest first.
fn unsupported_version(eras: EraPolicy, asked: &str) -> RpcError {
    let served = ProtocolVersion::ALL.into_iter().rev().filter(|version| has_era(eras, version.era()));
    RpcError::unsupported_version(&served.collect::<Vec<_>>(), asked)
}

/// The error for a client that probes for the stateless era and forgets the envelope, or does not find that era.
pub(crate) fn discover_without_envelope(eras: EraPolicy) -> RpcError {
    if has_era(eras, Era::Stateless) {
        RpcError::new(ErrorCode::INVALID_PARAMS, "params._meta of a stateless request is missing")
    } else {
        unknown_method(&Method::ServerDiscover)
    }
}

pub(crate) fn unknown_method(method: &Method) -> RpcError {
    RpcError::new(ErrorCode::METHOD_NOT_FOUND, &format!("unknown method {method}"))
}
