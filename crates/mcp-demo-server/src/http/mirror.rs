//! Headers that repeat what the body of a stateless request says.

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mcp_protocol::{ErrorCode, Method, RawJson, Request, RpcError};

use crate::tools::REGION_HEADER;

/// `MCP-Protocol-Version`
pub(crate) const VERSION: &str = "mcp-protocol-version";

/// A header that may stand at most once, without surrounding white space.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, RpcError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| mismatch(name, "is not plain text"))?;
            Ok(Some(text.trim_matches([' ', '\t'])))
        }
        (Some(_), Some(_)) => Err(mismatch(name, "stands more than once")),
    }
}

/// Step 4 of the ladder: version, method and name agree with the body (wire reference §3.8, §3.9).
pub(crate) fn check(headers: &HeaderMap, request: &Request, version: &str) -> Result<(), RpcError> {
    same(VERSION, single(headers, VERSION)?, Some(version))?;
    same("mcp-method", single(headers, "mcp-method")?, Some(request.method.as_str()))?;
    if let Some(member) = name_member(&request.method) {
        let name = argument(request.params.as_ref(), &[member]);
        let sent = single(headers, "mcp-name")?.map(|text| decode("mcp-name", text)).transpose()?;
        same("mcp-name", sent.as_deref(), name.as_deref())?;
    }
    Ok(())
}

/// Step 7: the arguments that a tool wants mirrored agree with their headers.
pub(crate) fn check_params(headers: &HeaderMap, request: &Request) -> Result<(), RpcError> {
    let params = request.params.as_ref();
    if request.method != Method::ToolsCall || argument(params, &["name"]).as_deref() != Some("route") {
        return Ok(()); // headers no tool asked for are ignored
    }
    let name = format!("mcp-param-{}", REGION_HEADER.to_ascii_lowercase());
    let sent = single(headers, &name)?.map(|text| decode(&name, text)).transpose()?;
    same(&name, sent.as_deref(), argument(params, &["arguments", "region"]).as_deref())
}

/// Which member of the params `Mcp-Name` repeats.
fn name_member(method: &Method) -> Option<&'static str> {
    match method {
        Method::ToolsCall | Method::PromptsGet => Some("name"),
        Method::ResourcesRead => Some("uri"),
        _ => None,
    }
}

/// The string at a path of members.
fn argument(params: Option<&RawJson>, path: &[&str]) -> Option<String> {
    let mut value = params?.clone();
    for member in path {
        value = value.get(member)?;
    }
    value.to().ok()
}

/// Takes the Base64 form apart; other values stand for themselves.
fn decode(header: &str, text: &str) -> Result<String, RpcError> {
    let Some(encoded) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(text.to_owned());
    };
    let bytes = STANDARD.decode(encoded).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| mismatch(header, "cannot be decoded"))
}

fn same(header: &str, sent: Option<&str>, meant: Option<&str>) -> Result<(), RpcError> {
    match (sent, meant) {
        (Some(sent), Some(meant)) if sent == meant => Ok(()),
        (None, None) => Ok(()),
        (None, Some(_)) => Err(mismatch(header, "is missing")),
        (Some(_), _) => Err(mismatch(header, "does not agree with the body")),
    }
}

fn mismatch(header: &str, fault: &str) -> RpcError {
    RpcError::new(ErrorCode::HEADER_MISMATCH, &format!("header {header} {fault}"))
}
