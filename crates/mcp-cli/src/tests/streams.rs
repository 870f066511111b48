use super::*;

fn event(seq: u64, server: &str) -> String {
    format!(
        concat!(
            r#"{{"server":"{server}","from_status":"healthy","to_status":"degraded","reason":"gone","#,
            r#""timestamp":"2026-01-01T00:00:00Z","correlation_id":null,"seq":{seq}}}"#
        ),
        server = server,
        seq = seq
    )
}

fn items(events: impl IntoIterator<Item = String>) -> String {
    format!(r#"{{"items":[{}]}}"#, events.into_iter().collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn filters_go_to_the_gateway() {
    let gateway = Gateway::default();
    let body = items([event(7, "a b")]);
    gateway
        .answer("GET /api/v1/mcp/events?server=a+b&correlation_id=id&limit=2", 200, &body)
        .answer("GET /api/v1/mcp/events", 200, &body)
        .answer(
            "GET /api/v1/mcp/invocation-events?server=a&method=tools%2Fcall&request_id=id&limit=1",
            200,
            items([]),
        );
    let (code, out, err) = ask("events --server 'a b' --correlation-id id --limit 2", &gateway).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "2026-01-01T00:00:00Z  a b  healthy → degraded  gone\n", "")
    );
    assert_eq!(ask("events --json", &gateway).await.1, format!("{body}\n"));
    let line = "invocations --server a --method tools/call --request-id id --limit 1";
    assert_eq!(ask(line, &gateway).await, (0, String::new(), String::new()));
}

#[tokio::test]
async fn following_shows_every_event_once() {
    let page = "GET /api/v1/mcp/events?limit=100";
    let gateway = Gateway::default();
    gateway
        .answer("GET /api/v1/mcp/events?limit=1", 200, items([event(5, "e5")]))
        // Nothing new, then one, then a fault, then more than a page.
        .answer(page, 200, items([event(4, "e4"), event(5, "e5")]))
        .answer(page, 200, items([event(5, "e5"), event(9, "e9")]))
        .answer(page, 500, "")
        .answer(page, 200, items((21..121).map(|seq| event(seq, &format!("e{seq}")))))
        .answer("GET /api/v1/mcp/events", 200, items((8..121).map(|seq| event(seq, &format!("e{seq}")))))
        // The gateway starts anew.
        .answer(page, 200, items([event(1, "again")]));
    let url = gateway.serve().await;
    let (mut output, out, err) = kept(Look::default());
    let line = format!("events --follow --limit 1 --json --url {url}");
    let direct = Scripted::default();
    tokio::select! {
        exit = run_on(&line, &direct, &mut output) => panic!("it ended with {exit:?}"),
        () = out.until("again") => {}
    }
    let seen: Vec<u64> = out
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    let expected: Vec<u64> = [5, 9].into_iter().chain(10..121).chain([1]).collect();
    assert_eq!(seen, expected);
    assert!(err.text().contains("trying again"), "{}", err.text());
}
