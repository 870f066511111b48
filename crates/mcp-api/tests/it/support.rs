//! A router over scripted servers, called in process.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header, response};
use http_body_util::BodyExt;
use mcp_api::{ApiKeys, ApiState, Settings};
use mcp_bridge::Bridge;
use mcp_manager::{Manager, Setup};
use mcp_protocol::{Era, EraPolicy, RawJson};
use mcp_registry::{Definition, Policy};
use mcp_server::{FrontLimits, HttpFront};
use mcp_testkit::{ManualClock, ScriptedCluster};
use mcp_transport::{Connector, Endpoint, HttpEndpoint};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Both methods that scenarios marked ‖ run with.
pub(crate) const METHODS: [&str; 2] = ["tools/call", "resources/read"];

/// The usual two servers, in either order of preference.
pub(crate) const PB: [&str; 2] = ["primary", "backup"];
pub(crate) const BP: [&str; 2] = ["backup", "primary"];

pub(crate) struct World {
    pub(crate) cluster: ScriptedCluster,
    pub(crate) clock: ManualClock,
    pub(crate) manager: Manager,
    pub(crate) state: ApiState,
    router: Router,
}

impl World {
    pub(crate) fn new(servers: &[&str], adjust: impl FnOnce(&mut Policy)) -> Self {
        Self::with_keys(servers, adjust, ApiKeys::default())
    }

    /// `primary` and `backup`.
    pub(crate) fn pair(unreachable_after: u32) -> Self {
        Self::new(&PB, |policy| policy.unreachable_after = unreachable_after)
    }

    pub(crate) fn with_keys(servers: &[&str], adjust: impl FnOnce(&mut Policy), api_keys: ApiKeys) -> Self {
        Self::over(|cluster| Arc::new(cluster), servers, adjust, api_keys)
    }

    /// A world that reaches its servers through a connector made of the scripted one.
    pub(crate) fn over(
        connector: impl FnOnce(ScriptedCluster) -> Arc<dyn Connector>,
        servers: &[&str],
        adjust: impl FnOnce(&mut Policy),
        api_keys: ApiKeys,
    ) -> Self {
        let (cluster, clock) = (ScriptedCluster::new(), ManualClock::new());
        let mut policy = Policy::default();
        adjust(&mut policy);
        let manager = Manager::new(Setup {
            policy,
            client_info: mcp_client::ClientInfo::new("test", "0"),
            connector: connector(cluster.clone()),
            timer: Arc::new(clock.clone()),
            random: Arc::new(mcp_testkit::Dice::new(1)),
        });
        for name in servers {
            let url = format!("https://{name}.example/mcp").parse().unwrap();
            let mut definition =
                Definition::new(name.parse().unwrap(), Endpoint::Http(HttpEndpoint::new(url)));
            definition.protocol = EraPolicy::Only(Era::Handshake);
            manager.register(definition).unwrap();
        }
        let state = ApiState::new(manager.clone(), Settings { api_keys, version: "0.0.0" });
        let router = mcp_api::router(state.clone());
        Self { cluster, clock, manager, state, router }
    }

    /// The same with a bridge, so with the MCP endpoint.
    pub(crate) fn bridged(self, adjust: impl FnOnce(&mut mcp_bridge::Settings)) -> Self {
        let mut settings = mcp_bridge::Settings::default();
        adjust(&mut settings);
        let info = RawJson::encode(&json!({"name": "gateway", "version": "0"})).unwrap();
        let bridge = Bridge::new(self.manager.clone(), settings, info).unwrap();
        let settings = Settings { api_keys: ApiKeys::default(), version: "0.0.0" };
        let state = ApiState::with_bridge(self.manager.clone(), settings, bridge.clone(), None);
        let front = HttpFront::new(FrontLimits::default());
        let site = mcp_api::mcp_site(bridge, front, ApiKeys::default(), mcp_api::router(state.clone()));
        let router = Router::new().fallback_service(site);
        Self { state, router, ..self }
    }

