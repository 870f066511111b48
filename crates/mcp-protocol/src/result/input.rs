//! Questions back to the client (multi round-trip requests). Source: wire reference §3.5.

use crate::json::{InvalidJson, JsonKind, RawJson};
use crate::members::Members;
use crate::method::Method;
use crate::result::ResultType;

/// One question of an `input_required` result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRequest {
    /// Names the question; the answer goes under the same key.
    pub key: Box<str>,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: Method,
    /// Its params.
    pub params: Option<RawJson>,
}

/// An `input_required` result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputRequired {
    /// The questions; every one is to be answered before the retry. None means: come back later.
    pub requests: Vec<InputRequest>,
    /// State to hand back, a JSON string kept byte for byte. Never to be looked into.
    pub state: Option<RawJson>,
}

/// The answers a retry carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retry {
    /// Answers by key: bare results of the methods that were asked for.
    pub responses: Vec<(Box<str>, RawJson)>,
    /// The state of the result that asked, a JSON string; absent if it had none.
    pub state: Option<RawJson>,
}

/// Why questions or answers cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInput {
    /// Not an object, or a member stands twice.
    #[error(transparent)]
    Json(#[from] InvalidJson),
    /// The result is of another kind.
    #[error("the result is not of the type \"input_required\"")]
    OtherType,
    /// Neither questions nor state.
    #[error("an input_required result needs \"inputRequests\" or \"requestState\"")]
    Empty,
    /// The state is no string.
    #[error("member \"requestState\" must be a string")]
    State,
    /// A question is no object with a method.
    #[error("input request {key:?} must be an object with a method and, if any, params that are an object")]
    Request {
        /// The question.
        key: Box<str>,
    },
    /// A client cannot be asked for this.
    #[error("input request {key:?} asks for {method}, which no client answers")]
    Method {
        /// The question.
        key: Box<str>,
        /// What it asks for.
        method: Method,
    },
    /// An answer is no object.
    #[error("input response {key:?} must be an object")]
    Response {
        /// The question.
        key: Box<str>,
    },
}

impl InputRequired {
    /// Reads the result.
    ///
    /// # Errors
    /// [`InvalidInput`] if it is of another kind or malformed.
    pub fn read(result: &RawJson) -> Result<Self, InvalidInput> {
        let kind = result.get("resultType").and_then(|kind| kind.to::<ResultType>().ok());
        if kind != Some(ResultType::InputRequired) {
            return Err(InvalidInput::OtherType);
        }
        let requests = result.get("inputRequests");
        let state = state_of(result)?;
        if requests.is_none() && state.is_none() {
            return Err(InvalidInput::Empty);
        }
        let requests = match &requests {
            Some(requests) => entries(requests)?
                .into_iter()
                .map(|(key, request)| InputRequest::read(key, &request))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        Ok(Self { requests, state })
    }

    /// Writes the result. Without questions only the state is written, if there is one.
    #[must_use]
    pub fn encode(&self) -> RawJson {
        let mut members = Members::default();
        members.set_json("resultType", RawJson::string(ResultType::InputRequired.as_str()));
        let mut requests = Members::default();
        for request in &self.requests {
            requests.set_json(&request.key, request.encode());
        }
        // One of the two members must be there.
        if !requests.is_empty() || self.state.is_none() {
            members.set_json("inputRequests", requests.encode());
        }
        if let Some(state) = &self.state {
            members.set_json("requestState", state.clone());
        }
        members.encode()
    }
}

impl InputRequest {
    fn read(key: Box<str>, request: &RawJson) -> Result<Self, InvalidInput> {
        let Some(method) = request.get("method").and_then(|method| method.to::<Box<str>>().ok()) else {
            return Err(InvalidInput::Request { key });
        };
        let method = Method::from(&*method);
        if !matches!(method, Method::ElicitationCreate | Method::SamplingCreateMessage | Method::RootsList) {
            return Err(InvalidInput::Method { key, method });
        }
        let params = request.get("params").filter(|params| params.kind() != JsonKind::Null);
        if params.as_ref().is_some_and(|params| params.kind() != JsonKind::Object) {
            return Err(InvalidInput::Request { key });
        }
        Ok(Self { key, method, params })
    }

    fn encode(&self) -> RawJson {
        let mut members = Members::default();
        members.set_json("method", RawJson::string(self.method.as_str()));
        if let Some(params) = &self.params {
            members.set_json("params", params.clone());
        }
        members.encode()
    }
}

impl Retry {
    /// Reads the answers from the params of a request; a first request has neither answers nor state.
    ///
    /// # Errors
    /// [`InvalidInput`] if they are malformed.
    pub fn read(params: &RawJson) -> Result<Self, InvalidInput> {
        let state = state_of(params)?;
        let responses = match params.get("inputResponses") {
            Some(responses) => entries(&responses)?,
            None => Vec::new(),
        };
        if let Some((key, _)) = responses.iter().find(|(_, response)| response.kind() != JsonKind::Object) {
            return Err(InvalidInput::Response { key: key.clone() });
        }
        Ok(Self { responses, state })
    }

