//! Era detection, end to end: which messages are sent to which kind of server, and what comes of it.

use std::time::Duration;

use mcp_client::{CallError, ConnectOptions};
use mcp_protocol::{Era, EraPolicy, Message, Method};
use mcp_transport::{Delivery, Reply, TransportErrorKind, TransportKind};

use crate::wire::*;

#[tokio::test(start_paused = true)]
async fn m2_m6_a_handshake_server_is_reached_by_fallback() {
    for kind in [TransportKind::Stdio, TransportKind::Http] {
        let server = match kind {
            TransportKind::Stdio => Server::new(kind, stdio(Era::Handshake, |_, _| {})),
            _ => Server::new(kind, http(Era::Handshake, |_| own_silent())),
        };
        let client = server.connect(&ConnectOptions::default()).await.unwrap();
        let profile = client.profile();
        assert_eq!(profile.era, Era::Handshake);
        assert_eq!(profile.protocol_version, "2025-11-25");
        assert_eq!(profile.server_info.as_ref().unwrap().as_str(), r#"{"name":"s","version":"1"}"#);
        assert_eq!(profile.capabilities.as_ref().unwrap().as_str(), r#"{"tools":{}}"#);
        assert_eq!(profile.instructions.as_deref(), Some("be kind"));
        assert_eq!(profile.ttl, None);
        let sent = server.wire().sent();
        assert_eq!(server.wire().methods(), ["server/discover", "initialize", "notifications/initialized"]);
        assert_eq!((sent[1].version, sent[1].headers.len()), (None, 0), "a plain handshake request");
        assert_eq!(
            params(&sent[1]),
            format!(
                r#"{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"mcp-client","version":"{}"}}}}"#,
                env!("CARGO_PKG_VERSION")
            )
        );
        assert!(matches!(&sent[2].message, Message::Notification(n) if n.params.is_none()));
        assert_eq!(sent[2].version.map(|v| v.as_str()), Some("2025-11-25"));
    }
}

#[tokio::test(start_paused = true)]
async fn m1_a_stateless_server_needs_one_request() {
    for kind in [TransportKind::Stdio, TransportKind::Http] {
        let server = match kind {
            TransportKind::Stdio => Server::new(kind, stdio(Era::Stateless, |_, _| {})),
            _ => Server::new(kind, http(Era::Stateless, |_| own_silent())),
        };
        let client = server.connect(&ConnectOptions::default()).await.unwrap();
        let profile = client.profile();
        assert_eq!((profile.era, profile.version.as_str()), (Era::Stateless, "2026-07-28"));
        assert_eq!(profile.server_info.as_ref().unwrap().as_str(), r#"{"name":"m","version":"2"}"#);
        assert_eq!(profile.ttl, Some(Duration::from_secs(60)));
        assert_eq!(server.wire().methods(), ["server/discover"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_on_the_probe_is_started_again_with_the_handshake_first() {
    let server = Server::starts(
        TransportKind::Stdio,
        vec![
            (|_: &_, wire: &Wire| {
                wire.fail(TransportErrorKind::Exited("exit status: 1".into()));
                Ok(Reply::Inbox)
            })
            .into(),
            stdio(Era::Handshake, |_, _| {}).into(),
        ],
    );
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    assert_eq!(client.profile().era, Era::Handshake);
    let wires = server.wires();
    assert_eq!(wires[0].methods(), ["server/discover"]);
    assert!(wires[0].is_closed());
    assert_eq!(wires[1].methods(), ["initialize", "notifications/initialized"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_ends_is_started_twice_at_most() {
    for hint in [None, Some(Era::Handshake), Some(Era::Stateless)] {
        let end = |_: &_, wire: &Wire| {
            wire.fail(TransportErrorKind::Exited("exit status: 1".into()));
            Ok(Reply::Inbox)
        };
        let server = Server::starts(TransportKind::Stdio, vec![end.into(), end.into()]);
        let options = ConnectOptions { hint, ..ConnectOptions::default() };
        let failed = server.connect(&options).await.unwrap_err();
        assert_eq!(failed.to_string(), "server process ended: exit status: 1");
        assert_eq!(failed.tried.len(), 2, "{:?}", failed.tried);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_silent_probe_both_are_out_and_the_first_answer_wins() {
    for late in [Era::Handshake, Era::Stateless] {
        let script = move |out: &mcp_transport::Outbound, wire: &Wire| {
            // Both answers become possible only once `initialize` is there.
            match (method(out), late) {
                (Some(Method::Initialize), Era::Handshake) => wire.push(result(out, INITIALIZED)),
                (Some(Method::Initialize), Era::Stateless) => {
                    wire.push(result(&wire.sent()[0], DISCOVERED));
                }
                _ => {}
            }
            Ok(Reply::Inbox)
        };
        let server = Server::new(TransportKind::Stdio, script);
        let before = tokio::time::Instant::now();
        let client = server.connect(&ConnectOptions::default()).await.unwrap();
        assert_eq!(client.profile().era, late);
        assert_eq!(before.elapsed(), Duration::from_secs(5), "the probe timeout");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_costs_the_whole_limit() {
    for (kind, policy, probe, tried) in [
        (TransportKind::Stdio, EraPolicy::Auto, 4, 3),
        (TransportKind::Http, EraPolicy::Auto, 4, 3),
        // A probe that may take all the time leaves none for anything else.
        (TransportKind::Stdio, EraPolicy::Auto, 9, 1),
        (TransportKind::Http, EraPolicy::Auto, 20, 1),
        (TransportKind::Stdio, EraPolicy::Only(Era::Handshake), 4, 1),
        (TransportKind::Http, EraPolicy::Only(Era::Stateless), 4, 1),
    ] {
        let silent = move |_: &_, _: &Wire| match kind {
            TransportKind::Stdio => Ok(Reply::Inbox),
            _ => own_silent(),
        };
        let server = Server::new(kind, silent);
        let options = ConnectOptions {
            policy,
            probe_timeout: Duration::from_secs(probe),
            handshake_timeout: Duration::from_secs(9),
            ..ConnectOptions::default()
        };
        let before = tokio::time::Instant::now();
        let failed = server.connect(&options).await.unwrap_err();
        assert!(failed.error.is_timeout());
        assert_eq!(failed.to_string(), "timed out after 9s");
        assert_eq!(before.elapsed(), Duration::from_secs(9));
        assert_eq!(failed.tried.len(), tried, "{:?}", failed.tried);
        server.wire().closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_that_is_no_endpoint_is_told_so() {
    let server = Server::new(TransportKind::Http, |_: &_, _: &Wire| Err(status(404)));
    let failed = server.connect(&ConnectOptions::default()).await.unwrap_err();
    assert_eq!(failed.error.to_string(), "http status 404", "the hint is no part of the failure itself");
    assert_eq!(
        failed.to_string(),
        "http status 404 (server/discover and initialize were both refused: is this the URL of an MCP endpoint?)"
    );
}

#[tokio::test(start_paused = true)]
async fn an_echo_is_no_server() {
    for (kind, policy) in [
        (TransportKind::Stdio, EraPolicy::Auto),
        (TransportKind::Stdio, EraPolicy::Only(Era::Handshake)),
        (TransportKind::Http, EraPolicy::Auto),
        (TransportKind::Http, EraPolicy::Only(Era::Handshake)),
    ] {
        let echo = move |out: &mcp_transport::Outbound, wire: &Wire| {
            let frame = String::from_utf8(out.message.encode().to_vec()).unwrap();
            match kind {
                TransportKind::Http => own([frame]),
                _ => {
                    wire.push(frame);
                    Ok(Reply::Inbox)
                }
            }
        };
        let server = Server::new(kind, echo);
        let options = ConnectOptions { policy, ..ConnectOptions::default() };
        let failed = server.connect(&options).await.unwrap_err();
        assert_eq!(failed.to_string(), "not an MCP server: it sends back what it is sent");
        let CallError::Transport(error) = failed.error else { panic!("{:?}", failed.error) };
        assert!(matches!(error.kind, TransportErrorKind::Endpoint(_)));
        settle().await;
        assert_eq!(server.wire().sent().len(), 1, "nothing is answered: {kind} {policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_the_server_may_have_the_id_of_a_probe() {
    let server = Server::new(TransportKind::Stdio, |out: &mcp_transport::Outbound, wire: &Wire| {
        match method(out) {
            Some(Method::Initialize) => {
                wire.push(format!(r#"{{"jsonrpc":"2.0","id":{},"method":"ping"}}"#, id(out)));
                wire.push(result(out, INITIALIZED));
            }
            Some(Method::ServerDiscover) => wire.push(error(out, -32601, "")),
            _ => {}
        }
        Ok(Reply::Inbox)
    });
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    server.wire().wait_for(|out| matches!(out.message, Message::Response(_))).await;
    assert!(!client.is_closed());
}

#[tokio::test(start_paused = true)]
async fn opening_and_starting_again_count_as_well() {
    let secs = Duration::from_secs;
    let end = |_: &_, wire: &Wire| {
        wire.fail(TransportErrorKind::Exited("exit status: 1".into()));
        Ok(Reply::Inbox)
    };
    let silent = |_: &_, _: &Wire| Ok(Reply::Inbox);
    let ended = "server/discover (2026-07-28): server process ended: exit status: 1";
    let unanswered = "(2026-07-28): no answer within 5s";
    for (opening, closing, scripts, tried) in [
        (11, 0, vec![], vec!["open stdio: timed out after 10s"]),
        (6, 0, vec![end.into()], vec![ended, "open stdio: timed out after 10s"]),
        (1, 11, vec![end.into()], vec![ended]),
        (1, 4, vec![end.into(), silent.into()], vec![ended, "initialize (2025-11-25): timed out after 10s"]),
        // Too late for the other era.
        (6, 0, vec![silent.into()], vec!["server/discover (2026-07-28): timed out after 10s"]),
        (
            4,
            0,
            vec![silent.into()],
            vec![
                &*format!("server/discover {unanswered}"),
                "server/discover (2026-07-28): timed out after 10s",
                "initialize (2025-11-25): timed out after 10s",
            ],
        ),
    ] {
        let server = Server::starts(TransportKind::Stdio, scripts)
            .opening_within(secs(opening))
            .closing_within(secs(closing));
        let before = tokio::time::Instant::now();
        let failed = server.connect(&ConnectOptions::default()).await.unwrap_err();
        assert_eq!(before.elapsed(), secs(10), "{opening} {closing}");
        assert_eq!(failed.to_string(), "timed out after 10s");
        assert_eq!(failed.tried, tried, "{opening} {closing}");
    }
}

#[tokio::test(start_paused = true)]
async fn over_http_a_plain_refusal_is_no_verdict() {
    let credentials = "credentials are needed: set auth, or a header";
    let denied = "access is denied: check the credentials and what they allow";
    for (refusal, hint) in
        [(401, Some(credentials)), (403, Some(denied)), (400, None), (404, None), (405, None), (500, None)]
    {
        let handshake_server = http(Era::Handshake, |_| own_silent());
        let server =
            Server::new(TransportKind::Http, move |out: &mcp_transport::Outbound, wire: &Wire| match method(
                out,
            ) {
                Some(Method::ServerDiscover) => Err(status(refusal)),
                _ => handshake_server(out, wire),
            });
        let outcome = server.connect(&ConnectOptions::default()).await;
        assert_eq!(outcome.is_err(), hint.is_some(), "{refusal}");
        if let Err(failed) = outcome {
            assert_eq!(failed.hint, hint);
            assert_eq!(failed.to_string(), format!("http status {refusal} ({})", hint.unwrap()));
            assert_eq!(server.wire().methods(), ["server/discover"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn m2_a_hint_saves_the_probe_and_is_dropped_when_it_fails() {
    let options = ConnectOptions { hint: Some(Era::Handshake), ..ConnectOptions::default() };
    let server = Server::new(TransportKind::Http, http(Era::Handshake, |_| own_silent()));
    server.connect(&options).await.unwrap();
    assert_eq!(server.wire().methods(), ["initialize", "notifications/initialized"]);

    let server = Server::new(TransportKind::Http, http(Era::Stateless, |_| own_silent()));
    let client = server.connect(&options).await.unwrap();
    assert_eq!(client.profile().era, Era::Stateless);
    assert_eq!(server.wire().methods(), ["initialize", "server/discover"]);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_does_not_open_is_a_plain_error() {
    let error = refuse(TransportErrorKind::Connect("connection refused".into()), Delivery::NotSent);
    let server = Server::new(TransportKind::Http, error);
    let failed = server.connect(&ConnectOptions::default()).await.unwrap_err();
    assert_eq!(failed.tried, ["open http: connection refused"]);
    assert_eq!(failed.error.delivery(), Delivery::NotSent);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_without_its_last_step_fails_but_tells_the_profile() {
    let server =
        Server::new(TransportKind::Http, |out: &mcp_transport::Outbound, _: &Wire| match method(out) {
            Some(Method::Initialize) => own([result(out, INITIALIZED)]),
            Some(Method::Initialized) => Err(status(500)),
            _ => own([error(out, -32601, "")]),
        });
    let failed = server.connect(&ConnectOptions::default()).await.unwrap_err();
    assert_eq!(failed.to_string(), "http status 500");
    assert_eq!(failed.profile.unwrap().protocol_version, "2025-11-25");
}

#[tokio::test(start_paused = true)]
async fn an_error_without_id_is_the_answer_to_the_lone_probe() {
    let server = Server::new(TransportKind::Stdio, |out: &mcp_transport::Outbound, wire: &Wire| {
        match method(out) {
            Some(Method::Initialize) => wire.push(result(out, INITIALIZED)),
            Some(Method::ServerDiscover) => {
                wire.push(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"eh"}}"#);
            }
            _ => {}
        }
        Ok(Reply::Inbox)
    });
    let before = tokio::time::Instant::now();
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    assert_eq!(client.profile().era, Era::Handshake);
    assert!(before.elapsed().is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_live_connection_can_shake_hands_again() {
    let server = Server::new(TransportKind::Http, http(Era::Handshake, |_| own_silent()));
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let first = client.profile();
    let second = client.handshake(Duration::from_secs(5)).await.unwrap();
    assert_eq!(first, second);
    assert!(!std::sync::Arc::ptr_eq(&first, &client.profile()));
    assert_eq!(server.wire().methods()[3..], ["initialize", "notifications/initialized"]);

    client.close().await;
    let failed = client.handshake(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(failed.error.delivery(), Delivery::NotSent);
}

#[tokio::test(start_paused = true)]
async fn capabilities_must_be_an_object() {
    let server = Server::new(TransportKind::Http, http(Era::Handshake, |_| own_silent()));
    let capabilities = mcp_protocol::RawJson::encode(&[1]).unwrap();
    let options = ConnectOptions { capabilities, ..ConnectOptions::default() };
    let failed = server.connect(&options).await.unwrap_err();
    assert!(matches!(failed.error, CallError::Invalid { frame: None, .. }));
    assert!(server.wires().is_empty(), "nothing was opened");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_result_that_is_no_object_is_named_so() {
    for answer in ["null", "[]", "\"ok\""] {
        let server = Server::new(TransportKind::Http, move |out: &mcp_transport::Outbound, _: &Wire| {
            match method(out) {
                Some(Method::Initialize) => own([result(out, answer)]),
                _ => own([error(out, -32601, "")]),
            }
        });
        let failed = server.connect(&ConnectOptions::default()).await.unwrap_err();
        assert_eq!(failed.to_string(), "invalid initialize result");
        assert!(matches!(failed.error, CallError::Invalid { frame: Some(_), .. }));
    }
}

const SLOW: Duration = Duration::from_secs(7);

fn only_handshake(timeout: Duration) -> ConnectOptions {
    let policy = EraPolicy::Only(Era::Handshake);
    ConnectOptions { policy, handshake_timeout: timeout, ..ConnectOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_before_the_transport_is_closed() {
    let limit = Duration::from_secs(3);
    for (row, takes, kind) in [
        ("refused", Duration::ZERO, TransportKind::Stdio),
        ("refused", Duration::ZERO, TransportKind::Http),
        ("silent", limit, TransportKind::Stdio),
        ("silent", limit, TransportKind::Http),
    ] {
        let script = move |out: &mcp_transport::Outbound, wire: &Wire| match (row, kind) {
            ("silent", TransportKind::Http) => own_silent(),
            (_, TransportKind::Http) => own([error(out, -32603, "")]),
            ("silent", _) => Ok(Reply::Inbox),
            _ => {
                wire.push(error(out, -32603, ""));
                Ok(Reply::Inbox)
            }
        };
        let server = Server::new(kind, script).closing_within(SLOW);
        let before = tokio::time::Instant::now();
        server.connect(&only_handshake(limit)).await.unwrap_err();
        assert_eq!(before.elapsed(), takes, "{row} {kind}");
        assert!(!server.wire().is_closed(), "{row} {kind}");
        server.wire().closed().await;
        assert_eq!(before.elapsed(), takes + SLOW, "{row} {kind}");
        settle().await;
        assert!(server.wire().is_dropped(), "{row} {kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_is_started_again_only_after_it_has_ended() {
    let end = |_: &_, wire: &Wire| {
        wire.fail(TransportErrorKind::Exited("exit status: 1".into()));
        Ok(Reply::Inbox)
    };
    let scripts = vec![end.into(), stdio(Era::Handshake, |_, _| {}).into()];
    let server = Server::starts(TransportKind::Stdio, scripts).closing_within(SLOW);
    let before = tokio::time::Instant::now();
    server.connect(&ConnectOptions::default()).await.unwrap();
    assert_eq!(before.elapsed(), SLOW);
}

#[test]
fn a_runtime_that_ends_leaves_no_failed_transport_behind() {
    for kind in [TransportKind::Stdio, TransportKind::Http] {
        let script = move |out: &mcp_transport::Outbound, wire: &Wire| match kind {
            TransportKind::Http => own([error(out, -32603, "")]),
            _ => {
                wire.push(error(out, -32603, ""));
                Ok(Reply::Inbox)
            }
        };
        let server = Server::new(kind, script).closing_within(Duration::from_secs(3600));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(server.connect(&only_handshake(SLOW))).unwrap_err();
        assert!(!server.wire().is_dropped(), "{kind}");
        drop(runtime);
        assert!(server.wire().is_dropped(), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_stays_readable_whatever_the_server_writes() {
    let server = Server::new(TransportKind::Http, |out: &mcp_transport::Outbound, _: &Wire| {
        let (id, long) = (id(out), "ä".repeat(1_000_000));
        own([format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"{long}"}}}}"#)])
    });
    let failed = server.connect(&ConnectOptions::default()).await.unwrap_err();
    let lengths: Vec<_> = failed.tried.iter().map(|entry| entry.chars().count()).collect();
    assert_eq!(lengths, [501, 501]);
    assert!(failed.tried[1].starts_with("initialize (2025-11-25): rpc error: ää"), "{:?}", failed.tried);
}
