//! A bridge, its servers and its clients.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_bridge::{Bridge, Scope, Settings};
use mcp_manager::{Manager, Setup};
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::header::name_of;
use mcp_protocol::logging::LogLevel;
use mcp_protocol::meta::RequestMeta;
use mcp_protocol::{
    EraPolicy, Limits, Method, Notification, ProtocolVersion, RawJson, Request, RequestId, RpcError,
};
use mcp_registry::{Definition, Policy};
use mcp_server::{
    AskError, Channel, Conversation, Opened, Opening, Outcome, Principal, Service, StatelessCall,
    TransportShape,
};
use mcp_testkit::{Dice, ManualClock};
use mcp_transport::{Endpoint, HttpEndpoint, SseEndpoint, StdioEndpoint, TransportKind};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::net::{Net, Server, value};

pub(crate) use mcp_protocol::ProtocolVersion::*;

/// How long anything may take, on a clock that moves when nobody has anything to do.
const PATIENCE: Duration = Duration::from_secs(25);

/// The kinds of connection.
pub(crate) const KINDS: [TransportKind; 2] = [TransportKind::Stdio, TransportKind::Http];

/// Waits for something that has to happen.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(happened) => happened,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Lets everything run that can.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Lets a time go by.
pub(crate) async fn pass(time: Duration) {
    // In steps, so that what becomes due on the way happens in order.
    let end = tokio::time::Instant::now() + time;
    let _ = tokio::time::timeout_at(end, std::future::pending::<()>()).await;
    settle().await;
}

/// A bridge over some servers.
pub(crate) struct World {
    pub(crate) manager: Manager,
    pub(crate) bridge: Bridge,
    pub(crate) clock: ManualClock,
    pub(crate) net: Net,
}

pub(crate) fn definition(server: &Server) -> Definition {
    let endpoint = match (server.kind(), server.address()) {
        (TransportKind::Sse, Some(address)) => {
            let url = format!("http://{address}/sse").parse().unwrap();
            Endpoint::Sse(SseEndpoint::new(HttpEndpoint::new(url)))
        }
        (_, Some(address)) => {
            Endpoint::Http(HttpEndpoint::new(format!("http://{address}/mcp").parse().unwrap()))
        }
        (TransportKind::Stdio, None) => Endpoint::Stdio(StdioEndpoint::new(server.name(), [""; 0])),
        _ => {
            let url = format!("https://{}.example/mcp", server.name()).parse().unwrap();
            Endpoint::Http(HttpEndpoint::new(url))
        }
    };
    let mut definition = Definition::new(server.name().parse().unwrap(), endpoint);
    definition.protocol = EraPolicy::Only(server.version().era());
    definition
}

impl World {
    pub(crate) fn new(servers: &[&Server]) -> Self {
        Self::with(servers, |_| {}, |_| {})
    }

    /// A world with other settings or definitions.
    pub(crate) fn with(
        servers: &[&Server],
        adjust: impl FnOnce(&mut Settings),
        mut define: impl FnMut(&mut Definition),
    ) -> Self {
        let (net, clock) = (Net::default(), ManualClock::new());
        let manager = Manager::new(Setup {
            policy: Policy::default(),
            client_info: mcp_client::ClientInfo::new("test", "0"),
            connector: Arc::new(net.clone()),
            timer: Arc::new(clock.clone()),
            random: Arc::new(Dice::new(1)),
        });
        for server in servers {
            net.add(server);
            let mut definition = definition(server);
            define(&mut definition);
            manager.register(definition).unwrap();
        }
        let mut settings = Settings::default();
        adjust(&mut settings);
        let info = RawJson::encode(&json!({"name": "gateway", "version": "0"})).unwrap();
        let bridge = Bridge::new(manager.clone(), settings, info).unwrap();
        Self { manager, bridge, clock, net }
    }

    /// What the manager's monitor does by and by.
    pub(crate) async fn reconnect(&self, server: &str) {
        self.manager.initialize(server, false).await.unwrap();
    }

    pub(crate) fn service(&self, scope: &Scope) -> Arc<dyn Service> {
        self.bridge.endpoint(scope).unwrap()
    }

    /// A client of the stateless era at the aggregate, which declares nothing.
    pub(crate) fn modern(&self) -> Modern {
        self.modern_at(&Scope::All)
    }

    pub(crate) fn modern_at(&self, scope: &Scope) -> Modern {
        Modern {
            service: self.service(scope),
            principal: Principal::anonymous(),
            capabilities: json!({}),
            level: None,
            transport: TransportShape::Http,
        }
    }

    /// A client of the handshake era at the aggregate.
    pub(crate) async fn classic(&self, version: ProtocolVersion, capabilities: Value) -> Classic {
        self.classic_at(&Scope::All, version, capabilities).await
    }

    pub(crate) async fn classic_at(
        &self,
        scope: &Scope,
        version: ProtocolVersion,
        capabilities: Value,
    ) -> Classic {
        let shape = TransportShape::Http;
        Classic::open(&*self.service(scope), Principal::anonymous(), shape, version, capabilities).await
    }

