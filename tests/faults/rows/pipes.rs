//! R30 to R32: what child processes do with their pipes.

use std::rc::Rc;

use futures::future::join_all;
use mcp_client::Client;
use mcp_testkit::fault::{Gate, RESULT, Step};
use mcp_transport::{Delivery, Endpoint};

use super::processes::closes_within;
use crate::table::{Phase, Row, STDIO};
use crate::watch::Stopwatch;
use crate::world::{AMPLE, LIMIT, World};

pub(crate) fn r30() -> Row {
    Row::new(
        "R30",
        "noise",
        "The process prints on stdout what is no message",
        "within a budget it is skipped and counted; beyond it: this is not an MCP server",
    )
    .on(STDIO, Phase::Connect, "a_banner", |w| tolerated(w, "connect", 3))
    .on(STDIO, Phase::Handshake, "before_the_answer", noise_in_handshake)
    .on(STDIO, Phase::Answer, "before_the_answer", noise_in_call)
    .on(STDIO, Phase::Connect, "nothing_but_noise", nothing_but_noise)
    .on(STDIO, Phase::Connect, "an_echo", echo)
    .on(STDIO, Phase::Connect, "one_line_without_an_end", endless_line)
    .on(STDIO, Phase::Idle, "too_much_in_the_middle", noise_later)
    .on(STDIO, Phase::Answer, "blank_lines", blank_lines)
}

fn noise(lines: usize) -> Vec<u8> {
    "Server listening on stdio\n".repeat(lines).into_bytes()
}

async fn tolerated(w: Rc<World>, when: &str, lines: usize) {
    w.plan(when, [Step::Bytes(noise(lines))]);
    let client = w.connect().await;
    w.works(&client).await;
    let counted = client.details().into_iter().find(|(name, _)| *name == "stdout_noise");
    assert_eq!(counted.map(|(_, count)| count), Some(lines.to_string()));
}

async fn noise_in_handshake(w: Rc<World>) {
    w.plan(w.opening(), w.open_after([Step::Bytes(noise(50))]));
    let client = w.connect().await;
    w.works(&client).await;
}

async fn noise_in_call(w: Rc<World>) {
    // Each time less than the budget, together more.
    for name in ["a", "b", "c"] {
        w.plan(name, [Step::Execute, Step::Bytes(noise(60)), Step::Answer]);
    }
    let client = w.connect().await;
    for name in ["a", "b", "c"] {
        w.call(&client, name, AMPLE).await.answered().at_once();
    }
}

async fn nothing_but_noise(w: Rc<World>) {
    w.plan("connect", [Step::Bytes(noise(200)), Step::Deaf]);
    let ended = w.connect_fails().await;
    let Err(error) = &ended.result else { unreachable!("it fails") };
    let delivery = error.delivery();
    ended.failed(&["endpoint"], delivery).says("not an MCP server").says("Server listening");
}

async fn echo(w: Rc<World>) {
    w.reach(Endpoint::Stdio(w.command("cat", &[])));
    w.connect_fails().await.failed(&["endpoint"], Delivery::Rejected).says("not an MCP server");
}

async fn endless_line(w: Rc<World>) {
    w.stdio.borrow_mut().noise_bytes = 64 << 10;
    w.stdio.borrow_mut().limits.max_bytes = 256 << 10;
    let mut steps: Vec<Step> = (0..96).map(|_| Step::Bytes(vec![b'x'; 64 << 10])).collect();
    steps.push(Step::Deaf);
    w.plan("connect", steps);
    let ended = w.connect_fails().await;
    let Err(error) = &ended.result else { unreachable!("it fails") };
    let delivery = error.delivery();
    ended.failed(&["endpoint"], delivery).says("not an MCP server");
}

async fn noise_later(w: Rc<World>) {
    let client = w.connect().await;
    w.works_as(&client, "before").await;
    w.plan("a", [Step::Execute, Step::Bytes(noise(200)), Step::Hang]);
    w.call(&client, "a", AMPLE)
        .await
        .failed(&["closed"], Delivery::Unknown)
        .at_once()
        .says("stopped speaking MCP");
    w.call(&client, "b", AMPLE).await.failed(&["closed"], Delivery::NotSent).at_once();
}

async fn blank_lines(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Bytes(b"\n\r\n   \n".to_vec()), Step::Answer]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered().at_once();
}

pub(crate) fn r31() -> Row {
    Row::new(
        "R31",
        "stderr",
        "The process floods stderr",
        "it is read all the time, so that the process is never stuck; the newest part is kept",
    )
    .on(STDIO, Phase::Connect, "at_its_start", |w| flooded(w, "connect"))
    .on(STDIO, Phase::Handshake, "before_the_answer", stderr_in_handshake)
    .on(STDIO, Phase::Request, "before_the_answer", stderr_in_call)
    .on(STDIO, Phase::Stopping, "after_stdin_was_closed", stderr_while_stopping)
    .on(STDIO, Phase::Idle, "one_line_without_an_end", stderr_without_lines)
}

/// 16 MiB in all.
fn flood() -> Step {
    let mut block = b"something went wrong, as it does\n".repeat(2048);
    block.truncate(64 << 10);
    Step::StderrFlood(block, 256)
}

fn stderr_is_bounded(w: &World, client: &Client) {
    let kept =
        client.details().into_iter().find(|(name, _)| *name == "stderr").map_or(0, |(_, text)| text.len());
    assert!(kept > 0 && kept <= w.stdio.borrow().stderr_bytes, "{kept} bytes kept");
}

async fn flooded(w: Rc<World>, when: &str) {
    w.plan(when, [flood()]);
    let client = w.connect().await;
    w.works(&client).await;
    stderr_is_bounded(&w, &client);
}

