use ProtocolVersion::{V2024_11_05, V2025_06_18, V2026_07_28};
use mcp_protocol::Limits;
use mcp_transport::Delivery;

use super::*;

const CALL: Method = Method::ToolsCall;
const READ: Method = Method::ResourcesRead;
const GET: Method = Method::PromptsGet;
const LIST: Method = Method::ToolsList;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn capabilities(text: &str) -> ClientCapabilities {
    ClientCapabilities::from_raw(raw(text)).unwrap()
}

fn error(code: i64, data: Option<&str>) -> RpcError {
    match data {
        Some(data) => RpcError::with_data(ErrorCode(code), "why", &raw(data)),
        None => RpcError::new(ErrorCode(code), "why"),
    }
}

/// The reply as one text: the error object, or `result ` and the result.
fn shown(reply: &Reply) -> String {
    match reply {
        Reply::Error(error) => error.as_raw().as_str().to_owned(),
        Reply::Result(result) => format!("result {}", result.as_str()),
        Reply::Ask(questions) => format!(
            "ask {}",
            questions
                .iter()
                .map(|question| format!("{}={:?}", question.key, question.params.as_ref().unwrap()))
                .collect::<Vec<_>>()
                .join(" ")
        ),
    }
}

struct Row {
    error: RpcError,
    from: ProtocolVersion,
    to: ProtocolVersion,
    method: Method,
    declared: &'static str,
}

fn row(code: i64, data: Option<&str>, from: ProtocolVersion, to: ProtocolVersion, method: Method) -> Row {
    Row { error: error(code, data), from, to, method, declared: "{}" }
}

impl Row {
    fn declaring(mut self, declared: &'static str) -> Self {
        self.declared = declared;
        self
    }

    fn reply(&self) -> String {
        let capabilities = capabilities(self.declared);
        let resource = (self.method == READ).then_some(Resource { asked: "gw:a", sent: "file:///a" });
        shown(&translate(
            &self.error,
            &Asked {
                server: self.from,
                client: self.to,
                capabilities: &capabilities,
                method: &self.method,
                resource,
                server_name: None,
            },
        ))
    }
}

