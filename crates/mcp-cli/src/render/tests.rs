use mcp_api_types::{ErrorCategory, InvocationFailure};

use super::*;
use crate::table;

fn shown(json: &str) -> String {
    table::text(&ToolResult::read(json).lines())
}

#[test]
fn a_result_is_shown_by_its_content() {
    for (json, text) in [
        (r#"{"content":[{"type":"text","text":"5"}]}"#, "5\n"),
        (r#"{"content":[{"type":"text","text":"a\nb"},{"type":"text","text":"c"}]}"#, "a\nb\nc\n"),
        (r#"{"content":[{"type":"text","text":"{}"}],"structuredContent":{"x":1}}"#, "{}\n"),
        (r#"{"content":[],"structuredContent":{"x": 1.0}}"#, "{\"x\": 1.0}\n"),
        (r#"{"content":[]}"#, "{\"content\":[]}\n"),
        (
            r#"{"content":[{"type":"image","data":"AAAA","mimeType":"image/png"}]}"#,
            "[image image/png, 3 B]\n",
        ),
        (
            r#"{"content":[{"type":"audio","data":"AA==","mimeType":"audio/wav"}]}"#,
            "[audio audio/wav, 1 B]\n",
        ),
        (r#"{"content":[{"type":"resource_link","uri":"a:b","name":"n"}]}"#, "[link to n: a:b]\n"),
        (r#"{"content":[{"type":"resource","resource":{"uri":"a:b","text":"t"}}]}"#, "t\n"),
        (
            r#"{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"AAAA"}}]}"#,
            "[resource a:b, 3 B]\n",
        ),
        (r#"{"content":[{"type":"hologram","x":1}]}"#, "{\"type\":\"hologram\",\"x\":1}\n"),
        (r#"{"resultType":"input_required"}"#, "{\"resultType\":\"input_required\"}\n"),
        ("null", "null\n"),
        (r#"{"content":[{"type":"text","text":"\u001b[2J\u202e"}]}"#, "\\u{1b}[2J\\u{202e}\n"),
        (r#"{"content":[{"type":"image","data":"","mimeType":"\u001b[31m"}]}"#, "[image \\u{1b}[31m, 0 B]\n"),
    ] {
        assert_eq!(shown(json), text, "{json}");
    }
}

#[test]
fn only_an_error_result_is_one() {
    for (json, is_error) in [
        (r#"{"content":[],"isError":true}"#, true),
        (r#"{"content":[],"isError":false}"#, false),
        (r#"{"content":[]}"#, false),
        ("[]", false),
    ] {
        assert_eq!(ToolResult::read(json).is_error, is_error, "{json}");
    }
}

fn attempt(server: &str, stage: Stage, error: Option<(&str, ErrorCategory)>) -> Attempt {
    Attempt {
        server: server.into(),
        stage,
        success: error.is_none(),
        error: error.map(|(text, _)| text.into()),
        error_category: error.map(|(_, category)| category),
        attempt: None,
        duration_ms: None,
        delivery: None,
    }
}

#[test]
fn the_trace_is_a_table() {
    let mut trace = vec![
        attempt("primary", Stage::Initialize, Some(("primary timed out", ErrorCategory::NetworkTimeout))),
        attempt("backup", Stage::Initialize, None),
        attempt("backup", Stage::Invoke, Some(("http status 503", ErrorCategory::HttpStatus))),
    ];
    assert_eq!(
        table::text(&attempts(&trace).lines(None)),
        "#  SERVER   STAGE       OUTCOME          ERROR\n\
         1  primary  initialize  network_timeout  primary timed out\n\
         2  backup   initialize  ok\n\
         3  backup   invoke      http_status      http status 503\n"
    );
    trace[1].duration_ms = Some(12.0);
    assert_eq!(
        table::text(&attempts(&trace[1..2]).lines(None)),
        "#  SERVER  STAGE       OUTCOME  TIME\n\
         1  backup  initialize  ok       12 ms\n"
    );
}

#[test]
fn a_failure_is_told_once() {
    let body = |code: &str, attempts: &str| -> InvocationError {
        let json = format!(
            r#"{{"detail":{{"message":"the message","method":"tools/call","code":"{code}","attempts":{attempts}}}}}"#
        );
        serde_json::from_str::<InvocationFailure>(&json).unwrap().detail
    };
    let one = r#"[{"server":"a","stage":"invoke","success":false,"error":"x","error_category":"rpc_error"}]"#;
    for (code, attempts, starts) in [
        ("no_candidates", "[]", "tools/call: the message"),
        ("no_server_offers_tool", "[]", "tools/call: the message"),
        ("all_candidates_failed", "[]", "tools/call: the message"),
        ("all_candidates_failed", one, "tools/call: every server that could be tried failed"),
        ("ambiguous_not_retried", one, "tools/call: the call may have been carried out"),
        ("caller_error", one, "tools/call: every server refused the request"),
        ("deadline_exceeded", one, "tools/call: no server answered in time"),
    ] {
        let text = failure(&body(code, attempts), false);
        assert!(text.starts_with(starts), "{code}: {text}");
    }
    for (code, ends) in [
        ("all_candidates_failed", "the server failed"),
        ("caller_error", "the server refused the request"),
        ("ambiguous_not_retried", "so it was not repeated; --idempotent true allows it"),
    ] {
        let text = failure(&body(code, one), true);
        assert!(text.ends_with(ends), "{code}: {text}");
    }
}

#[test]
fn spans_of_time_are_short() {
    for (ms, text) in
        [(0.0, "0.0 ms"), (1.54, "1.5 ms"), (12.3, "12 ms"), (999.0, "999 ms"), (2345.0, "2.3 s")]
    {
        assert_eq!(millis(ms), text);
    }
    for (secs, text) in
        [(0, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7300, "2 h 1 min"), (100_000, "1 d 3 h")]
    {
        assert_eq!(seconds(secs), text);
    }
    for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 1_048_576, "3.0 MiB")] {
        assert_eq!(size(bytes), text);
    }
}

#[test]
fn the_time_left_is_on_the_clock_of_the_gateway() {
    let now = "2026-01-01T00:00:00Z".parse().ok();
    for (instant, text) in [
        ("2026-01-01T00:00:00Z", "now"),
        ("2025-12-31T23:59:59Z", "now"),
        ("2026-01-01T00:00:01Z", "1 s"),
        ("2026-01-01T00:00:01.000001Z", "2 s"),
        ("2026-01-01T00:01:05Z", "1 min 5 s"),
        ("soon", "soon"),
    ] {
        assert_eq!(until(instant, now), text);
    }
    assert_eq!(until("2026-01-01T00:00:01Z", None), "2026-01-01T00:00:01Z");
}
