//! Many servers as one: names, order, pages, routing, and what becomes of servers that are slow or gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_bridge::{Settings, View};
use mcp_protocol::Method;
use mcp_registry::{Exposure, NameFilter};
use mcp_server::Principal;
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::Server;
use crate::support::*;

const CHANGED: &str = "notifications/tools/list_changed";

fn scripted(name: &str) -> Server {
    Server::scripted(name, TransportKind::Stdio, V2025_11_25)
}

fn filter(allow: Option<&[&str]>, deny: &[&str]) -> NameFilter {
    let globs = |globs: &[&str]| globs.iter().map(|glob| glob.parse().unwrap()).collect();
    NameFilter { allow: allow.map(globs), deny: globs(deny) }
}

/// All pages of a list.
async fn pages(client: &Modern, method: Method, member: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut params = json!({});
    loop {
        let page = client.call(method.clone(), &params).await;
        pages.push(names(&page, member));
        match page.get("nextCursor") {
            Some(cursor) => params = json!({"cursor": cursor}),
            None => return pages,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_prefixed_and_in_order_of_priority_and_name() {
    let servers = [("b", 50), ("a", 50), ("z", 90), ("c", 10)];
    let servers: Vec<_> =
        servers.iter().map(|(name, priority)| (scripted(name).tools(&["t", "s"]), *priority)).collect();
    let all: Vec<_> = servers.iter().map(|(server, _)| server).collect();
    let world = World::with(
        &all,
        |_| {},
        |definition| {
            definition.priority =
                servers.iter().find(|(server, _)| server.name() == definition.name.as_str()).unwrap().1;
        },
    );
    let client = world.modern();
    let expected = ["z__t", "z__s", "a__t", "a__s", "b__t", "b__s", "c__t", "c__s"];
    for _ in 0..2 {
        assert_eq!(pages(&client, Method::ToolsList, "tools").await, [expected]);
    }
    let called = client.tool("b__s");
    let (server, _) = servers.iter().find(|(server, _)| server.name() == "b").unwrap();
    let asked = server.next(Method::ToolsCall).await;
    assert_eq!(asked.params()["name"], "s");
    asked.answer(text("done"));
    assert_eq!(said(&called.ok().await), "done");
}

#[tokio::test(start_paused = true)]
async fn without_a_prefix_the_first_in_order_has_the_name() {
    let (a, b) = (scripted("a").tools(&["t", "only_a"]), scripted("b").tools(&["t", "only_b"]));
    let world = World::with(&[&a, &b], |settings| settings.prefix = false, |_| {});
    let client = world.modern();
    assert_eq!(pages(&client, Method::ToolsList, "tools").await, [["t", "only_a", "only_b"]]);
    for (tool, server) in [("t", &a), ("only_b", &b)] {
        let call = client.tool(tool);
        server.next(Method::ToolsCall).await.answer(text(server.name()));
        assert_eq!(said(&call.ok().await), server.name());
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_our_own_and_those_of_servers_are_followed() {
    let a = scripted("a");
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    a.set_pages("tools", vec![vec![tool("1"), tool("2")], vec![], vec![tool("3")]]);
    let b = scripted("b").tools(&["4", "5"]);
    let world = World::with(&[&a, &b], |settings| settings.page_size = 2, |_| {});
    let client = world.modern();
    let all = [vec!["a__1", "a__2"], vec!["a__3", "b__4"], vec!["b__5"]];
    assert_eq!(pages(&client, Method::ToolsList, "tools").await, all);
    // An empty list has one page.
    assert_eq!(pages(&client, Method::PromptsList, "prompts").await, [Vec::<String>::new()]);
    let first = client.call(Method::ToolsList, json!({})).await;
    let cursor = first["nextCursor"].as_str().unwrap();
    let session = world.classic(V2025_06_18, json!({})).await;
    assert!(session.call(Method::ToolsList, json!({"cursor": cursor})).await["tools"].is_array());
    // Of another list, of another principal, of somebody's making, no text at all, past the end.
    let other = client.clone().named("other");
    for (client, method, cursor) in [
        (&client, Method::PromptsList, json!(cursor)),
        (&other, Method::ToolsList, json!(cursor)),
        (&client, Method::ToolsList, json!("2")),
        (&client, Method::ToolsList, json!("")),
        (&client, Method::ToolsList, json!(2)),
    ] {
        let error = client.refused(method, json!({"cursor": cursor})).await;
        assert_eq!(error["code"], -32602, "{cursor}");
    }
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(client.refused(Method::ToolsList, json!({"cursor": cursor})).await["code"], -32602);
    let third = client.call(Method::ToolsList, json!({})).await;
    let third = client.call(Method::ToolsList, json!({"cursor": third["nextCursor"]})).await;
    a.set_tools(&[]);
    a.wires()[0].tell(CHANGED, json!({}));
    session.probe.hear(CHANGED, 1).await;
    let error = client.refused(Method::ToolsList, json!({"cursor": third["nextCursor"]})).await;
    assert_eq!(error["code"], -32602, "the list has fewer pages now");
}

#[tokio::test(start_paused = true)]
async fn caching_of_the_whole_is_that_of_the_briefest_part() {
    let modern = |name: &str, ttl: u64, scope: &'static str| {
        Server::scripted(name, TransportKind::Http, V2026_07_28).on(Method::ToolsList, move |asked| {
            asked.answer(json!({"resultType": "complete", "tools": [], "ttlMs": ttl, "cacheScope": scope}));
        })
    };
    let (a, b, c) =
        (modern("a", 60_000, "public"), modern("b", 30_000, "public"), modern("c", 90_000, "private"));
    let hints = |result: Value| {
        (result["ttlMs"].as_u64().unwrap(), result["cacheScope"].as_str().unwrap().to_owned())
    };
    let world = World::new(&[&a, &b]);
    assert_eq!(hints(world.modern().call(Method::ToolsList, json!({})).await), (30_000, "public".into()));
    let world = World::new(&[&a, &c]);
    assert_eq!(hints(world.modern().call(Method::ToolsList, json!({})).await), (60_000, "private".into()));
    // A handshake server says nothing of it.
    let world = World::new(&[&a, &scripted("d")]);
    assert_eq!(hints(world.modern().call(Method::ToolsList, json!({})).await), (0, "private".into()));
    // Neither does one that is not there.
    let dead = scripted("e");
    dead.set_down(true);
    let world = World::new(&[&a, &dead]);
    assert_eq!(hints(world.modern().call(Method::ToolsList, json!({})).await).0, 0);
}

#[tokio::test(start_paused = true)]
async fn resources_are_found_by_list_by_template_and_by_asking_around() {
    let resource = |uri: &str| json!({"uri": uri, "name": uri});
    let template = |uri: &str| json!({"uriTemplate": uri, "name": uri});
    let a = scripted("a")
        .list("resources", &[resource("x:1")])
        .list("resourceTemplates", &[template("a:{id}/end")]);
    let b = scripted("b")
        .list("resources", &[resource("x:2")])
        .list("resourceTemplates", &[template("b:{+path}")]);
    let c = scripted("c").capable(json!({"tools": {}}));
    let world = World::new(&[&a, &b, &c]);
    let client = world.modern();
    for (uri, server) in [("x:1", &a), ("x:2", &b), ("a:7/end", &a), ("b:any/thing", &b)] {
        let read = client.start(Method::ResourcesRead, json!({"uri": uri}));
        let asked = server.next(Method::ResourcesRead).await;
        assert_eq!(asked.params()["uri"], uri);
        asked.answer(json!({"contents": [{"uri": uri, "text": server.name()}]}));
        assert_eq!(read.ok().await["contents"][0]["text"], server.name());
    }
    // Nobody lists it: one after the other is asked, until one has it.
    let read = client.start(Method::ResourcesRead, json!({"uri": "y:1"}));
    a.next(Method::ResourcesRead).await.fail(-32002, "not found", Some(json!({"uri": "y:1"})));
    b.next(Method::ResourcesRead).await.answer(json!({"contents": [{"uri": "y:1", "text": "here"}]}));
    assert_eq!(read.ok().await["contents"][0]["text"], "here");
    let read = client.start(Method::ResourcesRead, json!({"uri": "y:2"}));
    a.next(Method::ResourcesRead).await.fail(-32002, "not found", None);
    b.next(Method::ResourcesRead).await.fail(-32002, "not found", None);
    let error = read.err().await;
    assert_eq!((&error["code"], &error["data"]["uri"]), (&json!(-32602), &json!("y:2")), "{error}");
    // Any other error ends the search.
    let session = world.classic(V2025_11_25, json!({})).await;
    let read = session.start(Method::ResourcesRead, json!({"uri": "y:3"}));
    a.next(Method::ResourcesRead).await.fail(-32603, "broken", None);
    assert_eq!(read.err().await["code"], -32603);
    assert_eq!(c.seen(&Method::ResourcesRead).len(), 0, "it has no resources");
    assert_eq!(client.refused(Method::ResourcesRead, json!({"uri": 5})).await["code"], -32602);
    // Where nobody can be asked it is the same to the client.
    let world = World::new(&[&c]);
    let session = world.classic(V2025_11_25, json!({})).await;
    let error = session.refused(Method::ResourcesRead, json!({"uri": "x:1"})).await;
    assert_eq!((&error["code"], &error["data"]["uri"]), (&json!(-32002), &json!("x:1")), "{error}");
    assert_eq!(world.modern().refused(Method::ResourcesRead, json!({"uri": "x:1"})).await["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn completion_finds_its_server_by_what_is_completed() {
    let a = scripted("a").list("prompts", &[json!({"name": "p"})]);
    let b = scripted("b").list("resourceTemplates", &[json!({"uriTemplate": "b:{id}", "name": "t"})]);
    let world = World::new(&[&a, &b]);
    let client = world.modern();
    let argument = json!({"name": "id", "value": ""});
    let completed = json!({"completion": {"values": []}});
    for (reference, server, sent) in [
        (json!({"type": "ref/prompt", "name": "a__p"}), &a, json!({"type": "ref/prompt", "name": "p"})),
        (
            json!({"type": "ref/resource", "uri": "b:{id}"}),
            &b,
            json!({"type": "ref/resource", "uri": "b:{id}"}),
        ),
        (json!({"type": "ref/resource", "uri": "b:5"}), &b, json!({"type": "ref/resource", "uri": "b:5"})),
    ] {
        let params = json!({"ref": reference, "argument": argument, "context": {"arguments": {"x": "y"}}});
        let call = client.start(Method::CompletionComplete, params);
        let asked = server.next(Method::CompletionComplete).await;
        assert_eq!(asked.params()["ref"], sent);
        assert_eq!(asked.params()["context"]["arguments"]["x"], "y");
        asked.answer(&completed);
        call.ok().await;
    }
    for reference in [json!({"type": "ref/other"}), json!(null), json!({"type": "ref/prompt", "name": "p"})] {
        let error =
            client.refused(Method::CompletionComplete, json!({"ref": reference, "argument": argument})).await;
        assert_eq!(error["code"], -32602, "{reference}");
    }
}

#[tokio::test(start_paused = true)]
async fn completion_loses_its_context_for_servers_that_do_not_know_it() {
    let old =
        Server::scripted("old", TransportKind::Stdio, V2025_03_26).list("prompts", &[json!({"name": "p"})]);
    let world = World::new(&[&old]);
    let params = json!({"ref": {"type": "ref/prompt", "name": "old__p"}, "argument": {"name": "x", "value": ""},
        "context": {"arguments": {}}});
    let call = world.modern().start(Method::CompletionComplete, params);
    let asked = old.next(Method::CompletionComplete).await;
    assert_eq!(asked.params().get("context"), None);
    asked.answer(json!({"completion": {"values": ["1"]}}));
    assert_eq!(call.ok().await["completion"]["values"], json!(["1"]));
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_holds_up_nobody_and_is_announced_when_it_is_there() {
    let fast = scripted("fast").tools(&["t"]);
    let slow = scripted("slow").tools(&["t"]).on(Method::ToolsList, drop);
    let world = World::with(&[&fast, &slow], |settings| settings.list_wait = Duration::from_secs(2), |_| {});
    let started = tokio::time::Instant::now();
    let session = world.classic(V2025_11_25, json!({})).await;
    assert_eq!(started.elapsed(), Duration::from_secs(2), "not longer than it may");
    let listed = session.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&listed, "tools"), ["fast__t"]);
    assert_eq!(started.elapsed(), Duration::from_secs(2), "nor again");
    // It may be called all the same by those who know it.
    let call = session.tool("slow__t");
    slow.next(Method::ToolsCall).await.answer(text("slowly"));
    assert_eq!(said(&call.ok().await), "slowly");
    let asked = slow.next(Method::ToolsList).await;
    asked.answer(json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}));
    session.probe.hear(CHANGED, 1).await;
    let listed = session.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&listed, "tools"), ["fast__t", "slow__t"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_left_out_and_announced_when_it_comes_back() {
    let (alive, dead) = (scripted("alive").tools(&["t"]), scripted("dead").tools(&["t"]));
    dead.set_down(true);
    let world = World::new(&[&alive, &dead]);
    let session = world.classic(V2025_11_25, json!({})).await;
    // A session is told once what is offered: whatever the missing server may have is among it.
    let offered = &session.opened["capabilities"];
    assert_eq!(
        (&offered["logging"], &offered["resources"]["subscribe"]),
        (&json!({}), &json!(true)),
        "{offered}"
    );
    assert_eq!(offered["completions"], json!({}), "{offered}");
    let listed = session.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&listed, "tools"), ["alive__t"]);
    let error = session.tool("dead__t").err().await;
    assert_eq!(
        (&error["code"], &error["data"]["reason"]),
        (&json!(-32603), &json!("upstream_unavailable")),
        "{error}"
    );
    assert_eq!(error["data"]["delivery"], "not_sent", "{error}");
    assert!(error["data"]["requestId"].is_string(), "{error}");
    dead.set_down(false);
    world.reconnect("dead").await;
    session.probe.hear(CHANGED, 1).await;
    let listed = session.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&listed, "tools"), ["alive__t", "dead__t"]);
}

