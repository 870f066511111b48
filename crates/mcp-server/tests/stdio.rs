//! Both eras on a pair of pipes (wire reference §4.1, §5.4).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io;
use std::time::Duration;

use mcp_protocol::Method;
use mcp_server::{AskError, FrontLimits, serve_stdio};
use serde_json::{Value, json};
use support::{BOUND, Director, cancel, initialize, modern, plain, script, tool};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// The client's side.
struct Pipe {
    director: Director,
    to: WriteHalf<DuplexStream>,
    from: Lines<BufReader<ReadHalf<DuplexStream>>>,
    server: JoinHandle<io::Result<()>>,
}

impl Pipe {
    fn start(limits: FrontLimits) -> Self {
        Self::with_room(limits, 1 << 20)
    }

    fn with_room(limits: FrontLimits, room: usize) -> Self {
        let (service, director) = script();
        let (ours, theirs) = duplex(room);
        let (reader, writer) = split(theirs);
        let server = tokio::spawn(serve_stdio(service, reader, writer, limits));
        let (from, to) = split(ours);
        Self { director, to, from: BufReader::new(from).lines(), server }
    }

    async fn line(&mut self, text: &str) {
        self.to.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }

    async fn say(&mut self, message: &Value) {
        self.line(&message.to_string()).await;
    }

    async fn hear(&mut self) -> Value {
        let line = timeout(BOUND, self.from.next_line()).await.expect("a line comes").unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, message: &Value) -> Value {
        self.say(message).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], message["id"]);
        answer
    }

    /// Closes the client's side; everything else that was said.
    async fn end(mut self) -> Vec<Value> {
        self.to.shutdown().await.unwrap();
        let mut rest = Vec::new();
        while let Some(line) = timeout(BOUND, self.from.next_line()).await.expect("it ends").unwrap() {
            rest.push(serde_json::from_str(&line).unwrap());
        }
        timeout(BOUND, self.server).await.unwrap().unwrap().unwrap();
        rest
    }
}

