use super::*;

fn list(servers: &[Server]) -> String {
    format!(r#"{{"items":{},"adapter_controls_available":false}}"#, json(&servers))
}

#[tokio::test]
async fn servers_are_listed_shown_added_and_removed() {
    let one = json(&server("a"));
    let gateway = Gateway::default();
    gateway
        .answer("GET /api/v1/mcp/servers", 200, list(&[server("a"), server("b")]))
        .answer("GET /api/v1/mcp/servers/a", 200, &one)
        .answer("GET /api/v1/mcp/servers/x%2Fy", 404, r#"{"detail":"server not found"}"#)
        .answer("POST /api/v1/mcp/servers", 201, &one)
        .answer("DELETE /api/v1/mcp/servers/a", 204, "");

    let table = "NAME  STATUS   TRANSPORT  URL\na     healthy  http       http://a/\nb     healthy  http       http://b/\n";
    for line in ["servers", "servers list"] {
        assert_eq!(ask(line, &gateway).await, (0, table.into(), String::new()), "{line}");
    }
    let (code, out, _) = ask("servers get a", &gateway).await;
    assert!(code == 0 && out.starts_with("name            a\nstatus          healthy\n"), "{out}");
    assert_eq!(ask("servers get a --json", &gateway).await.1, format!("{one}\n"));
    let (code, _, err) = ask("servers get x/y", &gateway).await;
    assert_eq!((code, err.as_str()), (1, "error: the gateway refuses: server not found (status 404)\n"));

    assert_eq!(ask("servers add a http://a/ group=g", &gateway).await.0, 0);
    assert_eq!(gateway.seen().last().unwrap().body, r#"{"name":"a","url":"http://a/","group":"g"}"#);
    let (code, out, err) = ask("servers remove a", &gateway).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "removed a\n"));
}

#[tokio::test]
async fn servers_are_replaced_marked_and_looked_at() {
    let one = json(&server("a"));
    let health = r#"{"server":"a","health_view":"unknown","last_checked_at":null,"response_time_ms":null,"error_message":null,"consecutive_failures":0}"#;
    let stats = r#"{"total_servers":1,"connected_servers":0,"disconnected_servers":1,"error_servers":0,"critical_servers_down":0,"total_requests":0,"total_errors":0}"#;
    let gateway = Gateway::default();
    gateway
        .answer("PUT /api/v1/mcp/servers/a", 200, &one)
        .answer("POST /api/v1/mcp/servers/a/mark", 200, &one)
        .answer("GET /api/v1/mcp/servers/a/health", 200, health)
        .answer("GET /api/v1/mcp/health", 200, format!(r#"{{"items":[{health}]}}"#))
        .answer("GET /api/v1/mcp/servers/a/capabilities", 200, "null")
        .answer("GET /api/v1/mcp/stats", 200, stats);
    for (line, body, shown) in [
        (
            "servers update a http://a/ group=g",
            r#"{"name":"a","url":"http://a/","group":"g"}"#,
            "name            a\n",
        ),
        (
            "servers mark a unavailable --reason 'upgrade'",
            r#"{"as":"unavailable","reason":"upgrade"}"#,
            "name            a\n",
        ),
        ("servers mark a healthy", r#"{"as":"healthy"}"#, "name            a\n"),
        ("servers health", "", "SERVER  HEALTH   CHECKED AT  FAILURES\na       unknown  never       0\n"),
        ("servers health a", "", "SERVER  HEALTH   CHECKED AT  FAILURES\na       unknown  never       0\n"),
        ("servers health a --json", "", health),
        ("servers capabilities a --json", "", "null\n"),
        ("servers stats", "", "servers         1\nconnected       0\n"),
        ("servers stats --json", "", stats),
    ] {
        let (code, out, err) = ask(line, &gateway).await;
        assert_eq!((code, &*err), (0, ""), "{line}");
        assert!(out.starts_with(shown), "{line}: {out}");
        assert_eq!(gateway.seen().last().unwrap().body, body, "{line}");
    }
    let (code, out, err) = ask("servers capabilities a", &gateway).await;
    assert_eq!((code, &*out), (0, ""));
    assert!(err.starts_with("a has said nothing of itself yet"), "{err}");
}

#[tokio::test]
async fn the_exit_code_says_whether_every_enabled_server_came_up() {
    let mut up = server("up");
    up.initialized = true;
    let mut down = server("down");
    down.status = Status::Degraded;
    let mut off = down.clone();
    off.enabled = false;
    let gateway = Gateway::default();
    let base = "POST /api/v1/mcp/servers";
    gateway
        .answer(&format!("{base}/health-check"), 200, list(&[off.clone(), up.clone()]))
        .answer(&format!("{base}/down/health-check"), 200, json(&down))
        .answer(&format!("{base}/initialize"), 200, list(&[down.clone(), up.clone()]))
        .answer(&format!("{base}/up/initialize?force=true"), 200, json(&up))
        .answer(&format!("{base}/up/connect"), 200, json(&up))
        .answer(&format!("{base}/down/health-check?force=true"), 200, json(&up))
        .answer(&format!("{base}/down/disconnect"), 200, json(&down))
        .answer(&format!("{base}/down/reconnect"), 200, json(&down))
        .answer(&format!("{base}/up/reconnect"), 200, json(&up))
        .answer(&format!("{base}/connect?force=true"), 200, list(&[down]));
    for (line, code) in [
        ("servers check", 0),
        ("servers check down", 1),
        ("servers initialize", 1),
        ("servers initialize up --force", 0),
        ("servers connect up", 0),
        ("servers check down --force", 0),
        ("servers disconnect down", 0),
        ("servers reconnect down", 1),
        ("servers reconnect up", 0),
        ("servers connect --force", 1),
    ] {
        let (exit, out, err) = ask(line, &gateway).await;
        assert_eq!(exit, code, "{line}: {err}");
        assert!(!out.is_empty() && err.is_empty(), "{line}: {err}");
    }
}

#[tokio::test]
async fn status_names_the_gateway_and_its_servers() {
    let mut down = server("down");
    down.status = Status::Unreachable;
    down.next_retry_at = Some("2026-01-01T00:00:03.5Z".into());
    down.last_error = Some("evil \u{202e}\u{1b}]0;x\u{7}".into());
    let gateway = Gateway::default();
    gateway.answer("GET /api/v1/mcp/servers", 200, list(&[down])).answer(
        "GET /readyz",
        503,
        r#"{"status":"draining","version":"0.1.0","uptime_ms":5000}"#,
    );
    let url = gateway.serve().await;
    let (code, out, _) = run(&format!("status --url {url}"), &Scripted::default()).await;
    assert_eq!(code, 0);
    assert_eq!(
        out.replace(&url, "URL"),
        "mcp-gateway 0.1.0 at URL · draining · up 5 s · 1 server, 1 unreachable\n\
         \n\
         SERVER  STATUS       CONNECTION    PROTOCOL  TOOLS  RETRY IN  LAST ERROR\n\
         down    unreachable  disconnected  ?         ?      4 s       evil \\u{202e}\\u{1b}]0;x\\u{7}\n"
    );
    let (_, json, _) = run(&format!("status --json --url {url}"), &Scripted::default()).await;
    assert!(json.contains(r"evil \u202e\u001b]0;x\u0007") && !json.contains('\u{202e}'), "{json}");
}

#[tokio::test]
async fn a_watched_status_outlives_a_fault_of_the_gateway() {
    let gateway = Gateway::default();
    gateway
        .answer("GET /api/v1/mcp/servers", 200, list(&[server("first")]))
        .answer("GET /api/v1/mcp/servers", 500, "")
        .answer("GET /api/v1/mcp/servers", 200, list(&[server("third")]));
    let url = gateway.serve().await;
    let (mut output, out, _) = kept(Look { size: Some((80, 24)), ..Look::default() });
    let line = format!("status --watch --url {url}");
    let direct = Scripted::default();
    tokio::select! {
        exit = run_on(&line, &direct, &mut output) => panic!("it ended with {exit:?}"),
        () = out.until("third") => {}
    }
    let text = out.text();
    assert!(text.starts_with("\u{1b}[2J\u{1b}[H") && text.contains("first"), "{text:?}");
    assert!(text.contains("trying again: the gateway refuses"), "{text:?}");
}