fn internal(code: i64, data: Option<&str>) -> String {
    let data = data.map_or_else(String::new, |data| format!(r#","upstreamData":{data}"#));
    format!(
        r#"{{"code":-32603,"message":"why","data":{{"reason":"upstream_error","upstreamCode":{code}{data}}}}}"#
    )
}

/// Bridging §9, the rows about codes that do not depend on capabilities.
#[test]
fn codes_are_translated_by_the_table() {
    const H: ProtocolVersion = V2025_06_18;
    const M: ProtocolVersion = V2026_07_28;
    let same = |code: i64| format!(r#"{{"code":{code},"message":"why"}}"#);
    for (code, from, to, expected) in [
        (-32700, H, H, internal(-32700, None)),
        (-32600, H, M, internal(-32600, None)),
        (-32601, H, H, same(-32601)),
        (-32601, H, M, same(-32601)),
        (-32602, M, H, same(-32602)),
        (-32602, H, M, same(-32602)),
        (-32603, H, M, same(-32603)),
        (-32020, M, H, internal(-32020, None)),
        (-32020, M, M, internal(-32020, None)),
        (-32022, M, H, internal(-32022, None)),
        (-32022, M, M, internal(-32022, None)),
        // A server of the handshake era means something of its own by these.
        (-32020, H, H, same(-32020)),
        (-32021, H, H, same(-32021)),
        (-32021, H, M, internal(-32021, None)),
        (-32050, H, H, same(-32050)),
        (-32050, M, H, same(-32050)),
        (-32050, H, M, internal(-32050, None)),
        (-32099, H, M, internal(-32099, None)),
        (-32000, H, H, same(-32000)),
        (-32000, H, M, internal(-32000, None)),
        (-32001, M, M, internal(-32001, None)),
        (-32019, M, M, internal(-32019, None)),
        (-32002, H, H, same(-32002)),
        (-32002, H, M, same(-32602)),
        (-32002, M, M, internal(-32002, None)),
        (-32100, H, M, same(-32100)),
        (-1, H, M, same(-1)),
        (-1, M, H, same(-1)),
        (42, H, M, same(42)),
    ] {
        assert_eq!(row(code, None, from, to, CALL).reply(), expected, "{code} from {from} to {to}");
    }
}

/// Bridging §9: "resource not found" has another code in each era.
#[test]
fn a_missing_resource_is_said_in_the_words_of_the_era() {
    let (old, new) = (V2025_11_25, V2026_07_28);
    let theirs = r#"{"x":1.0,"uri":"file:///a"}"#;
    let ours = r#"{"x":1.0,"uri":"gw:a"}"#;
    let with = |code: i64, data: &str| format!(r#"{{"code":{code},"message":"why","data":{data}}}"#);
    for (code, data, from, to, method, expected) in [
        (-32002, Some(theirs), old, old, READ, with(-32002, ours)),
        (-32002, Some(theirs), old, new, READ, with(-32602, ours)),
        (-32002, None, old, new, READ, with(-32602, r#"{"uri":"gw:a"}"#)),
        (-32002, Some("null"), old, new, READ, with(-32602, r#"{"uri":"gw:a"}"#)),
        (-32002, Some("[7]"), old, new, READ, with(-32602, "[7]")),
        (-32002, None, new, new, READ, with(-32602, r#"{"uri":"gw:a"}"#)),
        (-32602, Some(theirs), new, old, READ, with(-32002, ours)),
        (-32602, Some(theirs), new, new, READ, with(-32602, ours)),
        (-32602, Some(r#"{"uri":"b"}"#), new, old, READ, with(-32602, r#"{"uri":"b"}"#)),
        (-32602, None, new, old, READ, r#"{"code":-32602,"message":"why"}"#.to_owned()),
        (-32602, Some(theirs), new, old, CALL, with(-32602, theirs)),
        (-32602, Some(theirs), old, old, READ, with(-32602, ours)),
    ] {
        let found = row(code, data, from, to, method.clone()).reply();
        assert_eq!(found, expected, "{code} {data:?} from {from} to {to}, {method}");
    }
}

const PAGES: &str = r#"{"elicitations":[{"mode":"url","message":"Sign in","url":"https://me:pw@id.example/a?t=secret","elicitationId":"e1","v": 1.0},{"mode":"url","message":"Pay","url":"https://pay.example","elicitationId":"e2"}]}"#;

/// Bridging §9 and §6.3.3, `-32042`.
#[test]
fn pages_are_shown_asked_for_or_described() {
    let from = V2025_11_25;
    let pages = |to, method| row(-32042, Some(PAGES), from, to, method);
    assert_eq!(
        pages(V2025_11_25, CALL).reply(),
        format!(r#"{{"code":-32042,"message":"why","data":{PAGES}}}"#)
    );
    let text = "this needs a page to be completed that the client cannot open: Sign in (a page at id.example); Pay (a page at pay.example)";
    assert_eq!(
        pages(V2025_06_18, CALL).reply(),
        format!(r#"result {{"content":[{{"type":"text","text":"{text}"}}],"isError":true}}"#)
    );
    assert_eq!(
        pages(V2024_11_05, READ).reply(),
        format!(
            r#"{{"code":-32603,"message":"{text}","data":{{"reason":"upstream_error","upstreamCode":-32042,"upstreamData":{PAGES}}}}}"#
        )
    );
    assert_eq!(
        pages(V2026_07_28, CALL).declaring(r#"{"elicitation":{"url":{}}}"#).reply(),
        r#"ask u1={"mode":"url","message":"Sign in","url":"https://me:pw@id.example/a?t=secret","v":1.0} u2={"mode":"url","message":"Pay","url":"https://pay.example"}"#
    );
    assert_eq!(
        pages(V2026_07_28, GET).declaring(r#"{"elicitation":{}}"#).reply(),
        r#"{"code":-32021,"message":"the request needs client capabilities it does not declare: {\"elicitation\":{\"url\":{}}}","data":{"requiredCapabilities":{"elicitation":{"url":{}}}}}"#
    );
    // Nothing to ask for, and no way to ask.
    assert_eq!(row(-32042, None, from, V2026_07_28, CALL).reply(), internal(-32042, None));
    assert_eq!(pages(V2026_07_28, LIST).reply(), internal(-32042, Some(PAGES)));
    assert_eq!(row(-32042, None, V2026_07_28, V2026_07_28, CALL).reply(), internal(-32042, None));
    assert_eq!(
        row(-32042, None, from, V2025_06_18, CALL).reply(),
        r#"result {"content":[{"type":"text","text":"why"}],"isError":true}"#
    );
}

/// Bridging §9, `-32021`; §14, I9.
#[test]
fn a_capability_is_asked_for_only_of_who_could_declare_it() {
    let from = V2026_07_28;
    let needs = |required: &str| format!(r#"{{"requiredCapabilities":{required}}}"#);
    let url = needs(r#"{"elicitation":{"url":{}}}"#);
    let lacking = |to, method| row(-32021, Some(&url), from, to, method);
    assert_eq!(
        lacking(V2025_06_18, CALL).declaring(r#"{"elicitation":{}}"#).reply(),
        r#"result {"content":[{"type":"text","text":"this needs client capabilities that were not declared: {\"elicitation\":{\"url\":{}}}"}],"isError":true}"#
    );
    assert_eq!(
        lacking(V2025_06_18, READ).reply(),
        r#"{"code":-32600,"message":"this needs client capabilities that were not declared: {\"elicitation\":{\"url\":{}}}","data":{"requiredCapabilities":{"elicitation":{"url":{}}}}}"#
    );
    assert_eq!(
        lacking(V2026_07_28, CALL).reply(),
        format!(r#"{{"code":-32021,"message":"why","data":{url}}}"#)
    );
    // The client has it: we kept it back.
    for to in [V2025_11_25, V2026_07_28] {
        let has = lacking(to, CALL).declaring(r#"{"elicitation":{"url":{}}}"#);
        assert_eq!(has.reply(), internal(-32021, Some(&url)), "{to}");
    }
    // 2025-06-18 has no pages, so what such a client says of them counts for nothing.
    let has = lacking(V2025_06_18, CALL).declaring(r#"{"elicitation":{"url":{}}}"#);
    assert!(has.reply().starts_with("result "));
    // Legacy tasks belong to no client of 2026-07-28.
    let tasks = needs(r#"{"tasks":{},"roots":{}}"#);
    assert_eq!(
        row(-32021, Some(&tasks), from, V2026_07_28, CALL).reply(),
        r#"{"code":-32021,"message":"the request needs client capabilities it does not declare: {\"roots\":{}}","data":{"requiredCapabilities":{"roots":{}}}}"#
    );
    let tasks = needs(r#"{"tasks":{}}"#);
    assert_eq!(row(-32021, Some(&tasks), from, V2026_07_28, CALL).reply(), internal(-32021, Some(&tasks)));
    assert_eq!(row(-32021, None, from, V2026_07_28, CALL).reply(), internal(-32021, None));
}

fn of_two<'a>(capabilities: &'a ClientCapabilities, to: ProtocolVersion) -> Asked<'a> {
    Asked {
        server: V2025_11_25,
        client: to,
        capabilities,
        method: &CALL,
        resource: None,
        server_name: Some("Files"),
    }
}

/// Bridging §9, the paragraph on messages; §1, rule 7.
#[test]
fn the_server_is_named_where_several_could_be_meant() {
    let capabilities = capabilities(r#"{"elicitation":{"url":{}}}"#);
    for (code, to, start) in [
        (-32602, V2025_11_25, r#"{"code":-32602,"message":"Files: why","data":{"n": 1.0}}"#),
        (-32602, V2026_07_28, r#"{"code":-32602,"message":"Files: why","data":{"n": 1.0}}"#),
        (-32700, V2026_07_28, r#"{"code":-32603,"message":"Files: why""#),
        (-32042, V2024_11_05, r#"result {"content":[{"type":"text","text":"Files: why"}]"#),
    ] {
        let found = shown(&translate(&error(code, Some(r#"{"n": 1.0}"#)), &of_two(&capabilities, to)));
        assert!(found.starts_with(start), "{code} to {to}: {found}");
    }
    for to in [V2025_11_25, V2026_07_28] {
        let found = shown(&translate(&error(-32042, Some(PAGES)), &of_two(&capabilities, to)));
        assert!(found.contains("Files: Sign in") && found.contains("Files: Pay"), "{found}");
        assert_eq!(found.contains("e1"), to == V2025_11_25, "{found}");
    }
}

#[test]
fn what_servers_say_is_bounded() {
    let capabilities = ClientCapabilities::default();
    let asked = Asked { server_name: None, ..of_two(&capabilities, V2025_11_25) };
    let long = RpcError::new(ErrorCode(7), &"ü".repeat(MAX_MESSAGE));
    let Reply::Error(found) = translate(&long, &asked) else { panic!("an error") };
    assert_eq!(found.message().unwrap(), "ü".repeat(MAX_MESSAGE / 2));
    for (size, kept) in [(MAX_DATA, true), (MAX_DATA + 1, false)] {
        let data = RawJson::string(&"x".repeat(size - 2));
        for (code, to) in [(7, V2025_11_25), (-32000, V2026_07_28)] {
            let large = RpcError::with_data(ErrorCode(code), "why", &data);
            let Reply::Error(found) = translate(&large, &Asked { client: to, ..asked }) else {
                panic!("an error")
            };
            let found = found.as_raw().as_bytes().len() > MAX_DATA;
            assert_eq!(found, kept, "{size} bytes with {code}");
        }
    }
}

#[test]
fn an_error_that_passes_is_not_copied() {
    let capabilities = ClientCapabilities::default();
    let asked = Asked { server_name: None, ..of_two(&capabilities, V2026_07_28) };
    let odd = error(-32602, Some("[ 1.0 ]"));
    let Reply::Error(found) = translate(&odd, &asked) else { panic!("an error") };
    assert_eq!(found.as_raw().as_bytes().as_ptr(), odd.as_raw().as_bytes().as_ptr());
}

/// Bridging §9, the rows about failures that are no answers; product §5.
#[test]
fn failures_of_ours_say_what_is_known() {
    let bare = InternalError::new(reason::UPSTREAM_UNAVAILABLE, "\"files\" is not connected");
    assert_eq!(
        bare.to_error().as_raw().as_str(),
        r#"{"code":-32603,"message":"\"files\" is not connected","data":{"reason":"upstream_unavailable"}}"#
    );
    let cause = error(-1, Some(r#"{"n": 1.0}"#));
    let full = InternalError {
        delivery: Some(Delivery::Unknown),
        request_id: Some("r1"),
        upstream: Some(&cause),
        ..InternalError::new(reason::CLIENT_REFUSED, "client refused sampling: why")
    };
    assert_eq!(
        shown(&full.to_reply(&GET)),
        r#"{"code":-32603,"message":"client refused sampling: why","data":{"reason":"client_refused","delivery":"unknown","requestId":"r1","upstreamCode":-1,"upstreamData":{"n": 1.0}}}"#
    );
    assert_eq!(
        shown(&full.to_reply(&CALL)),
        r#"result {"content":[{"type":"text","text":"client refused sampling: why"}],"isError":true}"#
    );
}
