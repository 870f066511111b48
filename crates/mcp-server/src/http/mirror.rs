//! Headers that repeat what the body of a stateless request says (wire reference §3.8).

use axum::http::header::AsHeaderName;
use axum::http::{HeaderMap, HeaderName};
use mcp_protocol::header::{self, HeaderMismatch, ParamHeaders, check_name};
use mcp_protocol::{Method, Request, RpcError};

// Read by the compiler: looking for a text reads it each time.
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static(header::PROTOCOL_VERSION);
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static(header::SESSION_ID);
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static(header::LAST_EVENT_ID);
const METHOD: HeaderName = HeaderName::from_static(header::METHOD);
const NAME: HeaderName = HeaderName::from_static(header::NAME);

/// A header that may stand at most once, without surrounding white space.
pub(crate) fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, RpcError> {
    let text = match only(headers, &name, name.as_str())? {
        None => return Ok(None),
        Some(value) => {
            std::str::from_utf8(value).map_err(|_| mismatch(name.as_str(), "is not plain text"))?
        }
    };
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// Step 4 of the ladder: version, method and name agree with the body.
pub(crate) fn check(
    headers: &HeaderMap,
    version: &str,
    method: &Method,
    name: Option<&str>,
) -> Result<(), RpcError> {
    same(headers, PROTOCOL_VERSION, version)?;
    same(headers, METHOD, method.as_str())?;
    check_name(name, only(headers, &NAME, header::NAME)?).map_err(|mismatch| mismatch.to_error())
}

/// Step 7: the arguments that a tool wants repeated agree with their headers. Headers that no tool asked for are
/// ignored.
pub(crate) fn check_params(
    headers: &HeaderMap,
    request: &Request,
    wanted: &ParamHeaders,
) -> Result<(), RpcError> {
    for header in wanted.as_slice() {
        let name = header.name();
        only(headers, &*name, &name)?;
    }
    let arguments = request.params.as_ref().and_then(|params| params.get("arguments"));
    let find = |name: &str| headers.get(name).map(|value| value.as_bytes());
    wanted.check(arguments.as_ref(), find).map_err(|mismatch| mismatch.to_error())
}

fn same(headers: &HeaderMap, name: HeaderName, meant: &str) -> Result<(), RpcError> {
    // Nearly always byte for byte.
    if only(headers, &name, name.as_str())? == Some(meant.as_bytes()) {
        return Ok(());
    }
    match single(headers, name.clone())? {
        Some(sent) if sent == meant => Ok(()),
        Some(_) => Err(mismatch(name.as_str(), "differs from the body")),
        None => Err(mismatch(name.as_str(), "is missing")),
    }
}

fn only<'a>(
    headers: &'a HeaderMap,
    name: impl AsHeaderName,
    text: &str,
) -> Result<Option<&'a [u8]>, RpcError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(mismatch(text, "stands more than once")),
        (value, None) => Ok(value.map(|value| value.as_bytes())),
    }
}

fn mismatch(header: &str, reason: &'static str) -> RpcError {
    HeaderMismatch { header: header.into(), reason }.to_error()
}
