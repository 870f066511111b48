//! What is a matter of one call: who answers its questions, what it says of the client, who hears of its progress.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use mcp_client::{
    Answer, Asker, CallError, Client, ConnectOptions, NotificationSink, Outgoing, Patience, RequestHandler,
    ServerRequest,
};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::logging::LogLevel;
use mcp_protocol::result::CacheScope;
use mcp_protocol::{Era, Limits, Message, Method, Notification, RawJson, RpcError};
use mcp_transport::{Outbound, Reply, TransportKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::wire::*;

const LIMIT: Duration = Duration::from_secs(30);
const ALL: &str = r#"{"roots":{},"sampling":{},"elicitation":{}}"#;
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";

fn json(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn capabilities(text: &str) -> ClientCapabilities {
    ClientCapabilities::from_raw(json(text)).unwrap()
}

/// Answers everything with their name; remembers which revision they were asked in.
struct Person {
    name: &'static str,
    asked: Mutex<Vec<(Method, &'static str)>>,
}

impl Person {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, asked: Mutex::default() })
    }

    fn asker(self: &Arc<Self>, owner: u64) -> Option<Asker> {
        Some(Asker { owner, handler: self.clone(), resolves: true, task: None })
    }

    fn asked(&self) -> Vec<(Method, &'static str)> {
        self.asked.lock().unwrap().clone()
    }
}

