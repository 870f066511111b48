//! What arrives as it was sent, and what becomes of failures. Source: bridging §1 rule 4, §9.

use std::time::Duration;

use mcp_protocol::Method;
use mcp_transport::{Delivery, TransportKind};
use serde_json::{Value, json};

use crate::held::able;
use crate::net::Server;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn results_of_one_server_arrive_byte_by_byte_within_an_era() {
    let bodies = [
        r#"{"zebra":1,"content":[ {"text":"a\u00e9\/b","type":"text","extra":{"n":123456789012345678901234567890}} ],"big":18446744073709551616,"float":1.0,"exp":1E+2,"_meta":{"x/y":[1, 2]},"a":null"#,
        r#"{"structuredContent":{"b":1,"a":9007199254740993},"content":[],"isError":false"#,
    ];
    for kind in KINDS {
        for version in [V2025_11_25, V2026_07_28] {
            let server = Server::scripted("s", kind, version).tools(&["t"]);
            let world = World::new(&[&server]);
            for body in bodies {
                let sent = if version == V2026_07_28 {
                    format!(r#"{body},"resultType":"complete"}}"#)
                } else {
                    format!("{body}}}")
                };
                let arguments = r#"{"z":1.0,"a":{"n":123456789012345678901234567890},"s":"\u00e9"}"#;
                let params =
                    |name: &str| format!(r#"{{"arguments":{arguments},"name":"{name}","unknown":[1.0]}}"#);
                let call = if version == V2026_07_28 {
                    world.modern_at(&one("s")).able(able()).start(Method::ToolsCall, params("t"))
                } else {
                    world.classic_at(&one("s"), version, able()).await.start(Method::ToolsCall, params("t"))
                };
                let asked = server.next(Method::ToolsCall).await;
                assert!(
                    asked.raw().contains(arguments) && asked.raw().contains(r#""unknown":[1.0]"#),
                    "{}",
                    asked.raw()
                );
                asked.answer(&sent);
                assert_eq!(call.raw().await, sent, "{kind:?} {version}");
                // Behind a prefix the same, for clients without an envelope.
                if version == V2025_11_25 {
                    let call =
                        world.classic(version, json!({})).await.start(Method::ToolsCall, params("s__t"));
                    let asked = server.next(Method::ToolsCall).await;
                    assert!(asked.raw().contains(arguments), "{}", asked.raw());
                    asked.answer(&sent);
                    assert_eq!(call.raw().await, sent);
                }
            }
        }
    }
}

/// Without the kind it means `complete`; a client of ours is told so.
#[tokio::test(start_paused = true)]
async fn a_stateless_result_without_its_kind_gets_it_and_nothing_else() {
    let server = Server::scripted("s", TransportKind::Http, V2026_07_28).tools(&["t"]);
    let world = World::new(&[&server]);
    let call = world.modern_at(&one("s")).start(Method::ToolsCall, r#"{"name":"t"}"#);
    let result = r#"{"z":1.0,"content":[ ],"n":18446744073709551616"#;
    server.next(Method::ToolsCall).await.answer(format!("{result}}}"));
    assert_eq!(call.raw().await, format!(r#"{result},"resultType":"complete"}}"#));
}

#[tokio::test(start_paused = true)]
async fn lists_and_other_results_of_one_server_arrive_byte_by_byte_too() {
    let page = r#"{"x":1.0,"tools":[{"name":"t","inputSchema":{"type":"object"},"n":123456789012345678901234567890 }],"nextCursor":"c""#;
    for version in [V2025_11_25, V2026_07_28] {
        let sent = if version == V2026_07_28 {
            format!(r#"{page},"ttlMs":5,"cacheScope":"private","resultType":"complete"}}"#)
        } else {
            format!("{page}}}")
        };
        let listed = sent.clone();
        let server =
            Server::scripted("s", TransportKind::Http, version).on(Method::ToolsList, move |asked| {
                let end = if asked.params()["cursor"] == "c" {
                    listed.replace(r#","nextCursor":"c""#, "")
                } else {
                    listed.clone()
                };
                asked.answer(end);
            });
        let world = World::new(&[&server]);
        let list = if version == V2026_07_28 {
            world.modern_at(&one("s")).start(Method::ToolsList, "{}")
        } else {
            world.classic_at(&one("s"), version, json!({})).await.start(Method::ToolsList, "{}")
        };
        assert_eq!(list.raw().await, sent, "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_an_application_arrive_as_they_are() {
    let server = Server::scripted("s", TransportKind::Http, V2025_11_25).tools(&["t"]);
    let world = World::new(&[&server]);
    let session = world.classic_at(&one("s"), V2025_11_25, json!({})).await;
    let call = session.tool("t");
    let asked = server.next(Method::ToolsCall).await;
    asked.fail(4711, "as it is", Some(json!({"n": 1, "deep": [null]})));
    let error = call.err().await;
    assert_eq!(error, json!({"code": 4711, "message": "as it is", "data": {"n": 1, "deep": [null]}}));
    // Where several could be meant, the one is named.
    let call = world.modern().tool("s__t");
    server.next(Method::ToolsCall).await.fail(4711, "as it is", None);
    let error = call.err().await;
    assert!(error["message"].as_str().unwrap().contains('s'), "{error}");
}

#[tokio::test(start_paused = true)]
async fn failures_on_the_way_say_what_may_have_happened() {
    for (status, reason) in [
        (401, "upstream_authorization_required"),
        (403, "upstream_authorization_required"),
        (404, "upstream_unavailable"),
    ] {
        for modern in [false, true] {
            let server = Server::scripted("s", TransportKind::Http, V2025_11_25).tools(&["t"]);
            let world = World::new(&[&server]);
            let session = world.classic(V2025_11_25, json!({})).await;
            server.refuse(&Method::ToolsCall, status, Delivery::Rejected);
            let call = if modern { world.modern().tool("s__t") } else { session.tool("s__t") };
            let error = call.err().await;
            assert_eq!(
                (&error["code"], &error["data"]["reason"]),
                (&json!(-32603), &json!(reason)),
                "{status}: {error}"
            );
            assert_ne!(error["data"]["delivery"], "unknown", "{error}");
        }
    }
    let server = Server::scripted("s", TransportKind::Http, V2025_11_25).tools(&["t"]);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, json!({})).await;
    server.refuse(&Method::ToolsCall, 502, Delivery::Unknown);
    let error = session.tool("s__t").err().await;
    assert_eq!(
        (&error["data"]["reason"], &error["data"]["delivery"]),
        (&json!("outcome_unknown"), &json!("unknown")),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_too_long_is_given_up() {
    for version in [V2025_11_25, V2026_07_28] {
        let server = Server::scripted("s", TransportKind::Http, version).tools(&["t"]);
        let world =
            World::with(&[&server], |_| {}, |definition| definition.request_timeout = Duration::from_secs(5));
        let call = world.modern().able(able()).tool("s__t");
        let asked = server.next(Method::ToolsCall).await;
        let error = call.err().await;
        assert_eq!(
            (&error["code"], &error["data"]["reason"]),
            (&json!(-32603), &json!("timeout")),
            "{error}"
        );
        asked.cancelled().await;
        world.reconnect("s").await;
        // Progress is a sign of life, for whoever asked for it.
        let params = json!({"name": "s__t", "_meta": {"progressToken": 1}});
        let call = world.modern().start(Method::ToolsCall, params);
        let asked = server.next(Method::ToolsCall).await;
        for n in 1..5 {
            pass(Duration::from_secs(4)).await;
            asked.progress(n);
        }
        pass(Duration::from_secs(4)).await;
        asked.answer(complete("slowly"));
        assert_eq!(said(&call.ok().await), "slowly");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_ends_says_so() {
    let server = Server::scripted("s", TransportKind::Http, V2025_11_25).tools(&["t"]);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, json!({})).await;
    world.manager.shutdown(Duration::ZERO).await;
    let error = session.tool("s__t").err().await;
    assert_eq!((&error["code"], &error["data"]["delivery"]), (&json!(-32603), &json!("not_sent")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn structured_content_fits_the_schema_that_is_shown() {
    // Of a kind that older revisions do not have.
    for (schema, content) in [
        (json!({"type": "array", "items": {"type": "integer"}}), json!([1, 2])),
        (json!({"type": "integer"}), json!(7)),
        (json!({"type": "null"}), json!(null)),
    ] {
        let tool = json!({"name": "t", "inputSchema": {"type": "object"}, "outputSchema": schema});
        let server = Server::scripted("s", TransportKind::Http, V2026_07_28).list("tools", &[tool]);
        let world = World::new(&[&server]);
        for version in [V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28] {
            for (scope, name) in [(mcp_bridge::Scope::All, "s__t"), (one("s"), "t")] {
                let (listed, call) = if version == V2026_07_28 {
                    let client = world.modern_at(&scope);
                    (client.call(Method::ToolsList, json!({})).await, client.tool(name))
                } else {
                    let session = world.classic_at(&scope, version, json!({})).await;
                    (session.call(Method::ToolsList, json!({})).await, session.tool(name))
                };
                let asked = server.next(Method::ToolsCall).await;
                asked.answer(json!({"resultType": "complete", "content": [], "structuredContent": content}));
                let result = call.ok().await;
                let shown = listed["tools"][0].get("outputSchema").is_some();
                assert_eq!(shown, version == V2026_07_28, "{version} {scope:?}: {listed}");
                assert_eq!(result.get("structuredContent").is_some(), shown, "{version} {scope:?}: {result}");
                if !shown {
                    assert_eq!(said(&result).parse::<Value>().unwrap(), content, "{version}");
                }
            }
        }
    }
}