    /// Sends a request; an empty answer body is `Null`.
    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let (head, value) = self.exchange(request).await;
        (head.status, value)
    }

    /// Sends a request and gives the head of the answer, too.
    pub(crate) async fn exchange(&self, request: Request<Body>) -> (response::Parts, Value) {
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        (head, value)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.ask("POST", path, body).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let (status, value) = self.send(request).await;
        (status.as_u16(), value)
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The server object.
    pub(crate) async fn server(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/mcp/servers/{name}")).await.1
    }

    /// Posts to a path below a server; it must work.
    pub(crate) async fn manage(&self, name: &str, action: &str, body: &str) -> Value {
        let (status, server) = self.post(&format!("/api/v1/mcp/servers/{name}/{action}"), body).await;
        assert_eq!(status, 200, "{server}");
        server
    }

    /// An operator says the server failed.
    pub(crate) async fn fail(&self, name: &str) {
        self.manage(name, "mark", r#"{"as":"degraded","reason":"manual degrade"}"#).await;
    }

    /// The `items` of a list.
    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        let (status, mut list) = self.get(&format!("/api/v1/mcp/{path}")).await;
        assert_eq!(status, 200, "{path} {list}");
        serde_json::from_value(list["items"].take()).unwrap()
    }

    /// Makes a request and tells what it did. The filters of both event streams are checked on the way.
    pub(crate) async fn request(&self, method: &str, preferred: &[&str]) -> Seen {
        let (path, mut body) = match method {
            "tools/call" => ("tool", json!({"tool_name": "search", "arguments": {"q": "x"}})),
            _ => ("resource", json!({"uri": "demo://item"})),
        };
        body["preferred_servers"] = json!(preferred);
        let invocations = self.items("invocation-events").await.len();
        let changes = self.items("events").await.len();
        let traffic = self.cluster.calls().len();
        let (status, answer) = self.post(&format!("/api/v1/mcp/invoke/{path}"), &body.to_string()).await;
        let events = self.items("invocation-events").await.split_off(invocations);
        let changes = self.items("events").await.split_off(changes);
        let id = events.first().map_or("", |event| event["request_id"].as_str().unwrap()).to_owned();
        if status == 200 {
            assert_eq!((&answer["request_id"], &answer["method"]), (&json!(id), &json!(method)));
        }
        assert!(events.iter().all(|event| event["request_id"] == *id && event["method"] == method));
        assert!(changes.iter().all(|event| event["correlation_id"] == *id));
        let seen = Seen {
            status,
            answer,
            phases: spell_phases(&events),
            transitions: spell_transitions(&changes),
            traffic: spell(
                self.cluster.calls()[traffic..].iter().map(|(server, method)| (&**server, word(method))),
            ),
            id,
            events,
            changes,
        };
        for record in self.manager.table().servers() {
            self.assert_filters(&seen, method, record.name().as_str()).await;
        }
        seen
    }

    /// Filters by server, id, method and limit give just the request's part of both streams.
    async fn assert_filters(&self, seen: &Seen, method: &str, server: &str) {
        let of_server = |events: &[Value]| -> Vec<Value> {
            events.iter().filter(|event| event["server"] == server).cloned().collect()
        };
        let (phases, changes) = (of_server(&seen.events), of_server(&seen.changes));
        // An id that nothing was recorded under is as good as any other that finds nothing.
        let id = if seen.id.is_empty() { "none" } else { &seen.id };
        let other = METHODS.iter().find(|other| **other != method).unwrap();
        for (query, expected) in [
            (format!("invocation-events?server={server}&request_id={id}"), &phases[..]),
            (format!("invocation-events?server={server}&request_id={id}&limit=1"), last(&phases)),
            (format!("invocation-events?server={server}&request_id={id}&method={method}"), &phases),
            (
                format!("invocation-events?server={server}&request_id={id}&method={method}&limit=1"),
                last(&phases),
            ),
            (format!("invocation-events?request_id={id}&method={other}"), &[]),
            (format!("events?server={server}&correlation_id={id}"), &changes),
            (format!("events?server={server}&correlation_id={id}&limit=1"), last(&changes)),
        ] {
            assert_eq!(self.items(&query).await, expected, "{query}");
        }
    }
}