#[tokio::test]
async fn eras_are_told_apart_message_by_message() {
    let mut pipe = Pipe::start(FrontLimits::default());
    let echo = || modern(1, "tools/call", json!({ "name": "echo", "arguments": { "a": 1 } }));
    assert_eq!(pipe.ask(&tool(1, "echo")).await["error"]["code"], -32602, "neither era");
    assert_eq!(pipe.ask(&plain(2, "server/discover", json!({}))).await["error"]["code"], -32602);
    assert_eq!(pipe.ask(&plain(3, "ping", json!({}))).await["result"], json!({}));
    assert_eq!(pipe.ask(&echo()).await["result"], json!({ "a": 1 }));
    assert_eq!(pipe.ask(&initialize("2026-07-28")).await["result"]["protocolVersion"], "2025-11-25");
    pipe.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    assert_eq!(pipe.director.notified().await.method, Method::Initialized);
    assert_eq!(pipe.ask(&tool(4, "echo")).await["result"], json!({}));
    assert_eq!(pipe.ask(&echo()).await["result"], json!({ "a": 1 }), "still");
    let mut broken = echo();
    broken["params"]["_meta"].as_object_mut().unwrap().remove("io.modelcontextprotocol/clientCapabilities");
    assert_eq!(pipe.ask(&broken).await["error"]["code"], -32602);
    let mut unknown = echo();
    unknown["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2025-11-25".into();
    assert_eq!(pipe.ask(&unknown).await["error"]["code"], -32022);
    assert_eq!(pipe.ask(&modern(5, "ping", json!({}))).await["error"]["code"], -32601);
    assert_eq!(pipe.ask(&tool(6, "panic")).await["error"]["code"], -32603);
    assert_eq!(pipe.end().await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_skipped() {
    let limits = FrontLimits { max_body: 100, ..FrontLimits::default() };
    let mut pipe = Pipe::start(limits);
    let ping = plain(1, "ping", json!({})).to_string();
    for (line, code) in [
        ("garbage".to_owned(), -32700),
        ("[]".into(), -32600),
        (format!("[{ping}]"), -32600),
        (r#"{"jsonrpc":"2.0","id":7}"#.into(), -32600),
        ("x".repeat(101), -32600),
        (format!("{ping}{}", " ".repeat(101 - ping.len())), -32600),
    ] {
        pipe.line(&line).await;
        assert_eq!(pipe.hear().await["error"]["code"], code, "{line}");
    }
    pipe.line("").await;
    pipe.line(&format!("{ping}{}\r", " ".repeat(100 - ping.len()))).await;
    assert_eq!(pipe.hear().await["result"], json!({}), "what is just within the limit");
    pipe.end().await;
}

#[tokio::test]
async fn a_client_may_write_all_at_once() {
    let mut pipe = Pipe::start(FrontLimits::default());
    for message in [
        initialize("2025-03-26"),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        tool(1, "echo"),
    ] {
        pipe.say(&message).await;
    }
    assert_eq!(pipe.hear().await["id"], 0);
    assert_eq!(pipe.hear().await["result"], json!({}));
    assert_eq!(pipe.director.notified().await.method, Method::Initialized);
    pipe.say(&json!([tool(2, "echo"), plain(3, "ping", json!({}))])).await;
    let mut ids = [pipe.hear().await["id"].clone(), pipe.hear().await["id"].clone()];
    ids.sort_by_key(ToString::to_string);
    assert_eq!(ids, [2, 3]);
    pipe.end().await;
}

#[tokio::test]
async fn what_waits_for_the_handshake_can_be_cancelled() {
    let mut pipe = Pipe::start(FrontLimits::default());
    let lines = [initialize("2025-06-18"), tool(1, "held"), cancel(1), tool(2, "echo")];
    pipe.line(&lines.map(|message| message.to_string()).join("\n")).await;
    assert_eq!([pipe.hear().await["id"].clone(), pipe.hear().await["id"].clone()], [0, 2]);
    assert!(pipe.director.is_idle());
    pipe.end().await;
}

#[tokio::test]
async fn cancelling_drops_calls() {
    let mut pipe = Pipe::start(FrontLimits::default());
    pipe.ask(&initialize("2025-06-18")).await;
    for message in [tool(1, "held"), modern(2, "tools/call", json!({ "name": "held" }))] {
        pipe.say(&message).await;
    }
    let mut held = [pipe.director.held().await, pipe.director.held().await];
    held.sort_by_key(|held| held.request.id.clone());
    let [first, second] = held;
    pipe.say(&cancel(1)).await;
    first.cancelled().await;
    pipe.say(&cancel(2)).await;
    second.cancelled().await;
    assert_eq!(pipe.end().await, Vec::<Value>::new(), "nothing is said about what was cancelled");
}

#[tokio::test]
async fn what_was_asked_before_the_end_of_input_is_answered() {
    let mut pipe = Pipe::start(FrontLimits::default());
    // All at once, as out of a file.
    pipe.say(&initialize("2025-06-18")).await;
    for message in [
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        tool(1, "held"),
        modern(2, "tools/call", json!({ "name": "held" })),
        modern(3, "subscriptions/listen", json!({ "notifications": {} })),
        tool(4, "echo"),
    ] {
        pipe.say(&message).await;
    }
    let mut held = [pipe.director.held().await, pipe.director.held().await, pipe.director.held().await];
    held.sort_by_key(|held| held.request.id.clone());
    let [first, second, listening] = held;
    let asked = first.outlet.ask(Method::RootsList, None);
    let mut heard = vec![pipe.hear().await, pipe.hear().await, pipe.hear().await];
    pipe.to.shutdown().await.unwrap();
    listening.cancelled().await;
    assert!(matches!(asked.await, Err(AskError::Unreachable(_))), "nobody is left to answer it");
    assert!(matches!(first.outlet.ask(Method::RootsList, None).await, Err(AskError::Unreachable(_))));
    first.notify(1);
    first.answer(&json!({ "content": [] }));
    second.answer(&json!({ "content": [1] }));
    heard.extend(pipe.end().await);
    let question = heard.iter().position(|message| message["method"] == "roots/list").unwrap();
    heard.remove(question);
    let progress = heard.iter().position(|message| message["params"]["progress"] == 1).unwrap();
    heard.remove(progress);
    let ids: Vec<_> = heard.iter().map(|message| message["id"].as_i64()).collect();
    assert_eq!(ids.len(), 4, "{heard:?}");
    for id in [0, 1, 2, 4] {
        assert!(ids.contains(&Some(id)), "{heard:?}");
    }
}

#[tokio::test]
async fn the_answer_to_initialize_is_waited_for_with_what_came_after_it() {
    let mut pipe = Pipe::start(FrontLimits::default());
    let mut initialize = initialize("2025-06-18");
    initialize["params"]["late"] = true.into();
    pipe.say(&initialize).await;
    pipe.say(&tool(1, "echo")).await;
    // The end of this one alone is not the end.
    pipe.say(&modern(2, "tools/call", json!({ "name": "echo" }))).await;
    pipe.to.shutdown().await.unwrap();
    assert_eq!(pipe.hear().await["id"], 2);
    pipe.director.opening().await.send(()).unwrap();
    let ids: Vec<_> = pipe.end().await.iter().map(|message| message["id"].clone()).collect();
    assert_eq!(ids, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn after_the_end_of_input_calls_have_a_bound() {
    let limits = FrontLimits { linger: Duration::from_secs(3), ..FrontLimits::default() };
    let mut pipe = Pipe::start(limits);
    pipe.ask(&initialize("2025-06-18")).await;
    pipe.say(&tool(1, "held")).await;
    let held = pipe.director.held().await;
    held.notify(1);
    assert_eq!(pipe.hear().await["params"]["progress"], 1);
    let closed = Instant::now();
    pipe.to.shutdown().await.unwrap();
    held.cancelled().await;
    assert_eq!(closed.elapsed().as_secs(), 3);
    pipe.director.ended().await;
    assert_eq!(pipe.end().await, Vec::<Value>::new(), "nothing is said about what was cancelled");
}

#[tokio::test]
async fn listening_ends_with_its_result_and_a_cancellation() {
    let mut pipe = Pipe::start(FrontLimits::default());
    for id in [8, 9] {
        pipe.say(&modern(id, "subscriptions/listen", json!({ "notifications": {} }))).await;
    }
    let mut held = [pipe.director.held().await, pipe.director.held().await];
    held.sort_by_key(|held| held.request.id.clone());
    let [first, second] = held;
    second.notify(1);
    assert_eq!(pipe.hear().await["params"]["progress"], 1);
    first.answer(&json!({ "resultType": "complete" }));
    let answer = pipe.hear().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(8), &json!("complete")));
    let cancelled = pipe.hear().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], 8);
    pipe.say(&cancel(9)).await;
    second.cancelled().await;
    assert_eq!(pipe.end().await, Vec::<Value>::new());
}

#[tokio::test]
async fn only_clients_of_the_handshake_are_asked() {
    let mut pipe = Pipe::start(FrontLimits::default());
    pipe.ask(&initialize("2025-06-18")).await;
    pipe.say(&modern(1, "tools/call", json!({ "name": "held" }))).await;
    let stateless = pipe.director.held().await;
    assert!(stateless.outlet.ask(Method::RootsList, None).await.is_err());
    pipe.say(&tool(2, "held")).await;
    let held = pipe.director.held().await;
    let asked = tokio::spawn(held.outlet.ask(Method::RootsList, None));
    let question = pipe.hear().await;
    assert_eq!(question["method"], "roots/list");
    pipe.say(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "roots": [] } })).await;
    asked.await.unwrap().unwrap();
    held.answer(&json!({}));
    stateless.answer(&json!({}));
    pipe.end().await;
}

