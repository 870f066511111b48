//! What clients are told of changes: subscriptions of both eras, log levels. Source: bridging §5, §7.

use std::time::Duration;

use mcp_protocol::{Method, RequestId};
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::Server;
use crate::support::*;

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const UPDATED: &str = "notifications/resources/updated";
const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";
const RESOURCES: &str = "notifications/resources/list_changed";
const ID: &str = "io.modelcontextprotocol/subscriptionId";

fn server(name: &str, version: mcp_protocol::ProtocolVersion) -> Server {
    let resources = ["1", "2", "dir/"].map(|id| json!({"uri": format!("{name}:{id}"), "name": id}));
    Server::scripted(name, TransportKind::Stdio, version).tools(&["t"]).list("resources", &resources)
}

fn listen(client: &Modern, id: impl Into<RequestId>, wanted: Value) -> Pending {
    client.start_as(id.into(), Method::SubscriptionsListen, json!({"notifications": wanted}))
}

/// Tells everybody who listens to a server of a changed resource.
fn update(server: &Server, uri: &str) {
    for wire in server.open() {
        wire.tell(UPDATED, json!({"uri": uri}));
    }
}

/// Tells of a changed list in the way of the server's era.
fn change(server: &Server, method: &str) {
    for wire in server.open() {
        wire.tell(method, json!({}));
    }
}

/// Requests of a method about a resource.
fn about(server: &Server, method: &Method, uri: &str) -> usize {
    server.seen(method).iter().filter(|asked| asked.params()["uri"] == uri).count()
}

