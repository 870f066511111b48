//! The core, driven by messages, in every revision. Every answer is held against the schema.

mod support;

use std::time::Duration;

use mcp_demo_server::{DemoOptions, DemoServer, Effect, PeerId};
use mcp_protocol::{Era, EraPolicy, ProtocolVersion};
use serde_json::{Value, json};
use support::{MODERN, Schema, initialize, message, request, request_with, value};

/// A client and the server, without anything between them.
struct Talk {
    core: DemoServer,
    peer: PeerId,
    version: ProtocolVersion,
    now: Duration,
    next_id: u32,
    schema: Option<Schema>,
}

impl Talk {
    fn new(version: ProtocolVersion) -> Self {
        Self::with(version, DemoOptions::default())
    }

    fn with(version: ProtocolVersion, options: DemoOptions) -> Self {
        let mut core = DemoServer::new(options);
        let peer = core.open_peer();
        let schema = Schema::load(version);
        let mut talk = Self { core, peer, version, now: Duration::ZERO, next_id: 0, schema };
        if version != MODERN {
            let answer = talk.send("initialize", &initialize(version.as_str()));
            assert_eq!(answer[0]["result"]["protocolVersion"], version.as_str());
            assert!(
                talk.send("", &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).is_empty()
            );
        }
        talk
    }

    /// Sends anything; what comes back, checked against the schema.
    fn send(&mut self, method: &str, sent: &Value) -> Vec<Value> {
        let effects = self.core.receive(self.now, self.peer, message(sent));
        self.read(method, effects)
    }

    fn read(&mut self, method: &str, effects: Vec<Effect>) -> Vec<Value> {
        let messages: Vec<_> = effects
            .into_iter()
            .map(|effect| match effect {
                Effect::Send { peer, message, .. } => {
                    assert_eq!(peer, self.peer);
                    value(&message)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        if let Some(schema) = &mut self.schema {
            messages.iter().for_each(|message| schema.check_message(method, message));
        }
        messages
    }

    fn start(&mut self, method: &str, params: Value) -> (u32, Vec<Value>) {
        self.next_id += 1;
        let sent = request(self.version, self.next_id, method, params);
        (self.next_id, self.send(method, &sent))
    }

    /// Sends a request that is answered at once and with nothing else.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let (id, mut messages) = self.start(method, params);
        assert_eq!(messages.len(), 1, "{method}: {messages:?}");
        let answer = messages.remove(0);
        assert_eq!(answer["id"], id);
        answer
    }

    fn call(&mut self, name: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": name, "arguments": arguments }))
    }

    fn advance(&mut self, method: &str, ms: u64) -> Vec<Value> {
        self.now += Duration::from_millis(ms);
        let effects = self.core.on_deadline(self.now);
        self.read(method, effects)
    }

    /// Follows the cursors of a list.
    fn list(&mut self, method: &str, member: &str) -> Vec<Value> {
        let (mut all, mut params) = (Vec::new(), json!({}));
        for _ in 0..100 {
            let answer = self.ask(method, params);
            let page = answer["result"][member].as_array().unwrap_or_else(|| panic!("{answer}"));
            assert!(page.len() <= 5);
            all.extend(page.iter().cloned());
            match answer["result"].get("nextCursor") {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return all,
            }
        }
        panic!("{method} has no last page");
    }
}

fn since(version: ProtocolVersion, first: ProtocolVersion) -> bool {
    version >= first
}

#[test]
fn the_schemas_tell_right_from_wrong() {
    for version in ProtocolVersion::ALL {
        let Some(mut schema) = Schema::load(version) else { continue };
        assert!(
            !schema.errors("ListToolsResult", &json!({ "tools": [{ "name": "a" }] })).is_empty(),
            "{version}"
        );
        assert!(!schema.errors("CallToolResult", &json!({ "content": [{ "type": "text" }] })).is_empty());
    }
}

#[test]
fn lists_are_complete_and_of_their_revision() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version);
        let tools = talk.list("tools/list", "tools");
        let names: Vec<_> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(
            names,
            [
                "echo",
                "add",
                "whoami",
                "fail",
                "rpc_error",
                "slow",
                "route",
                "ask_user",
                "sample",
                "list_roots",
                "log",
                "increment",
                "add_tool",
                "remove_tool"
            ],
            "{version}"
        );
        assert_eq!(tools[0].get("annotations").is_some(), since(version, ProtocolVersion::V2025_03_26));
        assert_eq!(tools[1].get("title").is_some(), since(version, ProtocolVersion::V2025_06_18));
        assert_eq!(tools[1].get("outputSchema").is_some(), since(version, ProtocolVersion::V2025_06_18));
        let region = &tools[6]["inputSchema"]["properties"]["region"];
        assert_eq!(region.get("x-mcp-header").is_some(), version == MODERN, "{version}");

