//! R34 and R35: handshakes that lead nowhere, requests that servers must not make.

use std::rc::Rc;

use mcp_protocol::{Era, EraPolicy};
use mcp_testkit::fault::{Kind, RESULT, Step, Upstream};
use mcp_transport::Delivery;

use crate::outcome::kind;
use crate::table::{ALL, LEGACY, MODERN, Phase, Row, SSE, STDIO};
use crate::world::{AMPLE, LIMIT, World};

pub(crate) fn r34() -> Row {
    Row::new(
        "R34",
        "handshakes",
        "The handshake is stuck, or names a version nobody speaks",
        "an error in the time it has; no loop; the right fallback, once",
    )
    .on(ALL, Phase::Handshake, "stuck_in_the_era_it_has", stuck)
    .on(LEGACY, Phase::Handshake, "the_other_era_is_stuck", probe_stuck)
    .on(ALL, Phase::Handshake, "an_unknown_version", unknown_version)
    .on(ALL, Phase::Handshake, "no_version", no_version)
    .on(ALL, Phase::Handshake, "an_empty_result", empty_result)
    .on(ALL, Phase::Handshake, "an_internal_error", internal_error)
    .on(MODERN, Phase::Handshake, "the_version_is_refused", version_refused)
    .on(LEGACY, Phase::Handshake, "the_hint_is_wrong", |w| wrong_hint(w, Era::Stateless))
    .on(MODERN, Phase::Handshake, "the_hint_is_wrong", |w| wrong_hint(w, Era::Handshake))
    .on(STDIO, Phase::Handshake, "it_ends_on_the_first_probe", ends_on_probe)
    .on(SSE, Phase::Connect, "no_endpoint_is_named", no_endpoint)
    .on(SSE, Phase::Connect, "something_else_is_said_first", message_before_endpoint)
    .on(SSE, Phase::Connect, "an_endpoint_of_another_origin", foreign_endpoint)
    .on(SSE, Phase::Idle, "a_second_endpoint", second_endpoint)
}

fn only(w: &World) {
    w.options.borrow_mut().policy = EraPolicy::Only(w.transport.era());
}

async fn stuck(w: Rc<World>) {
    only(&w);
    w.plan(w.opening(), [Step::Hang]);
    w.options.borrow_mut().handshake_timeout = LIMIT;
    w.connect_fails().await.timed_out(LIMIT);
    assert_eq!(w.upstream.ledger().received(w.opening()).len(), 1);
}

async fn probe_stuck(w: Rc<World>) {
    w.plan("server/discover", [Step::Hang]);
    w.options.borrow_mut().probe_timeout = LIMIT;
    let (client, took) = w.try_connect().await;
    took.about(LIMIT);
    let client = client.unwrap();
    assert_eq!(client.profile().era, Era::Handshake);
    assert_eq!(w.upstream.ledger().received("initialize").len(), 1);
    w.works(&client).await;
}

/// The answer that opens a connection, changed.
fn opened(w: &World, change: impl Fn(String) -> String) -> Vec<Step> {
    let mut steps = w.open_after([]);
    if let Some(Step::Event(text)) = steps.last_mut() {
        *text = change(std::mem::take(text));
    }
    steps
}

async fn fails_without_a_loop(w: &World) {
    let ended = w.connect_fails().await;
    let Err(error) = &ended.result else { unreachable!("it fails") };
    assert!(["invalid", "rpc", "payload", "status", "endpoint"].contains(&kind(error)), "{error}");
    assert!(error.to_string().len() < 400, "{error}");
    ended.took.at_once();
    let ledger = w.upstream.ledger();
    assert!(
        ledger.received("server/discover").len() <= 2 && ledger.received("initialize").len() <= 1,
        "no loop"
    );
}

async fn unknown_version(w: Rc<World>) {
    let change = |text: String| text.replace("2025-11-25", "1999-12-31").replace("2026-07-28", "2199-12-31");
    w.plan(w.opening(), opened(&w, change));
    fails_without_a_loop(&w).await;
}

async fn no_version(w: Rc<World>) {
    let change = |text: String| {
        text.replace(r#""protocolVersion":"2025-11-25","#, "").replace(r#"["2026-07-28"]"#, "[]")
    };
    w.plan(w.opening(), opened(&w, change));
    fails_without_a_loop(&w).await;
}

async fn empty_result(w: Rc<World>) {
    w.plan(w.opening(), [Step::Json(r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#.into())]);
    fails_without_a_loop(&w).await;
}

async fn internal_error(w: Rc<World>) {
    let error = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32603,"message":"internal error"}}"#;
    w.plan(w.opening(), [Step::Json(error.into())]);
    fails_without_a_loop(&w).await;
}

async fn version_refused(w: Rc<World>) {
    let error = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32022,"message":"unsupported protocol version","data":{"supported":["2199-12-31"],"requested":"2026-07-28"}}}"#;
    w.plan(w.opening(), [Step::Json(error.into())]);
    fails_without_a_loop(&w).await;
    assert_eq!(
        w.upstream.ledger().received("initialize").len(),
        0,
        "it is of the stateless era, and said so"
    );
}

async fn wrong_hint(w: Rc<World>, hint: Era) {
    w.options.borrow_mut().hint = Some(hint);
    let client = w.connect().await;
    w.works(&client).await;
    let ledger = w.upstream.ledger();
    assert_eq!((ledger.received("server/discover").len(), ledger.received("initialize").len()), (1, 1));
}