    /// Moves both clocks.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        pass(time).await;
    }
}

pub(crate) fn one(name: &str) -> Scope {
    Scope::One(name.into())
}

pub(crate) fn json_of(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

/// A client of the stateless era.
#[derive(Clone)]
pub(crate) struct Modern {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) principal: Principal,
    pub(crate) capabilities: Value,
    pub(crate) level: Option<LogLevel>,
    pub(crate) transport: TransportShape,
}

impl Modern {
    /// The same client with other capabilities.
    pub(crate) fn able(mut self, capabilities: Value) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The same client on behalf of somebody else.
    pub(crate) fn named(mut self, principal: &str) -> Self {
        self.principal = Principal::named(principal);
        self
    }

    /// Sends a request.
    pub(crate) fn start(&self, method: Method, params: impl ToString) -> Pending {
        self.start_as(7.into(), method, params)
    }

    pub(crate) fn start_as(&self, id: RequestId, method: Method, params: impl ToString) -> Pending {
        let capabilities = RawJson::encode(&self.capabilities).unwrap();
        let capabilities = ClientCapabilities::from_raw(capabilities).unwrap();
        let mut meta = RequestMeta::new(V2026_07_28, capabilities);
        meta.log_level = self.level;
        let params = meta.stamp(Some(&json_of(&params.to_string()))).unwrap();
        let meta = RequestMeta::read(Some(&params)).unwrap();
        let name = name_of(&method, Some(&params));
        let probe = Probe::new();
        let call = StatelessCall {
            principal: self.principal.clone(),
            transport: self.transport,
            request: Request { id, method: method.clone(), params: Some(params) },
            meta,
            name,
            outlet: probe.clone(),
        };
        Pending { task: tokio::spawn(self.service.call(call)), probe, method }
    }

    /// Sends a request and waits for its result.
    pub(crate) async fn call(&self, method: Method, params: impl ToString) -> Value {
        self.start(method, params).ok().await
    }

    /// Sends a request and waits for its error.
    pub(crate) async fn refused(&self, method: Method, params: impl ToString) -> Value {
        self.start(method, params).err().await
    }

    /// Calls a tool.
    pub(crate) fn tool(&self, name: &str) -> Pending {
        self.start(Method::ToolsCall, json!({"name": name, "arguments": {}}))
    }

    /// Comes back to a tool call with answers.
    pub(crate) fn retry(&self, name: &str, asked: &Value, answers: Value) -> Pending {
        let state = &asked["requestState"];
        assert!(state.is_string(), "{asked}");
        let params = json!({"name": name, "arguments": {}, "inputResponses": answers, "requestState": state});
        self.start(Method::ToolsCall, params)
    }
}

/// A client of the handshake era.
pub(crate) struct Classic {
    pub(crate) conversation: Arc<dyn Conversation>,
    pub(crate) probe: Arc<Probe>,
    /// The result of `initialize`.
    pub(crate) opened: Value,
}

impl Classic {
    pub(crate) async fn open(
        service: &dyn Service,
        principal: Principal,
        transport: TransportShape,
        version: ProtocolVersion,
        capabilities: Value,
    ) -> Self {
        let probe = Probe::new();
        let params = json!({
            "protocolVersion": version.as_str(), "capabilities": capabilities,
            "clientInfo": {"name": "client", "version": "0"},
        });
        let params = RawJson::encode(&params).unwrap();
        let opening = Opening { principal, transport, version, params, outlet: probe.clone() };
        let Opened { result, conversation } = within("the session", service.open(opening)).await.unwrap();
        Self { conversation, probe, opened: value(result.as_str()) }
    }

    pub(crate) fn start(&self, method: Method, params: impl ToString) -> Pending {
        let probe = Probe::new();
        let params = Some(json_of(&params.to_string()));
        let request = Request { id: 7.into(), method: method.clone(), params };
        Pending { task: tokio::spawn(self.conversation.call(request, probe.clone())), probe, method }
    }

    pub(crate) async fn call(&self, method: Method, params: impl ToString) -> Value {
        self.start(method, params).ok().await
    }

    pub(crate) async fn refused(&self, method: Method, params: impl ToString) -> Value {
        self.start(method, params).err().await
    }

    pub(crate) fn tool(&self, name: &str) -> Pending {
        self.start(Method::ToolsCall, json!({"name": name, "arguments": {}}))
    }

    pub(crate) fn notify(&self, method: Method) {
        self.conversation.notified(Notification { method, params: None });
    }
}

/// A request under way.
pub(crate) struct Pending {
    task: JoinHandle<Outcome>,
    pub(crate) probe: Arc<Probe>,
    method: Method,
}

impl Pending {
    pub(crate) async fn outcome(self) -> Outcome {
        within(&format!("the answer to {}", self.method), self.task).await.unwrap()
    }

