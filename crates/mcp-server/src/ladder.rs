//! What a request of the stateless era must bring along, whatever it came on (wire reference §3.9).

use mcp_protocol::meta::{self, RequestMeta};
use mcp_protocol::{Era, ErrorCode, Method, ProtocolVersion, Request, RpcError};

/// Whether the request carries any of an envelope, which makes it one of the stateless era.
pub(crate) fn has_envelope(request: &Request) -> bool {
    request.params.as_ref().and_then(|params| params.get(meta::MEMBER)).is_some_and(|meta| {
        meta.get(meta::PROTOCOL_VERSION).is_some() || meta.get(meta::CLIENT_CAPABILITIES).is_some()
    })
}

/// Step 3: the envelope.
pub(crate) fn envelope(request: &Request) -> Result<RequestMeta, RpcError> {
    RequestMeta::read(request.params.as_ref()).map_err(|invalid| invalid.to_error())
}

/// Steps 5 and 6: the revision is served and has the method. Methods that no revision knows may belong to an
/// extension and are the service's affair.
pub(crate) fn revision(meta: &RequestMeta, method: &Method) -> Result<(), RpcError> {
    let asked = meta.protocol_version.parse::<ProtocolVersion>().ok();
    let Some(version) = asked.filter(|version| version.era() == Era::Stateless) else {
        let mut served = ProtocolVersion::ALL;
        served.reverse();
        return Err(RpcError::unsupported_version(&served, &meta.protocol_version));
    };
    let known = method.direction().is_some();
    if known && (method.is_notification() || !method.exists_in(version)) {
        return Err(unknown_method(method));
    }
    Ok(())
}

pub(crate) fn unknown_method(method: &Method) -> RpcError {
    RpcError::new(ErrorCode::METHOD_NOT_FOUND, &format!("unknown method {method}"))
}
