//! Clients of the gateway as servers that keep sessions see them: who sits where, and who waits for whom.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{Asker, RequestHandler, ServerRequest};
use mcp_manager::{AttachError, Manager, Party, Relay, Relayed};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::{Era, EraPolicy, Limits, Message, Method, ProtocolVersion, RawJson, RpcError};
use mcp_registry::{Definition, FailureCode, InvocationError, ServerRecord, Status};
use mcp_testkit::Action;
use mcp_transport::{Endpoint, Outbound, StdioEndpoint};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::intercept::{answer, intercept, then_silence};
use crate::relay::{only, relay};
use crate::support::{World, definition};

const ROOTS: &str = r#"{"roots":{}}"#;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

/// A client of the gateway.
pub(crate) struct Guest {
    seat: Option<Arc<str>>,
    declares: &'static str,
    handler: Option<Arc<dyn RequestHandler>>,
    /// In the words of which revisions it was asked what it is able to do.
    versions: Mutex<Vec<&'static str>>,
}

impl Guest {
    pub(crate) fn new(seat: Option<&str>, declares: &'static str) -> Arc<Self> {
        let seat = seat.map(Into::into);
        Arc::new(Self { seat, declares, handler: None, versions: Mutex::default() })
    }

    fn answering(seat: &str, handler: Arc<dyn RequestHandler>) -> Arc<Self> {
        let seat = Some(seat.into());
        Arc::new(Self { seat, declares: ROOTS, handler: Some(handler), versions: Mutex::default() })
    }

    /// One who thinks for ever about what they are asked.
    pub(crate) fn slow(seat: &str, declares: &'static str) -> Arc<Self> {
        let handler = Some(Arc::new(Slow) as Arc<dyn RequestHandler>);
        Arc::new(Self { seat: Some(seat.into()), declares, handler, versions: Mutex::default() })
    }
}

impl Party for Guest {
    fn seat(&self, _server: &ServerRecord) -> Option<Arc<str>> {
        self.seat.clone()
    }

    fn capabilities(&self, version: ProtocolVersion) -> ClientCapabilities {
        self.versions.lock().unwrap().push(version.as_str());
        ClientCapabilities::from_raw(raw(self.declares)).unwrap()
    }

    fn handler(&self, _server: &ServerRecord) -> Option<Arc<dyn RequestHandler>> {
        self.handler.clone()
    }
}

struct Slow;

impl RequestHandler for Slow {
    fn handle(&self, _: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        std::future::pending().boxed()
    }
}

