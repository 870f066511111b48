//! The client.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use mcp_client::{CallError, Client, Outgoing, Patience, ServerProfile};
use mcp_protocol::prompt::Prompt;
use mcp_protocol::resource::{
    ReadResourceParams, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use mcp_protocol::tool::{CallToolParams, CallToolResult, Tool};
use mcp_protocol::{JsonKind, Method, RawJson};
use mcp_registry::{ConnectionState, Definition, ErrorCategory, Failure};
use mcp_transport::{Connector, TransportError, TransportErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::breaker::{Breaker, BreakerState, Pass};
use crate::error::{ClientError, of_request};
use crate::event::ClientEvents;
use crate::options::ClientOptions;
use crate::result::{ConnectionResult, ConnectionStats};
use crate::state::{Session, Shared};
use crate::supervisor::First;

/// A client of one server, over any transport: connects with retries, keeps the connection, and makes typed
/// requests. Clones are the same client; it disconnects in the background when the last one goes.
///
/// Requests need a connection: there is no connecting on first use. They may run concurrently.
/// Source: contract §7.1.
#[derive(Clone)]
pub struct McpClient(Arc<Handle>);

/// What the clones share, and the task that keeps the connection does not.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The task closes the connection, if there is a runtime to run it.
        self.shared.disconnect();
    }
}

impl fmt::Debug for McpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared().fmt(f)
    }
}

impl McpClient {
    /// A client of a server, not connected.
    #[must_use]
    pub fn new(definition: Definition, connector: Arc<dyn Connector>, options: ClientOptions) -> Self {
        Self(Arc::new(Handle { shared: Arc::new(Shared::new(definition, connector, options)) }))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// What the client was made for.
    #[must_use]
    pub fn definition(&self) -> &Arc<Definition> {
        &self.shared().definition
    }

    /// Connects, up to `policy.connect_attempts` times with growing waits. Does nothing on a client that is
    /// connected; callers that come while an attempt is under way share its outcome. It goes on if the caller
    /// leaves.
    ///
    /// When all attempts fail the state is `error`, and further attempts follow in the background unless
    /// [`ClientOptions::reconnect`] is off. Source: contract §2.6.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(&self) -> ConnectionResult {
        match self.shared().connect() {
            Ok(first) => self.outcome(first).await,
            Err(there) => self.shared().success(&there, 0),
        }
    }

    /// Closes the connection, waits until everything is freed, and ends attempts to make one. Requests under way
    /// fail. Does nothing on a client that has no connection and makes none.
    pub async fn disconnect(&self) {
        if let Some(ended) = self.shared().disconnect() {
            ended.cancelled().await;
        }
    }