async fn stderr_in_handshake(w: Rc<World>) {
    w.plan(w.opening(), w.open_after([flood()]));
    let client = w.connect().await;
    w.works(&client).await;
    stderr_is_bounded(&w, &client);
}

async fn stderr_in_call(w: Rc<World>) {
    w.plan("a", [Step::Execute, flood(), Step::Answer]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered();
    w.works(&client).await;
    stderr_is_bounded(&w, &client);
}

async fn stderr_while_stopping(w: Rc<World>) {
    w.stdio.borrow_mut().close_stdin = AMPLE / 2;
    w.plan("eof", [flood(), Step::Exit(0)]);
    let client = w.connect().await;
    w.works(&client).await;
    closes_within(&client, AMPLE / 2).await;
}

async fn stderr_without_lines(w: Rc<World>) {
    let client = w.connect().await;
    w.plan("before", [Step::Execute, Step::Answer, Step::StderrFlood(vec![b'x'; 64 << 10], 64)]);
    w.works_as(&client, "before").await;
    w.works(&client).await;
}

pub(crate) fn r32() -> Row {
    Row::new(
        "R32",
        "deaf",
        "The process stops reading stdin",
        "writes are bounded in time, others fail with it, nothing waits for ever; both pipes full is no deadlock",
    )
    .on(STDIO, Phase::Handshake, "from_its_start", deaf_from_start)
    .on(STDIO, Phase::Request, "small_calls_time_out", small_calls)
    .on(STDIO, Phase::Request, "a_large_call_ends_the_connection", large_call)
    .on(STDIO, Phase::Request, "others_fail_with_it", others_fail)
    .on(STDIO, Phase::Stopping, "a_write_is_under_way", closing_while_writing)
    .on(STDIO, Phase::Answer, "while_it_writes_itself", both_pipes_full)
}

async fn deaf_from_start(w: Rc<World>) {
    w.plan("connect", [Step::Deaf]);
    {
        let mut options = w.options.borrow_mut();
        (options.probe_timeout, options.handshake_timeout) = (LIMIT, LIMIT * 2);
    }
    w.connect_fails().await.timed_out(LIMIT * 2);
    assert!(w.upstream.ledger().received("LINE").is_empty());
}

/// Connects to a process that reads nothing after the call `deaf`.
async fn connect_then_deaf(w: &World) -> Client {
    w.plan("deaf", [Step::Execute, Step::Answer, Step::Deaf]);
    let client = w.connect().await;
    w.works_as(&client, "deaf").await;
    client
}

/// A call larger than any pipe.
fn large(nonce: &str) -> mcp_client::Outgoing {
    let params =
        serde_json::json!({"name": "work", "arguments": {"nonce": nonce, "text": "x".repeat(256 << 10)}});
    mcp_client::Outgoing::new(
        mcp_protocol::Method::ToolsCall,
        Some(mcp_protocol::RawJson::encode(&params).unwrap()),
    )
}

async fn small_calls(w: Rc<World>) {
    let client = connect_then_deaf(&w).await;
    for ended in join_all(["a", "b", "c"].map(|name| w.call(&client, name, LIMIT))).await {
        ended.timed_out(LIMIT);
    }
    assert!(!client.is_closed(), "the pipe has room");
}

async fn large_call(w: Rc<World>) {
    let client = connect_then_deaf(&w).await;
    let ended = w.call_with(&client, "a", large("a"), AMPLE).await;
    let stall = w.stdio.borrow().write_stall;
    let failed = ended.failed(&["closed"], Delivery::NotSent).says("has not read its stdin");
    // What was read of it begins the time anew, once.
    assert!(failed.took.time >= stall);
    failed.took.at_most(stall * 2);
    let watch = Stopwatch::start();
    client.closed().await;
    watch.stop().at_once();
}

async fn others_fail(w: Rc<World>) {
    let client = connect_then_deaf(&w).await;
    let names = ["b", "c", "d"];
    let others = join_all(names.map(|name| w.call(&client, name, AMPLE)));
    let (ended, others) = tokio::join!(w.call_with(&client, "a", large("a"), AMPLE), others);
    ended.failed(&["closed"], Delivery::NotSent);
    let stall = w.stdio.borrow().write_stall;
    for ended in others {
        ended.failed(&["closed"], Delivery::NotSent).took.at_most(stall * 2);
    }
}

async fn closing_while_writing(w: Rc<World>) {
    w.stdio.borrow_mut().write_stall = AMPLE;
    let client = connect_then_deaf(&w).await;
    let closing = async {
        // The pipe is full by then, or the stop comes before the write: either way it must end.
        tokio::task::yield_now().await;
        let patience = w.stdio.borrow().close_stdin + w.stdio.borrow().terminate;
        closes_within(&client, patience).await;
    };
    let (ended, ()) = tokio::join!(w.call_with(&client, "a", large("a"), AMPLE), closing);
    let Err(error) = &ended.result else { panic!("{ended:?}") };
    assert!(error.delivery() != Delivery::Rejected, "{error}");
}

async fn both_pipes_full(w: Rc<World>) {
    w.stdio.borrow_mut().write_stall = AMPLE;
    let gate = Gate::new();
    let said = super::SAID.replace("working", &"x".repeat(4096));
    // It writes a megabyte before it reads on.
    w.plan(
        "a",
        [Step::Execute, Step::Flood(said, 256), Step::Until(gate.clone()), Step::Event(RESULT.into())],
    );
    let client = w.connect().await;
    let others = async {
        w.upstream.ledger().came("a", 1).await;
        for number in 0..3 {
            w.call_with(&client, &format!("n{number}"), large(&format!("n{number}")), AMPLE).await.answered();
        }
        gate.open();
    };
    let (ended, ()) = tokio::join!(w.call(&client, "a", AMPLE), others);
    ended.answered();
}
