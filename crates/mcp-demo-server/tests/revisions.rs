//! What the server does in every revision, on a pipe. Every answer is held against the schema.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io;
use std::time::Duration;

use mcp_demo_server::{DemoOptions, StdioEnd, serve_stdio};
use mcp_protocol::{Era, EraPolicy, ProtocolVersion};
use serde_json::{Value, json};
use support::{MODERN, Schema, initialize, request, request_with};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// A client of a server in the same runtime. Its clock is paused: time goes on only when nobody has anything to do.
struct Talk {
    to: WriteHalf<DuplexStream>,
    from: Lines<BufReader<ReadHalf<DuplexStream>>>,
    server: JoinHandle<io::Result<StdioEnd>>,
    version: ProtocolVersion,
    next_id: u32,
    schema: Option<Schema>,
}

impl Talk {
    async fn new(version: ProtocolVersion) -> Self {
        let mut talk = Self::with(version, DemoOptions::default());
        if version != MODERN {
            let answer = talk.send("initialize", &initialize(version.as_str())).await;
            assert_eq!(answer[0]["result"]["protocolVersion"], version.as_str());
            let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
            assert!(talk.send("", &note).await.is_empty());
        }
        talk
    }

    /// Says nothing yet.
    fn with(version: ProtocolVersion, options: DemoOptions) -> Self {
        let (ours, theirs) = duplex(1 << 20);
        let (reader, writer) = split(theirs);
        let server = tokio::spawn(serve_stdio(options, reader, writer));
        let (from, to) = split(ours);
        let schema = Schema::load(version);
        Self { to, from: BufReader::new(from).lines(), server, version, next_id: 0, schema }
    }

    /// Sends anything; what comes back at once.
    async fn exchange(&mut self, sent: &Value) -> Vec<Value> {
        self.to.write_all(format!("{sent}\n").as_bytes()).await.unwrap();
        self.hear(1).await
    }

    /// What comes back at once, checked against the schema.
    async fn send(&mut self, method: &str, sent: &Value) -> Vec<Value> {
        let messages = self.exchange(sent).await;
        self.checked(method, messages)
    }

    /// What comes in this time.
    async fn advance(&mut self, method: &str, ms: u64) -> Vec<Value> {
        let messages = self.hear(ms).await;
        self.checked(method, messages)
    }

    async fn hear(&mut self, ms: u64) -> Vec<Value> {
        let (until, mut heard) = (Instant::now() + Duration::from_millis(ms), Vec::new());
        while let Ok(Ok(Some(line))) = timeout_at(until, self.from.next_line()).await {
            heard.push(serde_json::from_str(&line).unwrap());
        }
        heard
    }

    fn checked(&mut self, method: &str, messages: Vec<Value>) -> Vec<Value> {
        if let Some(schema) = &mut self.schema {
            messages.iter().for_each(|message| schema.check_message(method, message));
        }
        messages
    }

    async fn start(&mut self, method: &str, params: Value) -> (u32, Vec<Value>) {
        self.next_id += 1;
        let sent = request(self.version, self.next_id, method, params);
        (self.next_id, self.send(method, &sent).await)
    }

    /// Sends a request that is answered at once and with nothing else.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let (id, mut messages) = self.start(method, params).await;
        assert_eq!(messages.len(), 1, "{method}: {messages:?}");
        let answer = messages.remove(0);
        assert_eq!(answer["id"], id);
        answer
    }

    async fn call(&mut self, name: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": name, "arguments": arguments })).await
    }

    /// Follows the cursors of a list.
    async fn list(&mut self, method: &str, member: &str) -> Vec<Value> {
        let (mut all, mut params) = (Vec::new(), json!({}));
        for _ in 0..100 {
            let answer = self.ask(method, params).await;
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

#[tokio::test(start_paused = true)]
async fn lists_are_complete_and_of_their_revision() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version).await;
        let tools = talk.list("tools/list", "tools").await;
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

        assert_eq!(talk.list("resources/list", "resources").await.len(), 7);
        assert_eq!(talk.list("resources/templates/list", "resourceTemplates").await.len(), 1);
        assert_eq!(talk.list("prompts/list", "prompts").await.len(), 2);

        let bad = talk.ask("tools/list", json!({ "cursor": "nonsense" })).await;
        assert_eq!(bad["error"]["code"], -32602, "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn stateless_results_say_who_answers_and_how_long_they_are_good() {
    let mut talk = Talk::new(MODERN).await;
    for (method, params, cached) in [
        ("server/discover", json!({}), true),
        ("tools/list", json!({}), true),
        ("resources/read", json!({ "uri": "demo://counter" }), true),
        ("prompts/get", json!({ "name": "greeting" }), false),
        ("tools/call", json!({ "name": "echo", "arguments": { "message": "" } }), false),
    ] {
        let result = &talk.ask(method, params).await["result"];
        assert_eq!(result["resultType"], "complete", "{method}");
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "demo", "{method}");
        assert_eq!((result.get("ttlMs").is_some(), result.get("cacheScope").is_some()), (cached, cached));
    }
    let discovered = talk.ask("server/discover", json!({})).await;
    assert_eq!(
        discovered["result"]["supportedVersions"],
        json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"])
    );
}

