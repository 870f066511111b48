use ProtocolVersion::{V2024_11_05, V2025_06_18, V2025_11_25, V2026_07_28};
use mcp_protocol::Limits;

use super::*;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn ms(ms: u64, scope: CacheScope) -> Caching {
    Caching { ttl: Duration::from_millis(ms), scope }
}

/// Bridging §11.
#[test]
fn hints_age_and_are_combined_to_the_strictest() {
    use CacheScope::{Private, Public};
    let age = Duration::from_millis(400);
    assert_eq!(caching(None, age, false), ms(0, Private));
    assert_eq!(caching(Some(ms(1000, Public)), age, false), ms(600, Public));
    assert_eq!(caching(Some(ms(1000, Public)), age, true), ms(600, Private));
    assert_eq!(caching(Some(ms(300, Private)), age, false), ms(0, Private));
    assert_eq!(caching_of_all([]), ms(0, Private));
    assert_eq!(caching_of_all([ms(5, Public), ms(3, Public)]), ms(3, Public));
    assert_eq!(caching_of_all([ms(5, Public), ms(7, Private), ms(9, Public)]), ms(5, Private));
}

/// Bridging §2, "Result envelope"; wire reference §3.4.
#[test]
fn the_envelope_fits_the_era_of_the_client() {
    let info = raw(r#"{"name":"mcp-gateway","version":"1"}"#);
    let bare = r#"{"tools":[1.0],"_meta":{"vendor":1}}"#;
    let theirs = r#"{"resultType":"complete","tools":[1.0],"ttlMs":5,"cacheScope":"public","_meta":{"vendor":1,"io.modelcontextprotocol/serverInfo":{"name":"theirs"}}}"#;
    let ours = r#""io.modelcontextprotocol/serverInfo":{"name":"mcp-gateway","version":"1"}"#;
    let hints = ms(7, CacheScope::Public);
    for (result, server, client, expected) in [
        (bare, V2024_11_05, V2025_11_25, bare.to_owned()),
        (theirs, V2026_07_28, V2025_11_25, bare.to_owned()),
        (
            bare,
            V2025_11_25,
            V2026_07_28,
            format!(
                r#"{{"tools":[1.0],"_meta":{{"vendor":1,{ours}}},"resultType":"complete","ttlMs":7,"cacheScope":"public"}}"#
            ),
        ),
        (
            theirs,
            V2026_07_28,
            V2026_07_28,
            format!(
                r#"{{"resultType":"complete","tools":[1.0],"ttlMs":7,"cacheScope":"public","_meta":{{"vendor":1,{ours}}}}}"#
            ),
        ),
    ] {
        let sealed = seal(&raw(result), &Method::ToolsList, hints, Some(&info), server, client).unwrap();
        assert_eq!(sealed.as_str(), expected, "{server} to {client}");
    }
    let called = seal(&raw("{}"), &Method::ToolsCall, hints, None, V2025_11_25, V2026_07_28).unwrap();
    assert_eq!(called.as_str(), r#"{"resultType":"complete"}"#);
    assert!(seal(&raw("[]"), &Method::ToolsCall, hints, None, V2025_11_25, V2026_07_28).is_err());
}

#[test]
fn a_result_that_fits_is_not_copied() {
    let hints = ms(5, CacheScope::Public);
    for (text, method, same) in [
        (r#"{"resultType":"complete","content":[ ]}"#, Method::ToolsCall, true),
        (r#"{"content":[ ]}"#, Method::ToolsCall, false),
        (r#"{"resultType":"complete","content":[ ],"ttlMs":5}"#, Method::ToolsCall, false),
        (r#"{"resultType":"complete","ttlMs":5,"cacheScope":"public"}"#, Method::ToolsList, true),
        (r#"{"resultType":"complete","ttlMs":6,"cacheScope":"public"}"#, Method::ToolsList, false),
        (r#"{"resultType":"complete","ttlMs":5,"cacheScope":"private"}"#, Method::ToolsList, false),
        (r#"{"resultType":"complete"}"#, Method::ResourcesRead, false),
    ] {
        let result = raw(text);
        let sealed = seal(&result, &method, hints, None, V2026_07_28, V2026_07_28).unwrap();
        assert_eq!(sealed.as_bytes().as_ptr() == result.as_bytes().as_ptr(), same, "{text}");
    }
}

/// Bridging §5, "`_meta` vendor keys" and `completion/complete`.
#[test]
fn a_request_leaves_its_leg_behind() {
    let params = raw(
        r#"{"context":{"arguments":{}},"n": 12345678901234567890,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/logLevel":"debug","traceparent":"00-1","vendor/x": 1.0,"progressToken":7}}"#,
    );
    let kept =
        r#""n": 12345678901234567890,"_meta":{"traceparent":"00-1","vendor/x":1.0,"progressToken":7}}"#;
    let kept = kept.replacen("\"n\": ", "\"n\":", 1);
    for (method, server, context) in [
        (Method::ToolsCall, V2024_11_05, true),
        (Method::CompletionComplete, V2024_11_05, false),
        (Method::CompletionComplete, V2025_06_18, true),
        (Method::ToolsCall, V2026_07_28, true),
    ] {
        let sent = upstream_params(Some(&params), &method, None, server).unwrap().unwrap();
        let context = if context { r#""context":{"arguments":{}},"# } else { "" };
        assert_eq!(sent.as_str(), format!("{{{context}{kept}"), "{method} to {server}");
    }
    let plain = raw(r#"{"a": 1,"_meta":{"progressToken":7}}"#);
    assert_eq!(upstream_params(Some(&plain), &Method::ToolsCall, None, V2025_11_25).unwrap(), Some(plain));
    assert_eq!(upstream_params(None, &Method::ToolsList, None, V2025_11_25), Ok(None));
    assert!(upstream_params(Some(&raw(r#"{"_meta":7}"#)), &Method::ToolsList, None, V2025_11_25).is_err());
}

#[test]
fn a_tool_or_prompt_goes_by_the_servers_name_for_it() {
    let call = raw(r#"{"name":"s__t","arguments":{"n": 1.0},"_meta":{"progressToken":1}}"#);
    let sent = upstream_params(Some(&call), &Method::ToolsCall, Some("t"), V2025_11_25).unwrap().unwrap();
    assert_eq!(sent.as_str(), r#"{"name":"t","arguments":{"n": 1.0},"_meta":{"progressToken":1}}"#);
    let complete = raw(r#"{"ref":{"type":"ref/prompt","name":"s__p","x":1},"argument":{}}"#);
    let sent = upstream_params(Some(&complete), &Method::CompletionComplete, Some("p"), V2025_11_25)
        .unwrap()
        .unwrap();
    assert_eq!(sent.as_str(), r#"{"ref":{"type":"ref/prompt","name":"p","x":1},"argument":{}}"#);
}

#[test]
fn what_belongs_to_one_leg_stays_there() {
    let retry = raw(r#"{"name":"t","inputResponses":{},"requestState":"s","x":1}"#);
    let sent = upstream_params(Some(&retry), &Method::ToolsCall, None, V2025_11_25).unwrap().unwrap();
    assert_eq!(sent.as_str(), r#"{"name":"t","x":1}"#);
    let kept = upstream_params(Some(&retry), &Method::ToolsCall, None, V2026_07_28).unwrap().unwrap();
    assert_eq!(kept, retry);

    let question = raw(r#"{"message":"?","_meta":{"progressToken":3,"com.example/k":1}}"#);
    assert_eq!(question_params(question).as_str(), r#"{"message":"?","_meta":{"com.example/k":1}}"#);
    let plain = raw(r#"{"message":"?"}"#);
    assert_eq!(question_params(plain.clone()), plain);
}
