//! R13 to R18: HTTP says no.

use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use mcp_protocol::Era;
use mcp_testkit::fault::{Kind, Step, Upstream};
use mcp_transport::Delivery;

use crate::table::{HTTP, NET, Phase, Row, SESSIONS, Transport};
use crate::watch::Stopwatch;
use crate::world::{AMPLE, LIMIT, World};

/// A page of a proxy in front of the server, larger than anybody wants to see in an error.
fn page() -> String {
    format!(
        "<html><head><title>502 Bad Gateway</title></head><body>{}</body></html>",
        "<p>sorry</p>\n".repeat(500)
    )
}

const HTML: &str = "Content-Type: text/html\r\n";

fn status(status: u16, head: &str, body: &str) -> [Step; 1] {
    [Step::Status(status, head.into(), body.into())]
}

pub(crate) fn r13() -> Row {
    Row::new(
        "R13",
        "session_gone",
        "The server no longer knows the session (404)",
        "one handshake anew and each call sent once more, for all callers together; no loop when that is no use",
    )
    .on(SESSIONS, Phase::Handshake, "at_the_end_of_it", lost_in_handshake)
    .on(SESSIONS, Phase::Request, "one_call", session_lost)
    .on(SESSIONS, Phase::Request, "many_calls", session_lost_for_many)
    .on(SESSIONS, Phase::Request, "again_and_again", session_lost_again)
    .on(SESSIONS, Phase::Idle, "a_notification_is_refused", lost_by_notification)
    .on(SESSIONS, Phase::Recovery, "the_server_was_restarted", restarted)
    .on(SESSIONS, Phase::Stopping, "before_it_is_ended", lost_before_close)
}

async fn lost_in_handshake(w: Rc<World>) {
    w.plan("notifications/initialized", status(404, "", ""));
    w.connect_fails().await.took.at_once();
    assert!(w.upstream.ledger().received("initialize").len() <= 2, "no loop");
}

async fn session_lost(w: Rc<World>) {
    let client = w.connect().await;
    w.upstream.forget_sessions();
    w.call(&client, "a", AMPLE).await.answered().at_once();
    assert_eq!(w.upstream.ledger().received("initialize").len(), 2);
    assert_eq!(w.upstream.ledger().received("a").len(), 2);
    w.works(&client).await;
    assert_eq!(w.upstream.ledger().received("initialize").len(), 2);
}

async fn session_lost_for_many(w: Rc<World>) {
    let client = w.connect().await;
    w.upstream.forget_sessions();
    let names: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
    for ended in join_all(names.iter().map(|name| w.call(&client, name, AMPLE))).await {
        ended.answered();
    }
    assert_eq!(w.upstream.ledger().received("initialize").len(), 2, "one for all of them");
}

async fn session_lost_again(w: Rc<World>) {
    let client = w.connect().await;
    // Whatever session it is, the call is refused.
    w.plan("a", status(404, "", ""));
    w.call(&client, "a", AMPLE).await.failed(&["session", "status"], Delivery::Rejected).at_once();
    assert!(w.upstream.ledger().received("a").len() <= 2, "no loop");
    assert!(w.upstream.ledger().received("initialize").len() <= 3, "no loop");
}

async fn lost_by_notification(w: Rc<World>) {
    let client = w.connect().await;
    w.upstream.forget_sessions();
    // Its sender hears of it, or nobody does; the next call is fine.
    let _ = client.notify(mcp_protocol::Method::RootsListChanged, None).await;
    w.works(&client).await;
}

async fn restarted(w: Rc<World>) {
    let client = w.connect().await;
    w.works_as(&client, "before").await;
    w.upstream.order(Step::Exit(0));
    w.upstream.is_down().await;
    w.noticed().await;
    w.call(&client, "a", AMPLE).await.failed(&["connect"], Delivery::NotSent).at_once();
    w.upstream.revive().await;
    w.works(&client).await;
}

async fn lost_before_close(w: Rc<World>) {
    let client = w.connect().await;
    w.upstream.forget_sessions();
    let watch = Stopwatch::start();
    client.close().await;
    watch.stop().at_once();
    assert_eq!(w.upstream.ledger().received("DELETE").len(), 1);
}

/// The connection cannot be opened because of a status, which is not taken for a hint at the era.
async fn refused_at_handshake(w: Rc<World>, code: u16, head: &str) {
    for verb in ["POST", "GET"] {
        w.plan(verb, status(code, head, ""));
    }
    let failed = w.connect_fails().await.failed(&["status"], opening_refused(&w)).at_once();
    failed.has_status(code);
    let ledger = w.upstream.ledger();
    assert_eq!(ledger.received("POST").len() + ledger.received("GET").len(), 1, "asked once");
}

/// What is known of the first message when the server refuses what opens a connection: where that is a stream, the
/// message was not even sent.
fn opening_refused(w: &World) -> Delivery {
    if w.transport == Transport::Sse { Delivery::NotSent } else { Delivery::Rejected }
}

