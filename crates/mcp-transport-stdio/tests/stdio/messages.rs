//! Messages in both directions, and output that is none.

use std::time::Duration;

use crate::peer::{message, patient, quick, run, script, start, until};
use futures::FutureExt;
use mcp_transport::{Delivery, Outbound, Reply, StdioEndpoint, Transport, TransportErrorKind};
use mcp_transport_stdio::StdioOptions;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn big(id: usize, bytes: usize) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"text":"{}"}}}}"#, "x".repeat(bytes))
}

#[tokio::test]
async fn j7_messages_pass_in_any_order_and_batches_one_by_one() {
    let mut server = run(r#"
        read a; read b
        echo '{"jsonrpc":"2.0","id":2,"result":{}}'
        printf '\r\n  \n{"jsonrpc":"2.0","method":"notifications/x"}\r\n'
        echo '[{"jsonrpc":"2.0","id":1,"result":{}},7,{"jsonrpc":"2.0","id":"s","method":"ping"}]'
        echo '{"jsonrpc":"2.0","id":3}'
        cat >/dev/null"#);
    assert!(matches!(server.transport.send(Outbound::new(message(PING))).await, Ok(Reply::Inbox)));
    let note = message(r#"{"jsonrpc":"2.0","method":"notifications/y"}"#);
    assert!(matches!(server.transport.send(Outbound::new(note)).await, Ok(Reply::Accepted)));
    assert_eq!(server.next().await.unwrap(), r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    assert_eq!(server.next().await.unwrap(), r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    assert_eq!(server.next().await.unwrap(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    let broken = server.next().await.unwrap_err();
    assert_eq!(
        broken.kind,
        TransportErrorKind::Payload(
            "unusable message from the server: expected an object, found a number".into()
        )
    );
    assert_eq!(server.next().await.unwrap(), r#"{"jsonrpc":"2.0","id":"s","method":"ping"}"#);
    let broken = server.next().await.unwrap_err();
    assert!(matches!(broken.kind, TransportErrorKind::Payload(_)), "{broken:?}");
    server.close().await;
    assert_eq!(server.rest().await, (vec![], None));
}

#[tokio::test]
async fn a_body_of_several_lines_arrives_as_one() {
    let mut server = start(&StdioEndpoint::new("cat", [""; 0]), quick());
    server.send("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\n \"a\":\r\n1}}").await.unwrap();
    assert_eq!(server.next().await.unwrap(), r#"{"jsonrpc":"2.0","method":"x","params":{  "a":  1}}"#);
    server.close().await;
}

#[tokio::test]
async fn j7_a_message_above_the_limit_is_reported_and_the_next_one_is_fine() {
    let frame = big(1, 200).len();
    for (limit, fits) in [(frame - 1, false), (frame, true), (frame + 1, true)] {
        let mut options = quick();
        options.limits.max_bytes = limit;
        let mut server = start(&script(&format!("read a; echo '{}'; cat", big(1, 200))), options);
        server.send(PING).await.unwrap();
        match server.next().await {
            Ok(text) => assert!(fits && text == big(1, 200), "limit {limit}"),
            Err(error) => {
                assert!(!fits, "limit {limit}");
                let text = format!("message of {frame} bytes exceeds the limit of {limit} bytes");
                assert_eq!(error.kind, TransportErrorKind::Payload(text.into()));
                assert_eq!(error.delivery, Delivery::Unknown);
            }
        }
        let ours = server.send(&big(1, 200)).await;
        assert_eq!(ours.is_ok(), fits, "limit {limit}");
        if let Err(error) = ours {
            assert_eq!(error.delivery, Delivery::NotSent);
        } else {
            server.next().await.unwrap();
        }
        server.send(PING).await.unwrap();
        assert_eq!(server.next().await.unwrap(), PING);
        server.close().await;
    }
}

#[tokio::test]
async fn a_banner_is_tolerated_and_counted() {
    let mut server = run(r#"echo 'Welcome!'; printf '\377\376\n'; echo '{"level":30}'; exec cat"#);
    server.send(PING).await.unwrap();
    assert_eq!(server.next().await.unwrap(), PING);
    assert!(server.transport.details().contains(&("stdout_noise", "3".to_owned())));
    server.close().await;
}

#[tokio::test]
async fn a_byte_order_mark_and_a_message_that_is_no_text_do_no_harm() {
    let mut server = run(&format!(
        r#"printf '\357\273\277{PING}\r\n'; printf '{{"jsonrpc":"2.0","id":1,"result":{{"t":"\377"}}}}\n'; exec cat"#
    ));
    assert_eq!(server.next().await.unwrap(), PING);
    server.send(PING).await.unwrap();
    assert_eq!(server.next().await.unwrap(), PING);
    assert!(server.transport.details().contains(&("stdout_noise", "1".to_owned())));
    server.close().await;
}

#[tokio::test]
async fn a_program_that_only_prints_is_not_an_mcp_server() {
    let table = [
        ("yes 'hello\x1b'", "not an MCP server: 100 lines of other output on stdout, first: hello\\u{1b}"),
        (
            "head -c 2000000 /dev/zero; echo; exec cat",
            "not an MCP server: 1 line of other output on stdout, first: ",
        ),
        (
            r#"echo '{"jsonrpc":"2.0","method":"x"}'; exec yes"#,
            "the server stopped speaking MCP: 100 lines of other output on stdout, first: y",
        ),
    ];
    for (text, expected) in table {
        let mut server = run(text);
        let (_, end) = server.rest().await;
        let end = end.unwrap();
        assert!(end.to_string().starts_with(expected), "{end}");
        assert_eq!(matches!(end.kind, TransportErrorKind::Endpoint(_)), expected.starts_with("not"));
        let late = server.send(PING).await.unwrap_err();
        assert_eq!((late.kind, late.delivery), (end.kind, Delivery::NotSent));
        server.close().await;
    }
}

#[tokio::test]
async fn noise_between_messages_is_tolerated_for_ever() {
    let mut server = run(r#"
        i=0
        while [ $i -lt 30 ]; do
            yes | head -n 99
            echo '{"jsonrpc":"2.0","method":"x"}'
            i=$((i+1))
        done"#);
    let (messages, end) = server.rest().await;
    assert_eq!(messages.len(), 30);
    assert_eq!(end.unwrap().kind, TransportErrorKind::Exited("exit status 0".into()));
}

#[tokio::test]
async fn a_line_without_end_ends_the_connection() {
    let mut options = quick();
    options.limits.max_bytes = 10_000;
    for (text, expected) in [
        ("exec cat /dev/zero", "not an MCP server: a line of more than "),
        (
            r#"echo '{"jsonrpc":"2.0","method":"x"}'; exec cat /dev/zero"#,
            "the server stopped speaking MCP: a line of more than ",
        ),
    ] {
        let mut server = start(&script(text), options.clone());
        let (_, end) = server.rest().await;
        let end = end.unwrap().to_string();
        assert!(end.starts_with(expected) && end.ends_with(" bytes has no end"), "{end}");
        server.close().await;
    }
}

#[tokio::test]
async fn full_pipes_in_both_directions_do_not_deadlock() {
    // The server writes 1 MiB before it reads anything, and nobody takes its messages meanwhile.
    let line = big(1, 8191 - big(1, 0).len());
    let mut server = run(&format!("i=0; while [ $i -lt 128 ]; do echo '{line}'; i=$((i+1)); done; exec cat"));
    for id in 0..4 {
        server.send(&big(id, 256 << 10)).await.unwrap();
    }
    for _ in 0..128 {
        assert_eq!(server.next().await.unwrap(), line);
    }
    for id in 0..4 {
        assert_eq!(server.next().await.unwrap(), big(id, 256 << 10));
    }
    server.close().await;
}

#[tokio::test]
async fn a_server_that_never_stops_writing_can_still_be_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let count = directory.path().join("count");
    // It ends by itself once its stdin has, however long that takes it.
    let options = StdioOptions { close_stdin: Duration::from_secs(30), ..quick() };
    let text =
        format!("yes '{PING}' & exec 3>{0}.part; wc -c >&3; mv {0}.part {0}; kill $!", count.display());
    let mut server = start(&script(&text), options);
    // Nobody takes its messages: the inbox and its pipe are full, and stay so.
    let line = big(1, 1 << 20);
    for _ in 0..8 {
        server.send(&line).await.unwrap();
    }
    // Somebody does: the other direction never stood still.
    for _ in 0..10_000 {
        assert_eq!(server.next().await.unwrap(), PING);
    }
    server.send(&line).await.unwrap();
    server.close().await;
    let count = std::fs::read_to_string(count).unwrap();
    assert_eq!(count.trim(), (9 * (line.len() + 1)).to_string());
}

#[tokio::test]
async fn an_echo_nobody_takes_waits_and_loses_nothing() {
    let options = StdioOptions { queue_messages: 4, queue_bytes: 100_000, ..quick() };
    let mut server = start(&StdioEndpoint::new("cat", [""; 0]), options);
    let mut sends: Vec<_> =
        (0..64).map(|id| server.transport.send(Outbound::new(message(&big(id, 64 << 10))))).collect();
    // Both pipes and both queues become full; then nothing moves until the first message is taken.
    let mut sending = futures::future::join_all(&mut sends);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut sending).await.is_err());
    let received = async {
        for id in 0..64 {
            let item = futures::StreamExt::next(&mut server.inbox).await.unwrap().unwrap();
            assert_eq!(item.frame, big(id, 64 << 10).as_bytes());
        }
    };
    let (sent, ()) = patient(async { tokio::join!(sending, received) }).await;
    assert!(sent.iter().all(Result::is_ok));
    server.close().await;
}

#[tokio::test]
async fn an_echo_of_large_messages_keeps_order_under_concurrent_senders() {
    let mut server = start(&StdioEndpoint::new("cat", [""; 0]), quick());
    let sends = (0..64).map(|id| server.transport.send(Outbound::new(message(&big(id, 64 << 10)))));
    let sent = futures::future::join_all(sends);
    let received = async {
        let mut received = Vec::new();
        for _ in 0..64 {
            let item = futures::StreamExt::next(&mut server.inbox).await.unwrap().unwrap();
            received.push(item.frame);
        }
        received
    };
    let (sent, received) = patient(async { tokio::join!(sent, received) }).await;
    assert!(sent.iter().all(Result::is_ok));
    for (id, frame) in received.iter().enumerate() {
        assert_eq!(*frame, big(id, 64 << 10).as_bytes());
    }
    server.close().await;
}

#[tokio::test]
async fn a_dropped_send_leaves_no_half_line() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let mut server = run(&format!("while ! [ -e {} ]; do :; done; exec cat", go.display()));
    // More than a pipe holds, so it is begun and cannot be finished.
    let mut begun = server.transport.send(Outbound::new(message(&big(1, 1 << 20))));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut begun).await.is_err());
    drop(begun);
    // Behind it in the queue: given up before it was begun.
    assert!(server.transport.send(Outbound::new(message(&big(2, 10)))).now_or_never().is_none());
    std::fs::write(&go, "").unwrap();
    server.send(&big(3, 10)).await.unwrap();
    assert_eq!(server.next().await.unwrap(), big(1, 1 << 20));
    assert_eq!(server.next().await.unwrap(), big(3, 10));
    server.close().await;
}

#[tokio::test]
async fn a_server_that_does_not_read_is_given_up() {
    let options = StdioOptions { write_stall: Duration::from_millis(100), ..quick() };
    let mut server = start(&script("exec sleep 1000"), options);
    let waiting = [big(1, 1 << 20), PING.to_owned()].map(|text| message(&text));
    let sends = waiting.map(|message| server.transport.send(Outbound::new(message)));
    for result in patient(futures::future::join_all(sends)).await {
        let error = result.unwrap_err();
        let text = "the server has not read its stdin for 100ms";
        assert_eq!(error.kind, TransportErrorKind::Closed(text.into()));
        assert_eq!(error.delivery, Delivery::NotSent);
    }
    let (_, end) = server.rest().await;
    assert!(matches!(end.unwrap().kind, TransportErrorKind::Closed(_)));
    server.close().await;
}

#[tokio::test]
async fn a_full_queue_makes_senders_wait() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let options = StdioOptions { queue_messages: 2, ..quick() };
    let mut server =
        start(&script(&format!("while ! [ -e {} ]; do :; done; exec cat", go.display())), options);
    let mut sends: Vec<_> =
        (0..20).map(|id| server.transport.send(Outbound::new(message(&big(id, 100_000))))).collect();
    for send in &mut sends {
        assert!(send.now_or_never().is_none());
    }
    std::fs::write(&go, "").unwrap();
    let receiving = async {
        for id in 0..20 {
            let incoming = futures::StreamExt::next(&mut server.inbox).await.unwrap().unwrap();
            assert_eq!(incoming.frame, big(id, 100_000).as_bytes());
        }
    };
    let (sent, ()) = patient(async { tokio::join!(futures::future::join_all(sends), receiving) }).await;
    assert!(sent.iter().all(Result::is_ok));
    server.close().await;
}

#[tokio::test]
async fn j7_stderr_is_drained_bounded_and_redacted() {
    let mut endpoint = script(
        r#"yes 'a line of stderr' | head -c 20000000 >&2
           { echo; echo "token is $TOKEN"; } >&2
           printf '\033[31mred\n\nno line end' >&2
           exec cat"#,
    );
    endpoint.env.insert("TOKEN".into(), "s3cr3t-value".into());
    let mut server = start(&endpoint, quick());
    server.send(PING).await.unwrap();
    assert_eq!(server.next().await.unwrap(), PING);
    until("stderr has come", || server.transport.stderr_lines(1) == ["no line end"]).await;
    assert_eq!(server.transport.stderr_lines(3), ["token is [REDACTED]", "\\u{1b}[31mred", "no line end"]);
    let kept: usize = server.transport.stderr_lines(usize::MAX).iter().map(|line| line.len() + 1).sum();
    assert!((250 << 10..=(256 << 10) + 100).contains(&kept), "{kept} bytes kept");
    let details = server.transport.details();
    assert_eq!(details[0], ("pid", server.transport.pid().to_string()));
    assert_eq!((details[1].0, details[1].1.lines().count()), ("stderr", 20));
    server.close().await;
}