    /// Closes the connection and connects anew, as [`connect`](Self::connect) does; statistics start afresh.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn reconnect(&self) -> ConnectionResult {
        let first = self.shared().reconnect();
        self.outcome(first).await
    }

    /// How it ends. If somebody else begins anew meanwhile, how that ends.
    async fn outcome(&self, mut first: First) -> ConnectionResult {
        loop {
            if let Some(told) = first.wait_for(Option::is_some).await.ok().and_then(|told| told.clone()) {
                return told;
            }
            let Some(next) = self.shared().under_way() else {
                let text = "disconnected while connecting";
                return self.shared().failure(Failure::new(ErrorCategory::TransportError, text), 0);
            };
            first = next;
        }
    }

    /// Whether the state is `connected`.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection_state() == ConnectionState::Connected
    }

    /// What the transport is doing. Source: contract §1.5.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.shared().state().connection
    }

    /// Tells of changes of the connection from now on.
    #[must_use]
    pub fn events(&self) -> ClientEvents {
        ClientEvents::new(self.shared().events())
    }

    /// What was counted on the present connection; `None` without one.
    #[must_use]
    pub fn get_stats(&self) -> Option<ConnectionStats> {
        let session = self.shared().state().session.clone()?;
        let stats = session.client.stats();
        Some(ConnectionStats {
            connected_at: session.opened_at,
            last_activity: self.shared().now() - stats.idle_for,
            requests_sent: stats.requests_sent,
            errors_count: stats.errors + session.tool_errors.load(Ordering::Relaxed),
            average_latency: stats.average_latency,
        })
    }

    /// What the circuit breaker lets through; `None` if there is none.
    #[must_use]
    pub fn breaker_state(&self) -> Option<BreakerState> {
        let now = self.shared().now();
        self.shared().breaker().map(|breaker| breaker.state(now))
    }

    /// The present connection itself, for example to read what comes on the way to an answer one by one. What is
    /// done with it passes by the circuit breaker.
    ///
    /// # Errors
    /// [`ClientError::Connection`] without one.
    pub fn connection(&self) -> Result<Client, ClientError> {
        self.session().map(|session| session.client.clone())
    }

    /// What the server said of itself in the handshake of the present connection: version, capabilities, name,
    /// instructions. Connecting shakes hands, so this sends nothing (contract §3.1 step 2).
    ///
    /// # Errors
    /// [`ClientError::Connection`] without a connection.
    pub fn initialize(&self) -> Result<Arc<ServerProfile>, ClientError> {
        self.session().map(|session| session.client.profile())
    }

    /// All tools, from all pages. Entries that are no tools are left out with a warning.
    ///
    /// # Errors
    /// [`ClientError`]; [`Rpc`](ClientError::Rpc) from a server without tools.
    pub async fn list_tools(&self) -> Result<Vec<Tool>, ClientError> {
        self.list(Method::ToolsList).await
    }

    /// All resources, from all pages. Otherwise like [`list_tools`](Self::list_tools).
    ///
    /// # Errors
    /// [`ClientError`]; [`Rpc`](ClientError::Rpc) from a server without resources.
    pub async fn list_resources(&self) -> Result<Vec<Resource>, ClientError> {
        self.list(Method::ResourcesList).await
    }

    /// All resource templates, from all pages. Otherwise like [`list_tools`](Self::list_tools).
    ///
    /// # Errors
    /// [`ClientError`]; [`Rpc`](ClientError::Rpc) from a server without resources.
    pub async fn list_resource_templates(&self) -> Result<Vec<ResourceTemplate>, ClientError> {
        self.list(Method::ResourceTemplatesList).await
    }

    /// All prompts, from all pages. Otherwise like [`list_tools`](Self::list_tools).
    ///
    /// # Errors
    /// [`ClientError`]; [`Rpc`](ClientError::Rpc) from a server without prompts.
    pub async fn list_prompts(&self) -> Result<Vec<Prompt>, ClientError> {
        self.list(Method::PromptsList).await
    }

    /// Calls a tool. That the tool failed is no error: see [`CallToolResult::failed`]. `arguments` must be an
    /// object.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: &impl Serialize,
    ) -> Result<CallToolResult, ClientError> {
        let arguments = encode(arguments)?;
        if arguments.kind() != JsonKind::Object {
            return Err(ClientError::request("the arguments of a tool must be a JSON object"));
        }
        let mut params = CallToolParams::new(name);
        params.arguments = Some(arguments);
        let session = self.session()?;
        let result: CallToolResult = self.ask(&session, Method::ToolsCall, encode(&params)?).await?;
        if result.failed() {
            session.count_tool_error();
        }
        Ok(result)
    }

    /// Reads a resource; several contents if the URI names a collection.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read_resource(&self, uri: &str) -> Result<Vec<ResourceContents>, ClientError> {
        let params = encode(&ReadResourceParams::new(uri))?;
        let session = self.session()?;
        let result: ReadResourceResult = self.ask(&session, Method::ResourcesRead, params).await?;
        Ok(result.contents)
    }

    /// Whether the server answers within `policy.ping_timeout`. False without a connection, too.
    pub async fn ping(&self) -> bool {
        self.check().await.is_ok()
    }

    /// How long the server takes to answer, and why not.
    pub(crate) async fn check(&self) -> Result<Duration, ClientError> {
        let limit = self.shared().options.policy.ping_timeout;
        let session = self.session()?;
        let started = self.shared().now();
        self.guarded(&session, async |client| client.ping(limit).await).await?;
        Ok(self.shared().now().since(started))
    }

    async fn list<T: DeserializeOwned>(&self, method: Method) -> Result<Vec<T>, ClientError> {
        let items = self.list_raw(method.clone()).await?;
        let listed = items.len();
        let items: Vec<T> = items.iter().filter_map(|item| item.to().ok()).collect();
        if items.len() < listed {
            let (server, unusable) = (&self.definition().name, listed - items.len());
            tracing::warn!(%server, %method, unusable, "left out entries without their required members");
        }
        Ok(items)
    }

    /// The items of a list as they came.
    pub(crate) async fn list_raw(&self, method: Method) -> Result<Vec<RawJson>, ClientError> {
        let limit = self.definition().request_timeout;
        let session = self.session()?;
        self.guarded(&session, async |client| client.list(method, limit).await).await
    }

    /// Makes a request this type has no method for, or one with headers, progress or limits of its own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn request(&self, request: Outgoing, patience: Patience) -> Result<RawJson, ClientError> {
        let session = self.session()?;
        self.send(&session, request, patience).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        session: &Session,
        method: Method,
        params: RawJson,
    ) -> Result<T, ClientError> {
        let limit = self.definition().request_timeout;
        let request = Outgoing::new(method.clone(), Some(params));
        let result = self.send(session, request, Patience { idle: limit, total: limit }).await?;
        result.to().map_err(|error| {
            ClientError::unusable(format!("the answer to {method} is not what it should be: {error}"))
        })
    }

    async fn send(
        &self,
        session: &Session,
        request: Outgoing,
        patience: Patience,
    ) -> Result<RawJson, ClientError> {
        let answer = self.guarded(session, async |client| client.call_with(request, patience).await).await?;
        if answer.requires_input() {
            return Err(ClientError::InputRequired { result: answer.result });
        }
        Ok(answer.result)
    }

    fn session(&self) -> Result<Arc<Session>, ClientError> {
        let state = self.shared().state();
        state.session.clone().ok_or_else(|| {
            let (name, state) = (&self.definition().name, state.connection.as_str());
            ClientError::not_connected(format!("{name} is not connected (state {state}); connect it first"))
        })
    }

    /// Makes a request if the circuit breaker lets it through, and draws the conclusions from its outcome.
    async fn guarded<T>(
        &self,
        session: &Session,
        request: impl AsyncFnOnce(Client) -> Result<T, CallError>,
    ) -> Result<T, ClientError> {
        let permit = Permit::get(self.shared())?;
        let outcome = request(session.client.clone()).await;
        let out_of_reach = matches!(
            &outcome,
            Err(CallError::Transport(TransportError { kind: TransportErrorKind::Connect(_), .. }))
        );
        let outcome = outcome.map_err(ClientError::from);
        // What fails because we end the connection says nothing of the server.
        if outcome.is_ok() || !session.is_given_up() {
            permit.judge(&outcome);
        }
        if let Err(error) = &outcome
            && out_of_reach
        {
            // Where there is a standing connection its end is noticed by itself.
            session.report_loss(of_request(error));
        }
        outcome
    }
}

