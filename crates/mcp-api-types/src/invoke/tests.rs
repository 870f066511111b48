use super::*;

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn a_minimal_request_gets_the_defaults() {
    let request: InvokeTool = serde_json::from_str(r#"{"tool_name":"add"}"#).unwrap();
    assert_eq!(json(&request), r#"{"tool_name":"add","arguments":{},"preferred_servers":null}"#);
    assert_eq!(json(&InvokeTool::new("add")), json(&request));

    let request: InvokeResource = serde_json::from_str(r#"{"uri":"file:///a"}"#).unwrap();
    assert_eq!(json(&request), r#"{"uri":"file:///a","preferred_servers":null}"#);
}

#[test]
fn a_full_request_keeps_its_bytes() {
    let text = concat!(
        r#"{"tool_name":"add","arguments":{"b": 1.0,"a":12345678901234567890},"preferred_servers":["x","y"],"#,
        r#""preferred_only":true,"group":"g","idempotent":false,"timeout_ms":250,"user_context":{"user_id":"u","token":"t"}}"#
    );
    assert_eq!(json(&serde_json::from_str::<InvokeTool>(text).unwrap()), text);
}

#[test]
fn requests_refuse_what_they_do_not_know() {
    for (bad, names) in [
        (r#"{"tool_name":"add","argumnets":{}}"#, "argumnets"),
        (r#"{"arguments":{}}"#, "tool_name"),
        (r#"{"tool_name":"add","arguments":null}"#, "must be a JSON object"),
        (r#"{"tool_name":"add","arguments":[1]}"#, "must be a JSON object"),
        (r#"{"tool_name":"add","timeout_ms":0}"#, "nonzero"),
        (r#"{"tool_name":1}"#, "string"),
    ] {
        let error = serde_json::from_str::<InvokeTool>(bad).unwrap_err().to_string();
        assert!(error.contains(names), "{bad}: {error}");
    }
    assert!(serde_json::from_str::<InvokeResource>(r#"{"uri":"a","arguments":{}}"#).is_err());
    assert!(serde_json::from_str::<CallOnServer>(r#"{"arguments":{}}"#).is_err());
    assert!(serde_json::from_str::<CallOnServer>(r#"{"parameters":[]}"#).is_err());
}

#[test]
fn a_directed_call_keeps_its_bytes() {
    assert_eq!(json(&serde_json::from_str::<CallOnServer>("{}").unwrap()), r#"{"parameters":{}}"#);
    let text = r#"{"parameters":{"a": 1.0},"user_context":{"token":"t"},"idempotent":true,"timeout_ms":9}"#;
    assert_eq!(json(&serde_json::from_str::<CallOnServer>(text).unwrap()), text);
}

#[test]
fn a_result_keeps_the_bytes_of_the_server() {
    let text = concat!(
        r#"{"server":"a","method":"tools/call","request_id":"r","result":{"x":1.0, "y":"\u00e9"},"#,
        r#""raw_response":{"jsonrpc":"2.0","id":7,"result":{"x":1.0, "y":"\u00e9"}}}"#
    );
    let result: InvocationResult = serde_json::from_str(text).unwrap();
    assert!(result.attempts.is_empty());
    assert_eq!(json(&result), text);
}

#[test]
fn a_null_result_counts_as_present() {
    let text = r#"{"server":"a","method":"m","request_id":"r","result":null,"raw_response":{}}"#;
    assert_eq!(serde_json::from_str::<InvocationResult>(text).unwrap().result.get(), "null");
}

#[test]
fn the_failure_of_the_contract_parses() {
    let text = r#"{ "detail": {
        "message": "all candidates failed: primary: initialize: primary initialize timed out; backup: invoke: http status 503",
        "method": "tools/call",
        "code": "all_candidates_failed",
        "attempts": [
          { "server": "primary", "stage": "initialize", "success": false,
            "error": "primary initialize timed out", "error_category": "network_timeout" },
          { "server": "backup", "stage": "initialize", "success": true, "error": null, "error_category": null },
          { "server": "backup", "stage": "invoke", "success": false,
            "error": "http status 503", "error_category": "http_status" } ] } }"#;
    let failure: InvocationFailure = serde_json::from_str(text).unwrap();
    assert_eq!(failure.detail.code, FailureCode::AllCandidatesFailed);
    let seen: Vec<_> =
        failure.detail.attempts.iter().map(|a| (a.server.as_str(), a.stage, a.error_category)).collect();
    assert_eq!(
        seen,
        [
            ("primary", Stage::Initialize, Some(ErrorCategory::NetworkTimeout)),
            ("backup", Stage::Initialize, None),
            ("backup", Stage::Invoke, Some(ErrorCategory::HttpStatus)),
        ]
    );
    // Written back it is the same document.
    let written: serde_json::Value = serde_json::from_str(&json(&failure)).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).unwrap());
}

#[test]
fn an_attempt_has_its_five_keys_and_what_is_known_beyond() {
    let mut attempt = Attempt {
        server: "a".into(),
        stage: Stage::Invoke,
        success: true,
        error: None,
        error_category: None,
        attempt: None,
        duration_ms: None,
        delivery: None,
    };
    assert_eq!(
        json(&attempt),
        r#"{"server":"a","stage":"invoke","success":true,"error":null,"error_category":null}"#
    );
    attempt.attempt = Some(2);
    attempt.duration_ms = Some(15.25);
    attempt.delivery = Some(Delivery::NotSent);
    assert!(json(&attempt).ends_with(r#","attempt":2,"duration_ms":15.25,"delivery":"not_sent"}"#));
}

#[test]
fn names_are_those_of_the_contract() {
    use ErrorCategory as C;
    use FailureCode as F;
    assert_eq!(
        json(&[
            C::NetworkTimeout,
            C::HttpStatus,
            C::InvalidPayload,
            C::RpcError,
            C::TransportError,
            C::HealthCheck,
            C::InitializeError,
            C::Unknown
        ]),
        r#"["network_timeout","http_status","invalid_payload","rpc_error","transport_error","health_check","initialize_error","unknown"]"#
    );
    assert_eq!(
        json(&[
            F::NoCandidates,
            F::NoServerOffersTool,
            F::AllCandidatesFailed,
            F::AmbiguousNotRetried,
            F::CallerError,
            F::DeadlineExceeded
        ]),
        r#"["no_candidates","no_server_offers_tool","all_candidates_failed","ambiguous_not_retried","caller_error","deadline_exceeded"]"#
    );
}
