//! Correlation, timeouts, cancellation, closing.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use mcp_client::{CallError, CallEvent, Client, ConnectOptions, Outgoing};
use mcp_protocol::{Era, Message, Method, RawJson};
use mcp_transport::{Delivery, Reply, TransportError, TransportErrorKind, TransportKind};

use crate::wire::*;

const LIMIT: Duration = Duration::from_secs(30);

fn tool(name: &str) -> Outgoing {
    let params = RawJson::encode(&std::collections::BTreeMap::from([("name", name)])).unwrap();
    Outgoing::new(Method::ToolsCall, Some(params))
}

/// Connects to a handshake server on stdio whose further behaviour is `rest`.
async fn stdio_client(
    rest: impl Fn(&mcp_transport::Outbound, &Wire) + Send + Sync + 'static,
) -> (Client, Wire) {
    let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, rest));
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    (client, server.wire())
}

async fn http_client(
    era: Era,
    rest: impl Fn(&mcp_transport::Outbound) -> Result<Reply, TransportError> + Send + Sync + 'static,
) -> (Client, Wire) {
    let server = Server::new(TransportKind::Http, http(era, rest));
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    (client, server.wire())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_arrives_before_send_returns_is_not_lost() {
    let (client, wire) = stdio_client(|out, wire| wire.push(result(out, r#"{"content":[ ]}"#))).await;
    let answer = client.call(tool("a"), LIMIT).await.unwrap();
    assert_eq!(answer.result.as_str(), r#"{"content":[ ]}"#);
    let sent = wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
    assert_eq!(answer.frame, result(&sent, r#"{"content":[ ]}"#));
    assert_eq!(params(&sent), r#"{"name":"a"}"#, "untouched in the handshake era");
    assert_eq!(sent.version.map(|v| v.as_str()), Some("2025-11-25"));
    assert_eq!(client.stats().requests_sent, 3, "discover, initialize, call");
}

#[tokio::test(start_paused = true)]
async fn j7_answers_in_any_order_reach_their_callers() {
    let (client, wire) = stdio_client(|_, _| {}).await;
    let calls = join_all((0..1_000).map(|n| {
        let client = client.clone();
        async move { (n, client.call(tool(&n.to_string()), LIMIT).await.unwrap().result) }
    }));
    let answers = async {
        let mut sent = wire.wait_for_many(&Method::ToolsCall, 1_000).await;
        sent.reverse();
        for out in &sent {
            wire.push(result(out, &params(out)));
        }
    };
    let (results, ()) = futures::join!(calls, answers);
    for (n, result) in results {
        assert_eq!(result.as_str(), format!(r#"{{"name":"{n}"}}"#));
    }
    assert_eq!(client.details().last(), Some(&("waiting", "0".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn duplicates_late_and_unknown_answers_are_counted_and_dropped() {
    let (client, wire) = stdio_client(|out, wire| {
        wire.push(result(out, r#"{"first":1}"#));
        wire.push(result(out, r#"{"second":2}"#));
        wire.push(r#"{"jsonrpc":"2.0","id":999,"result":{}}"#);
        wire.push(r#"{"jsonrpc":"2.0","id":"1","result":{}}"#);
        wire.push(r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"?"}}"#);
    })
    .await;
    let answer = client.call(tool("a"), LIMIT).await.unwrap();
    assert_eq!(answer.result.as_str(), r#"{"first":1}"#);
    let bad = TransportErrorKind::Payload("no JSON".into());
    wire.push_item(Err(refuse(bad, Delivery::Unknown)));
    settle().await;
    let stats = client.stats();
    assert_eq!((stats.late_answers, stats.unknown_answers, stats.bad_messages), (1, 3, 1));
    assert_eq!(stats.errors, 1, "the refused discover");
    assert!(client.call(tool("b"), LIMIT).await.is_ok(), "none of that disturbs the connection");
}

#[tokio::test(start_paused = true)]
async fn an_unusable_answer_ends_its_call_at_once() {
    let (client, wire) = stdio_client(|_, _| {}).await;
    let before = tokio::time::Instant::now();
    let unusable = || refuse(TransportErrorKind::Payload("message too large".into()), Delivery::Unknown);
    let both = async { futures::join!(client.call(tool("a"), LIMIT), client.call(tool("b"), LIMIT)) };
    let answers = async {
        let sent = wire.wait_for_many(&Method::ToolsCall, 2).await;
        wire.push_item(Err(unusable()));
        settle().await;
        assert_eq!(client.details().last(), Some(&("waiting", "2".to_owned())), "it answers nothing");
        wire.push_item(Err(unusable().answering(Some(id(&sent[0])))));
        settle().await;
        assert_eq!(client.details().last(), Some(&("waiting", "1".to_owned())));
        // Once more, when nobody waits for it any more.
        wire.push_item(Err(unusable().answering(Some(id(&sent[0])))));
        wire.push(result(&sent[1], "{}"));
    };
    let ((first, second), ()) = futures::join!(both, answers);
    let error = first.unwrap_err();
    assert!(matches!(&error, CallError::Transport(e) if matches!(e.kind, TransportErrorKind::Payload(_))));
    assert_eq!((error.to_string().as_str(), error.delivery()), ("message too large", Delivery::Unknown));
    assert!(!error.is_timeout());
    assert_eq!(second.unwrap().result.as_str(), "{}", "the other call goes on");
    assert!(before.elapsed().is_zero(), "nobody waited for the limit");
    let stats = client.stats();
    assert_eq!((stats.bad_messages, stats.late_answers, stats.unknown_answers), (3, 1, 0));
    assert_eq!(stats.errors, 2, "the refused discover and the one call");
    assert!(!wire.methods().contains(&"notifications/cancelled".to_owned()), "it was answered");
    assert!(!client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_cancels_on_the_wire_and_the_late_answer_is_ignored() {
    let (client, wire) = stdio_client(|_, _| {}).await;
    let error = client.call(tool("slow"), LIMIT).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.delivery(), Delivery::Unknown);
    assert_eq!(error.to_string(), "timed out after 30s");
    let call = wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
    let cancelled = wire.wait_for(|out| method(out) == Some(&Method::Cancelled)).await;
    let expected = format!(r#"{{"requestId":{},"reason":"timed out after 30s"}}"#, id(&call));
    assert_eq!(params(&cancelled), expected);
    wire.push(result(&call, "{}"));
    settle().await;
    assert_eq!(client.stats().late_answers, 1);
    assert_eq!(client.stats().errors, 2);
    assert!(!client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_message_says_until_when_it_is_of_use() {
    let options = ConnectOptions::default();
    let begun = tokio::time::Instant::now();
    let (client, wire) = http_client(Era::Handshake, |out| own([result(out, "{}")])).await;
    let handshake = Some((begun + options.handshake_timeout).into_std());
    let sent = wire.sent();
    assert_eq!(wire.methods(), ["server/discover", "initialize", "notifications/initialized"]);
    assert!(sent.iter().all(|out| out.until == handshake), "{sent:?}");

    tokio::time::advance(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    client.call(tool("a"), LIMIT).await.unwrap();
    assert_eq!(wire.sent()[3].until, Some((begun + LIMIT).into_std()));
    drop(client.start(tool("b")).await.unwrap());
    assert_eq!(wire.sent()[4].until, None, "a call without a limit");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_cancels_it() {
    let (client, wire) = stdio_client(|_, _| {}).await;
    drop(client.start(tool("a")).await.unwrap());
    let cancelled = wire.wait_for(|out| method(out) == Some(&Method::Cancelled)).await;
    assert!(params(&cancelled).contains("not wanted any more"));
    assert_eq!(client.details().last(), Some(&("waiting", "0".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn over_http_only_the_handshake_era_cancels_by_message() {
    for (era, expected) in [(Era::Handshake, 1), (Era::Stateless, 0)] {
        let (client, wire) = http_client(era, |out| match method(out) {
            Some(Method::Cancelled) => Ok(Reply::Accepted),
            _ => own_silent(),
        })
        .await;
        drop(client.start(tool("a")).await.unwrap());
        assert!(client.call(tool("b"), LIMIT).await.unwrap_err().is_timeout());
        settle().await;
        let cancels = wire.methods().iter().filter(|m| *m == "notifications/cancelled").count();
        assert_eq!(cancels, expected * 2, "{era}");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_comes_in_order_before_the_answer() {
    let (client, _wire) = stdio_client(|out, wire| {
        let token = RawJson::encode(&params(out)).unwrap();
        assert!(token.as_str().contains("progressToken"));
        let Message::Request(request) = &out.message else { return };
        let meta = request.params.as_ref().unwrap().get("_meta").unwrap();
        let token = meta.get("progressToken").unwrap();
        for n in 1..=3 {
            wire.push(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token:?},"progress":{n}}}}}"#
            ));
        }
        // A token nobody handed out.
        wire.push(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":9}}"#);
        wire.push(result(out, "{}"));
    })
    .await;
    let mut request = tool("a");
    request.progress = true;
    let mut call = client.start(request).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = call.next().await {
        seen.push(match event.unwrap() {
            CallEvent::Notification(n) => n.params.unwrap().get("progress").unwrap().as_str().to_owned(),
            CallEvent::Done(answer) => answer.result.as_str().to_owned(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["1", "2", "3", "{}"]);
    assert_eq!(client.stats().notifications_dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn notifications_of_no_call_reach_subscribers_until_the_end() {
    let (client, wire) = stdio_client(|out, wire| wire.push(result(out, "{}"))).await;
    let mut notifications = client.notifications();
    wire.push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert_eq!(notifications.recv().await.unwrap().method, Method::ToolsListChanged);
    for _ in 0..300 {
        wire.push(r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#);
    }
    client.ping(LIMIT).await.unwrap();
    client.close().await;
    let mut seen = 0;
    while notifications.recv().await.is_some() {
        seen += 1;
    }
    assert_eq!(seen, 256, "the bound of the queue");
    assert_eq!(client.stats().notifications_dropped, 300 - 256);
}

#[tokio::test(start_paused = true)]
async fn the_server_may_ping_and_gets_no_more() {
    let (_client, wire) = stdio_client(|_, _| {}).await;
    wire.push(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    wire.push(r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}"#);
    let answers = [
        wire.wait_for(|out| matches!(out.message, Message::Response(_))).await,
        wire.wait_for(|out| matches!(out.message, Message::Failure(_))).await,
    ];
    let text: Vec<_> =
        answers.iter().map(|a| String::from_utf8(a.message.encode().to_vec()).unwrap()).collect();
    assert_eq!(text[0], r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
    assert_eq!(text[1], r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"Method not found"}}"#);
}

#[tokio::test(start_paused = true)]
async fn server_requests_on_an_http_stream_are_answered_by_a_post() {
    let (client, wire) = http_client(Era::Handshake, |out| match &out.message {
        Message::Request(_) => own([
            r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#
                .to_owned(),
            result(out, "{}"),
        ]),
        _ => Ok(Reply::Accepted),
    })
    .await;
    let mut notifications = client.notifications();
    client.call(tool("a"), LIMIT).await.unwrap();
    let answer = wire.wait_for(|out| matches!(out.message, Message::Failure(_))).await;
    assert_eq!(answer.version.map(|v| v.as_str()), Some("2025-11-25"));
    assert_eq!(notifications.recv().await.unwrap().method, Method::ToolsListChanged);
    let log = notifications.recv().await.unwrap();
    assert_eq!(log.method, Method::LogMessage, "nobody reads the events of the call");
    assert_eq!(client.stats().notifications_dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn closing_fails_what_is_under_way_and_everything_after() {
    for (client, wire) in [
        stdio_client(|_, _| {}).await,
        http_client(Era::Handshake, |_| own_silent()).await,
        http_client(Era::Handshake, |_| no_head()).await,
        http_client(Era::Stateless, |_| no_head()).await,
    ] {
        let pending = join_all((0..3).map(|_| client.call(tool("a"), LIMIT)));
        let close = async {
            wire.wait_for_many(&Method::ToolsCall, 3).await;
            client.close().await;
            client.close().await;
        };
        let (outcomes, ()) = futures::join!(pending, close);
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert_eq!(error.to_string(), "the connection was closed");
            assert_eq!(error.delivery(), Delivery::Unknown, "it had been sent");
        }
        assert!(client.is_closed());
        assert!(matches!(client.closed().await.kind, TransportErrorKind::Closed(_)));
        let after = client.call(tool("b"), LIMIT).await.unwrap_err();
        assert_eq!(after.delivery(), Delivery::NotSent);
        assert_eq!(
            client.notify(Method::RootsListChanged, None).await.unwrap_err().delivery(),
            Delivery::NotSent
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_notification_is_not_sent_for_ever() {
    let (client, _wire) = http_client(Era::Handshake, |_| no_head()).await;
    let before = tokio::time::Instant::now();
    let error = client.notify(Method::RootsListChanged, None).await.unwrap_err();
    assert!(error.is_timeout() && error.delivery() == Delivery::Unknown);
    assert_eq!(before.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn j7_a_lost_process_fails_its_calls_with_the_reason() {
    let (client, wire) = stdio_client(|_, wire| {
        wire.fail(TransportErrorKind::Exited("exit status: 3".into()));
    })
    .await;
    let waiters: Vec<_> = (0..5)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { client.closed().await }
            })
        })
        .collect();
    let error = client.call(tool("a"), LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "server process ended: exit status: 3");
    for waiter in waiters {
        assert!(matches!(waiter.await.unwrap().kind, TransportErrorKind::Exited(_)));
    }
    assert!(wire.is_closed(), "the transport is closed as well");
}

#[tokio::test(start_paused = true)]
async fn the_last_client_to_go_closes_the_connection() {
    let (client, wire) = stdio_client(|_, _| {}).await;
    let other = client.clone();
    drop(client);
    settle().await;
    assert!(!wire.is_closed());
    drop(other);
    settle().await;
    assert!(wire.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_closes_the_client_but_not_the_calls_beside_it() {
    let forgetful = http(Era::Handshake, |out| {
        if params(out).contains("expired") {
            return Err(refuse(TransportErrorKind::SessionExpired, Delivery::Rejected));
        }
        own_silent()
    });
    let options = ConnectOptions { recover_session: false, ..ConnectOptions::default() };
    let server = Server::new(TransportKind::Http, forgetful);
    let (client, wire) = (server.connect(&options).await.unwrap(), server.wire());
    let mut beside = client.start(tool("beside")).await.unwrap();
    let error = client.call(tool("expired"), LIMIT).await.unwrap_err();
    assert!(matches!(&error, CallError::Transport(e) if e.kind == TransportErrorKind::SessionExpired));
    assert_eq!(error.delivery(), Delivery::Rejected);
    assert!(client.is_closed());
    assert_eq!(client.closed().await.kind, TransportErrorKind::SessionExpired);
    assert!(futures::poll!(Box::pin(beside.next())).is_pending());
    drop(beside);
    settle().await;
    assert!(!wire.is_closed());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_result_is_an_invalid_answer() {
    for (frame_result, text) in [
        ("null", "missing result"),
        ("[1]", "the result is an array, not an object"),
        ("7", "the result is a number, not an object"),
    ] {
        let (client, _wire) = stdio_client(move |out, wire| wire.push(result(out, frame_result))).await;
        let error = client.call(tool("a"), LIMIT).await.unwrap_err();
        assert!(matches!(&error, CallError::Invalid { frame: Some(_), .. }));
        assert_eq!((error.to_string().as_str(), error.delivery()), (text, Delivery::Unknown));
        assert!(client.ping(LIMIT).await.is_ok(), "any answer to a ping will do");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_keep_their_text_and_delivery() {
    let (client, wire) = http_client(Era::Handshake, |out| match params(out).as_str() {
        r#"{"name":"rpc"}"# => own([error(out, -32602, "")]),
        r#"{"name":"anonymous"}"# => {
            own([r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"bad"}}"#.to_owned()])
        }
        r#"{"name":"status"}"# => Err(status(503)),
        r#"{"name":"empty"}"# => own([]),
        r#"{"name":"other"}"# => own([r#"{"jsonrpc":"2.0","id":77,"result":{}}"#.to_owned()]),
        r#"{"name":"other, cut"}"# => own_cut([r#"{"jsonrpc":"2.0","id":77,"result":{}}"#.to_owned()]),
        r#"{"name":"cut"}"# => own_cut([]),
        r#"{"name":"accepted"}"# => Ok(Reply::Accepted),
        r#"{"name":"unsent"}"# => {
            Err(refuse(TransportErrorKind::Connect("connection refused".into()), Delivery::NotSent))
        }
        r#"{"name":"busy"}"# => Err(TransportError::busy(LIMIT)),
        _ => own([result(out, "{}")]),
    })
    .await;
    let before = client.stats();
    for (name, text, delivery) in [
        ("rpc", "rpc error: no", Delivery::Rejected),
        ("anonymous", "rpc error: bad", Delivery::Rejected),
        ("status", "http status 503", Delivery::Unknown),
        ("empty", "the stream ended before the answer", Delivery::Unknown),
        ("other", "the answer carries another id", Delivery::Unknown),
        ("other, cut", "the answer carries another id", Delivery::Unknown),
        ("cut", "cut", Delivery::Unknown),
        ("accepted", "the server accepted the request without an answer", Delivery::Unknown),
        ("unsent", "connection refused", Delivery::NotSent),
        ("busy", "no place was free within 30s; see pool_max_connections and rate_limit", Delivery::NotSent),
    ] {
        let error = client.call(tool(name), LIMIT).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.delivery()), (text, delivery), "{name}");
    }
    let after = client.stats();
    assert_eq!(after.errors - before.errors, 10);
    assert_eq!(after.requests_sent - before.requests_sent, 8, "two were never sent");
    settle().await;
    assert!(!wire.methods().contains(&"notifications/cancelled".to_owned()), "all of them are over");
    assert!(!client.is_closed(), "HTTP has no standing connection to lose");
}

#[tokio::test(start_paused = true)]
async fn latency_is_the_mean_over_answered_calls() {
    let held: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let (client, wire) = stdio_client({
        let held = held.clone();
        move |out, _| held.lock().unwrap().push(result(out, "{}"))
    })
    .await;
    let call = client.call(tool("a"), LIMIT);
    let answer = async {
        wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
        tokio::time::advance(Duration::from_secs(9)).await;
        wire.push(held.lock().unwrap().pop().unwrap());
    };
    let (outcome, ()) = futures::join!(call, answer);
    outcome.unwrap();
    // Discover and initialize were answered at once.
    assert_eq!(client.stats().average_latency, Duration::from_secs(3));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(client.stats().idle_for, Duration::from_secs(5));
    assert_eq!(client.stats().connected_for, Duration::from_secs(14));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_do_not_disturb_each_other() {
    let (client, _wire) = stdio_client(|out, wire| {
        if method(out) == Some(&Method::ToolsCall) {
            wire.push(result(out, &params(out)));
        }
    })
    .await;
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    let name = format!("{caller}/{n}");
                    match n % 10 {
                        0 => drop(client.start(tool(&name)).await.unwrap()),
                        _ => {
                            let answer = client.call(tool(&name), LIMIT).await.unwrap();
                            assert_eq!(answer.result.as_str(), format!(r#"{{"name":"{name}"}}"#));
                        }
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let stats = client.stats();
    assert_eq!((stats.requests_sent, stats.unknown_answers), (3_202, 0));
}

#[test]
fn a_client_dropped_outside_of_its_runtime_still_closes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (client, wire) = runtime.block_on(stdio_client(|_, _| {}));
    drop(client);
    runtime.block_on(settle());
    assert!(wire.is_closed());
}