/// A call fails because of a status; the next one is fine.
async fn refused(w: Rc<World>, code: u16, head: &str, body: &str, delivery: Delivery) -> Option<Duration> {
    w.plan("a", status(code, head, body));
    let client = w.connect().await;
    let failed = w.call(&client, "a", AMPLE).await.failed(&["status"], delivery).at_once();
    let wait = failed.has_status(code);
    assert_eq!(w.upstream.ledger().received("a").len(), 1, "sent once");
    w.works(&client).await;
    wait
}

pub(crate) fn r14() -> Row {
    let row = Row::new(
        "R14",
        "unauthorized",
        "Credentials are missing or were revoked (401)",
        "one error at once, `rejected`, or one renewal of the token for all callers; nothing is repeated with the same credentials",
    )
    .on(NET, Phase::Handshake, "bare", |w| refused_at_handshake(w, 401, ""))
    .on(NET, Phase::Handshake, "with_a_challenge", |w| refused_at_handshake(w, 401, CHALLENGE))
    .on(NET, Phase::Request, "with_a_challenge", |w| async move {
        refused(w, 401, CHALLENGE, "", Delivery::Rejected).await;
    })
    .on(NET, Phase::Request, "with_a_json_rpc_error", |w| async move {
        let error = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32001,"message":"unauthorized"}}"#;
        refused(w, 401, "Content-Type: application/json\r\n", error, Delivery::Rejected).await;
    })
    .on(NET, Phase::Request, "many_calls", |w| many_refused(w, 401));
    super::tokens::cells(row)
}

const CHALLENGE: &str = "WWW-Authenticate: Bearer resource_metadata=\"http://127.0.0.1:9/.well-known/oauth-protected-resource\"\r\n";

async fn many_refused(w: Rc<World>, code: u16) {
    let client = w.connect().await;
    w.plan("tools/call", status(code, CHALLENGE, ""));
    let names: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
    for ended in join_all(names.iter().map(|name| w.call(&client, name, AMPLE))).await {
        ended.failed(&["status"], Delivery::Rejected).has_status(code);
    }
    assert_eq!(w.upstream.ledger().received("tools/call").len(), 10, "each was sent once");
    w.upstream.unplan("tools/call");
    w.works(&client).await;
}

pub(crate) fn r15() -> Row {
    Row::new(
        "R15",
        "forbidden",
        "The credentials do not suffice (403)",
        "one error at once, `rejected`; nothing is repeated, and nothing was executed",
    )
    .on(NET, Phase::Handshake, "bare", |w| refused_at_handshake(w, 403, ""))
    .on(NET, Phase::Handshake, "insufficient_scope", |w| refused_at_handshake(w, 403, SCOPE))
    .on(NET, Phase::Request, "insufficient_scope", |w| async move {
        refused(w, 403, SCOPE, "", Delivery::Rejected).await;
    })
    .on(NET, Phase::Request, "many_calls", |w| many_refused(w, 403))
}

const SCOPE: &str = "WWW-Authenticate: Bearer error=\"insufficient_scope\", scope=\"work:write\"\r\n";

pub(crate) fn r16() -> Row {
    Row::new(
        "R16",
        "too_many_requests",
        "The server asks to wait (429)",
        "one error at once, `rejected`, that tells how long to wait, at most a day; nothing is repeated",
    )
    .on(NET, Phase::Handshake, "seconds", |w| async move {
        for verb in ["POST", "GET"] {
            w.plan(verb, status(429, "Retry-After: 7\r\n", ""));
        }
        let failed = w.connect_fails().await.failed(&["status"], opening_refused(&w)).at_once();
        assert_eq!(failed.has_status(429), Some(Duration::from_secs(7)));
        assert!(w.upstream.ledger().received("POST").len() <= 2, "no storm of tries");
    })
    .on(NET, Phase::Request, "seconds", |w| waits(w, "Retry-After: 7\r\n", Some(7)))
    .on(NET, Phase::Request, "centuries", |w| waits(w, "Retry-After: 99999999999\r\n", Some(86_400)))
    .on(NET, Phase::Request, "garbage", |w| waits(w, "Retry-After: soon\r\n", None))
    .on(NET, Phase::Request, "nothing", |w| waits(w, "", None))
}

async fn waits(w: Rc<World>, head: &str, seconds: Option<u64>) {
    let wait = refused(w, 429, head, "", Delivery::Rejected).await;
    assert_eq!(wait, seconds.map(Duration::from_secs));
}

