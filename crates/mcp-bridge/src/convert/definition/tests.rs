use ProtocolVersion::{V2024_11_05, V2025_03_26, V2025_06_18};
use mcp_protocol::Limits;

use super::*;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn route(server: ProtocolVersion, client: ProtocolVersion) -> Route {
    Route { server, client, over_http: false, tasks: false }
}

fn shown(text: &str, route: &Route) -> String {
    tool(&raw(text), route).unwrap().as_str().to_owned()
}

/// Bridging §10.2: what is newer than the client stays, apart from what would mislead it.
#[test]
fn newer_members_stay_and_execution_goes() {
    let start = r#"{"name":"a","title":"A","icons":[],"annotations":{"x": 1.0},"inputSchema":{"n": 12345678901234567890}"#;
    let text = format!(r#"{start},"execution":{{"taskSupport":"required"}}}}"#);
    let without = format!("{start}}}");
    for (server, client, tasks, stays) in [
        (V2025_11_25, V2024_11_05, true, false),
        (V2025_11_25, V2025_11_25, true, true),
        (V2025_11_25, V2025_11_25, false, false),
        (V2025_11_25, V2026_07_28, true, false),
        (V2026_07_28, V2026_07_28, false, false),
        (V2025_06_18, V2026_07_28, false, false),
        // There it is a word like any other.
        (V2025_03_26, V2025_03_26, false, true),
        (V2025_03_26, V2025_11_25, false, true),
    ] {
        let found = shown(&text, &Route { tasks, ..route(server, client) });
        assert_eq!(found, if stays { &*text } else { &*without }, "{server} to {client}, tasks {tasks}");
    }
    // The server has other words for it (bridging §8.2).
    let optional = format!(r#"{start},"execution":{{"taskSupport":"optional"}}}}"#);
    for (text, client, tasks, expected) in [
        (&text, V2025_11_25, true, &optional),
        (&without, V2025_11_25, true, &optional),
        (&text, V2025_11_25, false, &without),
        (&without, V2025_06_18, true, &without),
        (&without, V2026_07_28, true, &without),
    ] {
        let found = shown(text, &Route { tasks, ..route(V2026_07_28, client) });
        assert_eq!(found, **expected, "to {client}, tasks {tasks}");
    }
    let tool_without = raw(&without);
    let found = tool(&tool_without, &route(V2026_07_28, V2024_11_05)).unwrap();
    assert_eq!(found.as_bytes().as_ptr(), tool_without.as_bytes().as_ptr());
    assert!(matches!(tool(&raw("7"), &route(V2025_11_25, V2025_11_25)), Err(LeftOut::Malformed(_))));
}

/// Bridging §10.1, "Consistency".
#[test]
fn a_schema_is_shown_where_its_content_is() {
    for (schema, june, march) in
        [(r#"{"type":"object"}"#, true, false), (r#"{"type":"array"}"#, false, false), ("{}", false, false)]
    {
        let text = format!(r#"{{"name":"a","outputSchema":{schema},"inputSchema":{{}}}}"#);
        for (client, stays) in
            [(V2025_03_26, march), (V2025_06_18, june), (V2025_11_25, june), (V2026_07_28, true)]
        {
            let expected = if stays { &*text } else { r#"{"name":"a","inputSchema":{}}"# };
            assert_eq!(shown(&text, &route(V2026_07_28, client)), expected, "{schema} to {client}");
        }
    }
}

fn with_schema(schema: &str) -> String {
    format!(r#"{{"name":"a","inputSchema":{schema}}}"#)
}

/// Bridging §10.2 and §15, scenario 11.
#[test]
fn broken_annotations_cost_the_annotation_or_the_tool() {
    let good = r#"{"type":"object","properties":{"a":{"type":"string","x-mcp-header":"A"}}}"#;
    for (broken, repaired) in [
        (
            r#"{"properties":{"a":{"type":"number","x-mcp-header":"A","n": 1.0},"b":{"type":"string","x-mcp-header":"B"}}}"#,
            r#"{"properties":{"a":{"type":"number","n":1.0},"b":{"type":"string","x-mcp-header":"B"}}}"#,
        ),
        (
            r#"{"properties":{"a/b~c":{"anyOf":[{"type":"null"},{"type":"string","x-mcp-header":"A"}]}}}"#,
            r#"{"properties":{"a/b~c":{"anyOf":[{"type":"null"},{"type":"string"}]}}}"#,
        ),
        (
            r#"{"x-mcp-header":"","properties":{"x-mcp-header":{"type":"string","x-mcp-header":" "}}}"#,
            r#"{"properties":{"x-mcp-header":{"type":"string"}}}"#,
        ),
    ] {
        let text = with_schema(broken);
        for (server, over_http) in [(V2026_07_28, false), (V2025_11_25, false), (V2025_11_25, true)] {
            let route = Route { over_http, ..route(server, V2026_07_28) };
            assert_eq!(shown(&text, &route), with_schema(repaired), "{broken}");
            // To a client of the handshake era the keyword means nothing.
            assert_eq!(shown(&text, &Route { client: V2025_11_25, ..route }), text, "{broken}");
        }
        for client in [V2025_11_25, V2026_07_28] {
            let route = Route { over_http: true, ..route(V2026_07_28, client) };
            assert!(matches!(tool(&raw(&text), &route), Err(LeftOut::Annotation(_))), "{broken}");
            assert_eq!(shown(&with_schema(good), &route), with_schema(good));
        }
    }
    let twice = r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#;
    let repaired = shown(&with_schema(twice), &route(V2026_07_28, V2026_07_28));
    assert_eq!(repaired.matches("x-mcp-header").count(), 1, "{repaired}");
}

#[test]
fn a_tool_with_many_broken_annotations_is_left_out() {
    for (count, shown) in [(MAX_BROKEN_ANNOTATIONS, true), (MAX_BROKEN_ANNOTATIONS + 1, false)] {
        let properties: Vec<_> =
            (0..count).map(|n| format!(r#""p{n}":{{"type":"number","x-mcp-header":"A{n}"}}"#)).collect();
        let text = with_schema(&format!(r#"{{"properties":{{{}}}}}"#, properties.join(",")));
        assert_eq!(tool(&raw(&text), &route(V2026_07_28, V2026_07_28)).is_ok(), shown, "{count}");
    }
}
