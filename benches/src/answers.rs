//! What the minimal server says, whatever it is reached over.

use bytes::{BufMut, Bytes, BytesMut};
use mcp_protocol::{
    Era, ErrorCode, Failure as RpcFailure, Message, Method, ProtocolVersion, RawJson, Request,
    Response as RpcResponse, RpcError,
};
use serde_json::{Value, json};

use crate::Failure;

/// The tool every call is for.
pub(crate) const TOOL: &str = "lookup";

/// Most bytes of text in an answer.
pub(crate) const MAX_TEXT: usize = 100_000;

/// How a server that could answer with JSON and with an event stream answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A JSON body.
    Json,
    /// A stream of one event, which is how most servers answer.
    Stream,
    /// A stream of two events: a progress notification goes before the answer.
    Progress,
}

/// An answer, and what goes before it.
pub(crate) struct Reply {
    pub(crate) shape: Shape,
    /// Of [`Shape::Progress`].
    pub(crate) notice: Option<Bytes>,
    pub(crate) message: Bytes,
}

/// A minimal server of one era. A call names a nonce, and its answer repeats it before the text: nobody can
/// mistake it for the answer of another call.
#[derive(Debug)]
pub(crate) struct Answers {
    era: Era,
    opening: RawJson,
    tools: RawJson,
    /// The result of a call up to the nonce.
    head: &'static str,
    /// A space and the text, of which each answer takes as much as was asked for.
    text: String,
}

impl Answers {
    /// A server that offers the tool of the calls and `others` more.
    pub(crate) fn new(era: Era, others: usize) -> Result<Self, Failure> {
        let head = match era {
            Era::Handshake => r#"{"content":[{"type":"text","text":""#,
            Era::Stateless => r#"{"resultType":"complete","content":[{"type":"text","text":""#,
        };
        let opening = RawJson::encode(&opening(era))?;
        let tools = RawJson::encode(&tools(era, others))?;
        Ok(Self { era, opening, tools, head, text: text(MAX_TEXT) })
    }

    /// The answer to a request.
    pub(crate) fn to(&self, request: &Request) -> Reply {
        if request.method == Method::ToolsCall {
            let called = request.params.as_ref().and_then(|params| self.called(request, params));
            return called
                .unwrap_or_else(|| failed(request, ErrorCode::INVALID_PARAMS, "not a call of the bench"));
        }
        let result = match (&request.method, self.era) {
            (Method::ToolsList, _) => &self.tools,
            (Method::Initialize, Era::Handshake) | (Method::ServerDiscover, Era::Stateless) => &self.opening,
            (Method::Ping, Era::Handshake) => &RawJson::empty_object(),
            _ => return failed(request, ErrorCode::METHOD_NOT_FOUND, "method not found"),
        };
        let answer = RpcResponse { id: request.id.clone(), result: result.clone() };
        Reply { shape: Shape::Json, notice: None, message: Message::Response(answer).encode() }
    }

    /// The answer to a call, unless something was lost or changed on its way here.
    fn called(&self, request: &Request, params: &RawJson) -> Option<Reply> {
        let params = params.members().ok()?;
        if params.get_text("name") != Some(r#""lookup""#) {
            return None;
        }
        let arguments: Arguments<'_> = serde_json::from_str(params.get_text("arguments")?).ok()?;
        let is_plain = arguments.nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let text = self.text.get(..arguments.size).filter(|_| is_plain)?;
        let notice = match arguments.answer {
            "progress" => Some(progress(params.get_text("_meta")?)?),
            _ => None,
        };
        let shape = match arguments.answer {
            "json" => Shape::Json,
            "stream" => Shape::Stream,
            "progress" => Shape::Progress,
            _ => return None,
        };
        // Put together by hand: what is measured is what others do with it.
        let id = serde_json::to_vec(&request.id).ok()?;
        let mut out = BytesMut::with_capacity(text.len() + 256);
        out.put_slice(br#"{"jsonrpc":"2.0","id":"#);
        out.put_slice(&id);
        out.put_slice(br#","result":"#);
        out.put_slice(self.head.as_bytes());
        out.put_slice(arguments.nonce.as_bytes());
        out.put_slice(text.as_bytes());
        out.put_slice(br#""}]}}"#);
        Some(Reply { shape, notice, message: out.freeze() })
    }
}

/// The arguments of a call.
#[derive(serde::Deserialize)]
struct Arguments<'a> {
    nonce: &'a str,
    /// Bytes of text wanted.
    size: usize,
    answer: &'a str,
}

impl Shape {
    /// As it stands in the arguments of a call.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Stream => "stream",
            Self::Progress => "progress",
        }
    }

