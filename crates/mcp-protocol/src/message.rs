//! JSON-RPC messages: told apart by which members are present, bodies left unparsed.

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::error::{ErrorCode, RpcError};
use crate::id::RequestId;
use crate::json::{InvalidJson, JsonKind, RawJson};
use crate::limits::Limits;
use crate::members::{Members, put_string};
use crate::method::Method;

/// A message that wants an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The id the answer will carry.
    pub id: RequestId,
    /// What is asked for.
    pub method: Method,
    /// An object, if present.
    pub params: Option<RawJson>,
}

/// A message that wants no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What happened.
    pub method: Method,
    /// An object, if present.
    pub params: Option<RawJson>,
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The id of the request.
    pub id: RequestId,
    /// The result. MCP wants an object; whether it is one is for the reader of the method to judge.
    pub result: RawJson,
}

/// A failed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The id of the request; absent (or `null`) if the peer could not read it.
    pub id: Option<RequestId>,
    /// What went wrong.
    pub error: RpcError,
}

/// One JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// A result.
    Response(Response),
    /// An error.
    Failure(Failure),
}

/// What one frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// One message.
    Single(Message),
    /// A batch (2025-03-26), each entry judged by itself.
    Batch(Vec<Result<Message, ParseError>>),
}

/// Why a frame holds no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    /// The id of the broken message, if it could be read: an error answer carries it.
    pub id: Option<RequestId>,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Not JSON, or beyond a limit.
    #[error(transparent)]
    Json(#[from] InvalidJson),
    /// An array where a single message belongs.
    #[error("a batch is not allowed here")]
    Batch,
    /// An empty array.
    #[error("a batch must hold at least one message")]
    EmptyBatch,
    /// More messages than allowed.
    #[error("a batch of {len} messages exceeds the limit of {limit}")]
    LongBatch {
        /// Messages in the batch.
        len: usize,
        /// Most that are allowed.
        limit: usize,
    },
    /// `jsonrpc` is missing or not `"2.0"`.
    #[error("member \"jsonrpc\" must be \"2.0\"")]
    Version,
    /// The id is null, a fraction or of another type.
    #[error("member \"id\" must be a string or an integer")]
    Id,
    /// `method` is not a string.
    #[error("member \"method\" must be a string")]
    Method,
    /// `params` is not an object.
    #[error("member \"params\" must be an object, found {found}")]
    Params {
        /// What stands there instead.
        found: JsonKind,
    },
    /// Neither request nor answer.
    #[error("missing result: the message has no \"method\", \"result\" or \"error\"")]
    Shapeless,
    /// Request and answer at once, or result and error at once.
    #[error("the message has both {0:?} and {1:?}")]
    Ambiguous(&'static str, &'static str),
}

impl ParseError {
    /// The code to answer with: `-32700` if the text is not JSON, else `-32600`.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self.kind {
            ParseErrorKind::Json(InvalidJson::Syntax { .. }) => ErrorCode::PARSE_ERROR,
            _ => ErrorCode::INVALID_REQUEST,
        }
    }

    /// The error answer to send back.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        Failure { id: self.id.clone(), error: RpcError::new(self.code(), &self.to_string()) }
    }
}

impl From<ParseErrorKind> for ParseError {
    fn from(kind: ParseErrorKind) -> Self {
        Self { id: None, kind }
    }
}

impl From<InvalidJson> for ParseError {
    fn from(error: InvalidJson) -> Self {
        ParseErrorKind::from(error).into()
    }
}

impl Payload {
    /// Reads a frame that may be a batch, as 2025-03-26 allows.
    ///
    /// # Errors
    /// [`ParseError`] if the frame as a whole is unusable; entries of a batch fail one by one.
    pub fn parse(frame: &Bytes, limits: &Limits) -> Result<Self, ParseError> {
        limits.check(frame)?;
        let text = utf8(frame)?;
        if !text.trim_start().starts_with('[') {
            return Message::parse_checked(frame, text).map(Self::Single);
        }
        let entries: Vec<&RawValue> = serde_json::from_str(text).map_err(InvalidJson::from)?;
        if entries.is_empty() {
            return Err(ParseErrorKind::EmptyBatch.into());
        }
        if entries.len() > limits.max_batch {
            return Err(ParseErrorKind::LongBatch { len: entries.len(), limit: limits.max_batch }.into());
        }
        Ok(Self::Batch(entries.into_iter().map(|entry| Message::parse_checked(frame, entry.get())).collect()))
    }
}

