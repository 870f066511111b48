//! What comes back with a success status.

use futures::StreamExt;
use mcp_protocol::{Limits, Method, ProtocolVersion};
use mcp_transport::{Incoming, Reply};
use mcp_transport_http::HttpOptions;

use crate::peer::{
    Peer, RESULT, Seen, Step, answer, assert_items, connect, events, events_head, exchange, json, outbound,
    request, show,
};

const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
const ASK: &str = r#"{"jsonrpc":"2.0","id":"s1","method":"roots/list"}"#;
const FAILURE: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}"#;
const OTHER: &str = r#"{"jsonrpc":"2.0","id":"7","result":{}}"#;
const EARLY: &str = "!closed unknown http://127.0.0.1:";

#[tokio::test]
async fn j8_json_answers() {
    let no_id = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no"}}"#;
    let table: &[(&str, String, &[&str])] = &[
        ("result", RESULT.into(), &[RESULT]),
        ("white space", format!(" \r\n{RESULT}\n "), &[RESULT]),
        ("error", FAILURE.into(), &[FAILURE]),
        ("error without id", no_id.into(), &[FAILURE]),
        ("batch", format!("[{NOTE},{RESULT}]"), &[NOTE, RESULT]),
        ("batch after the answer", format!("[{RESULT},{NOTE}]"), &[RESULT, NOTE]),
        ("batch with junk", format!("[1,{RESULT}]"), &["!payload unknown unusable message", RESULT]),
        ("other id", OTHER.into(), &[OTHER, EARLY]),
        ("no answer", NOTE.into(), &[NOTE, EARLY]),
        ("empty batch", "[]".into(), &["!payload unknown unusable message: a batch must hold"]),
        ("nothing", String::new(), &["!payload unknown unusable message: not valid JSON"]),
        ("truncated", RESULT[..30].into(), &["!payload unknown unusable message: not valid JSON"]),
        (
            "not a message",
            r#"{"ok":true}"#.into(),
            &["!payload unknown unusable message: member \"jsonrpc\""],
        ),
        ("too deep", "[".repeat(100_000), &["!payload unknown unusable message: message is nested deeper"]),
    ];
    for (row, body, expected) in table {
        let peer = Peer::answering(json(body)).await;
        let transport = peer.connect().await;
        assert_items(&exchange(&*transport, request()).await, expected, row);
    }
}