        assert_eq!(talk.list("resources/list", "resources").len(), 7);
        assert_eq!(talk.list("resources/templates/list", "resourceTemplates").len(), 1);
        assert_eq!(talk.list("prompts/list", "prompts").len(), 2);

        let bad = talk.ask("tools/list", json!({ "cursor": "nonsense" }));
        assert_eq!(bad["error"]["code"], -32602, "{version}");
    }
}

#[test]
fn stateless_results_say_who_answers_and_how_long_they_are_good() {
    let mut talk = Talk::new(MODERN);
    for (method, params, cached) in [
        ("server/discover", json!({}), true),
        ("tools/list", json!({}), true),
        ("resources/read", json!({ "uri": "demo://counter" }), true),
        ("prompts/get", json!({ "name": "greeting" }), false),
        ("tools/call", json!({ "name": "echo", "arguments": { "message": "" } }), false),
    ] {
        let result = &talk.ask(method, params)["result"];
        assert_eq!(result["resultType"], "complete", "{method}");
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "demo", "{method}");
        assert_eq!((result.get("ttlMs").is_some(), result.get("cacheScope").is_some()), (cached, cached));
    }
    let discovered = talk.ask("server/discover", json!({}));
    assert_eq!(
        discovered["result"]["supportedVersions"],
        json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"])
    );
}

#[test]
fn simple_tools_answer_at_once() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version);
        for (name, arguments, text, is_error) in [
            ("echo", json!({ "message": "héllo\n\"" }), "héllo\n\"", false),
            ("echo", json!({}), "invalid arguments: missing field `message`", true),
            (
                "echo",
                json!({ "message": 7 }),
                "invalid arguments: invalid type: integer `7`, expected a string",
                true,
            ),
            ("fail", json!({}), "failed as asked", true),
            ("fail", json!({ "message": "so be it" }), "so be it", true),
            ("route", json!({ "region": "eu" }), "routed to eu", false),
            ("add", json!({ "a": 2, "b": 3 }), r#"{"sum":5}"#, false),
            ("add", json!({ "a": 0.5, "b": 1 }), r#"{"sum":1.5}"#, false),
            ("add", json!({ "a": 1e308, "b": 1e308 }), "the sum is too large", true),
            ("remove_tool", json!({ "name": "echo" }), "no tool \"echo\" was added", true),
            ("slow", json!({ "ms": 3_600_000 }), "at most 600s, in 1 to 1000 steps", true),
        ] {
            let result = &talk.call(name, arguments)["result"];
            let shown = result["content"][0]["text"].as_str().unwrap_or_default();
            assert!(shown.starts_with(text), "{version} {name}: {shown}");
            assert_eq!(result["isError"] == true, is_error, "{version} {name}");
        }
        let sum = talk.call("add", json!({ "a": 2, "b": 3 }));
        let structured = sum["result"].get("structuredContent");
        assert_eq!(structured.is_some(), since(version, ProtocolVersion::V2025_06_18), "{version}");

        let who = talk.call("whoami", json!({}));
        let who: Value =
            serde_json::from_str(who["result"]["content"][0]["text"].as_str().unwrap_or_default())
                .unwrap_or_default();
        assert_eq!(who["revision"], version.as_str());
        assert_eq!(who["era"], if version == MODERN { "modern" } else { "legacy" });
        assert_eq!(who["pid"], std::process::id());
    }
}