/// Has one root, which is its name.
struct Roots(&'static str);

impl RequestHandler for Roots {
    fn handle(&self, _: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        std::future::ready(Ok(raw(&format!(r#"{{"roots":[{{"uri":"file:///{}"}}]}}"#, self.0)))).boxed()
    }
}

fn call(world: &World, party: &Arc<Guest>) -> Relay {
    let mut relay = relay(world, Method::ToolsCall, only("p"));
    relay.party = Some(party.clone());
    relay
}

/// Calls a tool; gives the session that served.
async fn session(world: &World, party: &Arc<Guest>) -> String {
    let relayed = world.manager.relay(call(world, party)).await.unwrap();
    let result = relayed.outcome.unwrap().result;
    result.get("structuredContent").unwrap().get("session_id").unwrap().to().unwrap()
}

fn begin(world: &World, relay: Relay) -> JoinHandle<Result<Relayed, InvocationError>> {
    let manager: Manager = world.manager.clone();
    tokio::spawn(async move { manager.relay(relay).await })
}

/// How many calls the servers were sent so far.
fn calls(world: &World) -> usize {
    world.cluster.calls().iter().filter(|(_, method)| method == "tools/call").count()
}

/// What the servers were sent.
type Sent = Arc<Mutex<Vec<Outbound>>>;

fn watched(servers: &[&str]) -> (World, Sent) {
    let sent = Sent::default();
    let heard = sent.clone();
    let look = move |out: &Outbound| {
        heard.lock().unwrap().push(out.clone());
        None
    };
    (World::over(|cluster| intercept(cluster, look), servers, |_| {}), sent)
}

/// The capabilities that handshakes declared.
fn declared(sent: &Sent) -> Vec<String> {
    let of = |out: &Outbound| match &out.message {
        Message::Request(request) if request.method == Method::Initialize => {
            let params = request.params.as_ref()?;
            Some(params.get("capabilities")?.as_str().to_owned())
        }
        _ => None,
    };
    sent.lock().unwrap().iter().filter_map(of).collect()
}

#[tokio::test]
async fn parties_share_a_session_by_the_name_of_their_seat() {
    let (world, sent) = watched(&["p"]);
    let ann = Guest::new(Some("one"), ROOTS);
    let (bob, eve, all) = (
        Guest::new(Some("one"), ROOTS),
        Guest::new(Some("other"), r#"{"sampling":{}}"#),
        Guest::new(None, r#"{"elicitation":{}}"#),
    );
    assert_eq!(session(&world, &ann).await, "p-session-2");
    // Whether the server keeps sessions was not known before.
    assert_eq!(world.traffic(0), "p init ready init ready tool");
    for (party, expected) in [(&ann, 2), (&bob, 2), (&eve, 3), (&all, 1), (&bob, 2), (&eve, 3)] {
        assert_eq!(session(&world, party).await, format!("p-session-{expected}"));
    }
    assert_eq!(declared(&sent), ["{}", ROOTS, r#"{"sampling":{}}"#], "once for each session");
    assert_eq!(*ann.versions.lock().unwrap(), ["2025-11-25"], "in the words of the server");
    assert!(bob.versions.lock().unwrap().is_empty());
    assert_eq!((world.cluster.opened("p"), world.cluster.closed("p")), (3, 0));
}

#[tokio::test]
async fn a_server_without_sessions_hears_with_each_call_who_calls() {
    let sent = Sent::default();
    let heard = sent.clone();
    let look = move |out: &Outbound| {
        heard.lock().unwrap().push(out.clone());
        let Message::Request(request) = &out.message else { return None };
        let result = json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0,
            "cacheScope": "public", "capabilities": {"tools": {}},
        });
        Some(answer(json!({"jsonrpc": "2.0", "id": request.id, "result": result}).to_string()))
    };
    let world = World::over(|cluster| intercept(cluster, look), &[], |_| {});
    let mut stateless = definition("p");
    stateless.protocol = EraPolicy::Only(Era::Stateless);
    world.manager.register(stateless).unwrap();
    for declares in [ROOTS, r#"{"sampling":{}}"#, "{}"] {
        let party = Guest::new(Some(declares), declares);
        let mut relay = call(&world, &party);
        relay.log_level = Some(mcp_protocol::logging::LogLevel::Debug);
        relay.progress = true;
        world.manager.relay(relay).await.unwrap();
        let last = sent.lock().unwrap().pop().unwrap();
        let Message::Request(request) = &last.message else { panic!("{last:?}") };
        let meta = request.params.as_ref().unwrap().get("_meta").unwrap();
        let member = |name: &str| meta.get(name).unwrap().as_str().to_owned();
        assert_eq!(member("io.modelcontextprotocol/clientCapabilities"), declares);
        assert_eq!(member("io.modelcontextprotocol/logLevel"), r#""debug""#);
        assert!(meta.get("progressToken").is_some());
        assert_eq!(*party.versions.lock().unwrap(), ["2026-07-28"]);
    }
    assert_eq!(world.cluster.opened("p"), 1, "one connection for all");
}

#[tokio::test]
async fn a_question_goes_to_the_asker_of_the_call_or_to_the_party() {
    let sent = Sent::default();
    let heard = sent.clone();
    let look = move |out: &Outbound| {
        heard.lock().unwrap().push(out.clone());
        match &out.message {
            Message::Request(request) if request.method == Method::ToolsCall => {
                let question = json!({"jsonrpc": "2.0", "id": "q", "method": "roots/list"});
                Some(then_silence(question.to_string()))
            }
            _ => None,
        }
    };
    let world = World::over(|cluster| intercept(cluster, look), &["p"], |_| {});
    let party = Guest::answering("one", Arc::new(Roots("party")));
    let asker = Asker { owner: 1, handler: Arc::new(Roots("asker")), resolves: true, task: None };
    for (asker, name) in [(None, "party"), (Some(asker), "asker")] {
        let mut relay = call(&world, &party);
        relay.asker = asker;
        let under_way = begin(&world, relay);
        let told = loop {
            let answer = sent.lock().unwrap().pop_if(|out| matches!(out.message, Message::Response(_)));
            match answer {
                Some(answer) => break String::from_utf8(answer.message.encode().to_vec()).unwrap(),
                None => tokio::task::yield_now().await,
            }
        };
        assert!(told.contains(&format!("file:///{name}")), "{told}");
        under_way.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_a_party_that_leaves_end_after_its_calls() {
    let world = World::new(&["p", "q"], |_| {});
    let (ann, bob) = (Guest::new(Some("ann"), ROOTS), Guest::new(Some("bob"), ROOTS));
    assert_eq!(session(&world, &ann).await, "p-session-2");
    assert_eq!(session(&world, &bob).await, "p-session-3");
    let mut elsewhere = relay(&world, Method::ToolsCall, only("q"));
    elsewhere.party = Some(ann.clone());
    world.manager.relay(elsewhere).await.unwrap();
    world.cluster.script("p", "tools/call", [Action::Ok.delayed(Duration::from_secs(1))]);
    let last = begin(&world, call(&world, &ann));
    while calls(&world) < 4 {
        tokio::task::yield_now().await;
    }
    world.manager.leave("ann");
    world.manager.leave("ann");
    world.settle().await;
    assert_eq!((world.cluster.closed("p"), world.cluster.closed("q")), (0, 1), "a call is under way on p");
    last.await.unwrap().unwrap().outcome.unwrap();
    world.settle().await;
    assert_eq!(world.cluster.closed("p"), 1);
    assert_eq!(session(&world, &bob).await, "p-session-3", "somebody else's stays");
    assert_eq!(session(&world, &ann).await, "p-session-4", "who comes back starts anew");
    assert_eq!(world.transitions(0), "");
}

#[tokio::test]
async fn so_many_parties_have_sessions_and_no_more() {
    let world = World::new(&["p"], |_| {});
    let guest = |n: usize| Guest::new(Some(&n.to_string()), ROOTS) as Arc<dyn Party>;
    let mut attached = Vec::new();
    for n in 0..256 {
        attached.push(world.manager.attach("p", Some(&guest(n))).await.unwrap());
    }
    assert_eq!(world.cluster.opened("p"), 257, "and the shared one");
    let full = world.manager.attach("p", Some(&guest(256))).await.unwrap_err();
    assert!(matches!(full, AttachError::NoSeat), "{full}");
    let late = Guest::new(Some("late"), ROOTS);
    let error = world.manager.relay(call(&world, &late)).await.unwrap_err();
    assert_eq!(error.code, FailureCode::AllCandidatesFailed);
    assert!(error.message.contains("256 "), "{}", error.message);
    assert_eq!(world.status("p"), Status::Healthy, "which is nobody's fault");
    // Who is not there any more makes room.
    attached.remove(7);
    assert_eq!(session(&world, &late).await, "p-session-258");
    world.settle().await;
    assert_eq!(world.cluster.closed("p"), 1);
    assert!(attached.iter().all(|one| !one.client.is_closed()));
}

#[tokio::test]
async fn whoever_attaches_gets_the_connection_of_their_calls() {
    let world = World::new(&["p"], |_| {});
    let ann = Guest::new(Some("ann"), ROOTS);
    let party: Arc<dyn Party> = ann.clone();
    let own = world.manager.attach("p", Some(&party)).await.unwrap();
    assert_eq!((own.record.name().as_str(), own.record.era), ("p", Some(Era::Handshake)));
    let shared = world.manager.attach("p", None).await.unwrap();
    assert_eq!(session(&world, &ann).await, "p-session-2");
    for (attached, expected) in [(&own, "p-session-2"), (&shared, "p-session-1")] {
        attached.client.ping(Duration::from_secs(1)).await.unwrap();
        assert_eq!(world.last_session("p"), expected);
    }
    assert_eq!(world.cluster.opened("p"), 2);
    // It ends with the party's session, not with the other one.
    world.manager.leave("ann");
    own.client.closed().await;
    assert!(!shared.client.is_closed());
    let error = world.manager.attach("x", None).await.unwrap_err();
    assert!(matches!(&error, AttachError::Unknown(unknown) if unknown.requested == "x"), "{error}");
    world.cluster.script("p", "initialize", [Action::HttpStatus(503)]);
    let error = world.manager.attach("p", Some(&party)).await.unwrap_err();
    assert!(matches!(&error, AttachError::Unready(_)), "{error}");
    assert_eq!(error.to_string(), "http status 503");
}

#[tokio::test]
async fn a_watcher_hears_of_a_new_table_and_of_nothing_else() {
    let world = World::new(&["p"], |_| {});
    let mut table = world.manager.watch_table();
    assert!(!table.has_changed().unwrap());
    world.tool(&[]).await.unwrap();
    assert!(table.has_changed().unwrap(), "it is connected");
    table.mark_unchanged();
    world.tool(&[]).await.unwrap();
    assert!(!table.has_changed().unwrap(), "nothing is different");
    let changes: [fn(&World); 3] = [
        |world| world.fail("p"),
        |world| drop(world.manager.register(definition("q")).unwrap()),
        |world| drop(world.manager.mark_healthy("p").unwrap()),
    ];
    for change in changes {
        change(&world);
        table.changed().await.unwrap();
        assert!(!table.has_changed().unwrap());
    }
    world.manager.unregister("q").await.unwrap();
    table.changed().await.unwrap();
    assert!(world.manager.server("q").is_err());
}

/// A server whose calls share one channel.
fn piped() -> Definition {
    let mut definition = definition("p");
    definition.endpoint = Endpoint::Stdio(StdioEndpoint::new("p", [""; 0]));
    definition
}

fn owned(world: &World, party: &Arc<Guest>, method: Method, owner: u64) -> Relay {
    let mut relay = relay(world, method, only("p"));
    relay.party = Some(party.clone());
    relay.asker = Some(Asker { owner, handler: Arc::new(Slow), resolves: true, task: None });
    relay
}

/// The sessions on which tools were called after the first `skip` messages.
fn served_on(world: &World, skip: usize) -> Vec<String> {
    let calls = world.cluster.traffic().into_iter().skip(skip);
    calls.filter(|entry| entry.method == "tools/call").map(|entry| entry.session).collect()
}

#[tokio::test(start_paused = true)]
async fn where_a_question_does_not_say_whose_it_is_owners_have_connections_of_their_own() {
    for (kind, sessions) in [("stdio", [2, 2, 3, 4]), ("sse", [2, 2, 3, 4]), ("http", [2, 2, 2, 2])] {
        let world = World::new(&[], |_| {});
        world.manager.register(if kind == "stdio" { piped() } else { definition("p") }).unwrap();
        if kind == "sse" {
            // What is at this URL turns out to have two endpoints.
            let refused = [Action::HttpStatus(405), Action::Ok];
            world.cluster.script("p", "initialize", refused.iter().cycle().take(8).cloned());
        }
        let party = Guest::new(Some("one"), ROOTS);
        session(&world, &party).await;
        let (skip, opened) = (world.cluster.traffic().len(), world.cluster.opened("p"));
        let slow = vec![Action::Ok.delayed(Duration::from_secs(10)); 4];
        world.cluster.script("p", "tools/call", slow);
        let mut under_way = Vec::new();
        for (at, owner) in [1, 1, 2, 3].into_iter().enumerate() {
            under_way.push(begin(&world, owned(&world, &party, Method::ToolsCall, owner)));
            while served_on(&world, skip).len() <= at {
                tokio::task::yield_now().await;
            }
        }
        // What leads to no question shares the first one.
        let harmless = owned(&world, &party, Method::CompletionComplete, 9);
        world.manager.relay(harmless).await.unwrap().outcome.unwrap();
        for call in under_way {
            call.await.unwrap().unwrap().outcome.unwrap();
        }
        let mut names = served_on(&world, skip);
        names.dedup();
        let mut expected = sessions.to_vec();
        expected.dedup();
        assert_eq!(names.len(), expected.len(), "{kind}: {names:?}");
        let added = u32::try_from(expected.len() - 1).unwrap() * if kind == "sse" { 2 } else { 1 };
        assert_eq!(world.cluster.opened("p"), opened + added, "{kind}");
        // They are used again before others are opened, and end when nobody needs them.
        let again = owned(&world, &party, Method::ToolsCall, 4);
        world.manager.relay(again).await.unwrap().outcome.unwrap();
        assert_eq!(world.cluster.opened("p"), opened + added, "{kind}");
        let closed = world.cluster.closed("p");
        world.advance(60);
        world.manager.release_idle(Duration::from_secs(61), Duration::from_secs(1000));
        world.settle().await;
        assert_eq!(world.cluster.closed("p"), closed, "{kind}");
        world.manager.release_idle(Duration::from_secs(59), Duration::from_secs(1000));
        world.settle().await;
        let pooled = u32::try_from(expected.len() - 1).unwrap();
        assert_eq!(world.cluster.closed("p"), closed + pooled, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_connections_of_a_party_end_when_it_leaves() {
    let world = World::new(&[], |_| {});
    world.manager.register(piped()).unwrap();
    let party = Guest::new(Some("one"), ROOTS);
    session(&world, &party).await;
    world.cluster.script("p", "tools/call", vec![Action::Ok.delayed(Duration::from_secs(10)); 3]);
    let calls: Vec<_> =
        (0..3).map(|owner| begin(&world, owned(&world, &party, Method::ToolsCall, owner))).collect();
    world.settle().await;
    assert_eq!(world.cluster.opened("p"), 4);
    world.manager.leave("one");
    for call in calls {
        call.await.unwrap().unwrap().outcome.unwrap();
    }
    world.settle().await;
    assert_eq!(world.cluster.closed("p"), 3, "all but the shared one");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_their_turn_for_ever() {
    let seconds = Duration::from_secs;
    let world = World::new(&[], |_| {});
    world.manager.register(piped()).unwrap();
    let party = Guest::new(Some("one"), ROOTS);
    session(&world, &party).await;
    let skip = world.cluster.traffic().len();
    world.cluster.script("p", "tools/call", vec![Action::Ok.delayed(seconds(25)); 32]);
    let mut others = Vec::new();
    for owner in 0..16 {
        others.push(begin(&world, owned(&world, &party, Method::ToolsCall, owner)));
        while served_on(&world, skip).len() < others.len() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(world.cluster.opened("p"), 17);
    let start = tokio::time::Instant::now();
    let patient = begin(&world, owned(&world, &party, Method::ToolsCall, 16));
    world.settle().await;
    tokio::time::sleep(seconds(20)).await;
    let late = begin(&world, owned(&world, &party, Method::ToolsCall, 17));
    // All whose turn it is call again before their first call is over.
    for owner in 0..16 {
        others.push(begin(&world, owned(&world, &party, Method::ToolsCall, owner)));
    }
    let error = patient.await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), seconds(30), "as long as one request may take");
    assert!(error.message.contains("16 calls of other clients have held"), "{}", error.message);
    let last = error.attempts.last().unwrap();
    assert_eq!(last.delivery, Some(mcp_transport::Delivery::NotSent), "somebody else may be tried");
    assert_eq!((world.status("p"), world.cluster.opened("p")), (Status::Healthy, 17));
    // The other one has a turn in time.
    late.await.unwrap().unwrap().outcome.unwrap();
    assert_eq!(start.elapsed(), seconds(45));
    for call in others {
        call.await.unwrap().unwrap().outcome.unwrap();
    }
}

#[tokio::test]
async fn names_of_seats_are_not_kept_in_the_open() {
    let world = World::new(&["p"], |_| {});
    session(&world, &Guest::new(Some("hunter2"), ROOTS)).await;
    let seen: BTreeSet<_> = [format!("{:?}", world.manager), format!("{:?}", world.manager.table())].into();
    assert!(seen.iter().all(|text| !text.contains("hunter2")), "{seen:?}");
}