#[tokio::test(start_paused = true)]
async fn simple_tools_answer_at_once() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version).await;
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
            let result = &talk.call(name, arguments).await["result"];
            let shown = result["content"][0]["text"].as_str().unwrap_or_default();
            assert!(shown.starts_with(text), "{version} {name}: {shown}");
            assert_eq!(result["isError"] == true, is_error, "{version} {name}");
        }
        let sum = talk.call("add", json!({ "a": 2, "b": 3 })).await;
        let structured = sum["result"].get("structuredContent");
        assert_eq!(structured.is_some(), since(version, ProtocolVersion::V2025_06_18), "{version}");

        let who = talk.call("whoami", json!({})).await;
        let who: Value =
            serde_json::from_str(who["result"]["content"][0]["text"].as_str().unwrap_or_default())
                .unwrap_or_default();
        assert_eq!(who["revision"], version.as_str());
        assert_eq!(who["era"], if version == MODERN { "modern" } else { "legacy" });
        assert_eq!(who["pid"], std::process::id());
    }
}

#[tokio::test(start_paused = true)]
async fn errors_have_the_code_of_their_revision() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version).await;
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
            let answer = talk.ask(method, params).await;
            assert_eq!(answer["error"]["code"], code, "{version} {method}: {answer}");
        }
        let missing = talk.ask("resources/read", json!({ "uri": "demo://nope" })).await;
        assert_eq!(missing["error"]["data"]["uri"], "demo://nope");
    }
}

#[tokio::test(start_paused = true)]
async fn methods_of_the_other_era_are_unknown() {
    let mut modern = Talk::new(MODERN).await;
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
        assert_eq!(modern.ask(method, json!({})).await["error"]["code"], -32601, "{method}");
    }
    for version in ProtocolVersion::ALL.into_iter().filter(|version| *version != MODERN) {
        let mut talk = Talk::new(version).await;
        for method in ["server/discover", "subscriptions/listen"] {
            assert_eq!(talk.ask(method, json!({})).await["error"]["code"], -32601, "{version} {method}");
        }
        assert_eq!(talk.ask("ping", json!({})).await["result"], json!({}));
    }
}

