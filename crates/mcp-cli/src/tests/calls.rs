use super::*;

const INVOKE: &str = "POST /api/v1/mcp/invoke/tool";

fn result(text: &str, more: &str) -> String {
    format!(
        r#"{{"server":"backup","method":"tools/call","request_id":"id-1","result":{text},"raw_response":{{}}{more}}}"#
    )
}

const FAILURE: &str = concat!(
    r#"{"detail":{"message":"all candidates failed: primary: initialize: timed out","method":"tools/call","#,
    r#""code":"all_candidates_failed","attempts":[{"server":"primary","stage":"initialize","success":false,"#,
    r#""error":"timed out\u001b[2J","error_category":"network_timeout"}]}}"#
);

#[tokio::test]
async fn a_call_prints_the_text_and_who_answered() {
    let gateway = Gateway::default();
    gateway.answer(INVOKE, 200, result(r#"{"content":[{"type":"text","text":"5"}]}"#, ""));
    let line = "call add a=2 b=3.0 --server backup --only --timeout 250 --idempotent true --api-key k1";
    let (code, out, err) = ask(line, &gateway).await;
    assert_eq!((code, out.as_str()), (0, "5\n"));
    assert_eq!(err, "answered by backup, request id-1\n");
    let seen = gateway.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].key.as_deref(), Some("Bearer k1"));
    assert_eq!(
        seen[0].body,
        concat!(
            r#"{"tool_name":"add","arguments":{"a":2,"b":3.0},"preferred_servers":["backup"],"#,
            r#""preferred_only":true,"idempotent":true,"timeout_ms":250}"#
        )
    );
}