#[test]
fn errors_have_the_code_of_their_revision() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version);
        let not_found = if version == MODERN { -32602 } else { -32002 };
        for (method, params, code) in [
            ("tools/call", json!({ "name": "nope" }), -32602),
            ("tools/call", json!({ "name": "crash" }), -32602),
            ("tools/call", json!({}), -32602),
            ("tools/call", json!({ "name": "echo", "arguments": [] }), -32602),
            ("tools/call", json!({ "name": "rpc_error", "arguments": { "code": 4711 } }), 4711),
            ("tools/call", json!({ "name": "rpc_error" }), -32603),
            ("resources/read", json!({ "uri": "demo://nope" }), not_found),
            ("resources/read", json!({}), -32602),
            ("prompts/get", json!({ "name": "nope" }), -32602),
            ("prompts/get", json!({ "name": "essay" }), -32602),
            ("prompts/get", json!({ "name": "essay", "arguments": { "topic": 1 } }), -32602),
            ("completion/complete", json!({ "ref": { "type": "ref/none" }, "argument": {} }), -32602),
            ("vendor/unknown", json!({}), -32601),
            ("tasks/list", json!({}), -32601),
        ] {
            let answer = talk.ask(method, params);
            assert_eq!(answer["error"]["code"], code, "{version} {method}: {answer}");
        }
        let missing = talk.ask("resources/read", json!({ "uri": "demo://nope" }));
        assert_eq!(missing["error"]["data"]["uri"], "demo://nope");
    }
}

#[test]
fn methods_of_the_other_era_are_unknown() {
    let mut modern = Talk::new(MODERN);
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
        assert_eq!(modern.ask(method, json!({}))["error"]["code"], -32601, "{method}");
    }
    for version in ProtocolVersion::ALL.into_iter().filter(|version| *version != MODERN) {
        let mut talk = Talk::new(version);
        for method in ["server/discover", "subscriptions/listen"] {
            assert_eq!(talk.ask(method, json!({}))["error"]["code"], -32601, "{version} {method}");
        }
        assert_eq!(talk.ask("ping", json!({}))["result"], json!({}));
    }
}

#[test]
fn resources_and_prompts_are_read() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version);
        for (uri, member) in [
            ("demo://text", "text"),
            ("demo://image", "blob"),
            ("demo://counter", "text"),
            ("demo://items/42", "text"),
        ] {
            let answer = talk.ask("resources/read", json!({ "uri": uri }));
            assert_eq!(answer["result"]["contents"][0]["uri"], uri);
            assert!(answer["result"]["contents"][0][member].is_string(), "{uri}: {answer}");
        }
        let essay = json!({ "name": "essay", "arguments": { "topic": "rivers", "style": "funny" } });
        let prompt = talk.ask("prompts/get", essay);
        assert_eq!(prompt["result"]["messages"][0]["content"]["text"], "Write a funny essay about rivers.");

        for (reference, name, typed, values) in [
            (
                json!({ "type": "ref/prompt", "name": "essay" }),
                "style",
                "f",
                json!(["formal", "friendly", "funny"]),
            ),
            (json!({ "type": "ref/prompt", "name": "essay" }), "topic", "x", json!([])),
            (json!({ "type": "ref/resource", "uri": "demo://items/{id}" }), "id", "10", json!(["10", "100"])),
        ] {
            let params = json!({ "ref": reference, "argument": { "name": name, "value": typed } });
            assert_eq!(talk.ask("completion/complete", params)["result"]["completion"]["values"], values);
        }
    }
}