#[tokio::test]
async fn a_stateless_server_has_no_batches() {
    for answer in [json(&format!("[{RESULT}]")), events(format!("data: [{RESULT}]\n\n").as_bytes())] {
        let peer = Peer::answering(answer).await;
        let out = outbound(Method::ToolsList, Some(ProtocolVersion::LATEST_STATELESS));
        let found = exchange(&*peer.connect().await, out).await;
        assert!(
            found[0].starts_with("!payload unknown unusable message: a batch is not allowed"),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn j8_m6_event_stream_answers() {
    let data = |parts: &[&str]| -> Vec<u8> {
        parts.iter().flat_map(|part| format!("data: {part}\n\n").into_bytes()).collect()
    };
    let split = RESULT.split_once("\"result\"").unwrap();
    let two_lines = format!("data: {}\ndata: \"result\"{}\n\n", split.0, split.1);
    let joined = format!("{}\n\"result\"{}", split.0, split.1);
    let table: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        ("answer", data(&[RESULT]), vec![RESULT]),
        ("error", data(&[FAILURE]), vec![FAILURE]),
        ("notifications first", data(&[NOTE, ASK, NOTE, RESULT]), vec![NOTE, ASK, NOTE, RESULT]),
        ("batch", data(&[&format!("[{NOTE},{RESULT}]")]), vec![NOTE, RESULT]),
        ("nothing after the answer", data(&[RESULT, NOTE, RESULT]), vec![RESULT]),
        ("other answers before ours", data(&[OTHER, RESULT]), vec![OTHER, RESULT]),
        ("priming", format!("id: 1\nretry: 5\ndata:\n\ndata: {RESULT}\n\n").into(), vec![RESULT]),
        ("other types", format!("event: ping\ndata: {NOTE}\n\ndata: {RESULT}\n\n").into(), vec![RESULT]),
        ("CRLF", format!("event: message\r\ndata: {RESULT}\r\n\r\n").into(), vec![RESULT]),
        ("CR", format!(": hi\rdata: {RESULT}\r\r").into(), vec![RESULT]),
        ("two lines", two_lines.clone().into(), vec![RESULT]),
        ("byte order mark", format!("\u{feff}data: {RESULT}\n\n").into(), vec![RESULT]),
        ("junk first", data(&["{", RESULT]), vec!["!payload unknown unusable message", RESULT]),
        (
            "not UTF-8 first",
            [b"data: \xff\n\n".to_vec(), data(&[RESULT])].concat(),
            vec!["!payload unknown an event is not valid UTF-8", RESULT],
        ),
        ("early end", data(&[NOTE]), vec![NOTE, EARLY]),
        ("empty", Vec::new(), vec![EARLY]),
        ("unfinished event", format!("data: {RESULT}\n").into(), vec![EARLY]),
    ];
    for (row, body, expected) in table {
        let peer = Peer::answering(events(&body)).await;
        let transport = peer.connect().await;
        assert_items(&exchange(&*transport, request()).await, &expected, row);
        // The same with every byte in a chunk of its own.
        let chunks: Vec<u8> =
            body.iter().flat_map(|byte| [b"1\r\n", &[*byte][..], b"\r\n"].concat()).collect();
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
        let peer = Peer::answering([Step::Write([&head[..], &chunks, b"0\r\n\r\n"].concat())]).await;
        let transport = peer.connect().await;
        assert_items(&exchange(&*transport, request()).await, &expected, row);
    }
    let peer = Peer::answering(events(two_lines.as_bytes())).await;
    let Ok(Reply::Own(answers)) = peer.connect().await.send(request()).await else { panic!() };
    let frames: Vec<Incoming> = answers.map(Result::unwrap).collect().await;
    assert_eq!(frames[0].frame, joined, "the frame is the data as it came");
}

#[tokio::test]
async fn messages_are_given_out_as_they_come() {
    let note = Step::Write(format!("data: {NOTE}\n\n").into());
    let mut peer = Peer::answering([events_head(), note, Step::AwaitClose]).await;
    let transport = peer.connect().await;
    let Ok(Reply::Own(mut answers)) = transport.send(request()).await else { panic!() };
    assert_eq!(show(answers.next().await.unwrap()), NOTE);
    peer.request().await;
    assert!(peer.rest().is_empty(), "the exchange is still open");
}

#[tokio::test]
async fn sizes_are_bounded() {
    let options = HttpOptions {
        limits: Limits::default().with_max_bytes(1000),
        max_event_bytes: 1000,
        ..HttpOptions::default()
    };
    // A result whose JSON text has the given number of bytes.
    let sized = |bytes: usize| {
        let empty = RESULT.replace("true", "\"\"");
        empty.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - empty.len())))
    };
    let chunked = |body: &str| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        vec![Step::Write(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into())]
    };
    let event = |bytes: usize| format!("data: {}\n\n", sized(bytes - 6));
    let announced =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n";
    let (at, over) = (sized(1000), sized(1001));
    let (event_at, event_over) = (sized(994), event(1001));
    let large = "!payload unknown the answer exceeds the limit of 1000 bytes";
    let large_event = "!payload unknown an event exceeds the limit of 1000 bytes";
    let table: Vec<(&str, Vec<Step>, Vec<&str>)> = vec![
        ("at the limit", json(&at), vec![&at]),
        ("over the limit", json(&over), vec![large]),
        ("at the limit, chunked", chunked(&at), vec![&at]),
        ("over the limit, chunked", chunked(&over), vec![large]),
        ("announced", vec![Step::Write(announced.into()), Step::AwaitClose], vec![large]),
        ("event at the limit", events(event(1000).as_bytes()), vec![&event_at]),
        ("event over the limit", events(event_over.as_bytes()), vec![large_event, EARLY]),
        (
            "answer after a large event",
            events(format!("{event_over}data: {RESULT}\n\n").as_bytes()),
            vec![large_event, RESULT],
        ),
    ];
    for (row, steps, expected) in table {
        let peer = Peer::answering(steps).await;
        let transport = connect(peer.endpoint(), options.clone()).await;
        assert_items(&exchange(&*transport, request()).await, &expected, row);
    }
}

