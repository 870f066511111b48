//! Tools whose definitions change, and what an operator is told of names. Source: product §5, S22.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_bridge::guard::{Guard, Saved};
use mcp_bridge::{ApproveError, Bridge, Exposed, Hiding, ListKind, Settings, ToolStore, View};
use mcp_manager::Manager;
use mcp_protocol::{Method, RawJson};
use mcp_registry::{
    Definition, Exposure, NameFilter, OnToolChange, RegistryChange, RegistryFilter, StoreError,
};
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::net::Server;
use crate::support::*;

const CHANGED: &str = "notifications/tools/list_changed";

fn tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {"type": "object"}})
}

/// A server that answers every call of a tool with its name.
fn scripted(name: &'static str) -> Server {
    Server::scripted(name, TransportKind::Stdio, V2025_11_25)
        .on(Method::ToolsCall, move |asked| asked.answer(text(name)))
}

/// The server lists other tools from now on, and says so.
fn change(server: &Server, tools: &[Value]) {
    server.set_pages("tools", vec![tools.to_vec()]);
    server.open()[0].tell(CHANGED, json!({}));
}

fn blocking(definition: &mut Definition) {
    definition.on_tool_change = OnToolChange::Block;
}

/// What was reported: tool and whether it is withheld.
fn reported(manager: &Manager) -> Vec<(String, bool)> {
    let changes = RegistryFilter { kind: Some("tool_changed"), ..RegistryFilter::default() };
    let events = manager.journal().registry_events(&changes).into_iter();
    let told = events.map(|event| match event.change {
        RegistryChange::ToolChanged { tool, withheld, .. } => (tool.to_string(), withheld),
        other => panic!("{other:?}"),
    });
    told.collect()
}

/// Approves what a tool is now.
async fn approve(bridge: &Bridge, tool: &str) -> Result<(), ApproveError> {
    let changes = bridge.tool_changes();
    let change = changes.iter().find(|change| *change.tool == *tool).unwrap();
    bridge.approve_tool(&change.server, tool, change.history.current().digest).await
}

async fn tools(client: &Modern) -> Vec<String> {
    names(&client.call(Method::ToolsList, json!({})).await, "tools")
}

#[tokio::test(start_paused = true)]
async fn s22_a_tool_that_changes_is_withheld_until_somebody_approves_it() {
    let a = scripted("a").list("tools", &[tool("t", "adds"), tool("u", "subtracts")]);
    let world = World::with(&[&a], |_| {}, blocking);
    let client = world.modern();
    let session = world.classic(V2025_11_25, json!({})).await;
    assert_eq!(tools(&client).await, ["a__t", "a__u"]);
    client.tool("a__t").ok().await;
    assert!(world.bridge.tool_changes().is_empty() && reported(&world.manager).is_empty());

    change(&a, &[tool("t", "adds and tells"), tool("u", "subtracts")]);
    session.probe.hear(CHANGED, 1).await;
    assert_eq!(reported(&world.manager), [("t".to_owned(), true)]);
    let alone = world.modern_at(&one("a"));
    for round in ["at once", "and later"] {
        assert_eq!(tools(&client).await, ["a__u"], "{round}");
        assert_eq!(tools(&alone).await, ["u"], "{round}");
        for error in [client.tool("a__t").err().await, alone.tool("t").err().await] {
            assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-32603), &json!("tool_changed")));
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("`mcp-gateway changes approve a TOOL`"), "{message}");
        }
        // Neither another look nor a new connection approves it.
        a.crash();
        world.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(reported(&world.manager).len(), 1, "a change is reported once");
    client.tool("a__u").ok().await;
    assert_eq!(a.seen(&Method::ToolsCall).len(), 2, "what is withheld reaches no server");

    approve(&world.bridge, "t").await.unwrap();
    client.tool("a__t").ok().await;
    alone.tool("t").ok().await;
    session.probe.hear(CHANGED, 2).await;
    assert_eq!(tools(&client).await, ["a__t", "a__u"]);
    assert_eq!(tools(&alone).await, ["t", "u"]);
    let [change] = &world.bridge.tool_changes()[..] else { panic!() };
    assert!(change.history.is_approved() && change.history.earlier().count() == 1, "the history stays");
}