fn last(events: &[Value]) -> &[Value] {
    &events[events.len().saturating_sub(1)..]
}

/// What one request did.
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) answer: Value,
    /// Its id in the events; empty if it left none.
    pub(crate) id: String,
    /// Its invocation events as they are.
    pub(crate) events: Vec<Value>,
    /// The status changes it caused as they are.
    pub(crate) changes: Vec<Value>,
    /// Its invocation events spelled out, like `primary IS IF, backup IS IY VS VY`.
    pub(crate) phases: String,
    /// The status changes it caused spelled out, like `primary H→D, backup D→H`.
    pub(crate) transitions: String,
    /// What the servers saw of it, like `primary init ready tool`.
    pub(crate) traffic: String,
}

impl Seen {
    /// Who served; the status code if nobody did.
    pub(crate) fn server(&self) -> String {
        self.answer["server"].as_str().map_or_else(|| self.status.to_string(), str::to_owned)
    }

    /// Position and category of the failed phases.
    pub(crate) fn errors(&self) -> Vec<(usize, &str)> {
        let categories = self.events.iter().map(|event| event["error_category"].as_str()).enumerate();
        categories.filter_map(|(at, category)| Some((at, category?))).collect()
    }
}

/// Server, stage and error category of the attempts in a failure body.
pub(crate) fn attempts(answer: &Value) -> Vec<(&str, &str, Option<&str>)> {
    fn entry(attempt: &Value) -> (&str, &str, Option<&str>) {
        assert_eq!(attempt["success"], attempt["error"].is_null());
        let text = |key: &str| attempt[key].as_str();
        (text("server").unwrap(), text("stage").unwrap(), text("error_category"))
    }
    answer["detail"]["attempts"].as_array().unwrap().iter().map(entry).collect()
}

/// The instant so many seconds after the start; less than an hour.
pub(crate) fn at(seconds: u64) -> Value {
    json!(format!("2026-01-01T00:{:02}:{:02}Z", seconds / 60, seconds % 60))
}

/// How traffic spells a method.
pub(crate) fn word(method: &str) -> String {
    match method {
        "initialize" => "init",
        "notifications/initialized" => "ready",
        "tools/call" => "tool",
        "resources/read" => "read",
        other => other,
    }
    .to_owned()
}

/// Servers with what they did, one after the other: `primary IS IF, backup IS IY VS VY`.
fn spell<'a>(items: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let (mut text, mut last) = (String::new(), "");
    for (server, word) in items {
        if server != last {
            text += if text.is_empty() { "" } else { ", " };
            text += server;
            last = server;
        }
        text += " ";
        text += &word;
    }
    text
}

fn spell_phases(events: &[Value]) -> String {
    let word = |event: &Value| match event["phase"].as_str().unwrap() {
        "initialize_start" => "IS",
        "initialize_success" => "IY",
        "initialize_failure" => "IF",
        "invoke_start" => "VS",
        "invoke_success" => "VY",
        "invoke_failure" => "VF",
        other => panic!("no phase {other}"),
    };
    spell(events.iter().map(|event| (event["server"].as_str().unwrap(), word(event).to_owned())))
}

fn spell_transitions(events: &[Value]) -> String {
    let letter = |event: &Value, key: &str| match event[key].as_str().unwrap() {
        "healthy" => 'H',
        "degraded" => 'D',
        "unreachable" => 'X',
        other => panic!("no status {other}"),
    };
    let change = |event| format!("{}→{}", letter(event, "from_status"), letter(event, "to_status"));
    spell(events.iter().map(|event| (event["server"].as_str().unwrap(), change(event))))
}
