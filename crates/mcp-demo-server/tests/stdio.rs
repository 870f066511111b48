//! The stdio front end over an in-process pipe.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::time::Duration;

use mcp_demo_server::{DemoOptions, StdioEnd, serve_stdio};
use mcp_protocol::ProtocolVersion;
use serde_json::{Value, json};
use support::{MODERN, initialize, request};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, duplex, split,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(10);

struct Pipe {
    input: WriteHalf<DuplexStream>,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
    server: JoinHandle<std::io::Result<StdioEnd>>,
}

impl Pipe {
    fn start(options: DemoOptions) -> Self {
        let (ours, theirs) = duplex(1 << 16);
        let (reader, writer) = split(theirs);
        let server = tokio::spawn(serve_stdio(options, reader, writer));
        let (output, input) = split(ours);
        Self { input, output: BufReader::new(output).lines(), server }
    }

    async fn line(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn send(&mut self, message: &Value) {
        self.line(&message.to_string()).await;
    }

    async fn next(&mut self) -> Value {
        let line = timeout(BOUND, self.output.next_line()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn end(mut self) -> StdioEnd {
        self.input.shutdown().await.unwrap();
        timeout(BOUND, self.server).await.unwrap().unwrap().unwrap()
    }
}

#[tokio::test]
async fn garbage_is_answered_and_skipped() {
    let mut pipe = Pipe::start(DemoOptions::default());
    for (line, code) in [
        ("not json", -32700),
        ("[]", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}", -32602),
    ] {
        pipe.line(line).await;
        assert_eq!(pipe.next().await["error"]["code"], code, "{line}");
    }
    pipe.send(&request(MODERN, 2, "server/discover", json!({}))).await;
    assert_eq!(pipe.next().await["result"]["resultType"], "complete");
    assert_eq!(pipe.end().await, StdioEnd::Eof);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_do_not_hold_up_others() {
    let mut pipe = Pipe::start(DemoOptions::default());
    let params = json!({
        "name": "slow", "arguments": { "ms": 60, "steps": 2 }, "_meta": { "progressToken": 1 },
    });
    pipe.send(&request(MODERN, 1, "tools/call", params)).await;
    pipe.send(&request(MODERN, 2, "tools/list", json!({}))).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let message = pipe.next().await;
        seen.push(message.get("method").unwrap_or(&message["id"]).clone());
    }
    let progress = json!("notifications/progress");
    assert_eq!(seen, [json!(2), progress.clone(), progress, json!(1)]);
}

#[tokio::test]
async fn batches_are_for_the_one_revision_that_has_them() {
    let ping = |id| json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
    for version in ProtocolVersion::ALL.into_iter().filter(|version| *version != MODERN) {
        let mut pipe = Pipe::start(DemoOptions::default());
        pipe.send(&initialize(version.as_str())).await;
        pipe.next().await;
        pipe.send(&json!([ping(1), initialize("2025-03-26"), 7, ping(2)])).await;
        if version.has_batches() {
            assert_eq!(pipe.next().await["id"], 1);
            let refused = pipe.next().await;
            assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("init"), &json!(-32600)));
            assert_eq!(pipe.next().await["error"]["code"], -32600);
            assert_eq!(pipe.next().await["id"], 2);
        } else {
            assert_eq!(pipe.next().await["error"]["code"], -32600, "{version}");
        }
    }
}

#[tokio::test]
async fn crash_ends_the_server_with_its_status() {
    let mut pipe = Pipe::start(DemoOptions { allow_crash: true, ..DemoOptions::default() });
    pipe.send(&request(MODERN, 1, "tools/call", json!({ "name": "crash", "arguments": { "status": 7 } })))
        .await;
    let end = timeout(BOUND, pipe.server).await.unwrap().unwrap().unwrap();
    assert_eq!(end, StdioEnd::Crash { status: 7 });
}
