//! News for clients: open `subscriptions/listen` requests, and the sessions of the handshake era.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_protocol::{Method, Notification, ProtocolVersion, Request, RequestId};
use mcp_server::Outlet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{invalid_params, raw};
use crate::demo::{Demo, Turn};
use crate::params::required_params;

/// Most resources one request may listen to.
const MOST_URIS: usize = 64;

/// What one client is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Filter {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) tools_list_changed: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) resource_subscriptions: BTreeSet<String>,
}

#[derive(Deserialize)]
struct ListenParams {
    notifications: Filter,
}

/// Who is told.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) outlet: Outlet,
    pub(crate) filter: Filter,
    /// The listen request; `None` for a session.
    pub(crate) subscription: Option<RequestId>,
}

/// A place among the listeners, until it is dropped.
pub(crate) struct Seat {
    pub(crate) demo: Arc<Demo>,
    number: u64,
}

/// The params of everything sent on a listen stream. Encoded directly, so that the id keeps its spelling.
#[derive(Serialize)]
struct Tagged<'a> {
    #[serde(flatten)]
    body: Value,
    #[serde(rename = "_meta")]
    meta: SubscriptionMeta<'a>,
}

#[derive(Serialize)]
struct SubscriptionMeta<'a> {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: &'a RequestId,
    #[serde(rename = "io.modelcontextprotocol/serverInfo", skip_serializing_if = "Option::is_none")]
    server: Option<Value>,
}

impl Listener {
    fn tell(&self, method: Method, body: Value) {
        let params = match &self.subscription {
            Some(subscription) => {
                Some(raw(&Tagged { body, meta: SubscriptionMeta { subscription, server: None } }))
            }
            None => (body != json!({})).then(|| raw(&body)),
        };
        self.outlet.notify(Notification { method, params });
    }
}

impl Seat {
    /// Lets somebody listen from now on.
    pub(crate) fn take(demo: &Arc<Demo>, listener: Listener) -> Self {
        let mut state = demo.lock();
        if listener.subscription.is_some() {
            // Under the lock, so that no news come before it.
            listener.tell(Method::SubscriptionsAcknowledged, json!({ "notifications": listener.filter }));
        }
        state.next_listener += 1;
        let number = state.next_listener;
        state.listeners.insert(number, listener);
        Self { demo: Arc::clone(demo), number }
    }

    /// Changes what is told; nothing after [`leave`](Self::leave).
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Filter) -> T) -> Option<T> {
        self.demo.lock().listeners.get_mut(&self.number).map(|listener| change(&mut listener.filter))
    }

    /// Nothing more is told.
    pub(crate) fn leave(&self) {
        let left = self.demo.lock().listeners.remove(&self.number);
        drop(left); // not under the lock: it may be the last that knows the client
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Demo {
    /// `subscriptions/listen`: acknowledges what is honoured (tools and resources; the list of prompts
    /// never changes) and stays open until the server goes away.
    pub(crate) fn listen(
        self: &Arc<Self>,
        turn: Turn,
        request: &Request,
    ) -> BoxFuture<'static, mcp_server::Outcome> {
        let filter = match required_params::<ListenParams>(request) {
            Ok(params) => params.notifications,
            Err(error) => return ready(Err(error)).boxed(),
        };
        if filter.resource_subscriptions.len() > MOST_URIS {
            return ready(Err(invalid_params("too many resourceSubscriptions in one request"))).boxed();
        }
        let subscription = Some(turn.id.clone());
        let seat = Seat::take(self, Listener { outlet: turn.outlet, filter, subscription });
        let shutting_down = self.shutting_down();
        async move {
            shutting_down.await;
            let server = Some(seat.demo.identity.describe(ProtocolVersion::LATEST_STATELESS));
            let meta = SubscriptionMeta { subscription: &turn.id, server };
            Ok(raw(&Tagged { body: json!({ "resultType": "complete" }), meta }))
        }
        .boxed()
    }

    /// Tells everyone who asked that the list of tools is another one.
    pub(crate) fn tools_changed(&self) {
        self.tell(Method::ToolsListChanged, &json!({}), |filter| filter.tools_list_changed);
    }

    /// Tells everyone who asked that a resource has another content.
    pub(crate) fn resource_updated(&self, uri: &str) {
        let asked = |filter: &Filter| filter.resource_subscriptions.contains(uri);
        self.tell(Method::ResourcesUpdated, &json!({ "uri": uri }), asked);
    }

    fn tell(&self, method: Method, body: &Value, asked: impl Fn(&Filter) -> bool) {
        let listeners: Vec<_> =
            self.lock().listeners.values().filter(|listener| asked(&listener.filter)).cloned().collect();
        listeners.iter().for_each(|listener| listener.tell(method.clone(), body.clone()));
    }
}