#[tokio::test(start_paused = true)]
async fn a_subscription_says_what_it_will_tell_and_tells_that_alone() {
    let a = server("a", V2025_11_25);
    let b = server("b", V2025_11_25)
        .on(Method::ResourcesSubscribe, |asked| asked.fail(-32002, "no such resource", None));
    let world = World::new(&[&a, &b]);
    let client = world.modern();
    let wanted = json!({
        "toolsListChanged": true, "promptsListChanged": false,
        "resourceSubscriptions": ["a:1", "a:dir/", "b:1", "x:1"],
    });
    let first = listen(&client, 1, wanted);
    let told = first.probe.hear(ACKNOWLEDGED, 1).await;
    let mut accepted = told["notifications"].clone();
    accepted["resourceSubscriptions"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    // What nobody lists is asked of everybody: this server agrees to anything.
    assert_eq!(
        accepted,
        json!({"toolsListChanged": true, "resourceSubscriptions": ["a:1", "a:dir/", "x:1"]})
    );
    assert_eq!(told["_meta"][ID], 1);
    let second = listen(
        &client,
        "1",
        json!({"promptsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": ["a:2"]}),
    );
    let told = second.probe.hear(ACKNOWLEDGED, 1).await;
    assert_eq!(told["_meta"][ID], "1", "ids keep their type");
    let nothing = listen(&client, 3, json!({}));
    assert_eq!(nothing.probe.hear(ACKNOWLEDGED, 1).await["notifications"], json!({}));

    update(&a, "a:1");
    let told = first.probe.hear(UPDATED, 1).await;
    assert_eq!((&told["uri"], &told["_meta"][ID]), (&json!("a:1"), &json!(1)));
    // A part of what was subscribed to.
    update(&a, "a:dir/file");
    assert_eq!(first.probe.hear(UPDATED, 2).await["uri"], "a:dir/file");
    update(&a, "a:2");
    let told = second.probe.hear(UPDATED, 1).await;
    assert_eq!((&told["uri"], &told["_meta"][ID]), (&json!("a:2"), &json!("1")));
    // Another resource, of which this one's address is no part.
    update(&a, "a:11");
    // Of another server than the one that has it.
    update(&b, "a:1");
    a.set_tools(&["t", "u"]);
    change(&a, TOOLS);
    assert_eq!(first.probe.hear(TOOLS, 1).await["_meta"][ID], 1);
    a.set_pages("prompts", vec![vec![json!({"name": "p"})]]);
    change(&a, PROMPTS);
    assert_eq!(second.probe.hear(PROMPTS, 1).await["_meta"][ID], "1");
    // The list of templates has no notification of its own.
    b.set_pages("resourceTemplates", vec![vec![json!({"uriTemplate": "b:{x}", "name": "x"})]]);
    change(&b, RESOURCES);
    second.probe.hear(RESOURCES, 1).await;
    pass(Duration::from_secs(1)).await;
    assert_eq!(first.probe.told().len(), 4, "{:?}", first.probe.told());
    assert_eq!(second.probe.told().len(), 4, "{:?}", second.probe.told());
    assert_eq!(nothing.probe.told().len(), 1);

    // The end is told.
    world.bridge.close();
    for (pending, id) in [(first, json!(1)), (second, json!("1")), (nothing, json!(3))] {
        let result = pending.ok().await;
        assert_eq!((&result["resultType"], &result["_meta"][ID]), (&json!("complete"), &id), "{result}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_shown_alone_tells_what_it_can() {
    for version in [V2025_11_25, V2026_07_28] {
        let server = server("s", version).capable(json!({"tools": {"listChanged": true}, "resources": {}}));
        let world = World::new(&[&server]);
        let wanted =
            json!({"toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": []});
        let pending = listen(&world.modern_at(&one("s")), 1, wanted);
        let told = pending.probe.hear(ACKNOWLEDGED, 1).await;
        assert_eq!(told["notifications"], json!({"toolsListChanged": true}), "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_subscribed_to_once_for_everybody() {
    let server = server("s", V2025_11_25);
    let world = World::new(&[&server]);
    let client = world.modern();
    let wanted = json!({"resourceSubscriptions": ["s:1"]});
    let first = listen(&client, 1, wanted.clone());
    first.probe.hear(ACKNOWLEDGED, 1).await;
    let second = listen(&client, 2, wanted);
    second.probe.hear(ACKNOWLEDGED, 1).await;
    let session = world.classic(V2025_06_18, json!({})).await;
    for _ in 0..2 {
        session.call(Method::ResourcesSubscribe, json!({"uri": "s:1"})).await;
    }
    assert_eq!(about(&server, &Method::ResourcesSubscribe, "s:1"), 1);
    update(&server, "s:1");
    first.probe.hear(UPDATED, 1).await;
    second.probe.hear(UPDATED, 1).await;
    assert_eq!(session.probe.hear(UPDATED, 1).await, json!({"uri": "s:1"}));
    first.leave().await;
    session.call(Method::ResourcesUnsubscribe, json!({"uri": "s:1"})).await;
    session.call(Method::ResourcesUnsubscribe, json!({"uri": "s:9"})).await;
    update(&server, "s:1");
    second.probe.hear(UPDATED, 2).await;
    assert_eq!(session.probe.told_of(UPDATED).len(), 1);
    assert_eq!(about(&server, &Method::ResourcesUnsubscribe, "s:1"), 0);
    second.leave().await;
    server.next(Method::ResourcesUnsubscribe).await;
    // A session that ends takes its subscriptions along.
    session.call(Method::ResourcesSubscribe, json!({"uri": "s:2"})).await;
    session.conversation.end();
    let gone = server.next(Method::ResourcesUnsubscribe).await;
    assert_eq!(gone.params()["uri"], "s:2");
}

#[tokio::test(start_paused = true)]
async fn stateless_servers_are_listened_to_for_everybody() {
    let server = server("s", V2026_07_28);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, json!({})).await;
    session.call(Method::ResourcesSubscribe, json!({"uri": "s:1"})).await;
    let pending =
        listen(&world.modern(), 1, json!({"resourceSubscriptions": ["s:1"], "toolsListChanged": true}));
    pending.probe.hear(ACKNOWLEDGED, 1).await;
    let listens = server.seen(&Method::SubscriptionsListen);
    let of_uri: Vec<_> = listens
        .iter()
        .filter(|asked| asked.params()["notifications"]["resourceSubscriptions"] == json!(["s:1"]))
        .collect();
    let of_lists: Vec<_> =
        listens.iter().filter(|asked| asked.params()["notifications"]["toolsListChanged"] == true).collect();
    let ([of_uri], [of_lists]) = (&of_uri[..], &of_lists[..]) else { panic!("{}", listens.len()) };
    let tagged = |asked: &crate::net::Asked, mut params: Value| {
        params["_meta"] = json!({ID: asked.request.id, "io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}});
        params
    };
    of_uri.tell(UPDATED, tagged(of_uri, json!({"uri": "s:1"})));
    let told = session.probe.hear(UPDATED, 1).await;
    assert_eq!(told["uri"], "s:1");
    assert_eq!(told["_meta"].get(ID), None, "{told}");
    assert_eq!(pending.probe.hear(UPDATED, 1).await["_meta"][ID], 1);
    server.set_tools(&["u"]);
    of_lists.tell(TOOLS, tagged(of_lists, json!({})));
    session.probe.hear(TOOLS, 1).await;
    pending.probe.hear(TOOLS, 1).await;
    session.call(Method::ResourcesUnsubscribe, json!({"uri": "s:1"})).await;
    assert!(!of_uri.is_cancelled());
    pending.leave().await;
    of_uri.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_missed_is_told_after_a_restart() {
    for version in [V2025_11_25, V2026_07_28] {
        let server = server("s", version);
        let world = World::new(&[&server]);
        let session = world.classic(V2025_11_25, json!({})).await;
        session.call(Method::ResourcesSubscribe, json!({"uri": "s:1"})).await;
        let pending =
            listen(&world.modern(), 1, json!({"resourceSubscriptions": ["s:1"], "toolsListChanged": true}));
        pending.probe.hear(ACKNOWLEDGED, 1).await;
        server.set_tools(&["t", "new"]);
        server.crash();
        world.reconnect("s").await;
        for probe in [&session.probe, &pending.probe] {
            assert_eq!(probe.hear(UPDATED, 1).await["uri"], "s:1", "{version}");
            probe.hear(TOOLS, 1).await;
        }
        let wanted =
            if version == V2025_11_25 { Method::ResourcesSubscribe } else { Method::SubscriptionsListen };
        let again = server.seen(&wanted).last().unwrap().wire.is_closed();
        assert!(!again, "it is subscribed to on the new connection");
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_that_are_refused_say_so() {
    let server = server("s", V2025_11_25).on(Method::ResourcesSubscribe, |asked| {
        let uri = asked.params()["uri"].clone();
        if uri == "s:1" {
            asked.answer(json!({}))
        } else {
            asked.fail(-32002, "not found", Some(json!({"uri": uri})))
        }
    });
    let modern = self::server("m", V2026_07_28).capable(json!({"resources": {}}));
    let world = World::new(&[&server, &modern]);
    let session = world.classic(V2025_11_25, json!({})).await;
    let error = session.refused(Method::ResourcesSubscribe, json!({"uri": "s:2"})).await;
    assert_eq!((&error["code"], &error["data"]["uri"]), (&json!(-32002), &json!("s:2")), "{error}");
    for params in [json!({}), json!({"uri": 1})] {
        assert_eq!(session.refused(Method::ResourcesSubscribe, &params).await["code"], -32602);
        assert_eq!(session.refused(Method::ResourcesUnsubscribe, &params).await["code"], -32602);
    }
    // A server that does not tell of it.
    assert!(session.refused(Method::ResourcesSubscribe, json!({"uri": "m:1"})).await["code"].is_i64());
    let client = world.modern();
    for params in [
        json!({}),
        json!({"notifications": 7}),
        json!({"notifications": {"resourceSubscriptions": vec!["x"; 1001]}}),
    ] {
        assert_eq!(client.refused(Method::SubscriptionsListen, &params).await["code"], -32602, "{params}");
    }
    let nobody = Server::scripted("n", TransportKind::Stdio, V2025_11_25).capable(json!({"tools": {}}));
    let world = World::new(&[&nobody]);
    let session = world.classic(V2025_11_25, json!({})).await;
    assert_eq!(session.refused(Method::ResourcesSubscribe, json!({"uri": "s:1"})).await["code"], -32601);
    assert_eq!(nobody.seen(&Method::ResourcesSubscribe).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_has_only_so_many_subscriptions() {
    let server = server("s", V2025_11_25);
    let world = World::new(&[&server]);
    let session = world.classic_at(&one("s"), V2025_11_25, json!({})).await;
    for n in 0..1000 {
        session.call(Method::ResourcesSubscribe, json!({"uri": format!("s:{n}")})).await;
    }
    let error = session.refused(Method::ResourcesSubscribe, json!({"uri": "s:1000"})).await;
    assert_eq!(error["code"], -32600, "{error}");
    session.call(Method::ResourcesSubscribe, json!({"uri": "s:5"})).await;
}

#[tokio::test(start_paused = true)]
async fn each_session_has_its_level_and_the_server_the_least_of_them() {
    let server = server("s", V2025_11_25);
    let world = World::new(&[&server]);
    let quiet = world.classic(V2025_11_25, json!({})).await;
    let loud = world.classic(V2025_11_25, json!({})).await;
    let silent = world.classic(V2025_11_25, json!({})).await;
    let levels = |server: &Server| -> Vec<Value> {
        server.seen(&Method::LoggingSetLevel).iter().map(|asked| asked.params()["level"].clone()).collect()
    };
    quiet.call(Method::LoggingSetLevel, json!({"level": "error"})).await;
    loud.call(Method::LoggingSetLevel, json!({"level": "debug"})).await;
    quiet.call(Method::LoggingSetLevel, json!({"level": "critical"})).await;
    assert_eq!(levels(&server).last(), Some(&json!("debug")));
    let say = |level: &str| {
        for wire in server.open() {
            wire.tell("notifications/message", json!({"level": level, "data": level}));
        }
    };
    say("info");
    assert_eq!(loud.probe.hear("notifications/message", 1).await["data"], "info");
    say("alert");
    assert_eq!(quiet.probe.hear("notifications/message", 1).await["data"], "alert");
    assert_eq!(loud.probe.hear("notifications/message", 2).await["data"], "alert");
    for level in [json!({"level": "loud"}), json!({}), json!({"level": 3})] {
        assert_eq!(quiet.refused(Method::LoggingSetLevel, &level).await["code"], -32602, "{level}");
    }
    // It is said again to one that was restarted.
    let before = levels(&server).len();
    server.crash();
    world.reconnect("s").await;
    let told = server.when(|| (levels(&server).len() > before).then(|| levels(&server)));
    let told = within("the level on the new connection", told).await;
    assert_eq!(told.last(), Some(&json!("debug")));
    loud.conversation.end();
    say("info");
    pass(Duration::from_millis(100)).await;
    assert_eq!(silent.probe.told_of("notifications/message"), Vec::<Value>::new(), "nobody asked it for any");
    assert_eq!(quiet.probe.told_of("notifications/message").len(), 1);
    // A server that does not take it is no reason to refuse.
    let stubborn =
        self::server("t", V2025_11_25).on(Method::LoggingSetLevel, |asked| asked.fail(-32603, "no", None));
    let world = World::new(&[&stubborn]);
    let session = world.classic(V2025_11_25, json!({})).await;
    session.call(Method::LoggingSetLevel, json!({"level": "debug"})).await;
}

#[tokio::test(start_paused = true)]
async fn log_messages_are_for_the_one_call_they_can_be_about() {
    const SAID: &str = "notifications/message";
    for (kind, version) in [
        (TransportKind::Stdio, V2025_11_25),
        (TransportKind::Http, V2025_11_25),
        (TransportKind::Stdio, V2026_07_28),
    ] {
        for capabilities in [json!({}), crate::held::able()] {
            let server = Server::scripted("s", kind, version).tools(&["t"]);
            let world = World::new(&[&server]);
            let mut client = world.modern().able(capabilities);
            client.level = Some(mcp_protocol::logging::LogLevel::Info);
            let call = client.tool("s__t");
            let asked = server.next(Method::ToolsCall).await;
            match version {
                V2025_11_25 => {
                    let told = server.seen(&Method::LoggingSetLevel);
                    let here = told.iter().rfind(|told| told.wire.number() == asked.wire.number());
                    assert_eq!(
                        here.map(|told| told.params()["level"].clone()),
                        Some(json!("info")),
                        "{kind:?}"
                    );
                }
                _ => assert_eq!(
                    asked.params()["_meta"]["io.modelcontextprotocol/logLevel"],
                    "info",
                    "{kind:?}"
                ),
            }
            asked.tell(SAID, json!({"level": "debug", "data": 1}));
            asked.tell(SAID, json!({"level": "info", "data": 2}));
            assert_eq!(call.probe.hear(SAID, 1).await["data"], 2, "{kind:?} {version}");
            if kind == TransportKind::Stdio && client.capabilities == json!({}) {
                // With another one under way nobody can know.
                let other = client.tool("s__t");
                let second = server.next(Method::ToolsCall).await;
                asked.wire.tell(SAID, json!({"level": "info", "data": 3}));
                second.answer(complete("done"));
                other.ok().await;
            }
            asked.answer(complete("done"));
            let probe = call.probe.clone();
            call.ok().await;
            assert_eq!(probe.told_of(SAID).len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_later_is_told_the_level_too() {
    let server = server("s", V2025_11_25);
    server.set_down(true);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, json!({})).await;
    session.call(Method::LoggingSetLevel, json!({"level": "info"})).await;
    server.set_down(false);
    world.reconnect("s").await;
    assert_eq!(server.next(Method::LoggingSetLevel).await.params()["level"], "info");
    for wire in server.open() {
        wire.tell("notifications/message", json!({"level": "info", "data": 1}));
    }
    session.probe.hear("notifications/message", 1).await;
    // One that does not answer holds nobody up for long.
    let silent = self::server("t", V2025_11_25).on(Method::LoggingSetLevel, |_| {});
    let world = World::new(&[&silent]);
    let session = world.classic(V2025_11_25, json!({})).await;
    let start = tokio::time::Instant::now();
    session.call(Method::LoggingSetLevel, json!({"level": "info"})).await;
    assert!(start.elapsed() <= Duration::from_secs(5));
}