#[tokio::test(start_paused = true)]
async fn resources_and_prompts_are_read() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version).await;
        for (uri, member) in [
            ("demo://text", "text"),
            ("demo://image", "blob"),
            ("demo://counter", "text"),
            ("demo://items/42", "text"),
        ] {
            let answer = talk.ask("resources/read", json!({ "uri": uri })).await;
            assert_eq!(answer["result"]["contents"][0]["uri"], uri);
            assert!(answer["result"]["contents"][0][member].is_string(), "{uri}: {answer}");
        }
        let essay = json!({ "name": "essay", "arguments": { "topic": "rivers", "style": "funny" } });
        let prompt = talk.ask("prompts/get", essay).await;
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
            assert_eq!(
                talk.ask("completion/complete", params).await["result"]["completion"]["values"],
                values
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_calls_report_progress_and_end() {
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version).await;
        let params = json!({
            "name": "slow", "arguments": { "ms": 1000, "steps": 2 }, "_meta": { "progressToken": "p" },
        });
        let (id, at_once) = talk.start("tools/call", params).await;
        assert!(at_once.is_empty());
        assert!(talk.advance("tools/call", 490).await.is_empty());
        let half = talk.advance("tools/call", 20).await;
        assert_eq!(half.len(), 1);
        assert_eq!(half[0]["method"], "notifications/progress");
        assert_eq!(half[0]["params"]["progressToken"], "p");
        assert_eq!((&half[0]["params"]["progress"], &half[0]["params"]["total"]), (&json!(1), &json!(2)));
        assert_eq!(half[0]["params"].get("message").is_some(), since(version, ProtocolVersion::V2025_03_26));
        let end = talk.advance("tools/call", 500).await;
        assert_eq!(end.len(), 2, "the last step and the answer");
        assert_eq!(end[1]["id"], id);
        assert_eq!(end[1]["result"]["content"][0]["text"], "took 1s");

        let (_, at_once) =
            talk.start("tools/call", json!({ "name": "slow", "arguments": { "ms": 10 } })).await;
        assert!(at_once.is_empty());
        assert_eq!(talk.advance("tools/call", 20).await.len(), 1, "no token, no progress");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_calls_say_nothing_more() {
    let cancel = |id: Value| json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } });
    for version in ProtocolVersion::ALL {
        let mut talk = Talk::new(version).await;
        let slow = || json!({ "name": "slow", "arguments": { "ms": 1000 } });
        let (id, _) = talk.start("tools/call", slow()).await;
        assert!(talk.send("", &cancel(json!(id.to_string()))).await.is_empty());
        let answer = talk.advance("tools/call", 5000).await;
        assert_eq!(answer[0]["id"], id, "{version}: it was another id of the same spelling");

        let (id, _) = talk.start("tools/call", slow()).await;
        assert!(talk.send("", &cancel(json!(id))).await.is_empty());
        assert!(talk.advance("tools/call", 5000).await.is_empty(), "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_in_flight_cannot_be_used_again() {
    for version in [ProtocolVersion::LATEST_HANDSHAKE, MODERN] {
        let mut talk = Talk::new(version).await;
        let slow = request(version, 7, "tools/call", json!({ "name": "slow" }));
        assert!(talk.send("tools/call", &slow).await.is_empty());
        assert_eq!(talk.send("tools/call", &slow).await[0]["error"]["code"], -32600);
        let answers = talk.advance("tools/call", 5000).await;
        assert_eq!((answers.len(), &answers[0]["id"]), (1, &json!(7)));
        assert!(talk.send("tools/call", &slow).await.is_empty(), "it is free again");
    }
}

#[tokio::test(start_paused = true)]
async fn handshake_clients_are_asked_on_the_wire() {
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
            let mut talk = Talk::new(version).await;
            let (id, asked) = talk.start("tools/call", json!({ "name": tool })).await;
            if tool == "ask_user" && !has_elicitation {
                assert_eq!(asked[0]["result"]["isError"], true, "{version}");
                continue;
            }
            assert_eq!(asked[0]["method"], method, "{version}");
            let mode = asked[0]["params"].get("mode").is_some();
            assert_eq!(mode, tool == "ask_user" && since(version, ProtocolVersion::V2025_11_25));
            let reply = json!({ "jsonrpc": "2.0", "id": asked[0]["id"], "result": answer });
            let answers = talk.send("tools/call", &reply).await;
            assert_eq!((&answers[0]["id"], answers.len()), (&json!(id), 1));
            assert_eq!(answers[0]["result"]["content"][0]["text"], text, "{version} {tool}");
            assert!(talk.send("tools/call", &reply).await.is_empty(), "a second answer is a late one");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_may_refuse_or_not_answer_at_all() {
    let mut talk = Talk::new(ProtocolVersion::LATEST_HANDSHAKE).await;
    let (_, asked) = talk.start("tools/call", json!({ "name": "sample" })).await;
    let refusal = json!({ "jsonrpc": "2.0", "id": asked[0]["id"], "error": { "code": -1, "message": "no" } });
    let answer = talk.send("tools/call", &refusal).await;
    assert_eq!(answer[0]["result"]["isError"], true);

    let (_, asked) = talk.start("tools/call", json!({ "name": "sample" })).await;
    let heard = talk.advance("tools/call", 301_000).await;
    assert_eq!((heard.len(), &heard[0]["method"]), (2, &json!("notifications/cancelled")));
    assert_eq!(heard[0]["params"]["requestId"], asked[0]["id"]);
    assert_eq!(heard[1]["result"]["content"][0]["text"], "the client did not answer sampling/createMessage");
}

#[tokio::test(start_paused = true)]
async fn stateless_clients_come_back_with_the_answer() {
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
        let mut talk = Talk::new(MODERN).await;
        let asked = talk.ask("tools/call", json!({ "name": tool, "arguments": {} })).await;
        assert_eq!(asked["result"]["resultType"], "input_required");
        assert!(asked["result"].get("ttlMs").is_none());
        let requests = asked["result"]["inputRequests"].as_object().cloned().unwrap_or_default();
        let (key, input) = requests.iter().next().unwrap();
        assert_eq!(input["method"], method);
        assert!(input.get("id").is_none() && input.get("jsonrpc").is_none());
        let state = asked["result"]["requestState"].clone();

        let retry = |answers: Value, state: &Value| json!({ "name": tool, "arguments": {}, "inputResponses": answers, "requestState": state });
        let again = talk.ask("tools/call", retry(json!({}), &state)).await;
        assert_eq!(again["result"]["resultType"], "input_required", "missing answers are asked for again");
        let forged = talk.ask("tools/call", retry(json!({ key: answer }), &json!("9999999.00"))).await;
        assert_eq!(forged["error"]["code"], -32602);
        let malformed = talk.ask("tools/call", retry(json!({ key: { "x": 1 } }), &state)).await;
        assert_eq!(malformed["error"]["code"], -32602);
        let done = talk.ask("tools/call", retry(json!({ key: answer, "other": {} }), &state)).await;
        assert_eq!(done["result"]["content"][0]["text"], text, "{tool}");
    }
}

#[tokio::test(start_paused = true)]
async fn stateless_clients_are_asked_only_for_what_they_declared() {
    let mut talk = Talk::new(MODERN).await;
    for (tool, declared, required) in [
        ("ask_user", json!({}), json!({ "elicitation": { "form": {} } })),
        ("ask_user", json!({ "elicitation": { "url": {} } }), json!({ "elicitation": { "form": {} } })),
        ("sample", json!({ "elicitation": {} }), json!({ "sampling": {} })),
        ("list_roots", json!({}), json!({ "roots": {} })),
    ] {
        let sent = request_with(MODERN, 1, "tools/call", json!({ "name": tool }), &declared);
        let answer = talk.send("tools/call", &sent).await.remove(0);
        assert_eq!(answer["error"]["code"], -32021, "{tool}");
        assert_eq!(answer["error"]["data"]["requiredCapabilities"], required, "{tool}");
        if let Some(schema) = &mut talk.schema {
            schema.check("MissingRequiredClientCapabilityError", &answer);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn log_messages_honour_the_level() {
    for version in ProtocolVersion::ALL {
        for (wanted, level, sent) in [
            (None, "info", version != MODERN),
            (None, "debug", false),
            (Some("warning"), "notice", false),
            (Some("warning"), "warning", true),
            (Some("warning"), "emergency", true),
        ] {
            let mut talk = Talk::new(version).await;
            let mut params = json!({ "name": "log", "arguments": { "level": level, "message": "m" } });
            if let Some(wanted) = wanted {
                if version == MODERN {
                    params["_meta"] = json!({ "io.modelcontextprotocol/logLevel": wanted });
                } else {
                    assert_eq!(
                        talk.ask("logging/setLevel", json!({ "level": wanted })).await["result"],
                        json!({})
                    );
                }
            }
            let (_, messages) = talk.start("tools/call", params).await;
            assert_eq!(messages.len(), if sent { 2 } else { 1 }, "{version} {wanted:?} {level}");
            if sent {
                assert_eq!(messages[0]["params"]["data"], "m", "before the answer");
            }
        }
        let mut talk = Talk::new(version).await;
        let params = if version == MODERN {
            json!({ "_meta": { "io.modelcontextprotocol/logLevel": "loud" } })
        } else {
            json!({ "level": "loud" })
        };
        let method = if version == MODERN { "tools/list" } else { "logging/setLevel" };
        assert_eq!(talk.ask(method, params).await["error"]["code"], -32602, "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_hear_of_what_they_subscribed_to() {
    for version in ProtocolVersion::ALL.into_iter().filter(|version| *version != MODERN) {
        let mut talk = Talk::new(version).await;
        let counter = json!({ "uri": "demo://counter" });
        assert_eq!(talk.call("increment", json!({})).await["result"]["content"][0]["text"], "1");
        talk.ask("resources/subscribe", counter.clone()).await;
        let (_, messages) = talk.start("tools/call", json!({ "name": "increment" })).await;
        assert_eq!(messages[0]["method"], "notifications/resources/updated");
        assert_eq!(messages[0]["params"]["uri"], "demo://counter");
        talk.ask("resources/unsubscribe", counter).await;
        assert_eq!(talk.call("increment", json!({})).await["result"]["content"][0]["text"], "3");
        assert_eq!(
            talk.ask("resources/subscribe", json!({ "uri": "demo://nope" })).await["error"]["code"],
            -32002
        );

        let (_, messages) =
            talk.start("tools/call", json!({ "name": "add_tool", "arguments": { "name": "extra" } })).await;
        assert_eq!(messages[0]["method"], "notifications/tools/list_changed");
        assert_eq!(talk.call("extra", json!({})).await["result"]["content"][0]["text"], "this is extra");
        let (_, messages) = talk
            .start("tools/call", json!({ "name": "remove_tool", "arguments": { "name": "extra" } }))
            .await;
        assert_eq!(messages[0]["method"], "notifications/tools/list_changed");
        assert_eq!(talk.call("extra", json!({})).await["error"]["code"], -32602);
    }
}

#[tokio::test(start_paused = true)]
async fn listeners_hear_of_what_they_asked_for() {
    let mut talk = Talk::new(MODERN).await;
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["demo://counter"],
    });
    let (all, messages) = talk.start("subscriptions/listen", json!({ "notifications": wanted })).await;
    let (none, nothing) = talk.start("subscriptions/listen", json!({ "notifications": {} })).await;
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
        let (_, messages) = talk.start("tools/call", json!({ "name": tool, "arguments": arguments })).await;
        assert_eq!(messages.len(), 2, "one listener and the answer");
        assert_eq!(messages[0]["method"], method);
        assert_eq!(messages[0]["params"]["_meta"][subscription], all);
    }

    let cancel =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": none } });
    assert!(talk.send("", &cancel).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_newest_handshake_revision_is_offered_for_unknown_ones() {
    for asked in ["2026-07-28", "2030-01-01", "zzz", "1.0"] {
        let mut talk = Talk::with(ProtocolVersion::LATEST_HANDSHAKE, DemoOptions::default());
        let answer = talk.send("initialize", &initialize(asked)).await;
        assert_eq!(answer[0]["result"]["protocolVersion"], "2025-11-25", "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_policy_serves_its_era_alone() {
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
            let mut talk = Talk::with(MODERN, DemoOptions { protocol: policy, ..DemoOptions::default() });
            let answer = talk.exchange(&sent).await.remove(0);
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

#[tokio::test(start_paused = true)]
async fn both_eras_mix_on_one_pipe() {
    let mut talk = Talk::new(ProtocolVersion::V2025_06_18).await;
    let modern = request(MODERN, 50, "tools/call", json!({ "name": "whoami" }));
    let answer = talk.exchange(&modern).await;
    assert_eq!(answer[0]["result"]["structuredContent"]["revision"], "2026-07-28");
    let who = talk.call("whoami", json!({})).await;
    assert_eq!(who["result"]["structuredContent"]["revision"], "2025-06-18");
}

#[tokio::test(start_paused = true)]
async fn crash_is_there_only_where_it_is_allowed() {
    let options = DemoOptions { allow_crash: true, ..DemoOptions::default() };
    let mut talk = Talk::with(MODERN, options);
    let names = talk.list("tools/list", "tools").await;
    assert_eq!(names.last().map(|tool| &tool["name"]), Some(&json!("crash")));
    let sent = request(MODERN, 99, "tools/call", json!({ "name": "crash", "arguments": { "status": 3 } }));
    assert!(talk.send("tools/call", &sent).await.is_empty());
    assert_eq!(talk.server.await.unwrap().unwrap(), StdioEnd::Crash { status: 3 });
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_bounded() {
    let mut talk = Talk::new(MODERN).await;
    for _ in 0..64 {
        assert!(talk.start("tools/call", json!({ "name": "slow" })).await.1.is_empty());
    }
    assert_eq!(talk.call("slow", json!({})).await["error"]["code"], -32603);
    assert_eq!(talk.advance("tools/call", 2000).await.len(), 64);
    assert!(talk.call("echo", json!({ "message": "still here" })).await["error"].is_null());
}
