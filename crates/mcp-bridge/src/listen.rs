//! `subscriptions/listen`: what a stateless client is told of changes. Source: bridging §7, wire reference §3.6.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mcp_protocol::subscription::{AcknowledgedParams, ListenParams, SubscriptionFilter};
use mcp_protocol::{ErrorCode, Method, Notification, RawJson, RequestId, RpcError, meta};
use mcp_server::{Outcome, Outlet};

use crate::catalog::ListKind;
use crate::client::{Turn, is_part};
use crate::endpoint::Endpoint;
use crate::library::{Reader, Shelf};
use crate::route::Router;
use crate::tasks::Watched;
use crate::upstream::{News, Upstream};

/// Time for a server to agree to tell of a resource.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(5);
/// Most resources in one subscription.
const MAX_URIS: usize = 1000;

/// One subscription.
struct Listening {
    outlet: Outlet,
    /// The id of the request, which stands in everything that is told.
    id: RawJson,
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: std::sync::Mutex<Vec<(Box<str>, Arc<Upstream>)>>,
    tasks: Vec<Watched>,
}

impl Listening {
    fn tell(&self, method: Method, params: Option<RawJson>) {
        let params = params.unwrap_or_else(RawJson::empty_object);
        if let Ok(params) = meta::set(&params, meta::SUBSCRIPTION_ID, self.id.clone()) {
            self.outlet.notify(Notification { method, params: Some(params) });
        }
    }

    fn uris(&self) -> std::sync::MutexGuard<'_, Vec<(Box<str>, Arc<Upstream>)>> {
        self.uris.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Reader for Listening {
    fn changed(&self, lists: [bool; 4]) {
        let methods: BTreeSet<_> = ListKind::ALL
            .into_iter()
            .filter(|kind| lists[kind.index()])
            .filter(|kind| match kind {
                ListKind::Tools => self.tools,
                ListKind::Prompts => self.prompts,
                ListKind::Resources | ListKind::Templates => self.resources,
            })
            .map(|kind| kind.changed().as_str().to_owned())
            .collect();
        for method in methods {
            self.tell(Method::from(&*method), None);
        }
    }

    fn heard(&self, from: &Upstream, news: &News) {
        let (uri, notification) = match news {
            News::Updated { uri, notification } => (uri, notification),
            News::Said(Notification { method: Method::Tasks, params: Some(params) }) => {
                for told in self.tasks.iter().filter_map(|task| task.hear(from, params)) {
                    self.tell(Method::Tasks, Some(told));
                }
                return;
            }
            _ => return,
        };
        // What is updated may be a part of what was subscribed to.
        let wanted =
            self.uris().iter().any(|(known, upstream)| upstream.server == from.server && is_part(known, uri));
        if wanted {
            let params = notification.params.as_ref();
            let params = params.and_then(|params| meta::strip(params, &[meta::SUBSCRIPTION_ID]).ok());
            self.tell(Method::ResourcesUpdated, params);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for (uri, upstream) in std::mem::take(&mut *self.uris()) {
            upstream.unsubscribe(&uri);
        }
    }
}

impl Endpoint {
    /// Tells the client of what it asked for, until it leaves or the gateway ends.
    pub(crate) async fn listen(&self, turn: &Turn, id: RequestId) -> Outcome {
        let invalid = |text: &str| RpcError::new(ErrorCode::INVALID_PARAMS, text);
        let params = turn.params.as_ref().and_then(|params| params.to::<ListenParams>().ok());
        let wanted = params.ok_or_else(|| invalid("params.notifications must be an object"))?.notifications;
        let uris = wanted.resource_subscriptions.clone().unwrap_or_default();
        if uris.len() > MAX_URIS {
            return Err(invalid(&format!("a subscription has at most {MAX_URIS} resources")));
        }
        let tasks = self.watch_tasks(turn, &wanted.task_ids.clone().unwrap_or_default()).await?;
        let id = RawJson::encode(&id).map_err(|error| invalid(&error.to_string()))?;
        let shelf = turn.client.shelf.clone();
        let offered = self.capabilities(&shelf.directory(), turn.client.version);
        let changes =
            |list: &str, wanted: Option<bool>| wanted == Some(true) && offered.has(&[list, "listChanged"]);
        let listening = Arc::new(Listening {
            outlet: turn.outlet.clone(),
            id: id.clone(),
            tools: changes("tools", wanted.tools_list_changed),
            prompts: changes("prompts", wanted.prompts_list_changed),
            resources: changes("resources", wanted.resources_list_changed),
            uris: std::sync::Mutex::default(),
            tasks,
        });
        let agreed = self.subscribe_all(turn, &shelf, &uris).await;
        let mut accepted = SubscriptionFilter::new();
        accepted.tools_list_changed = listening.tools.then_some(true);
        accepted.prompts_list_changed = listening.prompts.then_some(true);
        accepted.resources_list_changed = listening.resources.then_some(true);
        if !agreed.is_empty() {
            accepted.resource_subscriptions = Some(agreed.iter().map(|(uri, _)| uri.clone()).collect());
        }
        if !listening.tasks.is_empty() {
            accepted.task_ids = Some(listening.tasks.iter().map(|task| task.id.clone()).collect());
        }
        *listening.uris() = agreed;
        let acknowledged = RawJson::encode(&AcknowledgedParams::new(accepted)).ok();
        listening.tell(Method::SubscriptionsAcknowledged, acknowledged);
        shelf.read(Arc::downgrade(&listening) as Weak<dyn Reader>);
        self.bridge.closing.cancelled().await;
        let result = meta::set(&RawJson::empty_object(), meta::SUBSCRIPTION_ID, id)
            .map_err(|error| invalid(&error.to_string()))?;
        self.own(turn, result, None)
    }

    /// Asks the servers to tell of resources: those that agreed.
    async fn subscribe_all(
        &self,
        turn: &Turn,
        shelf: &Shelf,
        uris: &[Box<str>],
    ) -> Vec<(Box<str>, Arc<Upstream>)> {
        let asked = uris.iter().map(|uri| &**uri).map(async |uri: &str| {
            let owners = {
                let (settings, directory) = (self.bridge.settings(), shelf.directory());
                let router = Router {
                    scope: &self.scope,
                    settings: &settings,
                    directory: &directory,
                    watchman: &self.bridge.watchman,
                };
                router.resource(uri)
            };
            for target in owners {
                let server = {
                    let directory = shelf.directory();
                    let shown = directory.shown.iter().find(|shown| shown.owner.name == target.owner.name);
                    shown.map(|shown| shown.server.clone())
                };
                let Some(upstream) = server.and_then(|server| shelf.upstream(&server)) else { continue };
                match upstream.subscribe(uri, SUBSCRIBE_LIMIT).await {
                    Ok(()) => return Some((uri.into(), upstream)),
                    Err(error) => tracing::debug!(%uri, %error, request_id = %turn.request_id, "no server tells of the resource"),
                }
            }
            None
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }
}
