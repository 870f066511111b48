//! Contract §9.13: servers of either era, as the manager sees them.

use std::sync::{Arc, Mutex};

use mcp_protocol::{Era, EraPolicy, Message, Method, Request};
use mcp_registry::{ProbeKind, Status};
use mcp_transport::Outbound;
use serde_json::{Value, json};

use crate::intercept::{answer, intercept};
use crate::support::{World, definition};

/// What a server was sent.
type Sent = Arc<Mutex<Vec<Outbound>>>;

/// A server without a handshake, as the result of its discovery.
fn discovered() -> Value {
    json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
        "ttlMs": 0, "cacheScope": "public",
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "a", "version": "2.0.0"}},
    })
}

fn result(result: &Value) -> Value {
    json!({"result": result})
}

fn error(code: i64, data: &Value) -> Value {
    json!({"error": {"code": code, "message": "no", "data": data}})
}

/// How a server without a handshake answers; a call it answers with `called`.
fn modern(request: &Request, called: &Value) -> Value {
    match request.method {
        Method::ServerDiscover => result(&discovered()),
        Method::ToolsCall => result(called),
        _ => error(-32601, &Value::Null),
    }
}

/// A world with the server `a`, of which nothing is known. What `reply` leaves open answers a server with a
/// handshake.
fn world(reply: impl Fn(&Request) -> Option<Value> + Send + Sync + 'static) -> (World, Sent) {
    let sent = Sent::default();
    let heard = sent.clone();
    let look = move |out: &Outbound| {
        heard.lock().unwrap().push(out.clone());
        let Message::Request(request) = &out.message else { return None };
        let mut frame = reply(request)?;
        (frame["jsonrpc"], frame["id"]) = ("2.0".into(), json!(request.id));
        Some(answer(frame.to_string()))
    };
    let world = World::over(|cluster| intercept(cluster, look), &[], |_| {});
    let mut server = definition("a");
    server.protocol = EraPolicy::Auto;
    server.probe = ProbeKind::McpPing;
    world.manager.register(server).unwrap();
    (world, sent)
}

/// The methods that were sent since the last time.
fn methods(sent: &Sent) -> Vec<String> {
    let method = |out: Outbound| match out.message {
        Message::Request(request) => request.method.as_str().to_owned(),
        Message::Notification(notification) => notification.method.as_str().to_owned(),
        answer => panic!("{answer:?}"),
    };
    sent.lock().unwrap().drain(..).map(method).collect()
}

#[tokio::test]
async fn m1_m4_a_stateless_server_is_discovered_called_and_probed_in_the_usual_phases() {
    let (world, sent) = world(|request| Some(modern(request, &json!({"resultType": "complete"}))));
    world.tool(&[]).await.unwrap();
    assert_eq!(world.phases(0), "a IS IY VS VY");
    let record = world.record("a");
    assert_eq!((record.era, record.protocol_version.as_deref()), (Some(Era::Stateless), Some("2026-07-28")));
    let snapshot = record.capability_snapshot.clone().unwrap();
    assert_eq!(snapshot.server_info.as_ref().unwrap().as_str(), r#"{"name":"a","version":"2.0.0"}"#);
    assert_eq!(snapshot.capabilities.as_ref().unwrap().as_str(), r#"{"tools":{}}"#);
    for out in &*sent.lock().unwrap() {
        let Message::Request(request) = &out.message else { panic!("{out:?}") };
        let meta = request.params.as_ref().unwrap().get("_meta").unwrap();
        let version = meta.get("io.modelcontextprotocol/protocolVersion").unwrap();
        assert_eq!(version.as_str(), r#""2026-07-28""#);
        let mirrored = out.headers.iter().find(|header| &*header.name == "mcp-method").unwrap();
        assert_eq!(mirrored.value.to_string(), request.method.as_str());
    }
    assert_eq!(methods(&sent), ["server/discover", "tools/call"]);

    let health = world.manager.check_server_health("a").await.unwrap();
    assert_eq!(health.error_message, None);
    assert_eq!(methods(&sent), ["server/discover"]);
}

#[tokio::test]
async fn m2_the_era_of_a_server_is_remembered_until_it_changes() {
    let upgraded = Arc::new(Mutex::new(false));
    let (world, sent) = world({
        let upgraded = upgraded.clone();
        move |request| upgraded.lock().unwrap().then(|| modern(request, &json!({})))
    });
    let ready = "notifications/initialized";
    world.manager.initialize("a", false).await.unwrap();
    assert_eq!(world.record("a").era, Some(Era::Handshake));
    assert_eq!(methods(&sent), ["server/discover", "initialize", ready]);
    world.manager.reconnect("a").await.unwrap();
    assert_eq!(methods(&sent), ["initialize", ready], "no probe");

    *upgraded.lock().unwrap() = true;
    world.manager.reconnect("a").await.unwrap();
    assert_eq!(methods(&sent), ["initialize", "server/discover"]);
    let record = world.record("a");
    assert_eq!((record.era, record.status), (Some(Era::Stateless), Status::Healthy));
    world.manager.reconnect("a").await.unwrap();
    assert_eq!(methods(&sent), ["server/discover"]);
}

#[tokio::test]
async fn m3_a_refused_revision_is_negotiated_once_more() {
    let other = json!({"supported": ["2026-07-28"], "requested": "2026-07-28"});
    for (refusals, status) in [(1, Status::Healthy), (2, Status::Degraded)] {
        let (left, other) = (Mutex::new(refusals), other.clone());
        let (world, sent) = world(move |request| {
            let mut left = left.lock().unwrap();
            if *left == 0 {
                return Some(modern(request, &json!({})));
            }
            *left -= 1;
            Some(error(-32022, &other))
        });
        let record = world.manager.initialize("a", false).await.unwrap();
        assert_eq!((record.status, record.initialized), (status, refusals == 1), "{refusals}");
        assert_eq!(methods(&sent), ["server/discover", "server/discover"], "{refusals}");
        assert_eq!(world.transitions(0), if refusals == 1 { "" } else { "a H→D" });
    }
}

#[tokio::test]
async fn m5_a_result_that_asks_for_input_is_the_answer_and_no_failure() {
    let asks = json!({"resultType": "input_required", "requestState": "s"});
    let (world, sent) = world(move |request| Some(modern(request, &asks)));
    let answer = world.tool(&[]).await.unwrap();
    assert_eq!(answer.result.get("resultType").unwrap().as_str(), r#""input_required""#);
    assert_eq!(answer.result.get("requestState").unwrap().as_str(), r#""s""#);
    assert_eq!((world.phases(0), world.standing("a")), ("a IS IY VS VY".to_owned(), (Status::Healthy, 0)));
    assert_eq!(methods(&sent), ["server/discover", "tools/call"]);
}