    /// Whether this is a first request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.responses.is_empty() && self.state.is_none()
    }

    /// Writes the answers into the params of the original request. Answers and state of an earlier round
    /// are replaced: state that was not sent is not to be sent back.
    ///
    /// # Errors
    /// [`InvalidJson`] if `params` is no proper object.
    pub fn stamp(&self, params: Option<&RawJson>) -> Result<RawJson, InvalidJson> {
        let empty = RawJson::empty_object();
        let mut members = params.unwrap_or(&empty).members()?;
        members.retain(|name| !matches!(name, "inputResponses" | "requestState"));
        let mut responses = Members::default();
        for (key, response) in &self.responses {
            responses.set_json(key, response.clone());
        }
        if !responses.is_empty() {
            members.set_json("inputResponses", responses.encode());
        }
        if let Some(state) = &self.state {
            members.set_json("requestState", state.clone());
        }
        Ok(members.encode())
    }
}

/// The `requestState` member, byte for byte.
fn state_of(object: &RawJson) -> Result<Option<RawJson>, InvalidInput> {
    object.members()?;
    match object.get("requestState") {
        Some(state) if state.kind() == JsonKind::String => Ok(Some(state)),
        Some(_) => Err(InvalidInput::State),
        None => Ok(None),
    }
}

fn entries(object: &RawJson) -> Result<Vec<(Box<str>, RawJson)>, InvalidJson> {
    let members = object.members()?;
    Ok(members.texts().map(|(key, text)| (key.into(), object.part(text))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn raw(text: &'static str) -> RawJson {
        RawJson::parse(text, &Limits::default()).unwrap()
    }

    #[test]
    fn questions_read_back_as_written() {
        let text = r#"{"resultType":"input_required","inputRequests":{"a\"":{"method":"elicitation/create","params":{"message":"?", "n":1.0}},"b":{"method":"roots/list"}},"requestState":"\u0061"}"#;
        let read = InputRequired::read(&raw(text)).unwrap();
        assert_eq!(read.requests.len(), 2);
        assert_eq!(&*read.requests[0].key, "a\"");
        assert_eq!(read.state.as_ref().unwrap().as_str(), r#""\u0061""#);
        assert_eq!(read.encode().as_str(), text);
    }

    #[test]
    fn malformed_questions_are_named() {
        for (text, error) in [
            (r#"{"inputRequests":{}}"#, InvalidInput::OtherType),
            (r#"{"resultType":"complete","requestState":"a"}"#, InvalidInput::OtherType),
            (r#"{"resultType":"input_required"}"#, InvalidInput::Empty),
            (r#"{"resultType":"input_required","requestState":7}"#, InvalidInput::State),
            (
                r#"{"resultType":"input_required","inputRequests":{"k":7}}"#,
                InvalidInput::Request { key: "k".into() },
            ),
            (
                r#"{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list","params":[]}}}"#,
                InvalidInput::Request { key: "k".into() },
            ),
            (
                r#"{"resultType":"input_required","inputRequests":{"k":{"method":"tools/call"}}}"#,
                InvalidInput::Method { key: "k".into(), method: Method::ToolsCall },
            ),
        ] {
            assert_eq!(InputRequired::read(&raw(text)).unwrap_err(), error, "{text}");
        }
        assert!(InputRequired::read(&raw(r#"{"resultType":"input_required","inputRequests":[]}"#)).is_err());
    }

    #[test]
    fn a_retry_carries_its_own_answers_and_state_only() {
        let first = raw(r#"{"name":"t","arguments":{"x":1.0}}"#);
        assert!(Retry::read(&first).unwrap().is_empty());
        let answers = Retry {
            responses: vec![("a".into(), raw(r#"{"action":"accept"}"#))],
            state: Some(RawJson::string("s")),
        };
        let second = answers.stamp(Some(&first)).unwrap();
        assert_eq!(
            second.as_str(),
            r#"{"name":"t","arguments":{"x":1.0},"inputResponses":{"a":{"action":"accept"}},"requestState":"s"}"#
        );
        assert_eq!(Retry::read(&second).unwrap(), answers);
        assert_eq!(Retry::default().stamp(Some(&second)).unwrap(), first);
        assert_eq!(
            Retry::read(&raw(r#"{"inputResponses":{"a":7}}"#)).unwrap_err(),
            InvalidInput::Response { key: "a".into() }
        );
    }
}