#[test]
fn slow_calls_report_progress_and_end() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version);
        let params = json!({
            "name": "slow", "arguments": { "ms": 1000, "steps": 2 }, "_meta": { "progressToken": "p" },
        });
        let (id, at_once) = talk.start("tools/call", params);
        assert!(at_once.is_empty());
        assert_eq!(talk.core.next_deadline(), Some(Duration::from_millis(500)));
        assert!(talk.advance("tools/call", 499).is_empty());
        let half = talk.advance("tools/call", 1);
        assert_eq!(half.len(), 1);
        assert_eq!(half[0]["method"], "notifications/progress");
        assert_eq!(half[0]["params"]["progressToken"], "p");
        assert_eq!((&half[0]["params"]["progress"], &half[0]["params"]["total"]), (&json!(1), &json!(2)));
        assert_eq!(half[0]["params"].get("message").is_some(), since(version, ProtocolVersion::V2025_03_26));
        let end = talk.advance("tools/call", 500);
        assert_eq!(end.len(), 2, "the last step and the answer");
        assert_eq!(end[1]["id"], id);
        assert_eq!(talk.core.next_deadline(), None);

        let (_, at_once) = talk.start("tools/call", json!({ "name": "slow", "arguments": { "ms": 10 } }));
        assert!(at_once.is_empty());
        assert_eq!(talk.advance("tools/call", 10).len(), 1, "no token, no progress");
    }
}

#[test]
fn cancelled_calls_say_nothing_more() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version);
        let (id, _) = talk.start("tools/call", json!({ "name": "slow", "arguments": { "ms": 1000 } }));
        let cancel = |id| json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
        assert!(talk.send("", &cancel(json!(id.to_string()))).is_empty(), "another id of the same spelling");
        assert!(talk.core.next_deadline().is_some());
        assert!(talk.send("", &cancel(json!(id))).is_empty());
        assert_eq!(talk.core.next_deadline(), None, "{version}");
        assert!(talk.advance("tools/call", 5000).is_empty(), "{version}");
    }
}

#[test]
fn an_id_in_flight_cannot_be_used_again() {
    let mut talk = Talk::new(ProtocolVersion::LATEST_HANDSHAKE);
    let slow = request(talk.version, 7, "tools/call", json!({ "name": "slow" }));
    assert!(talk.send("tools/call", &slow).is_empty());
    assert_eq!(talk.send("tools/call", &slow)[0]["error"]["code"], -32600);
}

#[test]
fn handshake_clients_are_asked_on_the_wire() {
    for version in ProtocolVersion::ALL.into_iter().filter(|version| *version != MODERN) {
        let has_elicitation = since(version, ProtocolVersion::V2025_06_18);
        let sampled =
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "hi" } });
        for (tool, method, answer, text) in [
            (
                "ask_user",
                "elicitation/create",
                json!({ "action": "accept", "content": { "answer": "42" } }),
                "The user answered: 42",
            ),
            (
                "ask_user",
                "elicitation/create",
                json!({ "action": "decline" }),
                "The user declined to answer.",
            ),
            (
                "ask_user",
                "elicitation/create",
                json!({ "action": "cancel" }),
                "The user dismissed the question.",
            ),
            ("sample", "sampling/createMessage", sampled, "m says: hi"),
            ("list_roots", "roots/list", json!({ "roots": [{ "uri": "file:///a" }] }), "file:///a"),
        ] {
            let mut talk = Talk::new(version);
            let (id, asked) = talk.start("tools/call", json!({ "name": tool }));
            if tool == "ask_user" && !has_elicitation {
                assert_eq!(asked[0]["result"]["isError"], true, "{version}");
                continue;
            }
            assert_eq!(asked[0]["method"], method, "{version}");
            let mode = asked[0]["params"].get("mode").is_some();
            assert_eq!(mode, tool == "ask_user" && since(version, ProtocolVersion::V2025_11_25));
            let reply = json!({ "jsonrpc": "2.0", "id": asked[0]["id"], "result": answer });
            let answers = talk.send("tools/call", &reply);
            assert_eq!((&answers[0]["id"], answers.len()), (&json!(id), 1));
            assert_eq!(answers[0]["result"]["content"][0]["text"], text, "{version} {tool}");
            assert!(talk.send("tools/call", &reply).is_empty(), "a second answer is a late one");
        }
    }
}

