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
        let sealed =
            seal(&raw(result), None, &Method::ToolsList, hints, Some(&info), server, client).unwrap();
        assert_eq!(sealed.as_str(), expected, "{server} to {client}");
    }
    let called = seal(&raw("{}"), None, &Method::ToolsCall, hints, None, V2025_11_25, V2026_07_28).unwrap();
    assert_eq!(called.as_str(), r#"{"resultType":"complete"}"#);
    assert!(seal(&raw("[]"), None, &Method::ToolsCall, hints, None, V2025_11_25, V2026_07_28).is_err());
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
        (r#"{"ttlMs":5,"cacheScope":"public"}"#, Method::ToolsList, false),
        (r#"{"resultType":"complete"}"#, Method::ResourcesRead, false),
    ] {
        let result = raw(text);
        let said = Envelope::read(&result).unwrap();
        let sealed = seal(&result, Some(&said), &method, hints, None, V2026_07_28, V2026_07_28).unwrap();
        assert_eq!(sealed.as_bytes().as_ptr() == result.as_bytes().as_ptr(), same, "{text}");
        assert_eq!(sealed.get("resultType").unwrap().as_str(), r#""complete""#, "{text}");
    }
}

/// Bridging §5, `completion/complete`.
#[test]
fn a_request_goes_on_without_what_the_server_does_not_know() {
    let params = raw(
        r#"{"context":{"arguments":{}},"n": 12345678901234567890,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","vendor/x": 1.0}}"#,
    );
    for (method, server, context) in [
        (Method::ToolsCall, V2024_11_05, true),
        (Method::CompletionComplete, V2024_11_05, false),
        (Method::CompletionComplete, V2025_06_18, true),
        (Method::ToolsCall, V2026_07_28, true),
    ] {
        for client in [V2024_11_05, V2026_07_28] {
            let sent = upstream_params(Some(&params), &method, None, server, client).unwrap().unwrap();
            assert_eq!(sent == params, context, "{method} from {client} to {server}");
            assert_eq!(sent.get("context").is_some(), context, "{method} from {client} to {server}");
            assert_eq!(sent.get("_meta"), params.get("_meta"), "for the connection to replace");
        }
    }
    let to_2025 =
        |text: &str, client| upstream_params(Some(&raw(text)), &Method::ToolsCall, None, V2025_11_25, client);
    for wrong in [r#"{"_meta":7}"#, r#"{"_meta":{"a":1,"a":2}}"#, r#"{"a":1,"a":2}"#, "[]"] {
        assert!(to_2025(wrong, V2025_11_25).is_err(), "{wrong}");
    }
    assert!(to_2025(r#"{"_meta":null}"#, V2025_11_25).is_ok());
    let none = upstream_params(None, &Method::ToolsList, None, V2025_11_25, V2025_11_25);
    assert_eq!(none, Ok(None));
}

#[test]
fn a_tool_or_prompt_goes_by_the_servers_name_for_it() {
    let call = raw(r#"{"name":"s__t","arguments":{"n": 1.0},"_meta":{"progressToken":1}}"#);
    let sent = upstream_params(Some(&call), &Method::ToolsCall, Some("t"), V2025_11_25, V2026_07_28)
        .unwrap()
        .unwrap();
    assert_eq!(sent.as_str(), r#"{"name":"t","arguments":{"n": 1.0},"_meta":{"progressToken":1}}"#);
    let complete = raw(r#"{"ref":{"type":"ref/prompt","name":"s__p","x":1},"argument":{}}"#);
    let sent =
        upstream_params(Some(&complete), &Method::CompletionComplete, Some("p"), V2025_11_25, V2026_07_28)
            .unwrap()
            .unwrap();
    assert_eq!(sent.as_str(), r#"{"ref":{"type":"ref/prompt","name":"p","x":1},"argument":{}}"#);
}

#[test]
fn what_belongs_to_one_leg_stays_there() {
    let retry = raw(r#"{"name":"t","inputResponses":{},"requestState":"s","x":1}"#);
    let sent =
        upstream_params(Some(&retry), &Method::ToolsCall, None, V2025_11_25, V2026_07_28).unwrap().unwrap();
    assert_eq!(sent.as_str(), r#"{"name":"t","x":1}"#);
    let kept =
        upstream_params(Some(&retry), &Method::ToolsCall, None, V2026_07_28, V2026_07_28).unwrap().unwrap();
    assert_eq!(kept, retry);

    let question = raw(r#"{"message":"?","_meta":{"progressToken":3,"com.example/k":1}}"#);
    assert_eq!(question_params(question).as_str(), r#"{"message":"?","_meta":{"com.example/k":1}}"#);
    let plain = raw(r#"{"message":"?"}"#);
    assert_eq!(question_params(plain.clone()), plain);
}