#[tokio::test(start_paused = true)]
async fn servers_that_come_and_go_are_announced() {
    let (a, b) = (scripted("a").tools(&["t"]), scripted("b").tools(&["u"]));
    let world = World::new(&[&a]);
    let session = world.classic(V2025_11_25, json!({})).await;
    world.net.add(&b);
    world.manager.register(definition(&b)).unwrap();
    session.probe.hear(CHANGED, 1).await;
    assert_eq!(names(&session.call(Method::ToolsList, json!({})).await, "tools"), ["a__t", "b__u"]);
    world.manager.unregister("a").await.unwrap();
    session.probe.hear(CHANGED, 2).await;
    assert_eq!(names(&session.call(Method::ToolsList, json!({})).await, "tools"), ["b__u"]);
    assert_eq!(session.tool("a__t").err().await["code"], -32602);
    b.set_tools(&["u", "v"]);
    for _ in 0..20 {
        b.open()[0].tell(CHANGED, json!({}));
    }
    session.probe.hear(CHANGED, 3).await;
    pass(Duration::from_secs(1)).await;
    assert_eq!(session.probe.told_of(CHANGED).len(), 3, "a burst is one change");
    assert_eq!(names(&session.call(Method::ToolsList, json!({})).await, "tools"), ["b__u", "b__v"]);
    // A change that is none is not told.
    b.open()[0].tell(CHANGED, json!({}));
    pass(Duration::from_secs(1)).await;
    assert_eq!(session.probe.told_of(CHANGED).len(), 3);
}