    /// As it stands in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Stream => "SSE",
            Self::Progress => "SSE, progress",
        }
    }
}

/// The version an era is measured with: its newest.
pub(crate) fn version(era: Era) -> ProtocolVersion {
    match era {
        Era::Handshake => ProtocolVersion::LATEST_HANDSHAKE,
        Era::Stateless => ProtocolVersion::LATEST_STATELESS,
    }
}

/// So many bytes of the text that follows the nonce.
pub(crate) fn text(bytes: usize) -> String {
    " The quick brown fox jumps over the lazy dog.".chars().cycle().take(bytes).collect()
}

fn failed(request: &Request, code: ErrorCode, message: &str) -> Reply {
    let failure = RpcFailure { id: Some(request.id.clone()), error: RpcError::new(code, message) };
    Reply { shape: Shape::Json, notice: None, message: Message::Failure(failure).encode() }
}

/// A progress notification for the token in `meta`.
fn progress(meta: &str) -> Option<Bytes> {
    #[derive(serde::Deserialize)]
    struct Meta<'a> {
        #[serde(rename = "progressToken", borrow)]
        token: &'a serde_json::value::RawValue,
    }
    let token = serde_json::from_str::<Meta<'_>>(meta).ok()?.token;
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1,"total":2}}}}"#
    );
    Some(text.into())
}

fn opening(era: Era) -> Value {
    let info = json!({"name": "benchmark", "version": "1.0.0"});
    let capabilities = json!({"tools": {}});
    match era {
        Era::Handshake => json!({
            "protocolVersion": version(era), "capabilities": capabilities, "serverInfo": info,
        }),
        Era::Stateless => json!({
            "resultType": "complete", "supportedVersions": [version(era)], "capabilities": capabilities,
            "ttlMs": 3_600_000, "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": info},
        }),
    }
}

/// The list of tools, each about as large as tools usually are.
fn tools(era: Era, others: usize) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "nonce": {"type": "string", "description": "Repeated at the start of the answer"},
            "size": {"type": "integer", "minimum": 0, "maximum": MAX_TEXT},
            "answer": {"type": "string", "enum": ["json", "stream", "progress"]},
        },
        "required": ["nonce", "size", "answer"],
    });
    let names = std::iter::once(TOOL.to_owned()).chain((1..=others).map(|number| format!("{TOOL}_{number}")));
    let tool = |name| json!({"name": name, "description": "Looks up a text of a given size.", "inputSchema": schema});
    let tools: Vec<_> = names.map(tool).collect();
    match era {
        Era::Handshake => json!({"tools": tools}),
        Era::Stateless => json!({
            "resultType": "complete", "tools": tools, "ttlMs": 3_600_000, "cacheScope": "public",
        }),
    }
}

#[cfg(test)]
mod tests {
    use mcp_protocol::Limits;

    use super::*;

    fn ask(answers: &Answers, text: &str) -> Reply {
        match Message::parse(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap() {
            Message::Request(request) => answers.to(&request),
            _ => panic!("no request"),
        }
    }

    fn call(name: &str, answer: &str) -> String {
        let params = json!({"name": name, "arguments": {"nonce": "n7", "size": 4, "answer": answer},
            "_meta": {"progressToken": "t"}});
        json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": params}).to_string()
    }

    #[test]
    fn a_call_is_answered_with_its_nonce_and_as_much_text_as_it_wants() {
        let answers = Answers::new(Era::Handshake, 0).unwrap();
        let reply = ask(&answers, &call(TOOL, "json"));
        assert_eq!(
            reply.message,
            r#"{"jsonrpc":"2.0","id":"a","result":{"content":[{"type":"text","text":"n7 The"}]}}"#
        );
        assert!(reply.notice.is_none());
    }

    #[test]
    fn progress_goes_to_the_token_of_the_call() {
        let answers = Answers::new(Era::Stateless, 0).unwrap();
        let reply = ask(&answers, &call(TOOL, "progress"));
        let notice = String::from_utf8(reply.notice.unwrap().to_vec()).unwrap();
        assert!(notice.contains(r#""progressToken":"t""#), "{notice}");
    }

    #[test]
    fn a_name_that_nobody_rewrote_is_refused() {
        let answers = Answers::new(Era::Stateless, 0).unwrap();
        let reply = ask(&answers, &call("floor__lookup", "json"));
        assert!(String::from_utf8(reply.message.to_vec()).unwrap().contains("-32602"));
    }

    #[test]
    fn every_tool_has_a_name_of_its_own() {
        let list = tools(Era::Handshake, 19);
        let names: std::collections::BTreeSet<_> =
            list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 20);
        assert!(names.contains(TOOL));
    }
}
