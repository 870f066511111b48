//! News for clients: open `subscriptions/listen` requests, and the sessions of the handshake era.

use std::collections::BTreeSet;

use mcp_protocol::{Message, Method, Notification, ProtocolVersion, RawJson, Request, RequestId, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{invalid_params, raw};
use crate::core::{DemoServer, Effect, PeerId, Step, Turn, busy};
use crate::params::required_params;

/// Most resources one request may listen to.
const MOST_URIS: usize = 64;

/// What one listen request is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Filter {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    resource_subscriptions: BTreeSet<String>,
}

#[derive(Deserialize)]
struct ListenParams {
    notifications: Filter,
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

impl DemoServer {
    /// `subscriptions/listen`: acknowledges what is honoured (tools and resources; the list of prompts
    /// never changes) and stays open.
    pub(crate) fn listen(&mut self, turn: &Turn<'_>, request: &Request, out: &mut Vec<Effect>) -> Step {
        let filter = match required_params::<ListenParams>(request) {
            Ok(params) => params.notifications,
            Err(error) => return Step::Done(Err(error)),
        };
        if filter.resource_subscriptions.len() > MOST_URIS {
            return Step::Done(Err(invalid_params("too many resourceSubscriptions in one request")));
        }
        if !self.has_room(turn.peer) {
            return Step::Done(Err(busy()));
        }
        let accepted = json!({ "notifications": filter });
        let key = (turn.peer, turn.id.clone());
        out.push(tell_listener(&key, Method::SubscriptionsAcknowledged, accepted));
        self.listens.insert(key, filter);
        Step::Silent
    }

    /// Ends every listen request with its result: the server is going away.
    #[must_use]
    pub fn shut_down(&mut self) -> Vec<Effect> {
        let listens = std::mem::take(&mut self.listens);
        listens
            .into_keys()
            .map(|(peer, id)| {
                let server = Some(self.identity.describe(ProtocolVersion::LATEST_STATELESS));
                let meta = SubscriptionMeta { subscription: &id, server };
                let result = raw(&Tagged { body: json!({ "resultType": "complete" }), meta });
                let message = Message::Response(Response { id: id.clone(), result });
                Effect::Send { peer, within: Some(id), message }
            })
            .collect()
    }

    /// Tells everyone who asked that the list of tools is another one.
    pub(crate) fn tools_changed(&self, out: &mut Vec<Effect>) {
        for (peer, session) in &self.peers {
            if session.is_some() {
                out.push(tell_session(*peer, Method::ToolsListChanged, None));
            }
        }
        for (key, _) in self.listens.iter().filter(|(_, filter)| filter.tools_list_changed) {
            out.push(tell_listener(key, Method::ToolsListChanged, json!({})));
        }
    }

    /// Tells everyone who asked that a resource has another content.
    pub(crate) fn resource_updated(&self, uri: &str, out: &mut Vec<Effect>) {
        let params = json!({ "uri": uri });
        for (peer, session) in &self.peers {
            if session.as_ref().is_some_and(|session| session.subscriptions.contains(uri)) {
                out.push(tell_session(*peer, Method::ResourcesUpdated, Some(raw(&params))));
            }
        }
        for (key, _) in self.listens.iter().filter(|(_, filter)| filter.resource_subscriptions.contains(uri))
        {
            out.push(tell_listener(key, Method::ResourcesUpdated, params.clone()));
        }
    }
}

fn tell_session(peer: PeerId, method: Method, params: Option<RawJson>) -> Effect {
    Effect::Send { peer, within: None, message: Message::Notification(Notification { method, params }) }
}

fn tell_listener((peer, id): &(PeerId, RequestId), method: Method, body: Value) -> Effect {
    let meta = SubscriptionMeta { subscription: id, server: None };
    let params = Some(raw(&Tagged { body, meta }));
    Effect::Send {
        peer: *peer,
        within: Some(id.clone()),
        message: Message::Notification(Notification { method, params }),
    }
}