async fn ends_on_probe(w: Rc<World>) {
    let other = if w.opening() == "initialize" { "server/discover" } else { "initialize" };
    w.plan(other, [Step::Exit(1)]);
    w.options.borrow_mut().hint = match w.transport.era() {
        Era::Handshake => Some(Era::Stateless),
        Era::Stateless => Some(Era::Handshake),
    };
    let client = w.connect().await;
    assert_eq!(w.upstream.ledger().connections(), 2, "started again once");
    w.works(&client).await;
}

async fn no_endpoint(w: Rc<World>) {
    w.plan("GET", [Step::Bytes(b": welcome\n\n".into()), Step::Hang]);
    // The time for opening the stream is shorter than that for the handshake.
    w.connect_fails()
        .await
        .failed(&["timeout", "endpoint", "connect", "closed"], Delivery::NotSent)
        .took
        .at_most(LIMIT * 2);
    assert!(w.upstream.ledger().received("POST").is_empty());
}

async fn message_before_endpoint(w: Rc<World>) {
    w.plan("GET", [Step::Event(super::SAID.into()), Step::Hang]);
    let ended = w.connect_fails().await;
    ended.took.at_most(LIMIT * 2);
    assert!(w.upstream.ledger().received("POST").is_empty());
}

/// A named endpoint elsewhere.
fn elsewhere() -> (Upstream, Step) {
    let canary = Upstream::start(Kind::Sse);
    let event = format!("event: endpoint\ndata: http://{}/messages?session=s\n\n", canary.address());
    (canary, Step::Bytes(event.into()))
}

async fn foreign_endpoint(w: Rc<World>) {
    let (canary, named) = elsewhere();
    w.plan("GET", [named, Step::Hang]);
    let ended = w.connect_fails().await;
    let Err(error) = &ended.result else { unreachable!("it fails") };
    assert_eq!(error.delivery(), Delivery::NotSent, "{error}");
    ended.took.at_once();
    assert_eq!(canary.ledger().connections(), 0, "nothing goes elsewhere");
    assert!(w.upstream.ledger().received("POST").is_empty());
}

async fn second_endpoint(w: Rc<World>) {
    let (canary, named) = elsewhere();
    w.plan("a", [Step::Execute, named, Step::Answer]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered().at_once();
    w.works(&client).await;
    assert_eq!(canary.ledger().connections(), 0, "nothing goes elsewhere");
}

pub(crate) fn r35() -> Row {
    Row::new(
        "R35",
        "server_requests",
        "The server sends requests that it must not, or that nobody can answer",
        "in the stateless era dropped and counted; before, refused; calls are untouched",
    )
    .on(ALL, Phase::Handshake, "before_the_answer", request_in_handshake)
    .on(STDIO, Phase::Idle, "between_calls", request_between)
    .on(ALL, Phase::Answer, "before_the_answer", request_in_call)
    .on(ALL, Phase::Answer, "with_the_id_of_the_call", request_with_our_id)
    .on(ALL, Phase::Answer, "by_the_thousand", many_requests)
}

const SAMPLE: &str =
    r#"{"jsonrpc":"2.0","id":"s1","method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;

/// What became of the server's requests.
async fn dealt_with(w: &World, client: &mcp_client::Client, id: &str) {
    match w.transport.era() {
        Era::Stateless => {
            crate::watch::until("it is counted", || match client.stats().requests_ignored {
                0 => Err("nothing".to_owned()),
                _ => Ok(()),
            })
            .await;
        }
        Era::Handshake => {
            let refusal = |ledger: &mcp_testkit::fault::Ledger| {
                ledger.seen().into_iter().find_map(|seen| match seen {
                    mcp_testkit::fault::Seen::Message(message)
                        if message.method.is_none() && message.id.as_deref() == Some(id) =>
                    {
                        Some(message.body)
                    }
                    _ => None,
                })
            };
            let body = w.upstream.ledger().until("the refusal", refusal).await;
            assert!(body.contains("-32601"), "{body}");
        }
    }
}

async fn request_in_handshake(w: Rc<World>) {
    w.upstream.plan_once(w.opening(), w.open_after([Step::Event(SAMPLE.into())]));
    let client = w.connect().await;
    w.works(&client).await;
}

async fn request_between(w: Rc<World>) {
    let client = w.connect().await;
    w.upstream.order(Step::Event(SAMPLE.into()));
    dealt_with(&w, &client, "\"s1\"").await;
    w.works(&client).await;
}

async fn request_in_call(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Event(SAMPLE.into()), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered().at_once();
    dealt_with(&w, &client, "\"s1\"").await;
}

async fn request_with_our_id(w: Rc<World>) {
    let request = SAMPLE.replace("\"s1\"", "$ID");
    w.plan("a", [Step::Execute, Step::Event(request), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered().at_once();
    let id = w.upstream.ledger().received("a")[0].id.clone().unwrap();
    dealt_with(&w, &client, &id).await;
}

async fn many_requests(w: Rc<World>) {
    w.plan("a", [Step::Execute, Step::Flood(SAMPLE.into(), 1000), Step::Event(RESULT.into())]);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.answered();
    let stats = client.stats();
    match w.transport.era() {
        Era::Stateless => assert_eq!(stats.requests_ignored, 1000),
        // Refusals under way have a bound; what is beyond it is dropped.
        Era::Handshake => assert!(stats.replies_dropped > 0, "{stats:?}"),
    }
    w.works(&client).await;
}