fn grouped(definition: &mut mcp_registry::Definition) {
    definition.group = Some("g".parse().unwrap());
    definition.priority = if definition.name.as_str() == "a" { 90 } else { 50 };
}

#[tokio::test(start_paused = true)]
async fn a_group_is_one_server_whose_members_stand_in_for_one_another() {
    for scope in [mcp_bridge::Scope::All, one("g")] {
        let (a, b) = (scripted("a").tools(&["t"]), scripted("b").tools(&["t"]));
        let world = World::with(&[&a, &b], |_| {}, grouped);
        let session = world.classic_at(&scope, V2025_11_25, json!({})).await;
        let tool = if scope == one("g") { "t" } else { "g__t" };
        let listed = session.call(Method::ToolsList, json!({})).await;
        assert_eq!(names(&listed, "tools"), [tool]);
        let call = session.tool(tool);
        a.next(Method::ToolsCall).await.answer(text("a"));
        assert_eq!(said(&call.ok().await), "a");
        // Nothing was executed: the other one is asked.
        a.set_down(true);
        a.crash();
        settle().await;
        let call = session.tool(tool);
        b.next(Method::ToolsCall).await.answer(text("b"));
        assert_eq!(said(&call.ok().await), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_executed_is_not_done_again_unless_it_is_safe() {
    let (a, b) = (scripted("a").tools(&["t"]), scripted("b").tools(&["t"]));
    let resource = [json!({"uri": "x:1", "name": "x"})];
    let (a, b) = (a.list("resources", &resource), b.list("resources", &resource));
    let world = World::with(&[&a, &b], |_| {}, grouped);
    for modern in [false, true] {
        let session = world.classic(V2025_11_25, json!({})).await;
        let client = world.modern();
        let tool = if modern { client.tool("g__t") } else { session.tool("g__t") };
        let asked = a.next(Method::ToolsCall).await;
        asked.wire.crash();
        let error = tool.err().await;
        assert_eq!(
            (&error["code"], &error["data"]["delivery"]),
            (&json!(-32603), &json!("unknown")),
            "{error}"
        );
        assert_eq!(error["data"]["reason"], "outcome_unknown", "{error}");
        assert_eq!(b.seen(&Method::ToolsCall).len(), 0);
        world.manager.reconnect("a").await.unwrap();
    }
    // Reading does no harm.
    let read = world.modern().start(Method::ResourcesRead, json!({"uri": "x:1"}));
    a.next(Method::ResourcesRead).await.wire.crash();
    b.next(Method::ResourcesRead).await.answer(json!({"contents": [{"uri": "x:1", "text": "b"}]}));
    assert_eq!(read.ok().await["contents"][0]["text"], "b");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_exposed_does_not_exist() {
    let a = scripted("a")
        .tools(&["get_x", "get_y", "set_x"])
        .list("prompts", &[json!({"name": "p"}), json!({"name": "q"})])
        .list("resources", &[json!({"uri": "x:1", "name": "1"}), json!({"uri": "y:1", "name": "1"})]);
    let world = World::with(
        &[&a],
        |_| {},
        |definition| {
            definition.exposure = Exposure {
                tools: filter(Some(&["get_*"]), &["*_y"]),
                prompts: filter(None, &["q"]),
                resources: filter(Some(&["x:*"]), &[]),
            };
        },
    );
    for (client, prefix) in [(world.modern(), "a__"), (world.modern_at(&one("a")), "")] {
        for (method, member, seen) in [
            (Method::ToolsList, "tools", format!("{prefix}get_x")),
            (Method::PromptsList, "prompts", format!("{prefix}p")),
            (Method::ResourcesList, "resources", "x:1".into()),
        ] {
            let listed = client.call(method, json!({})).await;
            assert_eq!(names(&listed, member), [seen]);
        }
        for tool in ["set_x", "get_y"] {
            let error = client.tool(&format!("{prefix}{tool}")).err().await;
            assert_eq!(error["code"], -32602, "{error}");
            let unknown = client.tool(&format!("{prefix}nonsense")).err().await;
            let told = error["message"].as_str().unwrap().replace(tool, "nonsense");
            assert_eq!(unknown["message"], told, "no difference can be seen");
        }
        assert_eq!(
            client.refused(Method::PromptsGet, json!({"name": format!("{prefix}q")})).await["code"],
            -32602
        );
        assert_eq!(client.refused(Method::ResourcesRead, json!({"uri": "y:1"})).await["code"], -32602);
    }
    for scope in [mcp_bridge::Scope::All, one("a")] {
        let session = world.classic_at(&scope, V2025_11_25, json!({})).await;
        let error = session.refused(Method::ResourcesRead, json!({"uri": "y:1"})).await;
        assert_eq!(error["code"], -32002, "as for one that is not there: {error}");
    }
    assert_eq!(a.seen(&Method::ToolsCall).len() + a.seen(&Method::ResourcesRead).len(), 0);
    // Nor while the lists are not known.
    let b = scripted("b");
    b.set_down(true);
    let exposure =
        Exposure { tools: filter(None, &["set_*"]), prompts: filter(None, &["q"]), ..Exposure::default() };
    let world = World::with(&[&b], |_| {}, |definition| definition.exposure = exposure.clone());
    let client = world.modern();
    assert_eq!(client.tool("b__set_x").err().await["code"], -32602);
    assert_eq!(client.tool("b__get_x").err().await["code"], -32603, "it may have that one");
    assert_eq!(client.refused(Method::PromptsGet, json!({"name": "b__q"})).await["code"], -32602);
    assert_eq!(client.refused(Method::PromptsGet, json!({"name": "b__p"})).await["code"], -32603);
    assert_eq!(client.tool("c__get_x").err().await["code"], -32602, "nobody has this name");
}

#[tokio::test(start_paused = true)]
async fn each_member_of_a_group_shows_what_it_may_and_is_asked_for_nothing_else() {
    let prompts = [json!({"name": "p"}), json!({"name": "q"})];
    let server = |name: &str| scripted(name).tools(&["t", "danger"]).list("prompts", &prompts);
    let (a, b) = (server("a"), server("b"));
    let restrict = |definition: &mut mcp_registry::Definition| {
        grouped(definition);
        if definition.name.as_str() == "b" {
            let denied = |names: &[&str]| filter(None, names);
            definition.exposure =
                Exposure { tools: denied(&["danger"]), prompts: denied(&["q"]), ..Exposure::default() };
        }
    };
    for scope in [mcp_bridge::Scope::All, one("g")] {
        let prefix = if scope == one("g") { "" } else { "g__" };
        let world = World::with(&[&a, &b], |_| {}, restrict);
        let session = world.classic_at(&scope, V2025_11_25, json!({})).await;
        // One of them still answers, and the other one may not be asked.
        a.refuse(&Method::ToolsCall, 503, mcp_transport::Delivery::Rejected);
        a.refuse(&Method::PromptsGet, 503, mcp_transport::Delivery::Rejected);
        let error = session.tool(&format!("{prefix}danger")).err().await;
        assert_eq!(error["code"], -32603, "{error}");
        let prompt = json!({"name": format!("{prefix}q")});
        assert_eq!(session.refused(Method::PromptsGet, prompt).await["code"], -32603);
        let call = session.tool(&format!("{prefix}t"));
        let asked = b.next(Method::ToolsCall).await;
        assert_eq!(asked.params()["name"], "t");
        asked.answer(text("b"));
        assert_eq!(said(&call.ok().await), "b");
    }
    assert_eq!((b.seen(&Method::ToolsCall).len(), b.seen(&Method::PromptsGet).len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_completed_for_what_is_not_exposed() {
    let a = scripted("a").list("prompts", &[json!({"name": "p"}), json!({"name": "q"})]);
    let world = World::with(
        &[&a],
        |_| {},
        |definition| {
            definition.exposure = Exposure {
                prompts: filter(None, &["q"]),
                resources: filter(None, &["y:*"]),
                ..Exposure::default()
            };
        },
    );
    for (scope, prompt) in [(mcp_bridge::Scope::All, "a__q"), (one("a"), "q")] {
        let client = world.modern_at(&scope);
        for reference in
            [json!({"type": "ref/prompt", "name": prompt}), json!({"type": "ref/resource", "uri": "y:{id}"})]
        {
            let params = json!({"ref": reference, "argument": {"name": "x", "value": ""}});
            assert_eq!(client.refused(Method::CompletionComplete, &params).await["code"], -32602, "{params}");
        }
    }
    assert_eq!(a.seen(&Method::CompletionComplete).len(), 0);
}

fn with_view(settings: &mut Settings) {
    let exposure = Exposure {
        tools: filter(Some(&["a__*", "b__u"]), &["a__s"]),
        resources: filter(None, &["hidden:*"]),
        ..Exposure::default()
    };
    settings.views = vec![View { name: "v".into(), servers: filter(Some(&["a", "b"]), &[]), exposure }];
}

#[tokio::test(start_paused = true)]
async fn a_view_shows_a_part() {
    let hidden = [json!({"uri": "hidden:1", "name": "h"}), json!({"uri": "x:1", "name": "x"})];
    let a = scripted("a").tools(&["t", "s"]).list("resources", &hidden);
    let b = scripted("b").tools(&["t", "u"]);
    let c = scripted("c").tools(&["t"]);
    let dead = scripted("d");
    dead.set_down(true);
    let world = World::with(&[&a, &b, &c, &dead], with_view, |_| {});
    let view = mcp_bridge::Scope::View("v".into());
    let client = world.modern_at(&view);
    let listed = client.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&listed, "tools"), ["a__t", "b__u"]);
    let listed = client.call(Method::ResourcesList, json!({})).await;
    assert_eq!(names(&listed, "resources"), ["x:1"]);
    for hidden in ["a__s", "b__t", "c__t", "d__t"] {
        assert_eq!(client.tool(hidden).err().await["code"], -32602, "{hidden}");
    }
    assert_eq!(client.refused(Method::ResourcesRead, json!({"uri": "hidden:1"})).await["code"], -32602);
    let call = client.tool("b__u");
    b.next(Method::ToolsCall).await.answer(text("u"));
    assert_eq!(said(&call.ok().await), "u");
    // Another view, other lists; whoever reads is told.
    let session = world.classic_at(&view, V2025_11_25, json!({})).await;
    let mut settings = Settings::default();
    with_view(&mut settings);
    settings.views[0].exposure = Exposure::default();
    world.bridge.set(settings);
    session.probe.hear(CHANGED, 1).await;
    let listed = session.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&listed, "tools"), ["a__t", "a__s", "b__t", "b__u"]);
    world.bridge.set(Settings::default());
    assert!(!world.bridge.has(&view) && world.bridge.endpoint(&view).is_none());
    session.probe.hear(CHANGED, 2).await;
    assert_eq!(names(&session.call(Method::ToolsList, json!({})).await, "tools"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_those_of_servers_groups_and_views() {
    let (a, b) = (scripted("a"), scripted("b"));
    let world = World::with(&[&a, &b], with_view, |definition| {
        if definition.name.as_str() == "b" {
            grouped(definition);
        }
    });
    for scope in [mcp_bridge::Scope::All, mcp_bridge::Scope::View("v".into()), one("a"), one("b"), one("g")] {
        assert!(world.bridge.has(&scope) && world.bridge.endpoint(&scope).is_some(), "{scope:?}");
    }
    for scope in [mcp_bridge::Scope::View("a".into()), one("v"), one("c"), one("")] {
        assert!(!world.bridge.has(&scope) && world.bridge.endpoint(&scope).is_none(), "{scope:?}");
    }
    // One that was there when the session began.
    let session = world.classic_at(&one("a"), V2025_11_25, json!({})).await;
    world.manager.unregister("a").await.unwrap();
    for method in [Method::ToolsList, Method::ToolsCall] {
        assert!(session.refused(method, json!({"name": "t"})).await["code"].is_i64());
    }
    assert_eq!(format!("{:?}", world.bridge), "Bridge { .. }");
}

#[tokio::test(start_paused = true)]
async fn one_server_is_shown_as_it_is_with_its_own_pages() {
    let a = scripted("a");
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    a.set_pages("tools", vec![vec![tool("1")], vec![tool("2")]]);
    let world = World::new(&[&a]);
    let client = world.modern_at(&one("a"));
    let first = client.call(Method::ToolsList, json!({})).await;
    assert_eq!((names(&first, "tools"), &first["nextCursor"]), (vec!["1".to_owned()], &json!("1")));
    assert_eq!(pages(&client, Method::ToolsList, "tools").await, [["1"], ["2"]]);
    let prompts = client.call(Method::PromptsList, json!({})).await;
    assert_eq!(prompts["prompts"], json!([]));
}

/// A server that shows another tool to clients that it can ask.
fn asking_those_who_can(name: &str) -> Server {
    scripted(name).on(Method::ToolsList, |asked| {
        let capabilities = asked.wire.capabilities();
        let names =
            if capabilities.get("elicitation").is_some() { vec!["plain", "asking"] } else { vec!["plain"] };
        let tools: Vec<_> =
            names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
        asked.answer(json!({"tools": tools}));
    })
}

#[tokio::test(start_paused = true)]
async fn in_a_group_tools_for_clients_that_can_be_asked_can_be_called() {
    let (a, b) = (asking_those_who_can("a"), asking_those_who_can("b"));
    let world = World::with(&[&a, &b], |_| {}, grouped);
    for server in ["a", "b"] {
        world.manager.initialize(server, false).await.unwrap();
        let known = world.manager.refresh_tools(server).await.unwrap();
        assert!(known.lacks_tool("asking"), "what the gateway itself is shown");
    }
    let asking = json!({"elicitation": {"form": {}}});
    for scope in [mcp_bridge::Scope::All, one("g")] {
        let tool = if scope == one("g") { "asking" } else { "g__asking" };
        let client = world.modern_at(&scope).able(asking.clone());
        assert!(names(&client.call(Method::ToolsList, json!({})).await, "tools").contains(&tool.to_owned()));
        let call = client.tool(tool);
        a.next(Method::ToolsCall).await.answer(text("a"));
        assert_eq!(said(&call.ok().await), "a");
    }
}

#[tokio::test(start_paused = true)]
async fn kinds_of_clients_see_the_lists_that_are_meant_for_them() {
    let a = asking_those_who_can("a");
    let world = World::new(&[&a]);
    let asking = json!({"elicitation": {"form": {}}});
    for _ in 0..2 {
        let plain = world.modern().call(Method::ToolsList, json!({})).await;
        assert_eq!(names(&plain, "tools"), ["a__plain"]);
        let more = world.modern().able(asking.clone()).call(Method::ToolsList, json!({})).await;
        assert_eq!(names(&more, "tools"), ["a__plain", "a__asking"]);
        let session = world.classic(V2025_11_25, asking.clone()).await;
        assert_eq!(
            names(&session.call(Method::ToolsList, json!({})).await, "tools"),
            ["a__plain", "a__asking"]
        );
    }
    assert_eq!(a.open().len(), 2, "one connection for each kind");
    let named = world.modern().able(asking).named("somebody");
    named.call(Method::ToolsList, json!({})).await;
    assert_eq!(a.open().len(), 3, "and for each principal");
    // What nobody asks for any more is given up.
    pass(Duration::from_secs(3600)).await;
    assert_eq!(world.modern().call(Method::ToolsList, json!({})).await["tools"].as_array().unwrap().len(), 1);
}

fn tools(names: &[&str]) -> Value {
    let tool = |name: &&str| json!({"name": name, "inputSchema": {"type": "object"}});
    json!({"tools": names.iter().map(tool).collect::<Vec<_>>()})
}

fn is_askable(asked: &crate::net::Asked) -> bool {
    asked.wire.capabilities().get("elicitation").is_some()
}

/// A server that lists its tools at once for everybody, and when the test says so for clients that it can ask.
fn slow_for_some(everybody: &Arc<Mutex<Vec<&'static str>>>) -> Server {
    let everybody = everybody.clone();
    scripted("a").on(Method::ToolsList, move |asked| {
        if !is_askable(&asked) {
            asked.answer(tools(&everybody.lock().unwrap()));
        }
    })
}

/// For a client that can be asked a server may need a process of its own, which takes a while.
#[tokio::test(start_paused = true)]
async fn until_its_own_lists_are_there_a_kind_of_client_sees_those_of_everybody() {
    let everybody = Arc::new(Mutex::new(vec!["plain"]));
    let a = slow_for_some(&everybody);
    let world = World::new(&[&a]);
    let plain = world.classic(V2025_11_25, json!({})).await;
    let session = world.classic(V2025_11_25, json!({"elicitation": {"form": {}}})).await;
    let offered = &session.opened["capabilities"];
    assert_eq!(offered["completions"], json!({}), "it may have more than is known: {offered}");
    let seen = async || names(&session.call(Method::ToolsList, json!({})).await, "tools");
    assert_eq!(seen().await, ["a__plain"]);
    // What only its own list has can be called by those who know it.
    let call = session.tool("a__asking");
    a.next(Method::ToolsCall).await.answer(text("asked"));
    assert_eq!(said(&call.ok().await), "asked");
    let change = async |names: &[&'static str]| {
        *everybody.lock().unwrap() = names.to_vec();
        let wire = a.wires().into_iter().find(|wire| wire.capabilities().get("elicitation").is_none());
        wire.unwrap().tell(CHANGED, json!({}));
        pass(Duration::from_secs(1)).await;
    };
    change(&["plain", "new"]).await;
    assert_eq!(seen().await, ["a__plain", "a__new"]);
    assert_eq!(session.probe.told_of(CHANGED).len(), 1);
    let late = a.seen(&Method::ToolsList).into_iter().find(is_askable).unwrap();
    late.answer(tools(&["plain", "asking"]));
    session.probe.hear(CHANGED, 2).await;
    assert_eq!(seen().await, ["a__plain", "a__asking"]);
    // What everybody sees makes no difference to it now.
    change(&["other"]).await;
    plain.probe.hear(CHANGED, 2).await;
    assert_eq!(seen().await, ["a__plain", "a__asking"]);
    assert_eq!(session.probe.told_of(CHANGED).len(), 2);
    assert!(session.tool("a__unheard").err().await["message"].as_str().unwrap().starts_with("Unknown tool"));
}

#[tokio::test(start_paused = true)]
async fn a_kind_of_client_whose_own_list_cannot_be_read_sees_that_of_everybody() {
    let a = slow_for_some(&Arc::new(Mutex::new(vec!["plain"])))
        .list("prompts", &[json!({"name": "p"})])
        .capable(json!({"tools": {}, "prompts": {}}));
    let world = World::new(&[&a]);
    let session = world.classic(V2025_11_25, json!({"elicitation": {"form": {}}})).await;
    pass(Duration::from_secs(60)).await;
    let listed = session.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&listed, "tools"), ["a__plain"], "the own one was waited for in vain");
    let listed = session.call(Method::PromptsList, json!({})).await;
    assert_eq!(names(&listed, "prompts"), ["a__p"]);
    // Whoever looks has it tried again.
    pass(Duration::from_secs(1)).await;
    a.seen(&Method::ToolsList).into_iter().filter(is_askable).last().unwrap().answer(tools(&["asking"]));
    pass(Duration::from_secs(1)).await;
    let listed = session.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&listed, "tools"), ["a__asking"]);
}

#[tokio::test(start_paused = true)]
async fn arguments_that_are_mirrored_in_headers_are_known_by_tool() {
    let schema =
        json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    let broken =
        json!({"type": "object", "properties": {"region": {"type": "object", "x-mcp-header": "Region"}}});
    let tools = [
        json!({"name": "t", "inputSchema": schema}),
        json!({"name": "u", "inputSchema": {"type": "object"}}),
        json!({"name": "broken", "inputSchema": broken}),
    ];
    for kind in KINDS {
        let a = Server::scripted("a", kind, V2026_07_28).list("tools", &tools);
        let world = World::new(&[&a]);
        let client = world.modern();
        let service = client.service.clone();
        assert!(service.mirrored(&Principal::anonymous(), "a__t").is_none(), "nobody has seen it");
        let listed = client.call(Method::ToolsList, json!({})).await;
        // A tool nobody could call properly is left out where the headers mean something.
        let shown: &[&str] =
            if kind == TransportKind::Http { &["a__t", "a__u"] } else { &["a__t", "a__u", "a__broken"] };
        assert_eq!(names(&listed, "tools"), shown, "{kind:?}");
        assert!(service.mirrored(&Principal::anonymous(), "a__t").is_some());
        for none in ["a__u", "t", "a__x"] {
            assert!(service.mirrored(&Principal::anonymous(), none).is_none(), "{none}");
        }
        let alone = world.modern_at(&one("a")).call(Method::ToolsList, json!({})).await;
        assert_eq!(names(&alone, "tools").len(), shown.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_leaves_the_others_alone() {
    let a = scripted("a")
        .list("prompts", &[json!({"name": "p"})])
        .on(Method::ToolsList, |asked| asked.fail(-32603, "no", None))
        .on(Method::ResourceTemplatesList, |asked| asked.fail(-32601, "no templates", None));
    let world = World::new(&[&a]);
    let client = world.modern();
    assert_eq!(pages(&client, Method::PromptsList, "prompts").await, [["a__p"]]);
    assert_eq!(pages(&client, Method::ToolsList, "tools").await, [Vec::<String>::new()]);
    assert_eq!(
        pages(&client, Method::ResourceTemplatesList, "resourceTemplates").await,
        [Vec::<String>::new()]
    );
    // Entries without a name are nobody's.
    let b = scripted("b")
        .list("tools", &[json!({"title": "?"}), json!({"name": "t", "inputSchema": {"type": "object"}})]);
    let world = World::new(&[&b]);
    assert_eq!(pages(&world.modern(), Method::ToolsList, "tools").await, [["b__t"]]);
}

#[tokio::test(start_paused = true)]
async fn lists_of_servers_that_tell_of_no_changes_are_read_again_by_and_by() {
    for version in [V2025_11_25, V2026_07_28] {
        let server = Server::scripted("s", TransportKind::Http, version)
            .capable(json!({"tools": {}, "prompts": {"listChanged": true}}))
            .tools(&["t"]);
        let world = World::new(&[&server]);
        let session = world.classic(V2025_11_25, json!({})).await;
        let client = world.modern();
        let tools = async || names(&client.call(Method::ToolsList, json!({})).await, "tools");
        assert_eq!(tools().await, ["s__t"]);
        let reads = || server.seen(&Method::ToolsList).len();
        let (before, prompts) = (reads(), server.seen(&Method::PromptsList).len());
        server.set_tools(&["t", "u"]);
        tools().await;
        settle().await;
        assert_eq!(reads(), before, "not yet");
        pass(Duration::from_secs(61)).await;
        assert_eq!(reads(), before, "not as long as nobody looks");
        tools().await;
        session.probe.hear(CHANGED, 1).await;
        assert_eq!(tools().await, ["s__t", "s__u"]);
        assert_eq!((reads(), server.seen(&Method::PromptsList).len()), (before + 1, prompts), "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_could_not_be_read_is_read_again_when_somebody_looks() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_broken = broken.clone();
    let server = scripted("s").on(Method::ToolsList, move |asked| {
        match is_broken.load(std::sync::atomic::Ordering::Relaxed) {
            true => asked.fail(-32603, "not now", None),
            false => asked.answer(json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]})),
        }
    });
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, json!({})).await;
    broken.store(false, std::sync::atomic::Ordering::Relaxed);
    pass(Duration::from_secs(5)).await;
    assert_eq!(names(&session.call(Method::ToolsList, json!({})).await, "tools"), [""; 0]);
    session.probe.hear(CHANGED, 1).await;
    assert_eq!(names(&session.call(Method::ToolsList, json!({})).await, "tools"), ["s__t"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_stops_talking_has_its_lists_read_all_the_same() {
    let server = scripted("s").tools(&["t"]);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, json!({})).await;
    server.set_tools(&["t", "u"]);
    server.open()[0].tell(CHANGED, json!({}));
    for _ in 0..50 {
        pass(Duration::from_millis(5)).await;
        server.open()[0].tell("notifications/message", json!({"level": "info", "data": "bla"}));
    }
    assert_eq!(session.probe.told_of(CHANGED).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_list_that_has_changed_meanwhile_are_begun_anew() {
    let server = scripted("s").tools(&["a", "b", "c", "d"]);
    let world = World::with(&[&server], |settings| settings.page_size = 2, |_| {});
    let client = world.modern();
    let first = client.call(Method::ToolsList, json!({})).await;
    let next = json!({"cursor": first["nextCursor"]});
    assert_eq!(names(&client.call(Method::ToolsList, &next).await, "tools"), ["s__c", "s__d"]);
    server.set_tools(&["b", "c", "d", "e"]);
    server.open()[0].tell(CHANGED, json!({}));
    pass(Duration::from_secs(1)).await;
    assert_eq!(client.refused(Method::ToolsList, &next).await["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn the_next_page_of_a_group_comes_from_the_server_that_gave_the_one_before() {
    let paged = |name: &str| {
        let server = scripted(name);
        let tool = |at: &str| vec![json!({"name": format!("{name}{at}"), "inputSchema": {"type": "object"}})];
        server.set_pages("tools", vec![tool("1"), tool("2")]);
        server
    };
    let (a, b) = (paged("a"), paged("b"));
    let world = World::with(&[&a, &b], |_| {}, grouped);
    let session = world.classic_at(&one("g"), V2025_11_25, json!({})).await;
    let first = session.call(Method::ToolsList, json!({})).await;
    assert_eq!(names(&first, "tools"), ["a1"]);
    let next = json!({"cursor": first["nextCursor"]});
    world.manager.mark_degraded("a", "for the test").unwrap();
    assert_eq!(names(&session.call(Method::ToolsList, json!({})).await, "tools"), ["b1"]);
    world.manager.mark_healthy("a").unwrap();
    let second = session.call(Method::ToolsList, &next).await;
    assert_eq!((names(&second, "tools"), second.get("nextCursor")), (vec!["a2".to_owned()], None));
    // A server's own cursor, somebody else's, and that of a server that is gone.
    assert_eq!(session.refused(Method::ToolsList, json!({"cursor": "1"})).await["code"], -32602);
    world.manager.unregister("a").await.unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(session.refused(Method::ToolsList, &next).await["code"], -32602);
}