    pub(crate) async fn ok(self) -> Value {
        match self.outcome().await {
            Ok(result) => value(result.as_str()),
            Err(error) => panic!("{}", error.as_raw().as_str()),
        }
    }

    /// The result as it came.
    pub(crate) async fn raw(self) -> String {
        self.outcome().await.unwrap().as_str().to_owned()
    }

    pub(crate) async fn err(self) -> Value {
        match self.outcome().await {
            Ok(result) => panic!("{}", result.as_str()),
            Err(error) => value(error.as_raw().as_str()),
        }
    }

    /// The client takes it back, or leaves.
    pub(crate) async fn leave(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        settle().await;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

/// What a client hears.
pub(crate) struct Probe {
    told: Mutex<Vec<Value>>,
    changed: Notify,
    ask: mpsc::Sender<Question>,
    asked: tokio::sync::Mutex<mpsc::Receiver<Question>>,
    ids: Mutex<Vec<String>>,
}

impl Probe {
    pub(crate) fn new() -> Arc<Self> {
        let (ask, asked) = mpsc::channel(64);
        let asked = tokio::sync::Mutex::new(asked);
        Arc::new(Self { told: Mutex::default(), changed: Notify::new(), ask, asked, ids: Mutex::default() })
    }

    /// The notifications so far.
    pub(crate) fn told(&self) -> Vec<Value> {
        self.told.lock().unwrap().clone()
    }

    /// Those of one method, by their parameters.
    pub(crate) fn told_of(&self, method: &str) -> Vec<Value> {
        self.told()
            .into_iter()
            .filter(|told| told["method"] == method)
            .map(|told| told["params"].clone())
            .collect()
    }

    /// Waits until so many notifications of a method came, and gives the parameters of the last one.
    pub(crate) async fn hear(&self, method: &str, many: usize) -> Value {
        let heard = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                let told = self.told_of(method);
                if told.len() >= many {
                    return told[many - 1].clone();
                }
                changed.await;
            }
        };
        within(&format!("{many} times {method}"), heard).await
    }

    /// The next question.
    pub(crate) async fn question(&self) -> Question {
        within("a question", async { self.asked.lock().await.recv().await.unwrap() }).await
    }

    /// Whether there is a question that nobody has looked at.
    pub(crate) async fn is_asked(&self) -> bool {
        settle().await;
        self.asked.lock().await.try_recv().is_ok()
    }

    /// The request ids it was told.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap().clone()
    }
}

impl Channel for Probe {
    fn notify(&self, notification: Notification) {
        let params = notification.params.map_or(Value::Null, |params| value(params.as_str()));
        let told = json!({"method": notification.method.as_str(), "params": params});
        self.told.lock().unwrap().push(told);
        self.changed.notify_waiters();
    }

    fn ask(&self, method: Method, params: Option<RawJson>) -> BoxFuture<'static, Result<RawJson, AskError>> {
        let (answer, answered) = oneshot::channel();
        let params = params.map_or(Value::Null, |params| value(params.as_str()));
        self.ask.try_send(Question { method, params, answer }).ok().unwrap();
        async move { answered.await.unwrap_or(Err(AskError::Unreachable("it is gone"))) }.boxed()
    }

    fn trace(&self, request_id: Arc<str>) {
        self.ids.lock().unwrap().push(request_id.to_string());
    }
}

/// What a client is asked.
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) params: Value,
    answer: oneshot::Sender<Result<RawJson, AskError>>,
}

impl Question {
    pub(crate) fn answer(self, result: Value) {
        self.answer.send(Ok(RawJson::encode(&result).unwrap())).unwrap();
    }

    pub(crate) fn refuse(self, code: i64, message: &str) {
        let error = RpcError::new(mcp_protocol::ErrorCode(code), message);
        self.answer.send(Err(AskError::Refused(error))).unwrap();
    }

    /// Waits until the bridge takes it back.
    pub(crate) async fn taken_back(mut self) {
        within("the question to be taken back", self.answer.closed()).await;
    }
}

/// A tool result that says one thing.
pub(crate) fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// The same of a stateless server.
pub(crate) fn complete(words: &str) -> Value {
    let mut result = text(words);
    result["resultType"] = "complete".into();
    result
}

/// What a tool result says.
pub(crate) fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}"))
}

/// The members of a list by name.
pub(crate) fn names(result: &Value, member: &str) -> Vec<String> {
    let entries = result[member].as_array().unwrap_or_else(|| panic!("{result}"));
    let name = |entry: &Value| {
        let key = match member {
            "resources" => "uri",
            "resourceTemplates" => "uriTemplate",
            _ => "name",
        };
        entry[key].as_str().unwrap().to_owned()
    };
    entries.iter().map(name).collect()
}

/// A form with one field.
pub(crate) fn form(message: &str) -> Value {
    json!({"message": message, "requestedSchema": {"type": "object", "properties": {"answer": {"type": "string"}}}})
}

pub(crate) fn sampling(words: &str) -> Value {
    json!({"messages": [{"role": "user", "content": {"type": "text", "text": words}}], "maxTokens": 10})
}
