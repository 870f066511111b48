//! The MCP endpoint under many clients.

use std::sync::Arc;

use futures::future::join_all;
use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

use super::configuration::{Configuration, demo};
use super::running::Gateway;

/// Clients, and the calls each of them makes one after the other. `MCP_LOAD=1000x1000` makes it as many as S29 has,
/// which takes a quarter of an hour: `MCP_LOAD=1000x1000 cargo test -p mcp-tests --test it s29`.
const LOAD: (usize, usize) = (100, 20);
/// Clients at work at the same time.
const AT_ONCE: usize = 64;

fn load() -> (usize, usize) {
    let given = std::env::var("MCP_LOAD").ok();
    let parsed = given.as_deref().and_then(|given| {
        let (clients, calls) = given.split_once('x')?;
        Some((clients.parse().ok()?, calls.parse().ok()?))
    });
    parsed.unwrap_or(LOAD)
}

/// A client of either era. Every request of it has the id 1.
struct Client {
    gateway: Arc<Gateway>,
    /// `None`: stateless.
    session: Option<String>,
}

impl Client {
    async fn stateless(gateway: &Arc<Gateway>) -> Self {
        Self { gateway: gateway.clone(), session: None }
    }

    async fn with_session(gateway: &Arc<Gateway>) -> Self {
        let client = Self::stateless(gateway).await;
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "many", "version": "1"},
        });
        let opened = client.request("initialize", &params).send().await.unwrap();
        let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        assert!(opened.status().is_success());
        Self { session: Some(session), ..client }
    }

    fn request(&self, method: &str, params: &Value) -> reqwest::RequestBuilder {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = self
            .gateway
            .request(Method::POST, "/mcp")
            .header("accept", "application/json, text/event-stream")
            .json(&body);
        match &self.session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        }
    }

    /// Calls a tool; the result.
    async fn call(&self, tool: &str, mut more: Value) -> Value {
        more["name"] = tool.into();
        if self.session.is_none() {
            more["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
            });
        }
        let mut request = self.request("tools/call", &more);
        if self.session.is_none() {
            request = request
                .header("mcp-protocol-version", "2026-07-28")
                .header("mcp-method", "tools/call")
                .header("mcp-name", tool);
        }
        let text = request.send().await.unwrap().text().await.unwrap();
        // One message, or a stream whose last event has it.
        let last = text.lines().rfind(|line| line.starts_with("data: ")).map(|line| &line["data: ".len()..]);
        let answer: Value = serde_json::from_str(last.unwrap_or(&text)).unwrap();
        assert_eq!(answer["id"], 1, "{answer}");
        assert!(answer.get("error").is_none(), "{answer}");
        answer["result"].clone()
    }
}

async fn both_eras() -> Arc<Gateway> {
    let configuration = Configuration::left_alone()
        .stdio("legacy", &demo(&["--protocol", "legacy"]), "")
        .stdio("modern", &demo(&["--protocol", "modern"]), "");
    let gateway = Gateway::configured(&configuration).await;
    gateway.all_healthy().await;
    Arc::new(gateway)
}

async fn end(gateway: Arc<Gateway>) {
    let Ok(gateway) = Arc::try_unwrap(gateway) else { panic!("a client is left") };
    gateway.stop().await;
}

/// S29: clients of both eras, servers of both eras, every id the same: each answer is its own.
#[tokio::test]
async fn s29_answers_never_cross_although_every_id_is_one() {
    let gateway = both_eras().await;
    let (clients, calls) = load();
    let work = stream::iter(0..clients).for_each_concurrent(AT_ONCE, async |number| {
        let client = match number % 2 {
            0 => Client::with_session(&gateway).await,
            _ => Client::stateless(&gateway).await,
        };
        for call in 0..calls {
            let server = if (number / 2 + call) % 2 == 0 { "legacy__echo" } else { "modern__echo" };
            let unique = format!("client {number}, call {call}");
            let result = client.call(server, json!({"arguments": {"message": unique}})).await;
            assert_eq!(result["content"][0]["text"], unique.as_str(), "{result}");
        }
    });
    work.await;
    end(gateway).await;
}

/// Clients that are asked at the same time, by a server whose channel does not say what a question is about: each
/// answers its own question.
#[tokio::test]
async fn s34_each_client_is_asked_on_account_of_its_own_call() {
    let gateway = both_eras().await;
    let held = async |number: usize| {
        let client = Client::stateless(&gateway).await;
        let question = format!("question {number}");
        let arguments = json!({"question": question});
        let asked = client.call("legacy__ask_user", json!({"arguments": arguments})).await;
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        let (key, request) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
        let message = request["params"]["message"].as_str().unwrap();
        assert!(message.ends_with(&question), "{message}");
        let answer = json!({"action": "accept", "content": {"answer": format!("answer {number}")}});
        let retry = json!({
            "arguments": arguments, "requestState": asked["requestState"], "inputResponses": {key: answer},
        });
        let result = client.call("legacy__ask_user", retry).await;
        let said = result["content"][0]["text"].as_str().unwrap();
        assert!(said.ends_with(&format!("answer {number}")), "{said}");
    };
    join_all((0..8).map(held)).await;
    end(gateway).await;
}