#[test]
fn a_client_may_refuse_or_not_answer_at_all() {
    let mut talk = Talk::new(ProtocolVersion::LATEST_HANDSHAKE);
    let (_, asked) = talk.start("tools/call", json!({ "name": "sample" }));
    let refusal = json!({ "jsonrpc": "2.0", "id": asked[0]["id"], "error": { "code": -1, "message": "no" } });
    let answer = talk.send("tools/call", &refusal);
    assert_eq!(answer[0]["result"]["isError"], true);

    talk.start("tools/call", json!({ "name": "sample" }));
    let answer = talk.advance("tools/call", 300_000);
    assert_eq!(answer[0]["result"]["content"][0]["text"], "the client did not answer sampling/createMessage");
}

#[test]
fn stateless_clients_come_back_with_the_answer() {
    let sampled = json!({ "role": "assistant", "model": "m", "content": [{ "type": "text", "text": "hi" }] });
    for (tool, method, answer, text) in [
        (
            "ask_user",
            "elicitation/create",
            json!({ "action": "accept", "content": { "answer": "42" } }),
            "The user answered: 42",
        ),
        ("sample", "sampling/createMessage", sampled, "m says: hi"),
        ("list_roots", "roots/list", json!({ "roots": [] }), "no roots"),
    ] {
        let mut talk = Talk::new(MODERN);
        let asked = talk.ask("tools/call", json!({ "name": tool, "arguments": {} }));
        assert_eq!(asked["result"]["resultType"], "input_required");
        assert!(asked["result"].get("ttlMs").is_none());
        let requests = asked["result"]["inputRequests"].as_object().cloned().unwrap_or_default();
        let (key, input) = requests.iter().next().unwrap();
        assert_eq!(input["method"], method);
        assert!(input.get("id").is_none() && input.get("jsonrpc").is_none());
        let state = asked["result"]["requestState"].clone();

        let retry = |answers: Value, state: &Value| json!({ "name": tool, "arguments": {}, "inputResponses": answers, "requestState": state });
        let again = talk.ask("tools/call", retry(json!({}), &state));
        assert_eq!(again["result"]["resultType"], "input_required", "missing answers are asked for again");
        let forged = talk.ask("tools/call", retry(json!({ key: answer }), &json!("9999999.00")));
        assert_eq!(forged["error"]["code"], -32602);
        let malformed = talk.ask("tools/call", retry(json!({ key: { "x": 1 } }), &state));
        assert_eq!(malformed["error"]["code"], -32602);
        let done = talk.ask("tools/call", retry(json!({ key: answer, "other": {} }), &state));
        assert_eq!(done["result"]["content"][0]["text"], text, "{tool}");
    }
}

#[test]
fn stateless_clients_are_asked_only_for_what_they_declared() {
    let mut talk = Talk::new(MODERN);
    for (tool, declared, required) in [
        ("ask_user", json!({}), json!({ "elicitation": { "form": {} } })),
        ("ask_user", json!({ "elicitation": { "url": {} } }), json!({ "elicitation": { "form": {} } })),
        ("sample", json!({ "elicitation": {} }), json!({ "sampling": {} })),
        ("list_roots", json!({}), json!({ "roots": {} })),
    ] {
        let sent = request_with(MODERN, 1, "tools/call", json!({ "name": tool }), &declared);
        let answer = talk.send("tools/call", &sent).remove(0);
        assert_eq!(answer["error"]["code"], -32021, "{tool}");
        assert_eq!(answer["error"]["data"]["requiredCapabilities"], required, "{tool}");
        if let Some(schema) = &mut talk.schema {
            schema.check("MissingRequiredClientCapabilityError", &answer);
        }
    }
}