impl Shared {
    pub(crate) fn breaker(&self) -> Option<MutexGuard<'_, Breaker>> {
        self.breaker.as_ref().map(|breaker| breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The breaker's permission for one request; a request that is dropped gives it back.
struct Permit<'a> {
    shared: &'a Shared,
    pass: Option<Pass>,
}

impl<'a> Permit<'a> {
    fn get(shared: &'a Shared) -> Result<Self, ClientError> {
        let now = shared.now();
        let pass = shared.breaker().map(|mut breaker| breaker.admit(now)).transpose();
        match pass {
            Ok(pass) => Ok(Self { shared, pass }),
            Err(retry_in) => Err(ClientError::BreakerOpen { retry_in }),
        }
    }

    fn judge<T>(mut self, outcome: &Result<T, ClientError>) {
        let now = self.shared.now();
        let (Some(mut breaker), Some(pass)) = (self.shared.breaker(), self.pass.take()) else { return };
        match outcome {
            Err(ClientError::Connection { .. } | ClientError::Process { .. }) => breaker.broken(now, pass),
            Err(error) => breaker.finished(now, pass, !error.blames_server()),
            Ok(_) => breaker.finished(now, pass, true),
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let (Some(mut breaker), Some(pass)) = (self.shared.breaker(), self.pass.take()) {
            breaker.abandoned(pass);
        }
    }
}

fn encode(value: &impl Serialize) -> Result<RawJson, ClientError> {
    RawJson::encode(value).map_err(|error| ClientError::request(error.to_string()))
}