#[tokio::test]
async fn a_second_initialize_starts_over() {
    let mut pipe = Pipe::start(FrontLimits::default());
    pipe.ask(&initialize("2025-06-18")).await;
    pipe.say(&tool(1, "held")).await;
    let before = pipe.director.held().await;
    pipe.say(&modern(2, "tools/call", json!({ "name": "held" }))).await;
    let stateless = pipe.director.held().await;
    pipe.ask(&initialize("2025-11-25")).await;
    pipe.director.ended().await;
    before.cancelled().await;
    assert!(!stateless.is_cancelled(), "it belongs to no session");
    let mut refused = initialize("2025-11-25");
    refused["params"]["refuse"] = true.into();
    assert_eq!(pipe.ask(&refused).await["error"]["code"], -32602);
    assert_eq!(pipe.ask(&tool(3, "echo")).await["error"]["code"], -32602, "there is no session now");
    stateless.answer(&json!({}));
    assert_eq!(pipe.hear().await["id"], 2);
    pipe.end().await;
}

#[tokio::test]
async fn calls_are_limited() {
    let limits = FrontLimits { in_flight_per_session: 2, ..FrontLimits::default() };
    let mut pipe = Pipe::start(limits);
    pipe.ask(&initialize("2025-06-18")).await;
    for id in 1..=2 {
        pipe.say(&tool(id, "held")).await;
    }
    let first = pipe.director.held().await;
    assert_eq!(pipe.ask(&tool(3, "held")).await["error"]["code"], -32603);
    first.answer(&json!({}));
    pipe.hear().await;
    pipe.say(&tool(4, "held")).await;
    pipe.director.held().await; // the other one of before
    pipe.director.held().await;
    pipe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_left_in_the_end() {
    let limits = FrontLimits { queue_messages: 4, ..FrontLimits::default() };
    let mut pipe = Pipe::with_room(limits, 64);
    let ping = format!("{}\n", plain(1, "ping", json!({})));
    let flood = async { while pipe.to.write_all(ping.as_bytes()).await.is_ok() {} };
    timeout(Duration::from_secs(60), flood).await.expect("the pipe is closed");
    let error = pipe.server.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_waited_for_and_can_cancel() {
    let limits = FrontLimits { queue_messages: 4, ..FrontLimits::default() };
    let mut pipe = Pipe::with_room(limits, 64);
    pipe.say(&modern(7, "tools/call", json!({ "name": "held" }))).await;
    let held = pipe.director.held().await;
    for n in 0..100 {
        held.notify(n); // more than may wait
    }
    let (to, from) = (&mut pipe.to, &mut pipe.from);
    let cancel = format!("{}\n", cancel(7));
    let (written, ()) = tokio::join!(to.write_all(cancel.as_bytes()), async {
        for n in 0..4 {
            tokio::time::sleep(Duration::from_secs(20)).await; // each within the limit
            let line = from.next_line().await.unwrap().unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(message["params"]["progress"], n);
        }
    });
    written.unwrap();
    held.cancelled().await;
    pipe.end().await;
}

#[tokio::test]
async fn a_handshake_that_panics_is_one_that_failed() {
    let mut pipe = Pipe::start(FrontLimits::default());
    let mut broken = initialize("2025-11-25");
    broken["params"]["panic"] = true.into();
    assert_eq!(pipe.ask(&broken).await["error"]["code"], -32603);
    assert_eq!(pipe.ask(&initialize("2025-11-25")).await["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(pipe.end().await, Vec::<Value>::new());
}