#[test]
fn log_messages_honour_the_level() {
    for version in ProtocolVersion::ALL {
        for (wanted, level, sent) in [
            (None, "info", version != MODERN),
            (None, "debug", false),
            (Some("warning"), "notice", false),
            (Some("warning"), "warning", true),
            (Some("warning"), "emergency", true),
        ] {
            let mut talk = Talk::new(version);
            let mut params = json!({ "name": "log", "arguments": { "level": level, "message": "m" } });
            if let Some(wanted) = wanted {
                if version == MODERN {
                    params["_meta"] = json!({ "io.modelcontextprotocol/logLevel": wanted });
                } else {
                    assert_eq!(talk.ask("logging/setLevel", json!({ "level": wanted }))["result"], json!({}));
                }
            }
            let (_, messages) = talk.start("tools/call", params);
            assert_eq!(messages.len(), if sent { 2 } else { 1 }, "{version} {wanted:?} {level}");
            if sent {
                assert_eq!(messages[0]["params"]["data"], "m", "before the answer");
            }
        }
        let mut talk = Talk::new(version);
        let params = if version == MODERN {
            json!({ "_meta": { "io.modelcontextprotocol/logLevel": "loud" } })
        } else {
            json!({ "level": "loud" })
        };
        let method = if version == MODERN { "tools/list" } else { "logging/setLevel" };
        assert_eq!(talk.ask(method, params)["error"]["code"], -32602, "{version}");
    }
}

#[test]
fn sessions_hear_of_what_they_subscribed_to() {
    for version in ProtocolVersion::ALL.into_iter().filter(|version| *version != MODERN) {
        let mut talk = Talk::new(version);
        let counter = json!({ "uri": "demo://counter" });
        assert_eq!(talk.call("increment", json!({}))["result"]["content"][0]["text"], "1");
        talk.ask("resources/subscribe", counter.clone());
        let (_, messages) = talk.start("tools/call", json!({ "name": "increment" }));
        assert_eq!(messages[0]["method"], "notifications/resources/updated");
        assert_eq!(messages[0]["params"]["uri"], "demo://counter");
        talk.ask("resources/unsubscribe", counter);
        assert_eq!(talk.call("increment", json!({}))["result"]["content"][0]["text"], "3");
        assert_eq!(talk.ask("resources/subscribe", json!({ "uri": "demo://nope" }))["error"]["code"], -32002);

        let (_, messages) =
            talk.start("tools/call", json!({ "name": "add_tool", "arguments": { "name": "extra" } }));
        assert_eq!(messages[0]["method"], "notifications/tools/list_changed");
        assert_eq!(talk.call("extra", json!({}))["result"]["content"][0]["text"], "this is extra");
        let (_, messages) =
            talk.start("tools/call", json!({ "name": "remove_tool", "arguments": { "name": "extra" } }));
        assert_eq!(messages[0]["method"], "notifications/tools/list_changed");
        assert_eq!(talk.call("extra", json!({}))["error"]["code"], -32602);
    }
}

