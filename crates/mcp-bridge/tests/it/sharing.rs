//! Who shares a session with whom, and who is asked what. Source: bridging §3, §6.1, §6.3.2.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::join_all;
use mcp_protocol::Method;
use mcp_registry::Sharing;
use mcp_server::{Principal, TransportShape};
use mcp_transport::TransportKind;
use serde_json::{Value, json};

use crate::held::able;
use crate::net::{Asked, Server};
use crate::support::*;

/// A server whose tool asks who is there, about what the call is about, and says so.
fn curious(kind: TransportKind) -> Server {
    let ids = Arc::new(AtomicI64::new(1));
    Server::scripted("s", kind, V2025_11_25).tools(&["t"]).on(Method::ToolsCall, move |asked| {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let about = asked.params()["arguments"]["about"].as_str().unwrap().to_owned();
            asked.ask(id, "elicitation/create", form(&about));
            let answer = asked.wire.answer_to(id).await.unwrap();
            asked.answer(text(&format!("{about}: {}", answer["content"]["answer"].as_str().unwrap())));
        });
    })
}

fn about(tool: &str, about: &str) -> Value {
    json!({"name": tool, "arguments": {"about": about}})
}

#[tokio::test(start_paused = true)]
async fn each_of_many_sessions_gets_its_own_questions() {
    for kind in KINDS {
        let server = curious(kind);
        let world = World::new(&[&server]);
        let clients = (0..8).map(async |n| {
            let session = world.classic(V2025_11_25, able()).await;
            for round in 0..3 {
                let mine = format!("{n}/{round}");
                let call = session.start(Method::ToolsCall, about("s__t", &mine));
                let asked = call.probe.question().await;
                let message = asked.params["message"].as_str().unwrap();
                assert!(message.ends_with(&mine), "{message} is not about {mine}");
                asked.answer(json!({"action": "accept", "content": {"answer": format!("of {n}")}}));
                assert_eq!(said(&call.ok().await), format!("{mine}: of {n}"));
            }
        });
        join_all(clients).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_of_many_stateless_clients_gets_its_own_questions() {
    for kind in KINDS {
        let server = curious(kind);
        let world = World::new(&[&server]);
        let clients = (0..8).map(async |n| {
            let client = world.modern().able(able());
            for round in 0..3 {
                let mine = format!("{n}/{round}");
                let asked = client.start(Method::ToolsCall, about("s__t", &mine)).ok().await;
                let message = asked["inputRequests"]["u1"]["params"]["message"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{asked}"));
                assert!(message.ends_with(&mine), "{message} is not about {mine}");
                let mut retry = about("s__t", &mine);
                retry["requestState"] = asked["requestState"].clone();
                retry["inputResponses"] =
                    json!({"u1": {"action": "accept", "content": {"answer": format!("of {n}")}}});
                let done = client.start(Method::ToolsCall, retry).ok().await;
                assert_eq!(said(&done), format!("{mine}: of {n}"));
            }
        });
        join_all(clients).await;
        assert_eq!(world.bridge.held_calls(), 0);
    }
}

/// Calls a tool and tells on which connection it came.
async fn place(server: &Server, session: &Classic) -> usize {
    let call = session.tool("s__t");
    let asked = server.next(Method::ToolsCall).await;
    asked.answer(text("done"));
    call.ok().await;
    asked.wire.number()
}

#[tokio::test(start_paused = true)]
async fn sessions_are_shared_as_the_operator_says_or_as_is_cheap() {
    for (kind, sharing, capabilities, alone) in [
        (TransportKind::Stdio, None, json!({}), false),
        (TransportKind::Stdio, None, able(), false),
        (TransportKind::Http, None, json!({}), false),
        (TransportKind::Http, None, able(), true),
        (TransportKind::Http, Some(Sharing::Shared), able(), false),
        (TransportKind::Stdio, Some(Sharing::PerSession), json!({}), true),
        (TransportKind::Stdio, Some(Sharing::PerSession), able(), true),
        (TransportKind::Http, Some(Sharing::PerSession), json!({}), true),
    ] {
        let what = format!("{kind:?} {sharing:?} {capabilities}");
        let server = Server::scripted("s", kind, V2025_11_25).tools(&["t"]);
        let world = World::with(&[&server], |_| {}, |definition| definition.sharing = sharing);
        let first = world.classic(V2025_11_25, capabilities.clone()).await;
        let second = world.classic(V2025_11_25, capabilities.clone()).await;
        let places = [place(&server, &first).await, place(&server, &second).await];
        assert_eq!(places[0] != places[1], alone, "{what}: {places:?}");
        assert_eq!(place(&server, &first).await, places[0], "{what}");
        if alone {
            first.conversation.end();
            server.wires()[places[0]].closed().await;
            assert!(!server.wires()[places[1]].is_closed(), "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_servers_own_session_says_reaches_its_client_alone() {
    let server = Server::scripted("s", TransportKind::Http, V2025_11_25).tools(&["t"]);
    let world = World::new(&[&server]);
    let first = world.classic(V2025_11_25, able()).await;
    let second = world.classic(V2025_11_25, able()).await;
    first.call(Method::LoggingSetLevel, json!({"level": "info"})).await;
    second.call(Method::LoggingSetLevel, json!({"level": "info"})).await;
    let places = [place(&server, &first).await, place(&server, &second).await];
    settle().await;
    let wire = &server.wires()[places[0]];
    wire.tell("notifications/message", json!({"level": "info", "data": "for the first"}));
    first.probe.hear("notifications/message", 1).await;
    wire.tell("notifications/elicitation/complete", json!({"elicitationId": "e1"}));
    assert_eq!(first.probe.hear("notifications/elicitation/complete", 1).await["elicitationId"], "e1");
    first.call(Method::ResourcesSubscribe, json!({"uri": "x:1"})).await;
    assert_eq!(server.next(Method::ResourcesSubscribe).await.wire.number(), places[0]);
    wire.tell("notifications/resources/updated", json!({"uri": "x:1"}));
    first.probe.hear("notifications/resources/updated", 1).await;
    // It may ask outside of any call for roots, and nothing else.
    wire.ask(9, "roots/list", json!({}));
    let asked = first.probe.question().await;
    assert_eq!(asked.method, Method::RootsList);
    asked.answer(json!({"roots": [{"uri": "file:///first"}]}));
    assert_eq!(wire.answer_to(9).await, Ok(json!({"roots": [{"uri": "file:///first"}]})));
    wire.ask(10, "elicitation/create", form("?"));
    assert_eq!(wire.answer_to(10).await.unwrap_err()["code"], -32602);
    // A change of its roots is told there.
    first.notify(Method::RootsListChanged);
    let told = server.when(|| (!server.notified(&Method::RootsListChanged).is_empty()).then_some(()));
    within("the change of roots", told).await;
    assert_eq!(second.probe.told(), Vec::<Value>::new());
    assert!(!second.probe.is_asked().await);
}

#[tokio::test(start_paused = true)]
async fn questions_and_answers_are_put_in_the_words_of_the_other_revision() {
    for kind in KINDS {
        let server = Server::scripted("s", kind, V2025_11_25).tools(&["t"]);
        let world = World::new(&[&server]);
        let session = world.classic(V2025_06_18, able()).await;
        let call = session.tool("s__t");
        let probe = call.probe.clone();
        let asked = server.next(Method::ToolsCall).await;
        assert_eq!(asked.wire.capabilities()["elicitation"], json!({"form": {}}));
        let mut params = form("Who?");
        params["mode"] = "form".into();
        asked.ask(1, "elicitation/create", params);
        let question = probe.question().await;
        assert_eq!(question.params.get("mode"), None, "{}", question.params);
        question.answer(json!({"action": "accept", "content": {"answer": "me"}}));
        assert_eq!(
            asked.wire.answer_to(1).await,
            Ok(json!({"action": "accept", "content": {"answer": "me"}}))
        );
        // One message of two blocks is two of one.
        let mut params = sampling("?");
        params["messages"][0]["content"] =
            json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        asked.ask(2, "sampling/createMessage", params);
        let question = probe.question().await;
        assert_eq!(question.params["messages"].as_array().unwrap().len(), 2);
        question.refuse(-1, "not today");
        let error = asked.wire.answer_to(2).await.unwrap_err();
        assert_eq!((&error["code"], &error["message"]), (&json!(-1), &json!("not today")));
        // A page is more than the client knows.
        asked.ask(
            3,
            "elicitation/create",
            json!({"mode": "url", "message": "?", "url": "https://x.example/"}),
        );
        assert_eq!(asked.wire.answer_to(3).await.unwrap_err()["code"], -32602);
        asked.ask(4, "elicitation/create", form("Refused?"));
        probe.question().await.refuse(-32603, "broken");
        assert_eq!(asked.wire.answer_to(4).await.unwrap_err()["code"], -32603);
        asked.ask(5, "elicitation/create", form("Odd?"));
        probe.question().await.answer(json!({"no": "action"}));
        assert!(asked.wire.answer_to(5).await.is_err());
        // Taken back.
        asked.ask(6, "elicitation/create", form("Still?"));
        let question = probe.question().await;
        asked.take_back(6);
        question.taken_back().await;
        asked.answer(text("done"));
        assert_eq!(said(&call.ok().await), "done");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_taken_back_takes_its_question_along() {
    for kind in KINDS {
        let server = Server::scripted("s", kind, V2025_11_25).tools(&["t"]);
        let world = World::new(&[&server]);
        let session = world.classic(V2025_11_25, able()).await;
        let call = session.tool("s__t");
        let asked = server.next(Method::ToolsCall).await;
        asked.ask(1, "elicitation/create", form("?"));
        let question = call.probe.question().await;
        call.leave().await;
        asked.cancelled().await;
        if kind == TransportKind::Http {
            question.taken_back().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn principals_share_nothing_that_can_be_asked() {
    let server = Server::scripted("s", TransportKind::Stdio, V2025_11_25).tools(&["t"]);
    let world = World::new(&[&server]);
    let service = world.service(&mcp_bridge::Scope::All);
    let mut places = Vec::new();
    for (name, capabilities) in [("a", able()), ("b", able()), ("a", json!({})), ("b", json!({}))] {
        let shape = TransportShape::Stdio;
        let session =
            Classic::open(&*service, Principal::named(name), shape, V2025_11_25, capabilities).await;
        places.push(place(&server, &session).await);
    }
    assert_ne!(places[0], places[1]);
    assert_eq!(places[2], places[3], "clients that cannot be asked are all alike");
}

/// The call that a server is asked next.
async fn answered(server: &Server, result: impl ToString) -> Asked {
    let asked = server.next(Method::ToolsCall).await;
    asked.answer(result);
    asked
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_with_one_id_do_not_cross() {
    for version in [V2025_11_25, V2026_07_28] {
        let server = Server::scripted("s", TransportKind::Stdio, version).tools(&["t"]).on(
            Method::ToolsCall,
            move |asked| {
                let mut result = text(&asked.params()["arguments"]["about"].to_string());
                if version == V2026_07_28 {
                    result["resultType"] = "complete".into();
                }
                asked.answer(result);
            },
        );
        let world = World::new(&[&server]);
        let (modern, classic) = (world.modern(), world.classic(V2025_11_25, json!({})).await);
        let calls = (0..500).flat_map(|n| {
            let params = json!({"name": "s__t", "arguments": {"about": n}});
            [(n, modern.start(Method::ToolsCall, &params)), (n, classic.start(Method::ToolsCall, &params))]
        });
        for (n, call) in calls.collect::<Vec<_>>() {
            assert_eq!(said(&call.ok().await), n.to_string());
        }
    }
    let server = Server::scripted("s", TransportKind::Stdio, V2025_11_25).tools(&["t"]);
    let world = World::new(&[&server]);
    let call = world.modern().tool("s__t");
    answered(&server, text("one more")).await;
    assert_eq!(said(&call.ok().await), "one more");
}

#[tokio::test(start_paused = true)]
async fn a_connection_where_a_call_that_asks_was_given_up_is_for_nobody_else_until_that_is_answered() {
    let server = Server::scripted("s", TransportKind::Stdio, V2025_11_25).tools(&["t"]);
    let world = World::new(&[&server]);
    let client = world.modern().able(able());
    let begin = async || {
        let call = client.tool("s__t");
        (call, server.next(Method::ToolsCall).await)
    };
    // One that leads to a question, which is taken back; gives the connection.
    let asked = async || {
        let (call, called) = begin().await;
        called.ask(99, "elicitation/create", form("Why?"));
        assert_eq!(call.ok().await["resultType"], "input_required");
        called.wire.tell("notifications/cancelled", json!({"requestId": 99}));
        called.answer(text("done"));
        settle().await;
        called.wire.number()
    };
    let (call, first) = begin().await;
    call.leave().await;
    first.cancelled().await;
    // Such calls have not led to a question so far.
    assert_eq!(asked().await, first.wire.number());
    let added = asked().await;
    assert_ne!(added, first.wire.number());
    let (call, second) = begin().await;
    assert_eq!(second.wire.number(), added);
    // What is still asked about the first call is put to nobody.
    first.wire.ask(100, "elicitation/create", form("Why?"));
    assert!(first.wire.answer_to(100).await.is_err());
    assert!(!call.is_finished());
    // One that was added is ended rather than yet another one opened.
    call.leave().await;
    let (call, third) = begin().await;
    second.wire.closed().await;
    third.answer(text("done"));
    call.ok().await;
    assert_eq!(server.open().len(), 3, "the server's own, and two");
    // Answered all the same, the first one is as good as before.
    first.answer(text("late"));
    settle().await;
    let (call, fourth) = begin().await;
    assert_eq!(fourth.wire.number(), first.wire.number());
    fourth.answer(text("done"));
    call.ok().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_opened_for_clients_ends_when_none_of_them_was_seen_for_a_while() {
    let hour = std::time::Duration::from_secs(3600);
    for kind in KINDS {
        let server = Server::scripted("s", kind, V2025_11_25).tools(&["t"]);
        let world = World::new(&[&server]);
        let client = world.modern().able(able());
        let call = client.tool("s__t");
        let asked = server.next(Method::ToolsCall).await;
        asked.answer(text("done"));
        call.ok().await;
        assert_eq!(server.open().len(), 2);
        world.pass(hour).await;
        world.pass(hour).await;
        assert!(asked.wire.is_closed(), "{kind:?}");
        assert_eq!(server.open().len(), 1, "the server's own");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_call_back_is_not_asked_about_it_any_more() {
    for kind in KINDS {
        let server = Server::scripted("s", kind, V2025_11_25).tools(&["t"]);
        let world = World::new(&[&server]);
        let session = world.classic(V2025_11_25, able()).await;
        let call = session.tool("s__t");
        let probe = call.probe.clone();
        let asked = server.next(Method::ToolsCall).await;
        asked.ask(100, "elicitation/create", form("Why?"));
        let question = probe.question().await;
        call.leave().await;
        question.taken_back().await;
        if kind == TransportKind::Stdio {
            assert!(asked.wire.answer_to(100).await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_said_for_resources_that_nobody_lists_too() {
    let template = json!({"uriTemplate": "x:{id}", "name": "x"});
    let server =
        Server::scripted("s", TransportKind::Stdio, V2025_11_25).list("resourceTemplates", &[template]);
    let world = World::new(&[&server]);
    let session = world.classic(V2025_11_25, able()).await;
    let call = session.start(Method::ResourcesRead, json!({"uri": "x:1"}));
    let asked = server.next(Method::ResourcesRead).await;
    asked.ask(100, "elicitation/create", form("Why?"));
    let question = call.probe.question().await;
    let message = question.params["message"].as_str().unwrap();
    assert!(message.starts_with('s') && message.ends_with("Why?"), "{message}");
    question.answer(json!({"action": "decline"}));
    asked.answer(json!({"contents": []}));
    call.ok().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_of_ones_own_that_is_shared_again_is_listened_to_once() {
    const UPDATED: &str = "notifications/resources/updated";
    let server = Server::scripted("s", TransportKind::Http, V2025_11_25)
        .tools(&["t"])
        .list("resources", &[json!({"uri": "s:1", "name": "1"})])
        .on(Method::ToolsCall, |asked| asked.answer(text("done")));
    let world = World::with(&[&server], |_| {}, |definition| definition.sharing = Some(Sharing::PerSession));
    let session = world.classic(V2025_11_25, able()).await;
    session.tool("s__t").ok().await;
    settle().await;
    let mut shared = definition(&server);
    shared.sharing = Some(Sharing::Shared);
    world.manager.unregister("s").await.unwrap();
    world.manager.register(shared).unwrap();
    pass(std::time::Duration::from_secs(2)).await;
    session.tool("s__t").ok().await;
    session.call(Method::ResourcesSubscribe, json!({"uri": "s:1"})).await;
    for wire in server.open() {
        wire.tell(UPDATED, json!({"uri": "s:1"}));
    }
    pass(std::time::Duration::from_secs(2)).await;
    assert_eq!(session.probe.told_of(UPDATED).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_opened_for_a_session_that_has_ended() {
    let server = Server::scripted("s", TransportKind::Http, V2025_11_25)
        .tools(&["t"])
        .on(Method::ToolsCall, |asked| asked.answer(text("done")));
    let world = World::with(&[&server], |_| {}, |definition| definition.sharing = Some(Sharing::PerSession));
    let session = world.classic(V2025_11_25, able()).await;
    let before = server.open().len();
    let call = session.tool("s__t");
    session.conversation.end();
    let _ = call.outcome().await;
    pass(std::time::Duration::from_secs(1)).await;
    assert_eq!(server.open().len(), before);
}
