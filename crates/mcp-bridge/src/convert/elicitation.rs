//! Questions to the person, from a server to a client of another revision, and the answer back.
//! Source: bridging §10.3, §6.2, §6.3.3.

use ProtocolVersion::{V2025_06_18, V2025_11_25};
use mcp_protocol::elicitation::{ElicitAction, ElicitMode};
use mcp_protocol::{InvalidJson, JsonKind, ProtocolVersion, RawJson};

use super::named;

mod form;
use form::MultiSelect;

/// Between whom a question is passed on.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The server's revision.
    pub server: ProtocolVersion,
    /// The client's revision.
    pub client: ProtocolVersion,
    /// What clients know the server as, if several servers could be meant. Put in front of the message: people see
    /// only us and have to know who asks (bridging §1, rule 7).
    pub server_name: Option<&'a str>,
}

/// A question as the client is asked it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The params of `elicitation/create`.
    pub params: RawJson,
    /// How to read the answer.
    pub reading: Reading,
}

/// How the client's answer becomes the answer the server expects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading(Vec<MultiSelect>);

/// Why a client cannot be asked. The server is answered [`cancelled`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unaskable {
    /// The revision has no questions of this kind.
    #[error("clients of {client} know no elicitation of the mode {mode:?}")]
    Mode {
        /// The client's revision.
        client: ProtocolVersion,
        /// The mode asked for.
        mode: Box<str>,
    },
    /// A field that the revision has no form for.
    #[error("field {field:?} of the requested schema has no form in 2025-06-18")]
    Field {
        /// The field.
        field: Box<str>,
    },
    /// The question is malformed.
    #[error("the elicitation is malformed: {0}")]
    Malformed(#[from] InvalidJson),
}

/// Why an answer cannot be passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAnswer {
    /// Fewer or more options were chosen than the server allows. Ask once more, then answer [`cancelled`].
    #[error("field {field:?} needs from {min} to {max} options, {chosen} were chosen")]
    Count {
        /// The field.
        field: Box<str>,
        /// Least number of options.
        min: u64,
        /// Largest number of options.
        max: u64,
        /// How many were chosen.
        chosen: usize,
    },
    /// It is no elicitation result.
    #[error("the elicitation result is malformed: {0}")]
    Malformed(#[from] InvalidJson),
}

/// The answer of a person who did not decide.
#[must_use]
pub fn cancelled() -> RawJson {
    super::json(r#"{"action":"cancel"}"#)
}

/// The answer of a person who has agreed to open a page.
pub(crate) fn accepted() -> RawJson {
    super::json(r#"{"action":"accept"}"#)
}

/// Puts a server's question the way the client's revision has it.
///
/// A page for a client of 2025-11-25 needs an id; `page_id` makes one where the server gave none. It stands as
/// `elicitationId` in the params then.
///
/// # Errors
/// [`Unaskable`] if the client's revision has no way to ask it.
pub fn to_client(
    params: &RawJson,
    route: &Route<'_>,
    page_id: impl FnOnce() -> Box<str>,
) -> Result<Question, Unaskable> {
    let mut members = params.members()?;
    let given: Option<Box<str>> = match members.get_text("mode") {
        None | Some("null") => None,
        Some(text) => Some(super::json(text).to()?),
    };
    let mode = given.as_deref().map_or(ElicitMode::Form, ElicitMode::from);
    let mut reading = Reading::default();
    let mut changed = false;
    match mode {
        ElicitMode::Form if route.client == V2025_06_18 => {
            changed |= members.remove("mode");
            if let Some(schema) = params.get("requestedSchema").filter(|_| route.server > V2025_06_18) {
                let (schema, selects) = form::to_2025_06_18(&schema)?;
                members.set_json("requestedSchema", schema);
                reading = Reading(selects);
                changed = true;
            }
        }
        ElicitMode::Form if route.client > V2025_06_18 => {
            if given.is_none() && route.server != route.client {
                members.set_json("mode", RawJson::string(ElicitMode::Form.as_str()));
                changed = true;
            }
        }
        ElicitMode::Url if route.client == V2025_11_25 => {
            if members.get_text("elicitationId").is_none() {
                members.set_json("elicitationId", RawJson::string(&page_id()));
                changed = true;
            }
        }
        ElicitMode::Url if route.client > V2025_11_25 => changed |= members.remove("elicitationId"),
        mode => return Err(Unaskable::Mode { client: route.client, mode: mode.as_str().into() }),
    }
    if route.client != V2025_11_25 {
        changed |= members.remove("task");
    }
    let message = params.get("message").and_then(|message| message.to::<Box<str>>().ok());
    if let (Some(_), Some(message)) = (route.server_name, message) {
        members.set_json("message", RawJson::string(&named(route.server_name, &message)));
        changed = true;
    }
    Ok(Question { params: if changed { members.encode() } else { params.clone() }, reading })
}

impl Reading {
    /// The answer for the server, from the client's.
    ///
    /// # Errors
    /// [`InvalidAnswer`] if the client's answer is none, or breaks a rule its revision has no words for.
    pub fn to_server(&self, result: &RawJson) -> Result<RawJson, InvalidAnswer> {
        let mut members = result.members()?;
        let action: ElicitAction = super::json(members.get_text("action").unwrap_or("null")).to()?;
        if self.0.is_empty() || action != ElicitAction::Accept {
            return Ok(result.clone());
        }
        let content = result.get("content").filter(|content| content.kind() != JsonKind::Null);
        members.set_json("content", form::collect(&self.0, content.as_ref())?);
        Ok(members.encode())
    }
}

#[cfg(test)]
mod tests;