#[tokio::test]
async fn a_failover_shows_its_trace() {
    let gateway = Gateway::default();
    let trace = concat!(
        r#","attempts":[{"server":"primary","stage":"initialize","success":false,"error":"timed out","#,
        r#""error_category":"network_timeout","duration_ms":10000},"#,
        r#"{"server":"backup","stage":"initialize","success":true,"error":null,"error_category":null},"#,
        r#"{"server":"backup","stage":"invoke","success":true,"error":null,"error_category":null}]"#
    );
    gateway.answer(INVOKE, 200, result(r#"{"content":[{"type":"text","text":"5"}]}"#, trace));
    let (code, out, err) = ask("call add", &gateway).await;
    assert_eq!((code, out.as_str()), (0, "5\n"));
    assert_eq!(
        err,
        "#  SERVER   STAGE       OUTCOME          TIME    ERROR\n\
         1  primary  initialize  network_timeout  10.0 s  timed out\n\
         2  backup   initialize  ok\n\
         3  backup   invoke      ok\n\
         answered by backup, request id-1\n"
    );
}

#[tokio::test]
async fn a_name_nobody_has_is_told_when_it_did_not_serve() {
    let gateway = Gateway::default();
    let servers = format!(r#"{{"items":[{}],"adapter_controls_available":false}}"#, json(&server("backup")));
    gateway.answer("GET /api/v1/mcp/servers", 200, servers);
    gateway.answer(INVOKE, 200, result(r#"{"content":[]}"#, ""));
    let (code, _, err) = ask("call add --server nope --server primary", &gateway).await;
    assert_eq!(
        (code, err.as_str()),
        (
            0,
            "warning: no server is named \"nope\"\nwarning: no server is named \"primary\"\n\
             answered by backup, request id-1\n"
        )
    );
    assert_eq!(gateway.seen().len(), 2);
    let (_, _, err) = ask("call add --server nope --server backup", &gateway).await;
    assert_eq!(err, "answered by backup, request id-1\n");
    assert_eq!(gateway.seen().len(), 3, "the list is not asked for when a named server answers");

    let gateway = Gateway::default();
    gateway.answer(INVOKE, 503, FAILURE);
    let (code, _, err) = ask("call add --server primary --json", &gateway).await;
    let hint = "to see why: mcp-gateway why id-1 --url URL\n";
    assert_eq!((code, err.as_str()), (1, hint), "no list, no warning");
}

#[tokio::test]
async fn the_servers_of_a_file_can_be_chosen_from() {
    let served: InvocationResult = serde_json::from_str(&result(r#"{"content":[]}"#, "")).unwrap();
    let direct = Scripted { call: Some(Ok(served)), ..Scripted::default() };
    assert_eq!(run("call echo --config a.toml --server a --only --group g", &direct).await.0, 0);
    assert_eq!(
        direct.asked.lock().unwrap()[0],
        (
            DirectTarget::Config("a.toml".into()),
            r#"{"tool_name":"echo","arguments":{},"preferred_servers":["a"],"preferred_only":true,"group":"g"}"#
                .into()
        )
    );
}

#[tokio::test]
async fn an_error_of_the_tool_is_shown_and_fails_the_command() {
    let gateway = Gateway::default();
    let body = result(r#"{"content":[{"type":"text","text":"no such city"}],"isError":true}"#, "");
    gateway.answer(INVOKE, 200, &body);
    let (code, out, err) = ask("call weather", &gateway).await;
    assert_eq!((code, out.as_str()), (1, "no such city\n"));
    assert!(err.ends_with("error: the tool reports an error\n"), "{err}");

    let (code, out, err) = ask("call weather --json", &gateway).await;
    assert_eq!((code, out, err.as_str()), (1, body + "\n", ""));
}

#[tokio::test]
async fn a_failed_call_is_a_table_of_attempts() {
    let gateway = Gateway::default();
    gateway.answer(INVOKE, 503, FAILURE);
    let (code, out, err) = ask("call add", &gateway).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        err,
        "error: tools/call: every server that could be tried failed\n\
         #  SERVER   STAGE       OUTCOME          ERROR\n\
         1  primary  initialize  network_timeout  timed out\\u{1b}[2J\n\
         to see why: mcp-gateway why id-1 --url URL\n"
    );
    let (code, out, err) = ask("call add --json", &gateway).await;
    let hint = "to see why: mcp-gateway why id-1 --url URL\n";
    assert_eq!((code, out.as_str(), err.as_str()), (1, format!("{FAILURE}\n").as_str(), hint));
}

/// A file that only its owner can read.
fn write_secret(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn a_call_of_one_server_goes_there() {
    let path = "POST /api/v1/mcp/servers/backup/tools/a%2Fb/call";
    let gateway = Gateway::default();
    gateway.answer(path, 200, result(r#"{"content":[{"type":"text","text":"5"}]}"#, ""));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    write_secret(&token, "t0ken\n");
    let line = "call a/b x=1 --on backup --timeout 250 --idempotent true --user-id ada --user-token-file";
    let (code, out, err) = ask(&format!("{line} {}", token.display()), &gateway).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "5\n", "answered by backup, request id-1\n"));
    assert_eq!(
        gateway.seen()[0].body,
        concat!(
            r#"{"parameters":{"x":1},"user_context":{"user_id":"ada","token":"t0ken"},"#,
            r#""idempotent":true,"timeout_ms":250}"#
        )
    );

    let gateway = Gateway::default();
    let missing =
        r#"{"detail":{"message":"no such tool","requested":"a/b","available":["c","d"],"server":"backup"}}"#;
    gateway.answer(path, 404, missing);
    let (code, _, err) = ask("call a/b --on backup", &gateway).await;
    let told = "error: the gateway refuses: no such tool; there are: c, d (status 404)\n";
    assert_eq!((code, err.as_str()), (1, told));

    let gateway = Gateway::default();
    let tried = |nth: u32| {
        format!(
            r#"{{"server":"backup","stage":"invoke","success":false,"error":"http status 500","error_category":"http_status","attempt":{nth}}}"#
        )
    };
    let failure = format!(
        r#"{{"detail":{{"message":"m","method":"tools/call","code":"all_candidates_failed","attempts":[{},{}]}}}}"#,
        tried(1),
        tried(2)
    );
    gateway.answer(path, 503, failure).answer(path, 503, FAILURE);
    for _ in 0..2 {
        let (code, _, err) = ask("call a/b --on backup", &gateway).await;
        assert_eq!(code, 1);
        assert!(err.starts_with("error: tools/call: the server failed\n"), "{err}");
    }
}

#[tokio::test]
async fn a_story_is_told_or_printed_as_it_came() {
    let path = "GET /api/v1/mcp/invocations/id-1";
    let told = concat!(
        r#"{"request_id":"id-1","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:00Z","#,
        r#""method":"resources/read","tool":null,"server":null,"preferred_servers":[],"preferred_only":false,"#,
        r#""group":null,"outcome":"failed","served_by":null,"code":"no_candidates","#,
        r#""message":"no server is reachable","candidates":[],"attempts":[],"under_way":null,"transitions":[],"#,
        r#""incomplete":false}"#
    );
    let gateway = Gateway::default();
    gateway.answer(path, 200, told);
    let (code, out, err) = ask("why id-1", &gateway).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("resources/read failed: no server is reachable\n"), "{out}");
    assert_eq!(ask("why id-1 --json", &gateway).await, (0, format!("{told}\n"), String::new()));

    let gateway = Gateway::default();
    gateway.answer(path, 404, r#"{"detail":"no request of this id is remembered"}"#);
    let (code, _, err) = ask("why id-1", &gateway).await;
    let refused = "error: the gateway refuses: no request of this id is remembered (status 404)\n";
    assert_eq!((code, err.as_str()), (1, refused));
}

#[tokio::test]
async fn what_the_gateway_refuses_is_told() {
    for (status, body, code, told) in [
        (401, "{}", 1, "error: the gateway wants an API key it was not given"),
        (403, r#"{"detail":"not allowed"}"#, 1, "error: the gateway refuses: not allowed (status 403)\n"),
        (
            422,
            r#"{"detail":[{"loc":["body","tool_name"],"msg":"is empty","type":"value_error"}]}"#,
            2,
            "error: the gateway refuses the request: body.tool_name: is empty\n",
        ),
        (404, "<html>", 3, "error: what answers at URL is not an mcp-gateway: it answers with status 404\n"),
        (302, "", 3, "error: what answers at URL is not an mcp-gateway: it answers with status 302\n"),
        (500, "", 1, "error: the gateway refuses: Internal Server Error (status 500)\n"),
        (503, "busy", 1, "error: the gateway refuses: Service Unavailable (status 503)\n"),
        (200, "{}", 1, "error: the answer of the gateway is not understood: missing field `server`"),
    ] {
        let gateway = Gateway::default();
        gateway.answer(INVOKE, status, body);
        let (exit, out, err) = ask("call add", &gateway).await;
        assert_eq!((exit, out.as_str()), (code, ""), "status {status}: {err}");
        assert!(err.starts_with(told), "status {status}: {err}");
    }
}

#[tokio::test]
async fn without_a_gateway_the_message_says_how_to_start_one() {
    // A port nobody listens on: bound, then given up.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for command in ["call add", "tools", "servers", "status", "events", "invocations", "status --watch"] {
        let (code, out, err) = run(&format!("{command} --url http://{free}"), &Scripted::default()).await;
        assert_eq!((code, out.as_str()), (3, ""), "{command}");
        assert!(err.starts_with(&format!("error: no gateway at http://{free}: ")), "{command}: {err}");
        assert!(err.contains("mcp-gateway serve"), "{command}: {err}");
    }
}

#[tokio::test]
async fn wrong_words_never_reach_the_gateway() {
    let gateway = Gateway::default();
    for line in ["call add five", "call add a=1 a=2", "call add '{\"a\":}'", "servers add x"] {
        let (code, _, err) = ask(line, &gateway).await;
        assert_eq!(code, 2, "{line}: {err}");
    }
    assert_eq!(run("status --url nowhere", &Scripted::default()).await.0, 2);
    assert!(gateway.seen().is_empty());
}

#[tokio::test]
async fn a_call_without_a_gateway_goes_to_its_target() {
    let served: InvocationResult =
        serde_json::from_str(&result(r#"{"content":[{"type":"text","text":"hi"}]}"#, "")).unwrap();
    let direct = Scripted { call: Some(Ok(served)), ..Scripted::default() };
    let (code, out, _) = run("call echo message=hi --server-command 'npx -y \"a b\"'", &direct).await;
    assert_eq!((code, out.as_str()), (0, "hi\n"));
    assert_eq!(
        direct.asked.lock().unwrap()[0],
        (
            DirectTarget::Command { program: "npx".into(), args: vec!["-y".into(), "a b".into()] },
            r#"{"tool_name":"echo","arguments":{"message":"hi"},"preferred_servers":null}"#.into()
        )
    );

    let failure: InvocationFailure = serde_json::from_str(FAILURE).unwrap();
    for (error, code, told) in [
        (DirectError::Call(failure), 1, "error: tools/call: every server that could be tried failed\n#"),
        (DirectError::Config("a.toml:1:2: wrong".into()), 4, "error: a.toml:1:2: wrong\n"),
        (DirectError::Target("not a URL".into()), 2, "error: not a URL\n"),
        (DirectError::Connect("no such program".into()), 1, "error: no such program\n"),
    ] {
        let direct = Scripted { call: Some(Err(error)), ..Scripted::default() };
        let (exit, _, err) = run("call echo --config a.toml", &direct).await;
        assert_eq!(exit, code, "{err}");
        assert!(err.starts_with(told), "{err}");
    }
}

#[tokio::test]
async fn tools_are_listed_with_and_without_a_gateway() {
    let body = r#"{"a":[{"name":"add","description":"Adds.","inputSchema":{"x":1.0}}],"b":null}"#;
    let table = "SERVER  TOOL  DESCRIPTION\na       add   Adds.\nb       ?     tools not known yet\n";
    let gateway = Gateway::default();
    gateway.answer("GET /api/v1/mcp/server-tools", 200, body);
    assert_eq!(ask("tools", &gateway).await, (0, table.into(), String::new()));
    assert_eq!(ask("tools --json", &gateway).await.1, format!("{body}\n"));
    let only = r#"{"a":[{"name":"add","description":"Adds.","inputSchema":{"x":1.0}}]}"#;
    assert_eq!(ask("tools --json --server a", &gateway).await.1, format!("{only}\n"));
    let (code, _, err) = ask("tools --server c", &gateway).await;
    assert_eq!(
        (code, err.as_str()),
        (1, "error: the gateway refuses: there is no server \"c\" (status 404)\n")
    );

    let direct = Scripted { tools: serde_json::from_str(body).unwrap(), ..Scripted::default() };
    assert_eq!(run("tools --server-url http://h/mcp", &direct).await, (0, table.into(), String::new()));
    assert_eq!(direct.asked.lock().unwrap()[0].0, DirectTarget::Url("http://h/mcp".into()));
}
