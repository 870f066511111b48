use ProtocolVersion::{V2024_11_05, V2025_11_25};
use mcp_protocol::Limits;
use proptest::prelude::*;

use super::*;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn called(text: &str, schema: Option<&str>, client: ProtocolVersion) -> String {
    let schema = schema.map(raw);
    to_client(&raw(text), &Method::ToolsCall, schema.as_ref(), V2026_07_28, client)
        .unwrap()
        .as_str()
        .to_owned()
}

const OLD: [ProtocolVersion; 2] = [V2024_11_05, V2025_03_26];
const RECENT: [ProtocolVersion; 2] = [V2025_06_18, V2025_11_25];

/// Bridging §10.1, the rows of `structuredContent`; §14 scenario 10.
#[test]
fn structured_content_is_passed_or_told() {
    for (value, is_object) in [
        (r#"{"n": 12345678901234567890}"#, true),
        ("[1, 2]", false),
        ("7", false),
        (r#""a\"b""#, false),
        ("null", false),
    ] {
        let result = format!(r#"{{"content":[],"structuredContent":{value},"x": 1.0}}"#);
        let told = format!(
            r#"{{"content":[{{"type":"text","text":{}}}],"x":1.0}}"#,
            serde_json::to_string(value).unwrap()
        );
        for client in OLD {
            assert_eq!(called(&result, None, client), told, "{value} to {client}");
        }
        for client in RECENT {
            let expected = if is_object { &result } else { &told };
            assert_eq!(&called(&result, None, client), expected, "{value} to {client}");
            assert_eq!(called(&result, Some(r#"{"type":"array"}"#), client), told, "{value} to {client}");
        }
        assert_eq!(called(&result, None, V2026_07_28), result, "{value}");
    }
}

#[test]
fn what_a_text_says_already_is_not_said_twice() {
    let client = V2025_03_26;
    for (content, blocks) in [
        (r#"[{"type":"text","text":"{\"a\":1,\"b\":[2]}"}]"#, 1),
        (r#"[{"type":"text","text":"{\n  \"b\": [2],\n  \"a\": 1\n}\n"}]"#, 1),
        (r#"[{"type":"image","data":"","mimeType":"a/b"},{"type":"text","text":"{\"a\":1,\"b\":[2]}"}]"#, 2),
        (r#"[{"type":"text","text":"{\"a\":2,\"b\":[2]}"}]"#, 2),
        (r#"[{"type":"text","text":"done"}]"#, 2),
        (r#"[{"type":"note","text":"{\"a\":1,\"b\":[2]}"}]"#, 2),
        ("[]", 1),
        ("null", 1),
    ] {
        let result =
            format!(r#"{{"content":{content},"structuredContent":{{"a":1,"b":[2]}},"isError":true}}"#);
        let found = raw(&called(&result, None, client));
        assert_eq!(found.get("structuredContent"), None);
        assert_eq!(found.get("isError").unwrap().as_str(), "true");
        assert_eq!(items(&found.get("content").unwrap()).unwrap().len(), blocks, "{content}");
    }
    let bare = called(r#"{"structuredContent":[]}"#, None, V2025_11_25);
    assert_eq!(bare, r#"{"content":[{"type":"text","text":"[]"}]}"#);
}

/// Bridging §10.1, "Consistency": where the schema is shown and the value fits it, the value is shown.
#[test]
fn schema_and_content_are_decided_together() {
    use StructuredOutput::{All, Nothing, Objects};
    let object = raw(r#"{"properties":{},"type":"object"}"#);
    let list = raw(r#"{"type":"array"}"#);
    let reference = raw(r##"{"$ref":"#/$defs/a"}"##);
    let new = V2026_07_28;
    for (schema, server, client, expected) in [
        (Some(&object), new, V2024_11_05, Nothing),
        (None, new, V2025_03_26, Nothing),
        (Some(&object), new, V2025_06_18, Objects),
        (None, new, V2025_11_25, Objects),
        (Some(&list), new, V2025_11_25, Nothing),
        (Some(&reference), new, V2025_06_18, Nothing),
        (Some(&list), new, new, All),
        (Some(&list), V2025_11_25, new, All),
        (Some(&object), V2025_11_25, V2025_06_18, Objects),
        (Some(&object), V2025_11_25, V2025_03_26, Nothing),
        // No older than the server: what the server says is between the two.
        (Some(&list), V2025_06_18, V2025_06_18, All),
        (Some(&object), V2024_11_05, V2024_11_05, All),
    ] {
        let output = StructuredOutput::of(schema, server, client);
        assert_eq!(output, expected, "{schema:?} from {server} to {client}");
        assert_eq!(output.shows_schema(), expected != Nothing);
    }
}

/// Bridging §10.1, the rows of content.
#[test]
fn blocks_become_text_where_the_client_does_not_know_them() {
    let audio = r#"{"type":"audio","data":"AAAA","mimeType":"audio/wav","annotations":{"priority": 1.0}}"#;
    let link = r#"{"type":"resource_link","uri":"file:///a","name":"a","description":"the \"a\""}"#;
    let short = r#"{"type":"resource_link","uri":"file:///b","name":"b","title":"B","size":3}"#;
    let odd = r#"{"type":"hologram", "audio":1.0}"#;
    let plain = r#"{"type":"text","text":"resource_link audio"}"#;
    let no_audio = r#"{"type":"text","text":"[audio, audio/wav, left out: this client's protocol revision has no audio]","annotations":{"priority": 1.0}}"#;
    let as_text = r#"{"type":"text","text":"a: file:///a\nthe \"a\""},{"type":"text","text":"B: file:///b"}"#;
    let result = format!(r#"{{"content":[{audio},{link},{short},{odd},{plain}]}}"#);
    for (client, expected) in [
        (V2024_11_05, format!(r#"{{"content":[{no_audio},{as_text},{odd},{plain}]}}"#)),
        (V2025_03_26, format!(r#"{{"content":[{audio},{as_text},{odd},{plain}]}}"#)),
        (V2025_06_18, result.clone()),
        (V2025_11_25, result.clone()),
        (V2026_07_28, result.clone()),
    ] {
        assert_eq!(called(&result, None, client), expected, "{client}");
    }
    let prompt = format!(
        r#"{{"messages":[{{"role":"user","content":{link},"x": 1.0}},{{"role":"user","content": {plain}}}],"description":"d"}}"#
    );
    let found = to_client(&raw(&prompt), &Method::PromptsGet, None, V2025_06_18, V2025_03_26).unwrap();
    assert_eq!(
        found.as_str(),
        format!(
            r#"{{"messages":[{{"role":"user","content":{{"type":"text","text":"a: file:///a\nthe \"a\""}},"x":1.0}},{{"role":"user","content": {plain}}}],"description":"d"}}"#
        )
    );
}

#[test]
fn what_fits_is_not_copied() {
    let link = r#"{"content":[{"type":"resource_link","uri":"a","name":"a"}],"structuredContent":{}}"#;
    let text = r#"{"content":[{"type":"text","text":"a"}]}"#;
    for (result, method, server, client) in [
        (link, Method::ToolsCall, V2024_11_05, V2024_11_05),
        (link, Method::ToolsCall, V2026_07_28, V2025_11_25),
        (link, Method::ToolsCall, V2026_07_28, V2025_06_18),
        (text, Method::ToolsCall, V2026_07_28, V2024_11_05),
        (r#"{"contents":[]}"#, Method::ResourcesRead, V2026_07_28, V2024_11_05),
        (
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"a"}}]}"#,
            Method::PromptsGet,
            V2026_07_28,
            V2024_11_05,
        ),
        (r#"{"messages":7}"#, Method::PromptsGet, V2026_07_28, V2024_11_05),
        ("{}", Method::PromptsGet, V2026_07_28, V2024_11_05),
    ] {
        let result = raw(result);
        let found = to_client(&result, &method, None, server, client).unwrap();
        assert_eq!(
            found.as_bytes().as_ptr(),
            result.as_bytes().as_ptr(),
            "{result:?} from {server} to {client}"
        );
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Nothing that a server sends as data is lost on the way to any client, and it is told once.
    #[test]
    fn data_arrives_as_data_or_as_text(
        value in value(),
        as_text in any::<bool>(),
        client in prop::sample::select(&ProtocolVersion::ALL[..]),
    ) {
        let json = serde_json::to_string(&value).unwrap();
        let text = if as_text { format!("[{}]", text_block(&json, None).as_str()) } else { "[]".to_owned() };
        let found = raw(&called(&format!(r#"{{"content":{text},"structuredContent":{json}}}"#), None, client));
        let structured = found.get("structuredContent");
        let content = found.get("content").unwrap();
        let blocks = items(&content).unwrap();
        let told = blocks.iter().filter(|block| is_told(&[**block], &raw(&json))).count();
        match structured {
            Some(structured) => prop_assert_eq!(structured.as_str(), json),
            None => prop_assert_eq!(told, 1),
        }
        // Once converted, there is nothing left to convert.
        prop_assert_eq!(called(found.as_str(), None, client), found.as_str());
    }
}