pub(crate) fn r17() -> Row {
    Row::new(
        "R17",
        "server_errors",
        "5xx, with HTML or a body that does not end",
        "one clean, short error, `unknown`; bodies are bounded in size and time",
    )
    .on(NET, Phase::Handshake, "a_page", |w| async move {
        for verb in ["POST", "GET"] {
            w.plan(verb, status(502, HTML, &page()));
        }
        let ended = w.connect_fails().await;
        let delivery = if w.transport == Transport::Sse { Delivery::NotSent } else { Delivery::Unknown };
        let failed = ended.failed(&["status"], delivery).at_once();
        assert!(!failed.text.contains('<'), "{}", failed.text);
        failed.has_status(502);
    })
    .on(NET, Phase::Request, "500_with_a_page", |w| async move {
        refused(w, 500, HTML, &page(), Delivery::Unknown).await;
    })
    .on(NET, Phase::Request, "502_with_a_page", |w| async move {
        refused(w, 502, HTML, &page(), Delivery::Unknown).await;
    })
    .on(NET, Phase::Request, "503_with_retry_after", |w| async move {
        let wait = refused(w, 503, "Retry-After: 3\r\n", "", Delivery::Unknown).await;
        assert_eq!(wait, Some(Duration::from_secs(3)));
    })
    .on(HTTP, Phase::Request, "200_with_a_page", page_with_200)
    .on(HTTP, Phase::Answer, "a_short_body_that_hangs", hanging_body)
    .on(HTTP, Phase::Answer, "a_body_without_an_end", endless_body)
}

async fn page_with_200(w: Rc<World>) {
    w.plan("a", status(200, HTML, &page()));
    let client = w.connect().await;
    let failed = w.call(&client, "a", AMPLE).await.failed(&["payload"], Delivery::Unknown).at_once();
    failed.says("text/html");
    w.works(&client).await;
}

const ERROR_HEAD: &[u8] =
    b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nContent-Length: 100000000\r\n\r\n";

async fn hanging_body(w: Rc<World>) {
    let head = b"HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n<html>".to_vec();
    w.plan("a", [Step::Raw(head), Step::Hang]);
    let client = w.connect().await;
    w.call(&client, "a", LIMIT).await.timed_out(LIMIT);
    w.works(&client).await;
}

async fn endless_body(w: Rc<World>) {
    let page = page().into_bytes();
    let mut steps = vec![Step::Raw(ERROR_HEAD.to_vec())];
    steps.extend((0..40).map(|_| Step::Bytes(page.clone())));
    steps.push(Step::Hang);
    w.plan("a", steps);
    let client = w.connect().await;
    w.call(&client, "a", AMPLE).await.failed(&["status"], Delivery::Unknown).at_once();
    w.works(&client).await;
}

pub(crate) fn r18() -> Row {
    Row::new(
        "R18",
        "redirects",
        "The server redirects, in circles or elsewhere",
        "no redirect is followed with a message; no loop; nothing reaches another origin",
    )
    .on(NET, Phase::Handshake, "to_itself", |w| redirected_at_handshake(w, false))
    .on(NET, Phase::Handshake, "to_another_origin", |w| redirected_at_handshake(w, true))
    .on(NET, Phase::Request, "307_to_itself", |w| redirected(w, 307, false))
    .on(NET, Phase::Request, "302_to_itself", |w| redirected(w, 302, false))
    .on(NET, Phase::Request, "307_to_another_origin", |w| redirected(w, 307, true))
    .on(NET, Phase::Request, "303_to_another_origin", |w| redirected(w, 303, true))
}

/// Somewhere else, and how to get there.
fn elsewhere(w: &World, other: bool) -> (Upstream, String) {
    let canary = Upstream::start(Kind::Http(w.transport.era()));
    let address = if other { canary.address() } else { w.upstream.address() };
    (canary, format!("Location: http://{address}/mcp\r\n"))
}

async fn redirected_at_handshake(w: Rc<World>, other: bool) {
    let (canary, location) = elsewhere(&w, other);
    for verb in ["POST", "GET"] {
        w.plan(verb, status(307, &location, ""));
    }
    let ended = w.connect_fails().await;
    let delivery = opening_refused(&w);
    ended.failed(&["redirect", "status"], delivery).at_once().says("307");
    assert!(w.upstream.ledger().received("POST").len() <= 3, "no loop");
    assert!(w.upstream.ledger().received("GET").len() <= 1, "no loop");
    assert_eq!(canary.ledger().connections(), 0, "nothing goes elsewhere");
}

async fn redirected(w: Rc<World>, code: u16, other: bool) {
    let (canary, location) = elsewhere(&w, other);
    w.plan("a", status(code, &location, ""));
    let client = w.connect().await;
    let gets = w.upstream.ledger().received("GET").len();
    let ended = w.call(&client, "a", AMPLE).await;
    ended.failed(&["redirect", "status"], Delivery::Rejected).at_once().says(&code.to_string());
    assert_eq!(w.upstream.ledger().received("a").len(), 1, "sent once");
    w.works(&client).await;
    if w.transport.era() == Era::Stateless {
        assert_eq!(w.upstream.ledger().received("GET").len(), gets, "no second request");
    }
    assert_eq!(canary.ledger().connections(), 0, "nothing goes elsewhere");
}
