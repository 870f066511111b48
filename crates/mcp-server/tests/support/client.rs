//! A client over HTTP, and the streams it reads.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{BOTH, BOUND, MODERN, initialize, modern};

/// A client with header fields of its own.
#[derive(Clone)]
pub(crate) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) base: String,
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Client {
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.fields.push((name, value.to_owned()));
        client
    }

    pub(crate) fn session_id(&self) -> String {
        self.fields.iter().rfind(|(name, _)| *name == "mcp-session-id").unwrap().1.clone()
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: String,
    ) -> reqwest::Response {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method.parse().unwrap(), url).body(body);
        let own = self.fields.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(fields.iter().copied()) {
            request = request.header(name, value);
        }
        timeout(BOUND, request.send()).await.expect("an answer comes").unwrap()
    }

    pub(crate) async fn post_to(&self, path: &str, message: &Value) -> reqwest::Response {
        let fields = [("content-type", "application/json"), ("accept", BOTH)];
        self.send("POST", path, &fields, message.to_string()).await
    }

    pub(crate) async fn post(&self, message: &Value) -> reqwest::Response {
        self.post_to("/mcp", message).await
    }

    /// Posts a request of the stateless era with the headers it needs.
    pub(crate) async fn modern(&self, id: u32, method: &str, params: Value) -> reqwest::Response {
        let name = params.get("name").or(params.get("uri")).and_then(Value::as_str).map(str::to_owned);
        let mut client = self.with("mcp-protocol-version", MODERN).with("mcp-method", method);
        if let Some(name) = name {
            client = client.with("mcp-name", &name);
        }
        client.post(&modern(id, method, params)).await
    }

    /// Opens a session; a client in it.
    pub(crate) async fn initialize(&self, version: &str) -> Self {
        let answer = self.post(&initialize(version)).await;
        assert_eq!(answer.status(), 200);
        let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let session = self.with("mcp-session-id", &id);
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(session.post(&initialized).await.status(), 202);
        session
    }

    pub(crate) async fn get(&self, last_event: Option<&str>) -> reqwest::Response {
        let mut fields = vec![("accept", "text/event-stream")];
        fields.extend(last_event.map(|id| ("last-event-id", id)));
        self.send("GET", "/mcp", &fields, String::new()).await
    }

    pub(crate) async fn delete(&self) -> u16 {
        self.send("DELETE", "/mcp", &[], String::new()).await.status().as_u16()
    }
}

pub(crate) async fn body(response: reqwest::Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// The status, and the code of the error in the body.
pub(crate) async fn refusal(response: reqwest::Response) -> (u16, i64) {
    let status = response.status().as_u16();
    (status, body(response).await["error"]["code"].as_i64().unwrap())
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) data: Option<String>,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.data.as_deref().unwrap()).unwrap()
    }
}

/// Reads a stream.
pub(crate) struct Events {
    stream: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: String,
}

impl Events {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["x-accel-buffering"], "no");
        Self { stream: Box::pin(response.bytes_stream()), text: String::new() }
    }

    /// The next event or comment (which has nothing); `None` at the end.
    pub(crate) async fn next_raw(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(|text| text.trim_start().to_owned())
                };
                let event = Event { id: field("id:"), name: field("event:"), data: field("data:") };
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = timeout(BOUND, self.stream.next()).await.expect("the stream goes on")?;
            self.text.push_str(std::str::from_utf8(&chunk.ok()?).unwrap());
        }
    }

    /// The next event with a message.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.next_raw().await?;
            if event.data.as_ref().is_some_and(|data| !data.is_empty()) {
                return Some(event);
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Value {
        self.next().await.expect("an event comes").json()
    }

    pub(crate) async fn ends(mut self) {
        assert_eq!(self.next().await, None);
    }
}