#[test]
fn listeners_hear_of_what_they_asked_for() {
    let mut talk = Talk::new(MODERN);
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["demo://counter"],
    });
    let (all, messages) = talk.start("subscriptions/listen", json!({ "notifications": wanted }));
    let (none, nothing) = talk.start("subscriptions/listen", json!({ "notifications": {} }));
    let subscription = "io.modelcontextprotocol/subscriptionId";
    assert_eq!(messages[0]["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(messages[0]["params"]["_meta"][subscription], all);
    let accepted = json!({ "toolsListChanged": true, "resourceSubscriptions": ["demo://counter"] });
    assert_eq!(messages[0]["params"]["notifications"], accepted);
    assert_eq!(nothing[0]["params"]["notifications"], json!({}));

    for (tool, arguments, method) in [
        ("increment", json!({}), "notifications/resources/updated"),
        ("add_tool", json!({ "name": "x" }), "notifications/tools/list_changed"),
    ] {
        let (_, messages) = talk.start("tools/call", json!({ "name": tool, "arguments": arguments }));
        assert_eq!(messages.len(), 2, "one listener and the answer");
        assert_eq!(messages[0]["method"], method);
        assert_eq!(messages[0]["params"]["_meta"][subscription], all);
    }

    let cancel =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": none } });
    assert!(talk.send("", &cancel).is_empty());
    let effects = talk.core.shut_down();
    let ends = talk.read("subscriptions/listen", effects);
    assert_eq!(ends.len(), 1);
    assert_eq!((&ends[0]["id"], &ends[0]["result"]["_meta"][subscription]), (&json!(all), &json!(all)));
}

#[test]
fn the_newest_handshake_revision_is_offered_for_unknown_ones() {
    for asked in ["2026-07-28", "2030-01-01", "zzz", "1.0"] {
        let mut core = DemoServer::new(DemoOptions::default());
        let peer = core.open_peer();
        let effects = core.receive(Duration::ZERO, peer, message(&initialize(asked)));
        let [Effect::Send { message, .. }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(value(message)["result"]["protocolVersion"], "2025-11-25", "{asked}");
    }
}

#[test]
fn each_policy_serves_its_era_alone() {
    let policies = [EraPolicy::Auto, EraPolicy::Only(Era::Handshake), EraPolicy::Only(Era::Stateless)];
    let discover = request(MODERN, 1, "server/discover", json!({}));
    let bare = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let bare_discover = json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover" });
    let mut foreign = request(MODERN, 1, "tools/list", json!({}));
    foreign["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2025-11-25".into();
    let mut halved = request(MODERN, 1, "tools/list", json!({}));
    halved["params"]["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    let ok = Value::Null;
    for (what, sent, codes) in [
        ("initialize", initialize("2025-06-18"), [ok.clone(), ok.clone(), json!(-32022)]),
        ("discover", discover, [ok.clone(), json!(-32601), ok.clone()]),
        ("before initialize", bare, [json!(-32602), json!(-32602), json!(-32602)]),
        ("discover without envelope", bare_discover, [json!(-32602), json!(-32601), json!(-32602)]),
        ("handshake revision in an envelope", foreign, [json!(-32022), json!(-32602), json!(-32022)]),
        ("half an envelope", halved, [json!(-32602), json!(-32602), json!(-32602)]),
        (
            "ping first",
            json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }),
            [ok.clone(), ok, json!(-32602)],
        ),
    ] {
        for (policy, code) in policies.into_iter().zip(codes) {
            let mut core = DemoServer::new(DemoOptions { protocol: policy, ..DemoOptions::default() });
            let peer = core.open_peer();
            let effects = core.receive(Duration::ZERO, peer, message(&sent));
            let [Effect::Send { message, .. }] = &effects[..] else { panic!("{what}: {effects:?}") };
            let answer = value(message);
            assert_eq!(answer["error"]["code"], code, "{what} with {policy:?}: {answer}");
            if code == -32022 {
                let served = if policy == EraPolicy::Auto { 5 } else { 1 };
                assert_eq!(answer["error"]["data"]["supported"].as_array().map(Vec::len), Some(served));
                if let Some(mut schema) = Schema::load(MODERN) {
                    schema.check("UnsupportedProtocolVersionError", &answer);
                }
            }
        }
    }
}

#[test]
fn both_eras_mix_on_one_pipe() {
    let mut talk = Talk::new(ProtocolVersion::V2025_06_18);
    let modern = request(MODERN, 50, "tools/call", json!({ "name": "whoami" }));
    let effects = talk.core.receive(talk.now, talk.peer, message(&modern));
    let [Effect::Send { message, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(value(message)["result"]["structuredContent"]["revision"], "2026-07-28");
    let who = talk.call("whoami", json!({}));
    assert_eq!(who["result"]["structuredContent"]["revision"], "2025-06-18");
}

#[test]
fn crash_is_there_only_where_it_is_allowed() {
    let options = DemoOptions { allow_crash: true, ..DemoOptions::default() };
    let mut talk = Talk::with(MODERN, options);
    let names = talk.list("tools/list", "tools");
    assert_eq!(names.last().map(|tool| &tool["name"]), Some(&json!("crash")));
    let sent = request(MODERN, 99, "tools/call", json!({ "name": "crash", "arguments": { "status": 3 } }));
    assert_eq!(talk.core.receive(talk.now, talk.peer, message(&sent)), [Effect::Crash { status: 3 }]);
}

#[test]
fn calls_in_flight_are_bounded() {
    let mut talk = Talk::new(MODERN);
    for _ in 0..64 {
        assert!(talk.start("tools/call", json!({ "name": "slow" })).1.is_empty());
    }
    assert_eq!(talk.call("slow", json!({}))["error"]["code"], -32603);
    assert!(talk.call("echo", json!({ "message": "still here" }))["error"].is_null());
}
