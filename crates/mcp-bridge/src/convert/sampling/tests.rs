use ProtocolVersion::{V2024_11_05, V2025_06_18, V2026_07_28};
use mcp_protocol::Limits;
use mcp_protocol::capability::ClientCapabilities;
use proptest::prelude::*;

use super::*;
use crate::convert::capabilities::Extensions;

const TEXT: &str = r#"{"type":"text","text":"a", "n":1.0}"#;
const IMAGE: &str = r#"{"type":"image","data":"","mimeType":"image/png"}"#;
const AUDIO: &str = r#"{"type":"audio","data":"","mimeType":"audio/wav"}"#;
const USE: &str = r#"{"type":"tool_use","id":"1","name":"t","input":{}}"#;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn profile(text: &str) -> Profile {
    let capabilities = ClientCapabilities::from_raw(raw(text)).unwrap();
    Profile::of(&capabilities, V2026_07_28, &Extensions::named(&[]))
}

fn asked(params: &str, server: ProtocolVersion, client: ProtocolVersion) -> Result<String, Unaskable> {
    let profile = profile(r#"{"sampling":{}}"#);
    let route = Route { server, client, profile: &profile, aggregated: false };
    to_client(&raw(params), &route).map(|params| params.as_str().to_owned())
}

fn request(messages: &str) -> String {
    format!(r#"{{"messages":[{messages}],"maxTokens":9}}"#)
}

fn says(content: &str) -> String {
    format!(r#"{{"role":"user","content":{content},"x":1.0}}"#)
}

/// Bridging §10.4.
#[test]
fn lists_become_messages_for_clients_that_know_no_lists() {
    let list =
        request(&[says(&format!("[{TEXT},{IMAGE}]")), says(&format!("[{TEXT}]")), says(IMAGE)].join(","));
    let split = request(&[says(TEXT), says(IMAGE), says(TEXT), says(IMAGE)].join(","));
    for client in [V2024_11_05, V2025_03_26, V2025_06_18] {
        for server in [V2025_11_25, V2026_07_28] {
            assert_eq!(asked(&list, server, client).unwrap(), split, "{server} to {client}");
        }
    }
    for client in [V2025_11_25, V2026_07_28] {
        assert_eq!(asked(&list, V2026_07_28, client).unwrap(), list, "{client}");
    }
    assert_eq!(asked(&request(&says("[]")), V2025_11_25, V2025_06_18).unwrap(), request(""));
}

#[test]
fn what_a_client_does_not_know_is_refused() {
    let audio = Unaskable::Content { client: V2024_11_05, kind: "audio".into() };
    for content in [AUDIO.to_owned(), format!("[{TEXT},{AUDIO}]")] {
        let params = request(&says(&content));
        assert_eq!(asked(&params, V2025_11_25, V2024_11_05), Err(audio.clone()));
        assert!(asked(&params, V2025_11_25, V2025_03_26).is_ok());
    }
    let with_tools = profile(r#"{"sampling":{"tools":{}}}"#);
    for params in [
        request(&says(USE)),
        request(&says(r#"[{"type":"tool_result","toolUseId":"1","content":[]}]"#)),
        r#"{"messages":[],"tools":[{"name":"t","inputSchema":{}}],"toolChoice":{},"maxTokens":9}"#.to_owned(),
        r#"{"messages":[],"tools":7,"maxTokens":9}"#.to_owned(),
    ] {
        for client in [V2025_06_18, V2025_11_25, V2026_07_28] {
            assert_eq!(asked(&params, V2025_11_25, client), Err(Unaskable::Tools), "{params} to {client}");
        }
        let params = raw(&params);
        let route =
            Route { server: V2025_11_25, client: V2026_07_28, profile: &with_tools, aggregated: false };
        let same = to_client(&params, &route).unwrap();
        assert_eq!(same.as_bytes().as_ptr(), params.as_bytes().as_ptr());
    }
    let none = r#"{"messages":[],"tools":[],"toolChoice":{"mode":"none"},"task":{},"maxTokens":9}"#;
    assert_eq!(asked(none, V2025_11_25, V2026_07_28).unwrap(), r#"{"messages":[],"maxTokens":9}"#);
    assert!(matches!(asked(&request("7"), V2026_07_28, V2025_06_18), Err(Unaskable::Malformed(_))));
}

/// Bridging §4.3, "Aggregation rule for sampling".
#[test]
fn no_context_is_asked_for_where_it_would_be_of_all_servers() {
    let profile = profile(r#"{"sampling":{"context":{}}}"#);
    for (context, aggregated, expected) in [
        ("thisServer", true, "none"),
        ("allServers", true, "none"),
        ("none", true, "none"),
        ("thisServer", false, "thisServer"),
    ] {
        let params = raw(&format!(r#"{{"messages":[],"includeContext":"{context}","maxTokens":9}}"#));
        let route = Route { server: V2025_11_25, client: V2025_11_25, profile: &profile, aggregated };
        let found = to_client(&params, &route).unwrap().get("includeContext").unwrap();
        assert_eq!(found.to::<String>().unwrap(), expected, "{context}");
    }
    assert_eq!(asked(r#"{"messages":[]}"#, V2026_07_28, V2026_07_28).unwrap(), r#"{"messages":[]}"#);
}

/// Bridging §10.4, "Answers".
#[test]
fn an_answer_is_one_block_for_servers_that_take_one() {
    let answer = |content: &str| format!(r#"{{"role":"assistant","content":{content},"model":"m","n":1.0}}"#);
    let (old, march, new) = (V2024_11_05, V2025_03_26, V2025_11_25);
    for (content, server, expected) in [
        (TEXT.to_owned(), old, Some(TEXT)),
        (format!("[{TEXT}]"), old, Some(TEXT)),
        (format!("[{IMAGE}]"), march, Some(IMAGE)),
        (format!("[{TEXT},{TEXT}]"), march, Some(r#"{"type":"text","text":"a\na"}"#)),
        (format!("[{TEXT},{IMAGE}]"), march, None),
        ("[]".to_owned(), march, Some(r#"{"type":"text","text":""}"#)),
        (AUDIO.to_owned(), old, None),
        (format!("[{AUDIO}]"), march, Some(AUDIO)),
        (USE.to_owned(), march, None),
        (format!("[{USE}]"), march, None),
        ("7".to_owned(), march, None),
    ] {
        let found = to_server(&raw(&answer(&content)), server);
        let found = found.as_ref().ok().map(RawJson::as_str);
        assert_eq!(found, expected.map(&answer).as_deref(), "{content} to {server}");
    }
    for content in [TEXT.to_owned(), format!("[{TEXT},{USE}]")] {
        let result = raw(&answer(&content));
        for server in [new, V2026_07_28] {
            let found = to_server(&result, server).unwrap();
            assert_eq!(found.as_bytes().as_ptr(), result.as_bytes().as_ptr());
        }
    }
    for broken in ["{}", "[]", r#"{"role":"assistant","model":"m"}"#, r#"{"role":"assistant","content":{}}"#]
    {
        assert!(matches!(to_server(&raw(broken), new), Err(InvalidAnswer::Malformed(_))), "{broken}");
    }
}

proptest! {
    /// Who says what, and in which order, is the same after the split.
    #[test]
    fn splitting_keeps_the_conversation(
        conversation in prop::collection::vec((any::<bool>(), prop::collection::vec(".{0,5}", 0..4)), 0..5),
    ) {
        let role = |user| if user { "user" } else { "assistant" };
        let flat: Vec<(String, String)> = conversation
            .iter()
            .flat_map(|(user, texts)| texts.iter().map(|text| (role(*user).to_owned(), text.clone())))
            .collect();
        let messages: Vec<_> = conversation
            .iter()
            .map(|(user, texts)| serde_json::json!({
                "role": role(*user),
                "content": texts.iter().map(|text| serde_json::json!({"type": "text", "text": text})).collect::<Vec<_>>(),
            }))
            .collect();
        let params = serde_json::json!({"messages": messages, "maxTokens": 1}).to_string();
        let found = raw(&asked(&params, V2026_07_28, V2025_06_18).unwrap());
        let found: Vec<serde_json::Value> = found.get("messages").unwrap().to().unwrap();
        let found: Vec<(String, String)> = found
            .iter()
            .map(|message| (
                message["role"].as_str().unwrap().to_owned(),
                message["content"]["text"].as_str().unwrap().to_owned(),
            ))
            .collect();
        prop_assert_eq!(found, flat);
    }
}