impl RequestHandler for Person {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        self.asked.lock().unwrap().push((request.method, request.version.as_str()));
        std::future::ready(Ok(json(&format!(r#"{{"by":"{}"}}"#, self.name)))).boxed()
    }
}

fn tool(asker: Option<Asker>) -> Outgoing {
    let mut tool = Outgoing::new(Method::ToolsCall, Some(json(r#"{"name":"a"}"#)));
    tool.asker = asker;
    tool
}

fn options(handler: Option<&Arc<Person>>) -> ConnectOptions {
    ConnectOptions {
        capabilities: json(ALL),
        handler: handler.map(|handler| handler.clone() as Arc<dyn RequestHandler>),
        ..ConnectOptions::default()
    }
}

fn begin(client: &Client, outgoing: Outgoing) -> JoinHandle<Result<Answer, CallError>> {
    let client = client.clone();
    tokio::spawn(async move { client.call_with(outgoing, Patience { idle: LIMIT, total: LIMIT }).await })
}

/// Collects what a call's sink is given.
fn sink() -> (NotificationSink, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = told.clone();
    let sink = move |notification: Notification| kept.lock().unwrap().push(notification.method.to_string());
    (Arc::new(sink), told)
}

fn is_answer(out: &Outbound) -> bool {
    matches!(out.message, Message::Response(_) | Message::Failure(_))
}

/// A server over stdio that answers no call by itself.
struct Shared {
    client: Client,
    wire: Wire,
    calls: Vec<JoinHandle<Result<Answer, CallError>>>,
    asked: usize,
}

impl Shared {
    async fn new(handler: Option<&Arc<Person>>) -> Self {
        let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, |_, _| {}));
        let client = server.connect(&options(handler)).await.unwrap();
        Self { client, wire: server.wire(), calls: Vec::new(), asked: 0 }
    }

    async fn begin(&mut self, outgoing: Outgoing) {
        self.calls.push(begin(&self.client, outgoing));
        self.wire.wait_for_many(&Method::ToolsCall, self.calls.len()).await;
    }

    /// Answers the call that was begun at this position.
    async fn end(&mut self, at: usize) {
        let sent = self.wire.wait_for_many(&Method::ToolsCall, at + 1).await;
        self.wire.push(result(&sent[at], "{}"));
        (&mut self.calls[at]).await.unwrap().unwrap();
    }

    /// What the server gets to hear that asks this.
    async fn ask(&mut self, method: &str) -> String {
        self.asked += 1;
        let id = self.asked;
        self.wire.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#));
        let answers = self.wire.wait_for_count(is_answer, id).await;
        match &answers[id - 1].message {
            Message::Response(response) => response.result.get("by").unwrap().to().unwrap(),
            Message::Failure(failure) => failure.error.code().unwrap().0.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_shared_channel_the_newest_call_is_asked_if_there_is_one_owner() {
    let (host, ann, ann_again, bob) =
        (Person::new("host"), Person::new("ann"), Person::new("ann again"), Person::new("bob"));
    let mut server = Shared::new(Some(&host)).await;
    assert_eq!(server.ask("roots/list").await, "host", "nothing is under way");
    server.begin(tool(None)).await;
    assert_eq!(server.ask("elicitation/create").await, "host", "the call has nobody of its own");
    server.begin(tool(ann.asker(1))).await;
    assert_eq!(server.ask("elicitation/create").await, "ann");
    server.begin(tool(ann_again.asker(1))).await;
    assert_eq!(server.ask("sampling/createMessage").await, "ann again");
    server.begin(tool(bob.asker(2))).await;
    // -32603: nobody can know. Which roots there are may be asked outside of any call.
    assert_eq!(server.ask("elicitation/create").await, "-32603");
    assert_eq!(server.ask("sampling/createMessage").await, "-32603");
    assert_eq!(server.ask("roots/list").await, "host");
    server.end(3).await;
    assert_eq!(server.ask("roots/list").await, "ann again", "bob's call is over");
    server.end(2).await;
    assert_eq!(server.ask("elicitation/create").await, "ann");
    server.end(1).await;
    assert_eq!(server.ask("elicitation/create").await, "host");
    assert!(bob.asked().is_empty());
    let asked = ann.asked();
    assert_eq!(asked, vec![(Method::ElicitationCreate, "2025-11-25"); 2], "in the revision of the server");
}

#[tokio::test(start_paused = true)]
async fn without_a_handler_of_the_connection_nobody_stands_in() {
    let (ann, bob) = (Person::new("ann"), Person::new("bob"));
    let mut server = Shared::new(None).await;
    assert_eq!(server.ask("roots/list").await, "-32601");
    server.begin(tool(ann.asker(1))).await;
    assert_eq!(server.ask("roots/list").await, "ann");
    server.begin(tool(bob.asker(2))).await;
    assert_eq!(server.ask("roots/list").await, "-32603");
    server.calls[0].abort();
    assert!((&mut server.calls[0]).await.unwrap_err().is_cancelled());
    assert_eq!(server.ask("roots/list").await, "bob");
}

/// The streams on which a server over HTTP answers, in the order the calls came.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<Vec<Answering>>>);

/// A call and the stream on which it is answered.
type Answering = (Outbound, mpsc::Sender<String>);

impl Streams {
    /// Opens one for each call; answers are taken.
    fn reply(&self, out: &Outbound) -> Result<Reply, mcp_transport::TransportError> {
        if method(out) != Some(&Method::ToolsCall) {
            return Ok(Reply::Accepted);
        }
        let (sender, receiver) = mpsc::channel(16);
        self.0.lock().unwrap().push((out.clone(), sender));
        let frames = stream::unfold(receiver, async |mut receiver| {
            let frame = receiver.recv().await?;
            Some((Ok(incoming(frame)), receiver))
        });
        Ok(Reply::Own(frames.boxed()))
    }

    fn push(&self, at: usize, frame: &str) {
        self.0.lock().unwrap()[at].1.try_send(frame.to_owned()).unwrap();
    }

    fn end(&self, at: usize) {
        let answer = result(&self.0.lock().unwrap()[at].0, "{}");
        self.push(at, &answer);
    }
}

#[tokio::test(start_paused = true)]
async fn on_the_stream_of_a_call_its_own_asker_is_asked() {
    let (host, ann, bob) = (Person::new("host"), Person::new("ann"), Person::new("bob"));
    let streams = Streams::default();
    let replies = streams.clone();
    let server = Server::new(TransportKind::Http, http(Era::Handshake, move |out| replies.reply(out)));
    let client = server.connect(&options(Some(&host))).await.unwrap();
    let wire = server.wire();
    let mut calls = Vec::new();
    for (at, asker) in [ann.asker(1), bob.asker(2), None].into_iter().enumerate() {
        calls.push(begin(&client, tool(asker)));
        wire.wait_for_many(&Method::ToolsCall, at + 1).await;
    }
    for (at, name) in ["ann", "bob", "host"].into_iter().enumerate() {
        streams.push(at, &format!(r#"{{"jsonrpc":"2.0","id":{at},"method":"elicitation/create"}}"#));
        let answers = wire.wait_for_count(is_answer, at + 1).await;
        let answer = String::from_utf8(answers[at].message.encode().to_vec()).unwrap();
        assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":{at},"result":{{"by":"{name}"}}}}"#));
        streams.end(at);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// A stateless server that asks for a form, and is content with any answer.
async fn asking(declared: &str, handler: Option<&Arc<Person>>) -> (Client, Wire) {
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, |out| {
            let question = r#"{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":{"message":"?"}}}}"#;
            let answered = params_json(out).get("inputResponses").map(|answers| answers.as_str().to_owned());
            own([match answered {
                Some(answers) => result(out, &format!(r#"{{"resultType":"complete","answers":{answers}}}"#)),
                None => result(out, question),
            }])
        }),
    );
    let options = ConnectOptions { capabilities: json(declared), ..options(handler) };
    (server.connect(&options).await.unwrap(), server.wire())
}

#[tokio::test(start_paused = true)]
async fn the_asker_of_a_call_answers_a_stateless_server_as_the_call_declared() {
    let (host, ann) = (Person::new("host"), Person::new("ann"));
    let (client, wire) = asking("{}", Some(&host)).await;
    let mut asked = tool(ann.asker(1));
    asked.capabilities = Some(capabilities(r#"{"elicitation":{}}"#));
    let answer = client.call(asked, LIMIT).await.unwrap();
    assert_eq!(answer.result.get("answers").unwrap().as_str(), r#"{"q":{"by":"ann"}}"#);
    assert_eq!(ann.asked(), [(Method::ElicitationCreate, "2026-07-28")]);
    for sent in wire.wait_for_many(&Method::ToolsCall, 2).await {
        let meta = params_json(&sent).get("_meta").unwrap();
        assert_eq!(meta.get(CAPABILITIES).unwrap().as_str(), r#"{"elicitation":{}}"#, "each time");
    }
    // What the connection declared is not what the call declares.
    let (client, _wire) = asking(ALL, Some(&host)).await;
    let mut mute = tool(ann.asker(1));
    mute.capabilities = Some(capabilities("{}"));
    let error = client.call(mute, LIMIT).await.unwrap_err();
    assert!(matches!(&error, CallError::Unanswered { method: Method::ElicitationCreate, .. }), "{error:?}");
    assert!(host.asked().is_empty() && ann.asked().len() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_resolves_questions_themselves_gets_them_as_they_are() {
    let (host, ann) = (Person::new("host"), Person::new("ann"));
    let (client, wire) = asking(ALL, Some(&host)).await;
    let mut asked = tool(ann.asker(1));
    asked.asker.as_mut().unwrap().resolves = false;
    let answer = client.call(asked, LIMIT).await.unwrap();
    assert_eq!(answer.result.get("resultType").unwrap().as_str(), r#""input_required""#);
    assert!(host.asked().is_empty() && ann.asked().is_empty());
    assert_eq!(wire.wait_for_many(&Method::ToolsCall, 1).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_says_its_own_of_the_client_where_calls_say_that() {
    let answer = |out: &Outbound| own([result(out, "{}")]);
    let server = Server::new(TransportKind::Http, http(Era::Stateless, answer));
    let client = server.connect(&options(None)).await.unwrap();
    client.set_log_level(LogLevel::Error, LIMIT).await.unwrap();
    let mut own_words = tool(None);
    own_words.capabilities = Some(capabilities(r#"{"sampling":{}}"#));
    own_words.log_level = Some(LogLevel::Debug);
    for (outgoing, declared, level) in
        [(own_words.clone(), r#"{"sampling":{}}"#, r#""debug""#), (tool(None), ALL, r#""error""#)]
    {
        client.call(outgoing, LIMIT).await.unwrap();
        let sent = server.wire().sent().pop().unwrap();
        let meta = params_json(&sent).get("_meta").unwrap();
        assert_eq!(meta.get(CAPABILITIES).unwrap().as_str(), declared);
        assert_eq!(meta.get(LEVEL).unwrap().as_str(), level);
    }
    // Where the connection says it once, calls say nothing.
    let server = Server::new(TransportKind::Http, http(Era::Handshake, answer));
    let client = server.connect(&options(None)).await.unwrap();
    client.call(own_words, LIMIT).await.unwrap();
    assert_eq!(params(&server.wire().sent().pop().unwrap()), r#"{"name":"a"}"#);
}

#[tokio::test(start_paused = true)]
async fn each_call_hears_of_itself_alone() {
    let streams = Streams::default();
    let replies = streams.clone();
    let server = Server::new(TransportKind::Http, http(Era::Handshake, move |out| replies.reply(out)));
    let client = server.connect(&options(None)).await.unwrap();
    let mut everybody = client.notifications();
    let (wire, mut calls, mut heard) = (server.wire(), Vec::new(), Vec::new());
    for at in 0..2 {
        let (sink, told) = sink();
        let mut outgoing = tool(None);
        (outgoing.sink, outgoing.progress) = (Some(sink), true);
        calls.push(begin(&client, outgoing));
        heard.push(told);
        wire.wait_for_many(&Method::ToolsCall, at + 1).await;
    }
    streams.push(0, r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#);
    streams.push(1, r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
    // It is about the server, on whatever stream it comes.
    streams.push(1, r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    for (at, call) in calls.into_iter().enumerate() {
        streams.end(at);
        call.await.unwrap().unwrap();
    }
    assert_eq!(*heard[0].lock().unwrap(), ["notifications/progress"]);
    assert_eq!(*heard[1].lock().unwrap(), ["notifications/message"]);
    assert_eq!(everybody.recv().await.unwrap().method, Method::ToolsListChanged);
}

#[tokio::test(start_paused = true)]
async fn a_log_message_on_a_shared_channel_is_about_the_only_call() {
    let mut server = Shared::new(None).await;
    let mut everybody = server.client.notifications();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#;
    let (sink, told) = sink();
    let mut outgoing = tool(None);
    outgoing.sink = Some(sink);
    server.begin(outgoing).await;
    server.wire.push(log);
    settle().await;
    assert_eq!(*told.lock().unwrap(), ["notifications/message"]);
    // With another one under way it may be about either.
    server.begin(tool(None)).await;
    server.wire.push(log);
    assert_eq!(everybody.recv().await.unwrap().method, Method::LogMessage);
    // What has no sink leaves it to everybody.
    server.end(0).await;
    server.wire.push(log);
    assert_eq!(everybody.recv().await.unwrap().method, Method::LogMessage);
    assert_eq!(told.lock().unwrap().len(), 1);
    assert!(everybody.recv().now_or_never().is_none(), "once each");
}

#[tokio::test(start_paused = true)]
async fn a_list_for_a_client_says_what_it_is_able_to_do_and_how_long_it_may_be_kept() {
    const FIRST: &str = r#""ttlMs":60000,"cacheScope":"public","#;
    for (second, third, ttl, scope) in [
        (r#""ttlMs":90000,"cacheScope":"private","#, FIRST, 60, CacheScope::Private),
        (FIRST, r#""ttlMs":5000,"cacheScope":"public","#, 5, CacheScope::Public),
        (FIRST, "", 0, CacheScope::Private),
    ] {
        let page = move |out: &Outbound| {
            let at = params_json(out).get("cursor").map(|at| at.as_str().to_owned());
            let (caching, next) = match at.as_deref() {
                None => (FIRST, r#","nextCursor":"1""#),
                Some(r#""1""#) => (second, r#","nextCursor":"2""#),
                _ => (third, ""),
            };
            own([result(out, &format!(r#"{{"resultType":"complete",{caching}"prompts":[{{}}]{next}}}"#))])
        };
        let server = Server::new(TransportKind::Http, http(Era::Stateless, page));
        let client = server.connect(&options(None)).await.unwrap();
        let declared = capabilities(r#"{"elicitation":{}}"#);
        let listed = client.list_for(Method::PromptsList, Some(declared), LIMIT).await.unwrap();
        assert_eq!(listed.items.len(), 3);
        let caching = listed.caching.unwrap();
        assert_eq!((caching.ttl.as_secs(), caching.scope), (ttl, scope), "the strictest");
        for sent in server.wire().wait_for_many(&Method::PromptsList, 3).await {
            let meta = params_json(&sent).get("_meta").unwrap();
            assert_eq!(meta.get(CAPABILITIES).unwrap().as_str(), r#"{"elicitation":{}}"#, "each page");
        }
    }
    let silent = |out: &Outbound| own([result(out, r#"{"prompts":[]}"#)]);
    let server = Server::new(TransportKind::Http, http(Era::Stateless, silent));
    let client = server.connect(&options(None)).await.unwrap();
    let listed = client.list_for(Method::PromptsList, None, LIMIT).await.unwrap();
    assert_eq!((listed.items.len(), listed.caching), (0, None));
    let sent = server.wire().sent().pop().unwrap();
    let meta = params_json(&sent).get("_meta").unwrap();
    assert_eq!(meta.get(CAPABILITIES).unwrap().as_str(), ALL, "what the connection declared");
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_after_a_call_was_given_up_may_be_about_that_if_such_calls_have_led_to_questions() {
    let (anne, bob) = (Person::new("anne"), Person::new("bob"));
    let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, |_, _| {}));
    let client = server.connect(&options(None)).await.unwrap();
    let wire = server.wire();
    let named = |name: &str, asker| {
        let params = Some(json(&format!(r#"{{"arguments":{{}},"name":"{name}"}}"#)));
        let mut request = Outgoing::new(Method::ToolsCall, params);
        request.asker = asker;
        request
    };
    let mut sent = 0;
    let mut start = async |request| {
        let call = begin(&client, request);
        sent += 1;
        (call, wire.wait_for_many(&Method::ToolsCall, sent).await.pop().unwrap())
    };
    let ask = |id: &str, method: &str| {
        wire.push(format!(
            r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{{"message":"?"}}}}"#
        ));
    };
    let mut given_up = 0;
    let mut give_up = async |call: JoinHandle<_>| {
        call.abort();
        given_up += 1;
        wire.wait_for_many(&Method::Cancelled, given_up).await;
    };
    // Nothing like it has ever asked: what roots there are may be asked on the server's own account.
    let (call, quiet) = start(named("quiet", anne.asker(1))).await;
    ask("q0", "roots/list");
    while anne.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    give_up(call).await;
    assert!(!client.owes_others(2));
    let (call, asking) = start(named("asking", bob.asker(2))).await;
    ask("q1", "elicitation/create");
    while bob.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    wire.push(result(&asking, "{}"));
    call.await.unwrap().unwrap();
    // From now on it may be asked for such a call even if nobody waits for it.
    let (call, asking) = start(named("asking", anne.asker(1))).await;
    give_up(call).await;
    assert!(client.owes_others(2) && !client.owes_others(1));
    let (call, _) = start(named("quiet", bob.asker(2))).await;
    ask("q2", "elicitation/create");
    let answered = |id: &'static str| {
        wire.wait_for(move |out| {
            matches!(&out.message,
            Message::Failure(failure) if failure.id.as_ref().is_some_and(|asked| *asked == id.into()))
        })
    };
    let refused = answered("q2").await;
    let Message::Failure(failure) = &refused.message else { panic!("{refused:?}") };
    assert_eq!(failure.error.code(), Some(mcp_protocol::ErrorCode::INTERNAL_ERROR));
    assert!(anne.asked().len() == 1 && bob.asked().len() == 1);
    // Once it is answered all the same, nothing is in doubt.
    wire.push(result(&asking, "{}"));
    ask("q3", "elicitation/create");
    while bob.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    // What bob's call has just led to, anne's may lead to as well.
    assert!(client.owes_others(2));
    wire.push(result(&quiet, "{}"));
    while client.owes_others(2) {
        tokio::task::yield_now().await;
    }
    call.abort();
}