#[tokio::test]
async fn what_never_ends_is_cut_off() {
    let endless_body = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    let cut = "!closed unknown an event does not end";
    let large = "!payload unknown an event exceeds the limit";
    let many = "!payload unknown an event has more than 10000 lines";
    let long_lines: &'static [u8] = [&b"data: "[..], &[b'x'; 1000], b"\n"].concat().leak();
    let table: [(&str, Step, &'static [u8], &[&str]); 5] = [
        ("line", events_head(), b"x", &[large, cut]),
        ("long lines", events_head(), long_lines, &[large, cut]),
        ("short lines", events_head(), b"data: x\n", &[many, cut]),
        ("lines and comments", events_head(), b"data: x\n: x\n", &[many, cut]),
        (
            "body",
            Step::Write(endless_body.into()),
            b"[1,",
            &["!payload unknown the answer exceeds the limit"],
        ),
    ];
    for (row, head, flood, expected) in table {
        let mut peer = Peer::answering([head, Step::Flood(flood)]).await;
        let transport = peer.connect().await;
        assert_items(&exchange(&*transport, request()).await, expected, row);
        peer.request().await;
        assert!(matches!(peer.seen().await, Seen::Closed), "{row}: the connection is closed");
    }
}

#[tokio::test]
async fn content_that_is_neither_json_nor_events_is_refused() {
    for (status, head, body, expected) in [
        (200, "Content-Type: text/html\r\n", "<p>hunter2</p>", "got \"text/html\" (http status 200)"),
        (200, "", RESULT, "got none (http status 200)"),
        (202, "", "", "got none (http status 202)"),
        (200, "Content-Type: text/event-streams\r\n", "", "got \"text/event-streams\" (http status 200)"),
        (200, "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", RESULT, "encoded as \"gzip\""),
    ] {
        let peer = Peer::answering(answer(status, head, body)).await;
        let found = exchange(&*peer.connect().await, request()).await;
        assert!(found.len() == 1 && found[0].starts_with("!payload unknown "), "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
    let peer =
        Peer::answering(answer(200, "Content-Type: Application/JSON ; charset=utf-8\r\n", RESULT)).await;
    assert_items(&exchange(&*peer.connect().await, request()).await, &[RESULT], "parameters and case");
}

/// A server that ends its stream right after the answer can be called again on the same connection.
#[tokio::test]
async fn j8_a_connection_is_used_again_after_an_event_stream() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let event = format!("data: {RESULT}\n\n");
    let chunk = format!("{head}{:x}\r\n{event}\r\n", event.len());
    let end = Step::Write(b"0\r\n\r\n".to_vec());
    let mut peer = Peer::answering([Step::Write(chunk.into()), end]).await;
    let transport = peer.connect().await;
    let Ok(Reply::Own(mut answers)) = transport.send(request()).await else { panic!() };
    assert_eq!(show(answers.next().await.unwrap()), RESULT);
    drop(answers);
    assert_eq!(peer.request().await.connection, 0);
    // The end arrives a moment after the answer, so the very next request may need another connection; but
    // one of the connections is used again before long.
    let mut seen = 1;
    for _ in 0..200 {
        exchange(&*transport, request()).await;
        if peer.request().await.connection < seen {
            return;
        }
        seen += 1;
    }
    panic!("{seen} requests opened a connection each");
}
