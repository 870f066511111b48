//! Errors of a server, as the client's revision puts them. Source: bridging §9.

use ProtocolVersion::V2025_11_25;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::result::{InputRequest, may_require_input};
use mcp_protocol::{Era, ErrorCode, JsonKind, Members, Method, ProtocolVersion, RawJson, RpcError};
use serde_json::value::RawValue;

use super::{capabilities, elicitation, items, named, text_block};

mod internal;
pub use internal::{InternalError, reason};

/// The longest message of a server that is passed on, in bytes; what is longer is cut.
pub const MAX_MESSAGE: usize = 4 * 1024;

/// The largest `data` of a server that is passed on, in bytes; what is larger is left out.
pub const MAX_DATA: usize = 64 * 1024;

/// The request an error answers.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The server's revision.
    pub server: ProtocolVersion,
    /// The client's revision.
    pub client: ProtocolVersion,
    /// What the client declared.
    pub capabilities: &'a ClientCapabilities,
    /// What was asked for.
    pub method: &'a Method,
    /// The resource that was asked for.
    pub resource: Option<Resource<'a>>,
    /// What clients know the server as, if several servers could be meant.
    pub server_name: Option<&'a str>,
}

/// The URI of a resource on both legs.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// As the client wrote it.
    pub asked: &'a str,
    /// As the server was asked.
    pub sent: &'a str,
}

/// What the client gets in place of a server's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An error.
    Error(RpcError),
    /// A result that says what went wrong, without the envelope of the stateless era.
    Result(RawJson),
    /// Questions to the client, stateless era only; once they are answered the call is repeated. The ids of the pages
    /// are not among them: [`RpcError::required_elicitations`] has them.
    Ask(Vec<InputRequest>),
}

/// Translates the error a server answered with.
#[must_use]
pub fn translate(error: &RpcError, asked: &Asked<'_>) -> Reply {
    let from_stateless = asked.server.era() == Era::Stateless;
    let to_stateless = asked.client.era() == Era::Stateless;
    let Some(code) = error.code() else { return unexpected(error, asked) };
    match code {
        ErrorCode::PARSE_ERROR | ErrorCode::INVALID_REQUEST => unexpected(error, asked),
        ErrorCode::RESOURCE_NOT_FOUND if to_stateless && (!from_stateless || asked.resource.is_some()) => {
            pass_as(ErrorCode::INVALID_PARAMS, error, resource_data(error, asked, true), asked)
        }
        ErrorCode::INVALID_PARAMS if from_stateless && !to_stateless && is_not_found(error, asked) => {
            pass_as(ErrorCode::RESOURCE_NOT_FOUND, error, resource_data(error, asked, false), asked)
        }
        ErrorCode::URL_ELICITATION_REQUIRED if !from_stateless => pages(error, asked),
        // The client of ours has done what can be done about these.
        ErrorCode::HEADER_MISMATCH | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION if from_stateless => {
            unexpected(error, asked)
        }
        ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY if from_stateless => lacking(error, asked),
        // Codes of the specification that it does not define, and those nobody may attach a meaning to.
        ErrorCode(-32099..=-32000) if to_stateless => unexpected(error, asked),
        ErrorCode::RESOURCE_NOT_FOUND | ErrorCode::INVALID_PARAMS => {
            pass_as(code, error, resource_data(error, asked, false), asked)
        }
        _ => pass_as(code, error, error.data(), asked),
    }
}

/// The error as it is, apart from the code and what names the resource; byte for byte if nothing differs.
fn pass_as(code: ErrorCode, error: &RpcError, data: Option<RawJson>, asked: &Asked<'_>) -> Reply {
    let message = error.message().unwrap_or_default();
    let is_small = error.as_raw().as_bytes().len() <= MAX_MESSAGE;
    if is_small && asked.server_name.is_none() && error.code() == Some(code) && error.data() == data {
        return Reply::Error(error.clone());
    }
    let message = named(asked.server_name, cut(&message));
    Reply::Error(match data.filter(|data| data.as_bytes().len() <= MAX_DATA) {
        Some(data) => RpcError::with_data(code, &message, &data),
        None => RpcError::new(code, &message),
    })
}

/// An error that the client can do nothing about.
fn unexpected(error: &RpcError, asked: &Asked<'_>) -> Reply {
    Reply::Error(failed(error, asked, &error.to_string()).to_error())
}

fn failed<'a>(error: &'a RpcError, asked: &Asked<'_>, message: &str) -> InternalError<'a> {
    let mut failed = InternalError::new(reason::UPSTREAM_ERROR, &named(asked.server_name, cut(message)));
    failed.upstream = Some(error);
    failed
}

/// Whether the error says that the requested resource does not exist.
fn is_not_found(error: &RpcError, asked: &Asked<'_>) -> bool {
    *asked.method == Method::ResourcesRead && uri_of(error).is_some_and(|uri| is_requested(&uri, asked))
}

fn uri_of(error: &RpcError) -> Option<Box<str>> {
    error.data()?.get("uri")?.to().ok()
}

fn is_requested(uri: &str, asked: &Asked<'_>) -> bool {
    asked.resource.is_some_and(|resource| resource.sent == uri)
}