impl Message {
    /// Reads a frame that holds exactly one message. Bodies are slices of `frame`, not copies.
    ///
    /// # Errors
    /// [`ParseError`], with the message's id where that could be read.
    pub fn parse(frame: &Bytes, limits: &Limits) -> Result<Self, ParseError> {
        limits.check(frame)?;
        let text = utf8(frame)?;
        if text.trim_start().starts_with('[') {
            serde_json::from_str::<&RawValue>(text).map_err(InvalidJson::from)?;
            return Err(ParseErrorKind::Batch.into());
        }
        Self::parse_checked(frame, text)
    }

    /// `text` is a part of `frame`, whose limits have been checked.
    fn parse_checked(frame: &Bytes, text: &str) -> Result<Self, ParseError> {
        let members = Members::parse(text)?;
        let raw_id = members.get("id");
        let id = raw_id.and_then(|raw| RequestId::from_json(raw.get()));
        Self::classify(frame, &members, raw_id.is_some(), id.clone()).map_err(|kind| ParseError { id, kind })
    }

    fn classify(
        frame: &Bytes,
        members: &Members<'_>,
        has_id: bool,
        id: Option<RequestId>,
    ) -> Result<Self, ParseErrorKind> {
        let body = |name| members.get(name).map(|raw| RawJson::from_raw(frame, raw));
        if members.get("jsonrpc").map(RawValue::get) != Some("\"2.0\"") {
            return Err(ParseErrorKind::Version);
        }
        let result = body("result");
        let error = body("error").and_then(RpcError::from_peer);
        let Some(method) = members.get("method") else {
            return match (result, error) {
                (Some(_), Some(_)) => Err(ParseErrorKind::Ambiguous("result", "error")),
                (Some(result), None) => {
                    id.map(|id| Self::Response(Response { id, result })).ok_or(ParseErrorKind::Id)
                }
                (None, Some(error)) => {
                    let unreadable =
                        has_id && id.is_none() && members.get("id").is_some_and(|id| id.get() != "null");
                    if unreadable {
                        return Err(ParseErrorKind::Id);
                    }
                    Ok(Self::Failure(Failure { id, error }))
                }
                (None, None) => Err(ParseErrorKind::Shapeless),
            };
        };
        if result.is_some() {
            return Err(ParseErrorKind::Ambiguous("method", "result"));
        }
        if error.is_some() {
            return Err(ParseErrorKind::Ambiguous("method", "error"));
        }
        let method: Box<str> = serde_json::from_str(method.get()).map_err(|_| ParseErrorKind::Method)?;
        let method = Method::from(&*method);
        let params = body("params").filter(|params| params.kind() != JsonKind::Null);
        if let Some(found) = params.as_ref().map(RawJson::kind).filter(|kind| *kind != JsonKind::Object) {
            return Err(ParseErrorKind::Params { found });
        }
        match (has_id, id) {
            (false, _) => Ok(Self::Notification(Notification { method, params })),
            (true, Some(id)) => Ok(Self::Request(Request { id, method, params })),
            (true, None) => Err(ParseErrorKind::Id),
        }
    }

    /// The message as one frame without a line end.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let body = match self {
            Self::Request(Request { params, .. }) | Self::Notification(Notification { params, .. }) => {
                params.as_ref().map_or(0, |params| params.as_bytes().len())
            }
            Self::Response(response) => response.result.as_bytes().len(),
            Self::Failure(failure) => failure.error.as_raw().as_bytes().len(),
        };
        let mut out = BytesMut::with_capacity(body + 128);
        self.encode_into(&mut out);
        out.freeze()
    }

    /// Appends the message to a buffer.
    pub fn encode_into(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
        let id = match self {
            Self::Request(request) => Some(&request.id),
            Self::Response(response) => Some(&response.id),
            Self::Failure(failure) => failure.id.as_ref(),
            Self::Notification(_) => None,
        };
        if let Some(id) = id {
            out.extend_from_slice(b",\"id\":");
            match id {
                RequestId::Text(text) => put_string(out, text),
                RequestId::Integer(number) => {
                    out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
                }
                number @ RequestId::Number(_) => out.extend_from_slice(number.to_string().as_bytes()),
            }
        }
        match self {
            Self::Request(Request { method, params, .. })
            | Self::Notification(Notification { method, params }) => {
                out.extend_from_slice(b",\"method\":");
                put_string(out, method.as_str());
                if let Some(params) = params {
                    out.extend_from_slice(b",\"params\":");
                    out.extend_from_slice(params.as_bytes());
                }
            }
            Self::Response(response) => {
                out.extend_from_slice(b",\"result\":");
                out.extend_from_slice(response.result.as_bytes());
            }
            Self::Failure(failure) => {
                out.extend_from_slice(b",\"error\":");
                out.extend_from_slice(failure.error.as_raw().as_bytes());
            }
        }
        out.extend_from_slice(b"}");
    }
}

