use super::*;

use TransportKind::{Http, Stdio};
use bytes::Bytes;
use mcp_protocol::{Limits, Message};
use mcp_transport::Delivery;

const MODERN: ProtocolVersion = ProtocolVersion::V2026_07_28;
const LATEST: ProtocolVersion = ProtocolVersion::V2025_11_25;
const DISCOVER: Probe = Probe::Discover(MODERN);
const INITIALIZE: Probe = Probe::Initialize(LATEST);

fn ok(result: &str) -> Result<Answer, CallError> {
    let result = RawJson::parse(result.to_owned(), &Limits::default()).unwrap();
    Ok(Answer::new(result, Bytes::new()))
}

fn rpc(code: i64, data: &str) -> Result<Answer, CallError> {
    let data = if data.is_empty() { "null" } else { data };
    let frame = Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"no","data":{data}}}}}"#
    ));
    let Ok(Message::Failure(failure)) = Message::parse(&frame, &Limits::default()) else { panic!() };
    Err(CallError::Rpc { error: failure.error, frame })
}

fn lost(kind: TransportErrorKind) -> Result<Answer, CallError> {
    Err(CallError::Transport(TransportError::new(kind, Delivery::Unknown)))
}

fn status(status: u16) -> Result<Answer, CallError> {
    lost(TransportErrorKind::Status { status, retry_after: None })
}

fn exit() -> Result<Answer, CallError> {
    lost(TransportErrorKind::Exited("exit status: 1".into()))
}

