//! What servers ask of us, in both eras.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{CallError, Client, ConnectOptions, Outgoing, Patience, RequestHandler, ServerRequest};
use mcp_protocol::{Era, ErrorCode, Limits, Message, Method, RawJson, RpcError};
use mcp_transport::{Outbound, TransportKind};

use crate::wire::*;

const LIMIT: Duration = Duration::from_secs(30);

fn json(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn tool(name: &str) -> Outgoing {
    Outgoing::new(Method::ToolsCall, Some(json(&format!(r#"{{"name":"{name}"}}"#))))
}

/// Accepts every form, has one root, and refuses to sample. Remembers what it was asked.
#[derive(Default)]
struct Person {
    asked: Mutex<Vec<Method>>,
    takes: Duration,
    given_up: Arc<AtomicBool>,
}

/// Notes that an answer was not wanted any more.
struct Thinking(Option<Arc<AtomicBool>>);

impl Drop for Thinking {
    fn drop(&mut self) {
        if let Some(given_up) = &self.0 {
            given_up.store(true, Ordering::Relaxed);
        }
    }
}

impl RequestHandler for Person {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        self.asked.lock().unwrap().push(request.method.clone());
        async move {
            let mut thinking = Thinking(Some(self.given_up.clone()));
            tokio::time::sleep(self.takes).await;
            thinking.0.take();
            match request.method {
                Method::ElicitationCreate => Ok(json(r#"{"action":"accept","content":{"x":1.0}}"#)),
                Method::RootsList => Ok(json(r#"{"roots":[]}"#)),
                _ => Err(RpcError::new(ErrorCode::USER_REJECTED, "no")),
            }
        }
        .boxed()
    }
}

fn options(person: &Arc<Person>) -> ConnectOptions {
    ConnectOptions {
        capabilities: json(r#"{"roots":{},"sampling":{},"elicitation":{}}"#),
        handler: Some(person.clone()),
        ..ConnectOptions::default()
    }
}

async fn stdio_client(
    person: &Arc<Person>,
    rest: impl Fn(&Outbound, &Wire) + Send + Sync + 'static,
) -> (Client, Wire) {
    let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, rest));
    (server.connect(&options(person)).await.unwrap(), server.wire())
}

fn text(out: &Outbound) -> String {
    String::from_utf8(out.message.encode().to_vec()).unwrap()
}

fn is_answer(out: &Outbound) -> bool {
    matches!(out.message, Message::Response(_) | Message::Failure(_))
}

async fn answers(wire: &Wire, many: usize) -> Vec<String> {
    wire.wait_for_count(is_answer, many).await.iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn a_handshake_server_is_answered_by_the_handler() {
    let person = Arc::new(Person::default());
    let (client, wire) = stdio_client(&person, |_, _| {}).await;
    let call = tokio::spawn(async move { client.call(tool("a"), LIMIT).await });
    let sent = wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
    for (id, method) in
        [("\"e\"", "elicitation/create"), ("1", "roots/list"), ("2", "sampling/createMessage"), ("3", "x/y")]
    {
        wire.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{}}}}"#));
    }
    let mut answers = answers(&wire, 4).await;
    answers.sort();
    assert_eq!(
        answers,
        [
            r#"{"jsonrpc":"2.0","id":"e","result":{"action":"accept","content":{"x":1.0}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}"#,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"no"}}"#,
            r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"Method not found"}}"#,
        ]
    );
    wire.push(result(&sent, "{}"));
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_not_declared_or_not_caused_by_us_does_not_reach_the_handler() {
    let person = Arc::new(Person::default());
    let (client, wire) = stdio_client(&person, |_, _| {}).await;
    let ask = |method: &str, params: &str| {
        wire.push(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#));
    };
    let codes = async |many| {
        let answers = answers(&wire, many).await;
        answers.last().unwrap().split_once("\"code\":").map(|(_, rest)| rest[..6].to_owned())
    };
    ask("elicitation/create", "{}");
    assert_eq!(codes(1).await.as_deref(), Some("-32602"), "no call is under way");
    let call = tokio::spawn(async move { client.call(tool("a"), LIMIT).await });
    wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
    ask("elicitation/create", r#"{"mode":"url","url":"https://a"}"#);
    assert_eq!(codes(2).await.as_deref(), Some("-32602"), "pages were not declared");
    ask("sampling/createMessage", r#"{"tools":[]}"#);
    assert_eq!(codes(3).await.as_deref(), Some("-32602"), "tools were not declared");
    assert!(person.asked.lock().unwrap().is_empty());
    ask("roots/list", "{}");
    assert_eq!(codes(4).await, None);
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn questions_the_server_takes_back_are_not_answered() {
    let person = Arc::new(Person { takes: Duration::from_secs(3600), ..Person::default() });
    let (client, wire) = stdio_client(&person, |_, _| {}).await;
    let call = tokio::spawn(async move { client.call(tool("a"), LIMIT).await });
    wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
    wire.push(r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{}}"#);
    settle().await;
    wire.push(r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#);
    assert!(answers(&wire, 1).await[0].contains("-32600"), "the id is in use");
    assert!(!person.given_up.load(Ordering::Relaxed));
    wire.push(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#);
    settle().await;
    assert!(person.given_up.load(Ordering::Relaxed));
    assert_eq!(wire.sent().iter().filter(|out| is_answer(out)).count(), 1);
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn more_questions_than_can_be_answered_at_once_are_refused() {
    let person = Arc::new(Person { takes: Duration::from_secs(5), ..Person::default() });
    let (client, wire) = stdio_client(&person, |_, _| {}).await;
    let call = tokio::spawn(async move { client.call(tool("a"), LIMIT).await });
    wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
    for id in 0..20 {
        wire.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#));
    }
    let refused = answers(&wire, 4).await;
    assert!(refused.iter().all(|answer| answer.contains("which is the limit")), "{refused:?}");
    assert_eq!(answers(&wire, 20).await.iter().filter(|answer| answer.contains("result")).count(), 16);
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_an_error() {
    let person = Arc::new(Person { takes: Duration::from_secs(3600), ..Person::default() });
    let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, |_, _| {}));
    let options = ConnectOptions { handler_timeout: Duration::from_secs(2), ..options(&person) };
    let client = server.connect(&options).await.unwrap();
    let call = tokio::spawn(async move { client.call(tool("a"), LIMIT).await });
    let wire = server.wire();
    wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
    wire.push(r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{}}"#);
    assert!(answers(&wire, 1).await[0].contains("no answer within 2s"));
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn questions_end_with_the_connection() {
    let person = Arc::new(Person { takes: Duration::from_secs(3600), ..Person::default() });
    let (client, wire) = stdio_client(&person, |_, _| {}).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(tool("a"), LIMIT).await }
    });
    wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
    wire.push(r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#);
    settle().await;
    client.close().await;
    settle().await;
    assert!(call.await.unwrap().is_err() && person.given_up.load(Ordering::Relaxed));
    assert!(!wire.sent().iter().any(is_answer));
}

/// A stateless server that asks `rounds` times before it answers. What it is sent back is the result.
async fn asking(person: &Arc<Person>, questions: &'static str, rounds: usize) -> (Client, Wire) {
    let asked = AtomicUsize::new(0);
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, move |out| {
            let round = asked.fetch_add(1, Ordering::Relaxed);
            if round < rounds {
                let questions = questions.replace("STATE", &format!("state {round} \\u0061"));
                return own([result(out, &format!(r#"{{"resultType":"input_required",{questions}}}"#))]);
            }
            let sent = json(&params(out));
            let part = |name: &str| sent.get(name).map_or("-".into(), |part| part.as_str().to_owned());
            let parts = RawJson::string(&format!("{} {}", part("inputResponses"), part("requestState")));
            own([result(out, &format!(r#"{{"resultType":"complete","sent":{}}}"#, parts.as_str()))])
        }),
    );
    (server.connect(&options(person)).await.unwrap(), server.wire())
}

fn sent_back(answer: &mcp_client::Answer) -> String {
    answer.result.get("sent").unwrap().to().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stateless_server_gets_its_answers_with_the_call_sent_again() {
    let person = Arc::new(Person::default());
    let questions = r#""inputRequests":{"a":{"method":"elicitation/create","params":{"message":"?"}},"b":{"method":"roots/list"}},"requestState":"STATE""#;
    let (client, wire) = asking(&person, questions, 2).await;
    let answer = client.call(tool("ask"), LIMIT).await.unwrap();
    assert_eq!(
        sent_back(&answer),
        r#"{"a":{"action":"accept","content":{"x":1.0}},"b":{"roots":[]}} "state 1 \u0061""#,
        "the state is that of the last round, byte for byte"
    );
    assert_eq!(person.asked.lock().unwrap().len(), 4);
    assert_eq!(client.stats().questions, 4);
    let calls = wire.wait_for_many(&Method::ToolsCall, 3).await;
    let ids: std::collections::HashSet<_> = calls.iter().map(id).collect();
    assert_eq!(ids.len(), 3, "a new id each time");
    assert!(!params(&calls[0]).contains("requestState"));
}

#[tokio::test(start_paused = true)]
async fn no_state_is_invented_and_patience_alone_may_be_asked_for() {
    let person = Arc::new(Person::default());
    let (client, _) = asking(&person, r#""inputRequests":{"b":{"method":"roots/list"}}"#, 1).await;
    assert_eq!(sent_back(&client.call(tool("a"), LIMIT).await.unwrap()), r#"{"b":{"roots":[]}} -"#);
    let (client, _) = asking(&person, r#""requestState":"STATE""#, 3).await;
    let start = tokio::time::Instant::now();
    assert_eq!(sent_back(&client.call(tool("a"), LIMIT).await.unwrap()), r#"- "state 2 \u0061""#);
    assert_eq!(start.elapsed().as_millis(), 50 + 100 + 200, "with growing pauses");
}

#[tokio::test(start_paused = true)]
async fn a_question_without_an_answer_ends_the_call() {
    let person = Arc::new(Person::default());
    for (question, reason) in [
        ("sampling/createMessage", "the server asked for sampling/createMessage and got no answer: no"),
        ("tools/call", "input request \"a\" asks for tools/call, which no client answers"),
    ] {
        let server = Server::new(
            TransportKind::Http,
            http(Era::Stateless, move |out| {
                let asked = format!(r#"{{"a":{{"method":"{question}"}}}}"#);
                own([result(out, &format!(r#"{{"resultType":"input_required","inputRequests":{asked}}}"#))])
            }),
        );
        let client = server.connect(&options(&person)).await.unwrap();
        let error = client.call(tool("a"), LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), reason);
        assert_eq!(server.wire().wait_for_many(&Method::ToolsCall, 1).await.len(), 1, "not sent again");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rounds_are_limited() {
    let person = Arc::new(Person::default());
    let (client, wire) = asking(&person, r#""inputRequests":{"b":{"method":"roots/list"}}"#, 10).await;
    client.call(tool("a"), LIMIT).await.unwrap();
    assert_eq!(wire.wait_for_many(&Method::ToolsCall, 11).await.len(), 11);
    let (client, wire) = asking(&person, r#""inputRequests":{"b":{"method":"roots/list"}}"#, 11).await;
    let error = client.call(tool("a"), LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "the server asked for input more than 10 times");
    assert_eq!(wire.wait_for_many(&Method::ToolsCall, 11).await.len(), 11);
}

#[tokio::test(start_paused = true)]
async fn m5_without_a_handler_the_questions_are_the_answer() {
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, |out| {
            own([result(out, r#"{"resultType":"input_required","requestState":"s"}"#)])
        }),
    );
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let answer = client.call(tool("a"), LIMIT).await.unwrap();
    assert_eq!(answer.result.get("requestState").unwrap().as_str(), r#""s""#);
    assert_eq!(client.stats().questions, 0);
}

#[tokio::test(start_paused = true)]
async fn time_to_think_counts_against_the_total_alone() {
    let seconds = Duration::from_secs;
    for (era, total, ok) in [
        (Era::Stateless, 60, true),
        (Era::Stateless, 15, false),
        (Era::Handshake, 60, true),
        (Era::Handshake, 15, false),
    ] {
        let person = Arc::new(Person { takes: seconds(20), ..Person::default() });
        let (client, wire) = match era {
            Era::Stateless => asking(&person, r#""inputRequests":{"b":{"method":"roots/list"}}"#, 1).await,
            Era::Handshake => stdio_client(&person, |_, _| {}).await,
        };
        let patience = Patience { idle: seconds(3), total: seconds(total) };
        let call = client.call_with(tool("a"), patience);
        let play = async {
            let sent = wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
            if era == Era::Handshake {
                wire.push(r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#);
                wire.wait_for(is_answer).await;
                wire.push(result(&sent, "{}"));
            }
        };
        let start = tokio::time::Instant::now();
        let outcome = match futures::future::select(Box::pin(call), Box::pin(play)).await {
            futures::future::Either::Left((outcome, _)) => outcome,
            futures::future::Either::Right(((), call)) => call.await,
        };
        match outcome {
            Ok(_) => assert!(ok && start.elapsed() == seconds(20), "{era} {total}"),
            Err(error) => {
                assert!(!ok && matches!(error, CallError::Transport(_)), "{error}");
                assert!(error.is_timeout() && error.to_string() == "timed out after 15s", "{error}");
            }
        }
    }
}
