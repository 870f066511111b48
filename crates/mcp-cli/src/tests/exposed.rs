use super::*;

fn entry(kind: &str, exposed: &str, owner: &str, servers: &str, name: &str, hidden: &str) -> String {
    format!(
        r#"{{"kind":"{kind}","exposed":"{exposed}","shortened":false,"owner":"{owner}","servers":{servers},"name":"{name}",{hidden},"definition":{{"description":"Does \u001b[2J."}}}}"#
    )
}

const SHOWN: &str = r#""hidden":null,"taken_by":null"#;

fn list(entries: &[String], missing: &str) -> String {
    format!(r#"{{"items":[{}],"missing":{missing}}}"#, entries.join(","))
}

#[tokio::test]
async fn tools_are_shown_with_the_names_clients_see() {
    let gateway = Gateway::default();
    let taken = entry("tool", "t", "b", r#"["b"]"#, "t", r#""hidden":"taken","taken_by":"a""#);
    let tools = [entry("tool", "a__t", "a", r#"["a"]"#, "t", SHOWN), taken];
    gateway
        .answer("GET /api/v1/mcp/server-tools", 200, r#"{"a":[{"name":"t"}],"b":[{"name":"t"}]}"#)
        .answer("GET /api/v1/mcp/exposed?kind=tool", 200, list(&tools, r#"["c"]"#))
        .answer("GET /api/v1/mcp/exposed?view=v&kind=tool", 200, list(&[], "[]"));
    let (code, out, err) = ask("tools", &gateway).await;
    assert_eq!((code, &*out, &*err), (0, "SERVER  TOOL  CLIENTS SEE\na       t     a__t\nb       t\n", ""));
    let (code, out, err) = ask("tools --exposed", &gateway).await;
    assert_eq!((code, &*err), (0, "not known, or out of reach: c\n"));
    assert!(out.starts_with("TOOL  SERVER  NAME THERE  HIDDEN      DESCRIPTION\na__t  a       t"), "{out}");
    assert!(out.contains("\nt     b                   taken by a  Does") && !out.contains('\u{1b}'), "{out}");
    let (_, out, _) = ask("tools --exposed --server b --json", &gateway).await;
    assert!(out.contains(r#""taken_by":"a""#) && !out.contains("a__t"), "{out}");
    let (code, out, err) = ask("tools --view v", &gateway).await;
    assert_eq!((code, &*out, &*err), (0, "", "the servers are not known to have any\n"));
}

#[tokio::test]
async fn prompts_and_resources_are_listed_and_fetched() {
    let gateway = Gateway::default();
    let resources = [
        entry("tool", "a__t", "a", r#"["a"]"#, "t", SHOWN),
        entry("resource", "x:1", "a", r#"["a"]"#, "x:1", SHOWN),
        entry("template", "x:{n}", "g", r#"["b","c"]"#, "x:{n}", SHOWN),
    ];
    let prompt = r#"{"request_id":"id-1","result":{"messages":[{"role":"user","content":{"type":"text","text":"Hi"}}]}}"#;
    let resource = r#"{"request_id":null,"result":{"contents":[{"uri":"x:1","text":"one"}]}}"#;
    let unknown = r#"{"detail":[{"loc":["body","uri"],"msg":"Unknown resource: x:2","type":"value_error"}]}"#;
    gateway
        .answer(
            "GET /api/v1/mcp/exposed?kind=prompt",
            200,
            list(&[entry("prompt", "a__p", "a", r#"["a"]"#, "p", SHOWN)], "[]"),
        )
        .answer("GET /api/v1/mcp/exposed", 200, list(&resources, "[]"))
        .answer("POST /api/v1/mcp/prompts/get", 200, prompt)
        .answer("POST /api/v1/mcp/resources/read", 200, resource)
        .answer("POST /api/v1/mcp/resources/read", 422, unknown);
    let (code, out, _) = ask("prompts", &gateway).await;
    assert!(
        code == 0 && out.starts_with("PROMPT  SERVER  NAME THERE  DESCRIPTION\na__p    a       p "),
        "{out}"
    );
    let (_, out, _) = ask("resources", &gateway).await;
    assert!(out.starts_with("URI    SERVER    DESCRIPTION\nx:1    a         Does"), "{out}");
    assert!(out.contains("\nx:{n}  g (b, c)  Does") && !out.contains("a__t"), "{out}");

    assert_eq!(
        ask("prompt a__p topic=rust pages=3", &gateway).await,
        (0, "user:\nHi\n".into(), "request id-1\n".into())
    );
    let body = r#"{"name":"a__p","arguments":{"topic":"rust","pages":"3"}}"#;
    assert_eq!(gateway.seen().last().unwrap().body, body);
    assert_eq!(ask("prompt a__p --json", &gateway).await.1, format!("{prompt}\n"));
    assert_eq!(ask("prompt a__p topic", &gateway).await.0, 2);
    assert_eq!(ask("read x:1 --view v", &gateway).await, (0, "one\n".into(), String::new()));
    assert_eq!(gateway.seen().last().unwrap().body, r#"{"uri":"x:1","view":"v"}"#);
    let (code, _, err) = ask("read x:2", &gateway).await;
    assert_eq!(
        (code, &*err),
        (2, "error: the gateway refuses the request: body.uri: Unknown resource: x:2\n")
    );
}

#[tokio::test]
async fn changed_tools_are_listed_and_approved() {
    let digest = "0123456789abcdef".repeat(4);
    let change = |pending: bool| {
        format!(
            r#"{{"server":"a","tool":"t","pending":{pending},"withheld":{pending},"current":{{"digest":"{digest}","since":"2026-01-01T00:00:00Z"}},"approved":"1","earlier":[{{"digest":"1","since":"2025-01-01T00:00:00Z"}}]}}"#
        )
    };
    let items = |changes: &[String]| format!(r#"{{"items":[{}]}}"#, changes.join(","));
    let gateway = Gateway::default();
    gateway
        .answer("GET /api/v1/mcp/tool-changes", 200, items(&[change(true), change(false)]))
        .answer("GET /api/v1/mcp/tool-changes?server=b&pending=true", 200, items(&[]))
        .answer("GET /api/v1/mcp/tool-changes?server=a&pending=true", 200, items(&[change(true)]))
        .answer("POST /api/v1/mcp/tool-changes/approve", 200, change(false));
    let table = "SERVER  TOOL  STATE     CHANGED AT            VERSIONS  DIGEST\n\
                 a       t     withheld  2026-01-01T00:00:00Z  2         0123456789ab\n\
                 a       t     approved  2026-01-01T00:00:00Z  2         0123456789ab\n";
    for line in ["changes", "changes list"] {
        assert_eq!(ask(line, &gateway).await, (0, table.into(), String::new()), "{line}");
    }
    let (code, out, err) = ask("changes list --server b --pending", &gateway).await;
    assert_eq!((code, &*out, &*err), (0, "", "no tool has changed\n"));
    for (line, told) in [
        ("changes approve a u", "tool \"u\" of a is not known to have changed (status 404)"),
        ("changes approve b t", "tool \"t\" of b is not known to have changed (status 404)"),
        ("changes approve a t --digest 1", "is 0123"),
    ] {
        let (code, _, err) = ask(line, &gateway).await;
        assert!(code == 1 && err.contains(told), "{line}: {err}");
    }
    for line in ["changes approve a t", "changes approve a t --digest 01234567"] {
        let (code, out, err) = ask(line, &gateway).await;
        assert_eq!((code, out, err), (0, String::new(), format!("approved t of a as {digest}\n")), "{line}");
        let body = format!(r#"{{"server":"a","tool":"t","digest":"{digest}"}}"#);
        assert_eq!(gateway.seen().last().unwrap().body, body);
    }
    assert_eq!(ask("changes approve a t --json", &gateway).await.1, format!("{}\n", change(false)));
}