fn discovered(versions: &str) -> Result<Answer, CallError> {
    ok(&format!(r#"{{"resultType":"complete","supportedVersions":{versions},"capabilities":{{}}}}"#))
}

fn initialized(version: &str) -> Result<Answer, CallError> {
    ok(&format!(r#"{{"protocolVersion":"{version}","capabilities":{{}}}}"#))
}

/// What the last step of a row must be.
#[derive(Debug, PartialEq)]
enum End {
    Send(Probe),
    Reopen(Probe),
    Wait,
    Settled(ProtocolVersion),
    GiveUp(String),
}

fn gives_up(text: &str) -> End {
    End::GiveUp(text.to_owned())
}

impl From<Next> for End {
    fn from(next: Next) -> Self {
        match next {
            Next::Send(probe) => Self::Send(probe),
            Next::Reopen { probe, .. } => Self::Reopen(probe),
            Next::Wait => Self::Wait,
            Next::Settled(profile) => Self::Settled(profile.version),
            Next::GiveUp(error) => Self::GiveUp(error.to_string()),
        }
    }
}

fn outcome(probe: Probe, outcome: Result<Answer, CallError>) -> Observed {
    Observed::Outcome(probe, outcome)
}

/// Plays the observations after the first probe and gives the end of each step.
fn play(
    policy: EraPolicy,
    hint: Option<Era>,
    kind: TransportKind,
    steps: Vec<Observed>,
) -> (Probe, Vec<End>, Vec<String>) {
    let (mut negotiation, first) = Negotiation::new(policy, hint, kind);
    let ends = steps.into_iter().map(|step| negotiation.on(step).into()).collect();
    (first, ends, negotiation.into_tried())
}

fn auto(kind: TransportKind, steps: Vec<Observed>) -> Vec<End> {
    let (first, ends, _) = play(EraPolicy::Auto, None, kind, steps);
    assert_eq!(first, DISCOVER);
    ends
}

#[test]
fn the_first_message_follows_policy_and_hint() {
    for (policy, hint, first) in [
        (EraPolicy::Auto, None, DISCOVER),
        (EraPolicy::Auto, Some(Era::Stateless), DISCOVER),
        (EraPolicy::Auto, Some(Era::Handshake), INITIALIZE),
        (EraPolicy::Only(Era::Stateless), Some(Era::Handshake), DISCOVER),
        (EraPolicy::Only(Era::Handshake), Some(Era::Stateless), INITIALIZE),
    ] {
        assert_eq!(Negotiation::new(policy, hint, Http).1, first, "{policy:?} {hint:?}");
    }
}

/// Wire reference §5.1 items 3 to 5 and §5.2 step 1: the same on both transports.
#[test]
fn m3_an_answer_to_the_probe_decides() {
    let none = "no protocol version in common: the server offers [2027-01-01, zzz]";
    let older = Probe::Initialize(ProtocolVersion::V2025_06_18);
    let rows: Vec<(&str, Result<Answer, CallError>, End)> = vec![
        ("mutual", discovered(r#"["2026-07-28","2025-11-25"]"#), End::Settled(MODERN)),
        ("order does not matter", discovered(r#"["zzz","2025-11-25","2026-07-28"]"#), End::Settled(MODERN)),
        ("absent resultType", ok(r#"{"supportedVersions":["2026-07-28"]}"#), End::Settled(MODERN)),
        ("handshake only", discovered(r#"["2025-11-25","2025-06-18"]"#), End::Send(INITIALIZE)),
        ("older handshake only", discovered(r#"["2024-11-05","2025-06-18"]"#), End::Send(older)),
        ("nothing in common", discovered(r#"["2027-01-01","zzz"]"#), gives_up(none)),
        ("no discover result", ok(r#"{"protocolVersion":"2025-11-25"}"#), End::Send(INITIALIZE)),
        ("no list of texts", discovered("[1]"), End::Send(INITIALIZE)),
        ("no object", ok("[]"), End::Send(INITIALIZE)),
        (
            "input required",
            ok(r#"{"resultType":"input_required","supportedVersions":["2026-07-28"]}"#),
            End::Send(INITIALIZE),
        ),
        ("-32022, the one refused", rpc(-32022, r#"{"supported":["2026-07-28"]}"#), End::Send(DISCOVER)),
        (
            "-32022, the one refused and older",
            rpc(-32022, r#"{"supported":["2026-07-28","2025-06-18"]}"#),
            End::Send(older),
        ),
        ("-32022, handshake", rpc(-32022, r#"{"supported":["2025-06-18"]}"#), End::Send(older)),
        ("-32022, disjoint", rpc(-32022, r#"{"supported":["2027-01-01"]}"#), gives_up("rpc error: no")),
        ("-32022, no list", rpc(-32022, ""), gives_up("rpc error: no")),
        ("-32020", rpc(-32020, ""), gives_up("rpc error: no")),
        ("-32021", rpc(-32021, ""), gives_up("rpc error: no")),
        ("-32601", rpc(-32601, ""), End::Send(INITIALIZE)),
        ("-32602", rpc(-32602, ""), End::Send(INITIALIZE)),
        ("-32600", rpc(-32600, ""), End::Send(INITIALIZE)),
        ("-32000", rpc(-32000, ""), End::Send(INITIALIZE)),
        ("draft code", rpc(-32004, ""), End::Send(INITIALIZE)),
        ("no code", Err(CallError::unusable("x", Bytes::new())), End::Send(INITIALIZE)),
    ];
    for (name, answer, end) in rows {
        for kind in [Stdio, Http] {
            assert_eq!(auto(kind, vec![outcome(DISCOVER, answer.clone())]), [clone(&end)], "{name} {kind}");
        }
    }
}

fn clone(end: &End) -> End {
    match end {
        End::Send(probe) => End::Send(*probe),
        End::Reopen(probe) => End::Reopen(*probe),
        End::Wait => End::Wait,
        End::Settled(version) => End::Settled(*version),
        End::GiveUp(text) => End::GiveUp(text.clone()),
    }
}

/// Wire reference §5.2 step 1 (HTTP) and §5.1 item 6 (stdio).
#[test]
fn a_failed_probe_is_judged_by_how_it_failed() {
    let closed = || lost(TransportErrorKind::Closed("reset".into()));
    let connect = || lost(TransportErrorKind::Connect("refused".into()));
    let timeout = || lost(TransportErrorKind::Timeout { limit: Duration::from_secs(1) });
    let busy = || lost(TransportErrorKind::Busy { limit: Duration::from_secs(1) });
    let rows: Vec<(TransportKind, Result<Answer, CallError>, End)> = vec![
        (Http, status(401), gives_up("http status 401")),
        (Http, status(403), gives_up("http status 403")),
        (Http, status(400), End::Send(INITIALIZE)),
        (Http, status(404), End::Send(INITIALIZE)),
        (Http, status(405), End::Send(INITIALIZE)),
        (Http, status(406), End::Send(INITIALIZE)),
        (Http, status(415), End::Send(INITIALIZE)),
        (Http, status(422), End::Send(INITIALIZE)),
        (Http, status(500), End::Send(INITIALIZE)),
        (Http, status(503), End::Send(INITIALIZE)),
        (Http, lost(TransportErrorKind::SessionExpired), End::Send(INITIALIZE)),
        (Http, lost(TransportErrorKind::Payload("text/html".into())), End::Send(INITIALIZE)),
        (Http, timeout(), End::Send(INITIALIZE)),
        (Http, closed(), End::Send(INITIALIZE)),
        (Http, connect(), gives_up("refused")),
        (Http, busy(), gives_up("no place was free within 1s; see pool_max_connections and rate_limit")),
        (Http, lost(TransportErrorKind::Endpoint("no host".into())), gives_up("no host")),
        (Stdio, connect(), gives_up("refused")),
        (Stdio, exit(), End::Reopen(INITIALIZE)),
        (Stdio, closed(), End::Reopen(INITIALIZE)),
    ];
    for (kind, failure, end) in rows {
        let name = format!("{kind} {failure:?}");
        assert_eq!(auto(kind, vec![outcome(DISCOVER, failure)]), [end], "{name}");
    }
}

#[test]
fn the_answer_to_initialize_decides() {
    let unknown = "the server answered initialize with unknown version \"2099-01-01\"";
    let rows: Vec<(&str, Result<Answer, CallError>, End)> = vec![
        ("latest", initialized("2025-11-25"), End::Settled(LATEST)),
        ("counter-offer", initialized("2024-11-05"), End::Settled(ProtocolVersion::V2024_11_05)),
        ("unknown", initialized("2099-01-01"), gives_up(unknown)),
        ("no object", ok("7"), gives_up("invalid initialize result")),
        ("null", ok("null"), gives_up("invalid initialize result")),
        ("no version", ok("{}"), gives_up("the initialize result names no protocol version")),
        (
            "a version without handshake",
            initialized("2026-07-28"),
            gives_up("the server answered initialize with 2026-07-28, which has no handshake"),
        ),
        (
            "-32602 with versions",
            rpc(-32602, r#"{"supported":["2024-11-05","2025-03-26"]}"#),
            End::Send(Probe::Initialize(ProtocolVersion::V2025_03_26)),
        ),
        ("-32602 with ours", rpc(-32602, r#"{"supported":["2025-11-25"]}"#), gives_up("rpc error: no")),
        ("-32602 plain", rpc(-32602, ""), gives_up("rpc error: no")),
        ("-32022 is proof", rpc(-32022, r#"{"supported":["2026-07-28"]}"#), End::Send(DISCOVER)),
        ("-32022 without list", rpc(-32022, ""), End::Send(DISCOVER)),
        (
            "-32022 with a handshake version",
            rpc(-32022, r#"{"supported":["2025-06-18"]}"#),
            End::Send(Probe::Initialize(ProtocolVersion::V2025_06_18)),
        ),
        ("-32601", rpc(-32601, ""), gives_up("rpc error: no")),
        ("404", status(404), gives_up("http status 404")),
        ("401", status(401), gives_up("http status 401")),
    ];
    for (name, answer, end) in rows {
        let steps = vec![outcome(DISCOVER, rpc(-32601, "")), outcome(INITIALIZE, answer)];
        assert_eq!(auto(Http, steps), [End::Send(INITIALIZE), end], "{name}");
    }
}

#[test]
fn m3_nothing_is_repeated_for_ever() {
    let again = || rpc(-32022, r#"{"supported":["2026-07-28"]}"#);
    let ends = auto(Http, vec![outcome(DISCOVER, again()), outcome(DISCOVER, again())]);
    assert_eq!(ends, [End::Send(DISCOVER), gives_up("rpc error: no")]);

    let ends = auto(
        Http,
        vec![
            outcome(DISCOVER, rpc(-32601, "")),
            outcome(INITIALIZE, again()),
            outcome(DISCOVER, rpc(-32601, "")),
        ],
    );
    assert_eq!(ends, [End::Send(INITIALIZE), End::Send(DISCOVER), gives_up("rpc error: no")]);

    let retry = || rpc(-32602, r#"{"supported":["2025-06-18"]}"#);
    let older = Probe::Initialize(ProtocolVersion::V2025_06_18);
    let newer = rpc(-32602, r#"{"supported":["2025-11-25"]}"#);
    let ends =
        auto(Http, vec![outcome(DISCOVER, rpc(-1, "")), outcome(INITIALIZE, retry()), outcome(older, newer)]);
    assert_eq!(ends, [End::Send(INITIALIZE), End::Send(older), gives_up("rpc error: no")]);
}

/// Wire reference §5.1 item 7.
#[test]
fn after_silence_the_first_answer_wins() {
    let silence = || Observed::Silence(Duration::from_secs(10));
    let rows: Vec<(&str, Vec<Observed>, Vec<End>)> = vec![
        (
            "late discover",
            vec![outcome(DISCOVER, discovered(r#"["2026-07-28"]"#))],
            vec![End::Settled(MODERN)],
        ),
        ("initialize", vec![outcome(INITIALIZE, initialized("2025-11-25"))], vec![End::Settled(LATEST)]),
        (
            "late refusal",
            vec![outcome(DISCOVER, rpc(-32601, "")), outcome(INITIALIZE, initialized("2025-11-25"))],
            vec![End::Wait, End::Settled(LATEST)],
        ),
        (
            "late list of handshake versions",
            vec![
                outcome(DISCOVER, discovered(r#"["2025-11-25"]"#)),
                outcome(INITIALIZE, initialized("2025-11-25")),
            ],
            vec![End::Wait, End::Settled(LATEST)],
        ),
        (
            "initialize refused as by a modern server",
            vec![
                outcome(INITIALIZE, rpc(-32022, r#"{"supported":["2026-07-28"]}"#)),
                outcome(DISCOVER, discovered(r#"["2026-07-28"]"#)),
            ],
            vec![End::Wait, End::Settled(MODERN)],
        ),
        (
            "initialize refused, then nothing",
            vec![outcome(INITIALIZE, rpc(-32601, "")), Observed::Deadline(Duration::from_secs(7))],
            vec![End::Wait, gives_up("rpc error: no")],
        ),
        (
            "nothing at all",
            vec![Observed::Deadline(Duration::from_secs(7))],
            vec![gives_up("timed out after 7s")],
        ),
        ("exit", vec![outcome(DISCOVER, exit())], vec![End::Reopen(INITIALIZE)]),
    ];
    for (name, steps, ends) in rows {
        let steps = std::iter::once(silence()).chain(steps).collect();
        let ends: Vec<_> = std::iter::once(End::Send(INITIALIZE)).chain(ends).collect();
        assert_eq!(auto(Stdio, steps), ends, "{name}");
    }
}

/// Wire reference §5.1 item 6.
#[test]
fn an_exit_leads_to_one_more_start() {
    for (name, steps, ends) in [
        (
            "twice",
            vec![outcome(DISCOVER, exit()), outcome(INITIALIZE, exit())],
            vec![End::Reopen(INITIALIZE), gives_up("server process ended: exit status: 1")],
        ),
        (
            "after refusing the probe",
            vec![outcome(DISCOVER, rpc(-32601, "")), outcome(INITIALIZE, exit())],
            vec![End::Send(INITIALIZE), End::Reopen(INITIALIZE)],
        ),
    ] {
        assert_eq!(auto(Stdio, steps), ends, "{name}");
    }
    let hinted = |steps| play(EraPolicy::Auto, Some(Era::Handshake), Stdio, steps).1;
    assert_eq!(hinted(vec![outcome(INITIALIZE, exit())]), [End::Reopen(DISCOVER)]);
    assert_eq!(
        hinted(vec![outcome(INITIALIZE, exit()), outcome(DISCOVER, rpc(-32601, ""))]),
        [End::Reopen(DISCOVER), gives_up("rpc error: no")]
    );
}

#[test]
fn a_pinned_era_has_no_fallback() {
    let stateless =
        |answer| play(EraPolicy::Only(Era::Stateless), None, Stdio, vec![outcome(DISCOVER, answer)]).1;
    for (answer, text) in [
        (rpc(-32601, ""), "rpc error: no"),
        (exit(), "server process ended: exit status: 1"),
        (discovered(r#"["2025-11-25"]"#), "no protocol version in common: the server offers [2025-11-25]"),
        (ok("{}"), "not a server/discover result"),
        (rpc(-32022, r#"{"supported":["2025-11-25"]}"#), "rpc error: no"),
    ] {
        assert_eq!(stateless(answer), [gives_up(text)]);
    }
    let handshake =
        |answer| play(EraPolicy::Only(Era::Handshake), None, Stdio, vec![outcome(INITIALIZE, answer)]).1;
    for answer in [rpc(-32022, r#"{"supported":["2026-07-28"]}"#), rpc(-32601, ""), initialized("2026-07-28")]
    {
        assert!(matches!(handshake(answer)[..], [End::GiveUp(_)]));
    }
    let again = Probe::Initialize(ProtocolVersion::V2025_06_18);
    assert_eq!(handshake(rpc(-32022, r#"{"supported":["2025-06-18"]}"#)), [End::Send(again)]);
}

#[test]
fn m2_a_hint_that_does_not_hold_any_more_is_replaced() {
    for failure in [rpc(-32601, ""), rpc(-32022, ""), status(404), status(500), initialized("2026-07-28")] {
        let steps = vec![outcome(INITIALIZE, failure), outcome(DISCOVER, discovered(r#"["2026-07-28"]"#))];
        let (first, ends, _) = play(EraPolicy::Auto, Some(Era::Handshake), Http, steps);
        assert_eq!(first, INITIALIZE);
        assert_eq!(ends, [End::Send(DISCOVER), End::Settled(MODERN)]);
    }
    let steps =
        vec![Observed::Silence(Duration::from_secs(1)), outcome(INITIALIZE, initialized("2025-06-18"))];
    let ends = play(EraPolicy::Auto, Some(Era::Handshake), Http, steps).1;
    assert_eq!(ends, [End::Send(DISCOVER), End::Settled(ProtocolVersion::V2025_06_18)]);
}

#[test]
fn what_was_tried_is_told_in_order() {
    let steps = vec![
        Observed::Silence(Duration::from_secs(10)),
        outcome(DISCOVER, rpc(-32601, "")),
        outcome(INITIALIZE, status(404)),
    ];
    let (_, _, tried) = play(EraPolicy::Auto, None, Http, steps);
    assert_eq!(
        tried,
        [
            "server/discover (2026-07-28): no answer within 10s",
            "server/discover (2026-07-28): rpc error: no",
            "initialize (2025-11-25): http status 404",
        ]
    );
}

#[test]
fn a_url_that_is_no_endpoint_gets_a_hint() {
    let both = "server/discover and initialize were both refused: is this the URL of an MCP endpoint?";
    let redirect = "redirects are not followed: use the URL they lead to";
    let credentials = "credentials are needed: set auth, or a header";
    let denied = "access is denied: check the credentials and what they allow";
    let rows: Vec<(EraPolicy, Vec<Observed>, Option<&str>)> = vec![
        (EraPolicy::Auto, vec![outcome(DISCOVER, status(401))], Some(credentials)),
        (EraPolicy::Auto, vec![outcome(DISCOVER, status(403))], Some(denied)),
        (EraPolicy::Auto, refusals(404, 404), Some(both)),
        (EraPolicy::Auto, refusals(404, 405), Some(both)),
        (EraPolicy::Auto, refusals(400, 401), Some(credentials)),
        (EraPolicy::Auto, refusals(307, 307), Some(redirect)),
        (EraPolicy::Auto, refusals(500, 502), None),
        (EraPolicy::Auto, refusals(429, 429), None),
        (EraPolicy::Auto, vec![outcome(DISCOVER, rpc(-32601, "")), outcome(INITIALIZE, status(404))], None),
        (
            EraPolicy::Auto,
            vec![Observed::Silence(Duration::from_secs(1)), outcome(INITIALIZE, status(404))],
            None,
        ),
        (EraPolicy::Auto, vec![outcome(DISCOVER, status(404)), outcome(INITIALIZE, rpc(-32601, ""))], None),
        (
            EraPolicy::Only(Era::Stateless),
            vec![outcome(DISCOVER, status(404))],
            Some("server/discover was refused: is this the URL of an MCP endpoint?"),
        ),
        (
            EraPolicy::Only(Era::Handshake),
            vec![outcome(INITIALIZE, status(405))],
            Some("initialize was refused: is this the URL of an MCP endpoint?"),
        ),
    ];
    for (policy, steps, hint) in rows {
        let (mut negotiation, _) = Negotiation::new(policy, None, Http);
        let name = format!("{policy:?} {steps:?}");
        let mut last = Next::Wait;
        for step in steps {
            last = negotiation.on(step);
        }
        let error = match last {
            Next::GiveUp(error) => error,
            _ => match negotiation.on(Observed::Deadline(Duration::from_secs(2))) {
                Next::GiveUp(error) => error,
                next => panic!("{next:?}"),
            },
        };
        assert_eq!(negotiation.hint(&error), hint, "{name}");
    }
}

fn refusals(discover: u16, initialize: u16) -> Vec<Observed> {
    vec![outcome(DISCOVER, status(discover)), outcome(INITIALIZE, status(initialize))]
}