/// The data of an error with the resource under the name the client gave it. `add`: also where the server did not
/// name it.
fn resource_data(error: &RpcError, asked: &Asked<'_>, add: bool) -> Option<RawJson> {
    let data = error.data().filter(|data| data.kind() != JsonKind::Null);
    let Some(resource) = asked.resource else { return error.data() };
    let set = match uri_of(error) {
        Some(uri) => is_requested(&uri, asked) && resource.asked != resource.sent,
        None => add,
    };
    if !set {
        return error.data();
    }
    let empty = RawJson::empty_object();
    match data.as_ref().unwrap_or(&empty).members() {
        Ok(mut members) => {
            members.set_json("uri", RawJson::string(resource.asked));
            Some(members.encode())
        }
        // Data that is no object has no place for it.
        Err(_) => data.clone(),
    }
}

/// The pages of `-32042`, which only 2025-11-25 has. Source: bridging §6.3.3, §9.
fn pages(error: &RpcError, asked: &Asked<'_>) -> Reply {
    if asked.client == V2025_11_25 {
        return pass_as(ErrorCode::URL_ELICITATION_REQUIRED, error, with_asker(error, asked), asked);
    }
    if asked.client.era() == Era::Handshake {
        let text = purposes(error).unwrap_or_else(|| error.to_string());
        return failed(error, asked, &text).to_reply(asked.method);
    }
    let questions = questions(error, asked);
    if !may_require_input(asked.method) || questions.is_empty() {
        return unexpected(error, asked);
    }
    if asked.capabilities.elicits_urls() {
        return Reply::Ask(questions);
    }
    let needed = ClientCapabilities::default().with(&["elicitation", "url"], RawJson::empty_object());
    Reply::Error(RpcError::missing_capability(&needed))
}

/// The data of `-32042`, where several servers could be meant with the asking one named in every message.
fn with_asker(error: &RpcError, asked: &Asked<'_>) -> Option<RawJson> {
    let data = error.data()?;
    let pages = pages_for(error, asked);
    match data.members() {
        Ok(mut members) if asked.server_name.is_some() && !pages.is_empty() => {
            members.set_json("elicitations", super::array(pages.iter().map(RawJson::as_str)));
            Some(members.encode())
        }
        _ => Some(data.clone()),
    }
}

/// The listed pages as the client is asked for them.
fn pages_for(error: &RpcError, asked: &Asked<'_>) -> Vec<RawJson> {
    let listed = error.data().and_then(|data| data.get("elicitations"));
    let listed = listed.as_ref().and_then(items).unwrap_or_default();
    let route =
        elicitation::Route { server: asked.server, client: asked.client, server_name: asked.server_name };
    let page = |page: &RawValue| {
        let question = elicitation::to_client(&super::json(page.get()), &route, Box::default).ok()?;
        Some(question.params)
    };
    listed.into_iter().filter_map(page).collect()
}

/// One question for each listed page.
fn questions(error: &RpcError, asked: &Asked<'_>) -> Vec<InputRequest> {
    let question = |(params, number): (RawJson, u32)| InputRequest {
        key: format!("u{number}").into(),
        method: Method::ElicitationCreate,
        params: Some(params),
    };
    pages_for(error, asked).into_iter().zip(1..).map(question).collect()
}

/// Where to go and why, for people. The host alone: the rest of the address may hold secrets.
fn purposes(error: &RpcError) -> Option<String> {
    let pages = error.required_elicitations()?;
    let one = |page: &mcp_protocol::elicitation::ElicitParams| {
        Some(format!("{} (a page at {})", page.message, host_of(page.url.as_deref()?)?))
    };
    let purposes: Vec<_> = pages.iter().filter_map(one).collect();
    (!purposes.is_empty()).then(|| {
        format!("this needs a page to be completed that the client cannot open: {}", purposes.join("; "))
    })
}

fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then_some(host)
}

/// A server that needs a capability it was not told of.
fn lacking(error: &RpcError, asked: &Asked<'_>) -> Reply {
    let declared = asked.capabilities.clip(asked.client);
    let Some(required) = error.required_capabilities() else { return unexpected(error, asked) };
    let Some(missing) = capabilities::missing(&required, &declared) else {
        return unexpected(error, asked);
    };
    if asked.client.era() == Era::Stateless {
        let could_declare = required.clip(asked.client);
        if could_declare == required {
            return pass_as(ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY, error, error.data(), asked);
        }
        return match capabilities::missing(&could_declare, &declared) {
            Some(missing) => Reply::Error(RpcError::missing_capability(&missing)),
            None => unexpected(error, asked),
        };
    }
    let text =
        format!("this needs client capabilities that were not declared: {}", missing.as_raw().as_str());
    match asked.method {
        Method::ToolsCall => Reply::Result(tool_failure(&named(asked.server_name, &text))),
        _ => pass_as(
            ErrorCode::INVALID_REQUEST,
            &RpcError::new(ErrorCode::INVALID_REQUEST, &text),
            error.data(),
            asked,
        ),
    }
}

/// The result of a tool call that failed, in words.
#[must_use]
pub fn tool_failure(text: &str) -> RawJson {
    let mut members = Members::default();
    members.set_json("content", super::array([text_block(text, None).as_str()]));
    members.set_json("isError", RawJson::encode(&true).unwrap_or_else(|_| RawJson::empty_object()));
    members.encode()
}

/// The start of a text, at most [`MAX_MESSAGE`] bytes of it.
fn cut(text: &str) -> &str {
    let end = (0..=MAX_MESSAGE.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