fn utf8(frame: &Bytes) -> Result<&str, ParseError> {
    std::str::from_utf8(frame)
        .map_err(|error| InvalidJson::Syntax { detail: format!("not UTF-8: {error}").into() }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Message, ParseError> {
        Message::parse(&Bytes::from_static(text.as_bytes()), &Limits::default())
    }

    #[test]
    fn what_is_read_is_written_back() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":"1","method":"tools/call","params":{"name":"a", "arguments":{"n":1.00}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1.0,"result":{"x":[1, 2 ]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no","extra":1}}"#,
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}"#,
        ] {
            assert_eq!(parse(text).unwrap().encode(), text);
        }
    }

    #[test]
    fn bodies_are_slices_of_the_frame() {
        let frame = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"big":"value"}}"#);
        let Message::Response(response) = Message::parse(&frame, &Limits::default()).unwrap() else {
            panic!()
        };
        let (whole, part) = (frame.as_ptr_range(), response.result.as_bytes().as_ptr_range());
        assert!(whole.start <= part.start && part.end <= whole.end);
    }

    #[test]
    fn presence_of_members_decides() {
        assert!(matches!(
            parse(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#),
            Ok(Message::Response(_))
        ));
        assert!(matches!(
            parse(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#),
            Ok(Message::Failure(Failure { id: None, .. }))
        ));
        assert!(matches!(
            parse(r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#),
            Ok(Message::Request(Request { params: None, .. }))
        ));
    }

    #[test]
    fn broken_messages_say_what_and_keep_their_id() {
        use ParseErrorKind as K;
        let one = Some(RequestId::Integer(1));
        let table: [(&'static str, Option<RequestId>, K, i64); 12] = [
            (r#"{"id":1,"method":"ping"}"#, one.clone(), K::Version, -32600),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, one.clone(), K::Version, -32600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None, K::Id, -32600),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, None, K::Id, -32600),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, one.clone(), K::Method, -32600),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#,
                one.clone(),
                K::Params { found: JsonKind::Array },
                -32600,
            ),
            (r#"{"jsonrpc":"2.0","id":1}"#, one.clone(), K::Shapeless, -32600),
            (r#"{"jsonrpc":"2.0","result":{}}"#, None, K::Id, -32600),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
                one.clone(),
                K::Ambiguous("result", "error"),
                -32600,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#,
                one,
                K::Ambiguous("method", "result"),
                -32600,
            ),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, None, K::Batch, -32600),
            (r#"{"jsonrpc":"2.0","id":{},"error":{}}"#, None, K::Id, -32600),
        ];
        for (text, id, kind, code) in table {
            let error = parse(text).unwrap_err();
            assert_eq!((&error.id, &error.kind, error.code()), (&id, &kind, ErrorCode(code)), "{text}");
        }
        assert_eq!(parse("{\"jsonrpc\":").unwrap_err().code(), ErrorCode::PARSE_ERROR);
    }

    #[test]
    fn batches_judge_each_entry() {
        let limits = Limits { max_batch: 2, ..Limits::default() };
        let read = |text: &'static str| Payload::parse(&Bytes::from_static(text.as_bytes()), &limits);
        let Payload::Batch(entries) = read(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}, 7]"#).unwrap()
        else {
            panic!()
        };
        assert!(matches!(&entries[..], [Ok(Message::Request(_)), Err(_)]));
        assert_eq!(read("[]").unwrap_err().kind, ParseErrorKind::EmptyBatch);
        assert_eq!(read("[1,2,3]").unwrap_err().kind, ParseErrorKind::LongBatch { len: 3, limit: 2 });
        assert!(matches!(read(r#"{"jsonrpc":"2.0","method":"x"}"#).unwrap(), Payload::Single(_)));
    }
}