#[tokio::test(start_paused = true)]
async fn s22_a_change_that_a_server_does_not_tell_of_is_seen_when_an_operator_asks() {
    for server in [None, Some("a")] {
        let a = scripted("a").list("tools", &[tool("t", "adds")]);
        let world = World::with(&[&a], |_| {}, blocking);
        let (client, session) = (world.modern(), world.classic(V2025_11_25, json!({})).await);
        assert_eq!(tools(&client).await, ["a__t"]);
        a.set_pages("tools", vec![vec![tool("t", "tells"), tool("u", "")]]);
        world.bridge.look_again(Some("b"));
        settle().await;
        assert_eq!(tools(&client).await, ["a__t"], "another server was meant");
        world.bridge.look_again(server);
        session.probe.hear(CHANGED, 1).await;
        assert_eq!(tools(&client).await, ["a__u"]);
        assert_eq!(reported(&world.manager), [("t".to_owned(), true)]);
    }
}

#[tokio::test(start_paused = true)]
async fn s22_a_tool_that_goes_and_comes_back_as_another_is_withheld() {
    let a = scripted("a").list("tools", &[tool("t", "adds")]);
    let world = World::with(&[&a], |_| {}, blocking);
    let (client, session) = (world.modern(), world.classic(V2025_11_25, json!({})).await);
    assert_eq!(tools(&client).await, ["a__t"]);
    change(&a, &[]);
    session.probe.hear(CHANGED, 1).await;
    change(&a, &[tool("t", "tells"), tool("new", "")]);
    session.probe.hear(CHANGED, 2).await;
    assert_eq!(tools(&client).await, ["a__new"], "a new tool is approved by being seen");
    client.tool("a__t").err().await;
    change(&a, &[tool("t", "adds")]);
    session.probe.hear(CHANGED, 3).await;
    assert_eq!(tools(&client).await, ["a__t"], "it is what was approved");
    client.tool("a__t").ok().await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_reported_or_let_pass_as_the_operator_says() {
    let (told, quiet) = (scripted("told"), scripted("quiet"));
    let world = World::with(
        &[&told.clone().list("tools", &[tool("t", "1")]), &quiet.clone().list("tools", &[tool("q", "1")])],
        |_| {},
        |definition| {
            if definition.name.as_str() == "quiet" {
                definition.on_tool_change = OnToolChange::Allow;
            }
        },
    );
    let (client, session) = (world.modern(), world.classic(V2025_11_25, json!({})).await);
    assert_eq!(tools(&client).await, ["quiet__q", "told__t"]);
    change(&told, &[tool("t", "2")]);
    session.probe.hear(CHANGED, 1).await;
    change(&quiet, &[tool("q", "2")]);
    session.probe.hear(CHANGED, 2).await;
    assert_eq!(tools(&client).await, ["quiet__q", "told__t"]);
    client.tool("told__t").ok().await;
    client.tool("quiet__q").ok().await;
    assert_eq!(reported(&world.manager), [("t".to_owned(), false)]);
    let changes = world.bridge.tool_changes();
    let approved: Vec<_> =
        changes.iter().map(|change| (&*change.tool, change.history.is_approved())).collect();
    assert_eq!(approved, [("q", true), ("t", false)], "both are recorded");
    // What was let pass stays approved under another rule, what was only reported does not.
    for name in ["told", "quiet"] {
        let mut definition = Definition::clone(&world.manager.server(name).unwrap().definition);
        blocking(&mut definition);
        world.manager.replace(definition).unwrap();
    }
    session.probe.hear(CHANGED, 3).await;
    assert_eq!(tools(&client).await, ["quiet__q"]);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_looked_at_is_approved() {
    let a = scripted("a").list("tools", &[tool("t", "1")]);
    let world = World::with(&[&a], |_| {}, blocking);
    let session = world.classic(V2025_11_25, json!({})).await;
    change(&a, &[tool("t", "2")]);
    session.probe.hear(CHANGED, 1).await;
    let shown = world.bridge.tool_changes().remove(0);
    // A page of the server's own list is a look, too.
    a.set_pages("tools", vec![vec![tool("t", "3")]]);
    assert_eq!(tools(&world.modern_at(&one("a"))).await, [""; 0]);
    let error =
        world.bridge.approve_tool(&shown.server, "t", shown.history.current().digest).await.unwrap_err();
    assert!(matches!(error, ApproveError::NotCurrent(_)), "{error}");
    world.modern().tool("a__t").err().await;
    approve(&world.bridge, "t").await.unwrap();
    assert_eq!(tools(&world.modern_at(&one("a"))).await, ["t"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_judged_is_withheld_where_changes_are() {
    let long = "n".repeat(1025);
    let listed = [tool("t", ""), tool(&long, ""), tool("t", "another of that name")];
    let (a, b) = (scripted("a").list("tools", &listed), scripted("b").list("tools", &listed));
    let world = World::with(
        &[&a, &b],
        |_| {},
        |definition| {
            if definition.name.as_str() == "a" {
                blocking(definition);
            }
        },
    );
    assert_eq!(tools(&world.modern()).await.len(), 3, "a__t, b__t and the long one of b");
    assert_eq!(tools(&world.modern_at(&one("a"))).await, ["t"]);
    let error = world.modern_at(&one("a")).tool("unheard-of").err().await;
    assert!(error["message"].as_str().unwrap().contains("listed none like that"), "{error}");
    assert_eq!(a.seen(&Method::ToolsCall).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn s22_a_list_that_cannot_be_read_is_not_passed_on() {
    let a = scripted("a").tools(&["t"]);
    let world = World::with(&[&a], |_| {}, blocking);
    let alone = world.modern_at(&one("a"));
    assert_eq!(tools(&alone).await, ["t"]);
    let a = a.on(Method::ToolsList, |asked| {
        asked.answer(r#"{"tools":[],"tools":[{"name":"evil","inputSchema":{}}]}"#);
    });
    let error = alone.refused(Method::ToolsList, json!({})).await;
    assert_eq!(error["data"]["reason"], "invalid_response");
    assert!(!error.to_string().contains("evil"));
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn in_a_group_those_stand_in_whose_tool_is_as_approved() {
    let (a, b) = (scripted("a").tools(&["t"]), scripted("b").tools(&["t"]));
    let world = World::with(
        &[&a, &b],
        |_| {},
        |definition| {
            blocking(definition);
            definition.group = Some("g".parse().unwrap());
            definition.priority = if definition.name.as_str() == "a" { 90 } else { 10 };
        },
    );
    let client = world.modern();
    assert_eq!(said(&client.tool("g__t").ok().await), "a");
    let alone = world.modern_at(&one("a"));
    a.set_pages("tools", vec![vec![tool("t", "changed")]]);
    assert_eq!(tools(&alone).await, [""; 0]);
    assert_eq!(said(&client.tool("g__t").ok().await), "b", "the one that is as approved stands in");
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(tools(&client).await, ["g__t"]);
    assert_eq!(said(&client.tool("g__t").ok().await), "b");
    alone.tool("t").err().await;
    assert_eq!(said(&world.modern_at(&one("b")).tool("t").ok().await), "b");
    b.set_pages("tools", vec![vec![tool("t", "changed")]]);
    assert_eq!(tools(&world.modern_at(&one("b"))).await, [""; 0]);
    client.tool("g__t").err().await;
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(tools(&client).await, [""; 0]);
    client.tool("g__t").err().await;
}

/// A store that may refuse.
#[derive(Default)]
struct Shelf {
    saved: Mutex<Vec<Saved>>,
    broken: Mutex<bool>,
}

impl ToolStore for Shelf {
    fn save(&self, tools: &Saved) -> Result<(), StoreError> {
        if *self.broken.lock().unwrap() {
            return Err(StoreError("the disk is full".into()));
        }
        self.saved.lock().unwrap().push(tools.clone());
        Ok(())
    }
}

impl Shelf {
    fn count(&self) -> usize {
        self.saved.lock().unwrap().len()
    }

    fn last(&self) -> Guard {
        Guard::from_saved(self.saved.lock().unwrap().last().unwrap().clone()).unwrap()
    }
}

/// A bridge like the one of the world, that remembers.
fn remembering(world: &World, guard: Guard, shelf: &Arc<Shelf>) -> Bridge {
    let info = RawJson::encode(&json!({"name": "gateway", "version": "0"})).unwrap();
    Bridge::remembering(world.manager.clone(), Settings::default(), info, guard, Some(shelf.clone())).unwrap()
}

#[tokio::test(start_paused = true)]
async fn s22_what_is_remembered_survives_a_restart() {
    let a = scripted("a").list("tools", &[tool("t", "1")]);
    let world = World::with(&[&a], |_| {}, blocking);
    let shelf = Arc::new(Shelf::default());
    let bridge = remembering(&world, Guard::default(), &shelf);
    let shown = async |bridge: &Bridge| {
        let exposed = bridge.exposed(None).await.unwrap();
        exposed.entries.into_iter().map(|entry| entry.hidden).collect::<Vec<_>>()
    };
    assert_eq!(shown(&bridge).await, [None]);
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(shelf.count(), 1, "saved by itself");
    bridge.save_tools().await.unwrap();
    assert_eq!(shelf.count(), 1, "nothing is new");
    drop(bridge);

    a.set_pages("tools", vec![vec![tool("t", "2")]]);
    let bridge = remembering(&world, shelf.last(), &shelf);
    assert_eq!(shown(&bridge).await, [Some(Hiding::Withheld)]);
    bridge.save_tools().await.unwrap();
    assert_eq!(shelf.last().changes().count(), 1);
    approve(&bridge, "t").await.unwrap();
    assert_eq!(shelf.last().changes().count(), 0, "saved before the operator hears of it");
    drop(bridge);
    let bridge = remembering(&world, shelf.last(), &shelf);
    assert_eq!(shown(&bridge).await, [None]);

    a.set_pages("tools", vec![vec![tool("t", "3")]]);
    *shelf.broken.lock().unwrap() = true;
    let bridge = remembering(&world, shelf.last(), &shelf);
    assert_eq!(shown(&bridge).await, [Some(Hiding::Withheld)]);
    let error = approve(&bridge, "t").await.unwrap_err().to_string();
    assert_eq!(error, "approved, but until the next start only: the disk is full");
    *shelf.broken.lock().unwrap() = false;
    let before = shelf.count();
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(shelf.count(), before + 1, "tried again");
    assert_eq!(shelf.last().changes().count(), 0);

    bridge.forget_tools(&"a".parse().unwrap());
    bridge.save_tools().await.unwrap();
    assert_eq!(shelf.last(), Guard::default());
}

/// Kind, exposed name, servers and why it is hidden.
fn spell(exposed: &Exposed) -> Vec<String> {
    let spell = |entry: &mcp_bridge::ExposedEntry| {
        let kind = match entry.kind {
            ListKind::Tools => "tool",
            ListKind::Prompts => "prompt",
            ListKind::Resources => "resource",
            ListKind::Templates => "template",
        };
        let servers: Vec<_> = entry.servers.iter().map(|server| server.as_str()).collect();
        let hidden = match &entry.hidden {
            None => String::new(),
            Some(Hiding::Taken { by }) => format!(" taken by {by}"),
            Some(Hiding::Withheld) => " withheld".to_owned(),
        };
        let short = if entry.shortened { " shortened" } else { "" };
        format!(
            "{kind} {} {} {} {}{short}{hidden}",
            entry.exposed,
            entry.owner,
            entry.name,
            servers.join(",")
        )
    };
    exposed.entries.iter().map(spell).collect()
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_which_name_is_whose() {
    let resource = |uri: &str| json!({"uri": uri, "name": "r"});
    let a =
        scripted("a").tools(&["t", "with space"]).list("resources", &[resource("x://1"), resource("x://2")]);
    let b = scripted("b").tools(&["t"]).list("prompts", &[json!({"name": "p"})]);
    let c = scripted("c").tools(&["t", "only_c"]).list("resources", &[resource("x://2")]);
    let away = scripted("away");
    away.set_down(true);
    let world = World::with(
        &[&a, &b, &c, &away],
        |settings| {
            let filter =
                |glob: &str| NameFilter { allow: Some(vec![glob.parse().unwrap()]), deny: Vec::new() };
            let exposure = Exposure { tools: filter("*only*"), ..Exposure::default() };
            settings.views = vec![View { name: "part".into(), servers: filter("[ag]"), exposure }];
        },
        |definition| {
            if ["b", "c"].contains(&definition.name.as_str()) {
                definition.group = Some("g".parse().unwrap());
            }
        },
    );
    let exposed = world.bridge.exposed(None).await.unwrap();
    let spelled = spell(&exposed);
    let short: BTreeSet<_> = spelled.iter().filter(|line| line.contains(" shortened")).collect();
    assert_eq!(short.len(), 1);
    let rest: Vec<_> = spelled.iter().filter(|line| !line.contains(" shortened")).collect();
    assert_eq!(
        rest,
        [
            "tool a__t a t a",
            "tool g__t g t b,c",
            "prompt g__p g p b",
            "resource x://1 a x://1 a",
            "resource x://2 a x://2 a",
        ],
        "the first of a group speaks for it"
    );
    assert_eq!(exposed.missing.iter().map(|owner| owner.as_str()).collect::<Vec<_>>(), ["away"]);
    assert!(world.bridge.exposed(Some("none")).await.is_none());
    let part = spell(&world.bridge.exposed(Some("part")).await.unwrap());
    assert!(part.iter().all(|line| !line.starts_with("tool")), "{part:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_what_lost_its_name_to_another() {
    let resource = json!({"uri": "x://1", "name": "r"});
    let a = scripted("a").tools(&["t"]).list("resources", std::slice::from_ref(&resource));
    let b = scripted("b").tools(&["t", "u"]).list("resources", &[resource]);
    let world = World::with(&[&a, &b], |settings| settings.prefix = false, |_| {});
    assert_eq!(
        spell(&world.bridge.exposed(None).await.unwrap()),
        [
            "tool t a t a",
            "tool u b u b",
            "tool t b t b taken by a",
            "resource x://1 a x://1 a",
            "resource x://1 b x://1 b taken by a",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_operator_fetches_as_a_client_would() {
    let a = scripted("a").list("prompts", &[json!({"name": "p"})]).on(Method::PromptsGet, |asked| {
        let words = asked.params()["name"].as_str().unwrap().to_owned();
        asked.answer(json!({"messages": [{"role": "user", "content": {"type": "text", "text": words}}]}));
    });
    let world = World::new(&[&a]);
    let fetch = async |view: Option<&str>, name: &str| {
        let params = json_of(&json!({"name": name}).to_string());
        world.bridge.fetch(view, Method::PromptsGet, params).await
    };
    let (outcome, id) = fetch(None, "a__p").await.unwrap();
    let result = crate::net::value(outcome.unwrap().as_str());
    assert_eq!(result["messages"][0]["content"]["text"], "p");
    assert!(world.manager.journal().explain(&id.unwrap()).is_some(), "it leaves a trace");
    let (outcome, id) = fetch(None, "a__q").await.unwrap();
    assert_eq!(outcome.unwrap_err().message().as_deref(), Some("Unknown prompt: a__q"));
    assert_eq!(id, None, "no server was asked");
    assert!(fetch(Some("none"), "a__p").await.is_none());
}
