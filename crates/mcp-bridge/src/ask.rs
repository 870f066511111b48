//! Asking a client of the handshake era what a server wants to know. Source: bridging §6.1, §6.2.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{RequestHandler, ServerRequest};
use mcp_protocol::elicitation::{ElicitAction, ElicitationCompleteParams};
use mcp_protocol::{Era, ErrorCode, Method, Notification, ProtocolVersion, RawJson, RpcError};
use mcp_server::{AskError, Outlet};
use tokio_util::sync::CancellationToken;

use crate::convert::capabilities::Profile;
use crate::convert::envelope::question_params;
use crate::convert::{elicitation, sampling};

/// First and longest wait before a server is asked again that sent a person to a page. A call is sent ten times at most.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Asks one client, on account of one request or of none.
#[derive(Clone)]
pub(crate) struct AskClient {
    pub(crate) outlet: Outlet,
    pub(crate) version: ProtocolVersion,
    pub(crate) profile: Profile,
    /// What the client knows the server as, where several could be meant.
    pub(crate) server_name: Option<Box<str>>,
    /// Makes ids for pages to be opened.
    pub(crate) page_id: Arc<dyn Fn() -> Box<str> + Send + Sync>,
    pub(crate) course: Arc<Course>,
}

/// What one request of the client has led to so far.
#[derive(Default)]
pub(crate) struct Course {
    pages: Mutex<Vec<Page>>,
    /// Nobody waits for its answer any more.
    pub(crate) given_up: CancellationToken,
}

/// A page that the client has agreed to open for a stateless server, which has no word for what became of it.
struct Page {
    url: Box<str>,
    /// The id that we gave it.
    id: Box<str>,
    /// Until the request is sent again, should the server ask for it once more.
    wait: Duration,
}

impl Course {
    fn pages(&self) -> MutexGuard<'_, Vec<Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, url: Box<str>, id: Box<str>) {
        self.pages().push(Page { url, id, wait: LOOKS.0 });
    }

    /// How long to wait for whoever opened this page to be done there; `None`: nobody has.
    fn wait_for(&self, url: &str) -> Option<Duration> {
        let mut pages = self.pages();
        let page = pages.iter_mut().find(|page| *page.url == *url)?;
        let wait = page.wait;
        page.wait = (wait * 2).min(LOOKS.1);
        Some(wait)
    }

    /// The request has been served: says so of the pages that were opened for it.
    pub(crate) fn served(&self, outlet: &Outlet) {
        for page in self.pages().drain(..) {
            let params = RawJson::encode(&ElicitationCompleteParams::new(page.id)).ok();
            outlet.notify(Notification { method: Method::ElicitationComplete, params });
        }
    }
}

impl RequestHandler for AskClient {
    fn handle(&self, mut request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        async move {
            request.params = request.params.map(question_params);
            match request.method {
                Method::ElicitationCreate => self.elicit(request).await,
                Method::SamplingCreateMessage => self.sample(request).await,
                _ => self.ask(&request.method, request.params).await.map_err(failed),
            }
        }
        .boxed()
    }
}

impl AskClient {
    async fn ask(&self, method: &Method, params: Option<RawJson>) -> Result<RawJson, AskError> {
        tokio::select! {
            biased;
            () = self.course.given_up.cancelled() => Err(AskError::Unreachable("the request was taken back")),
            answer = self.outlet.ask(method.clone(), params) => answer,
        }
    }

    async fn elicit(&self, request: ServerRequest) -> Result<RawJson, RpcError> {
        let route = elicitation::Route {
            server: request.version,
            client: self.version,
            server_name: self.server_name.as_deref(),
        };
        let params = request.params.unwrap_or_else(RawJson::empty_object);
        let is_stateless = request.version.era() == Era::Stateless;
        let page: Option<Box<str>> = params.get("url").filter(|_| is_stateless).and_then(|url| url.to().ok());
        if let Some(wait) = page.as_deref().and_then(|url| self.course.wait_for(url)) {
            // The person is at it: the server is asked again a little later (bridging §6.2).
            tokio::time::sleep(wait).await;
            return Ok(elicitation::accepted());
        }
        let question = match elicitation::to_client(&params, &route, || (self.page_id)()) {
            Ok(question) => question,
            Err(error) => {
                tracing::info!(%error, "a question cannot be put to the client");
                return Ok(elicitation::cancelled());
            }
        };
        // Once more if the answer breaks a rule that the client's revision has no words for.
        for _ in 0..2 {
            let answer = match self.ask(&Method::ElicitationCreate, Some(question.params.clone())).await {
                Ok(answer) => answer,
                // A stateless server has no way to be told (bridging §6.2).
                Err(error) if is_stateless => {
                    tracing::info!(%error, "the client did not answer a question");
                    return Ok(elicitation::cancelled());
                }
                Err(error) => return Err(failed(error)),
            };
            match question.reading.to_server(&answer) {
                Ok(answer) => {
                    let id = question.params.get("elicitationId").and_then(|id| id.to().ok());
                    let agreed =
                        answer.get("action").is_some_and(|action| action.to() == Ok(ElicitAction::Accept));
                    if let (Some(url), Some(id), true) = (page, id, agreed) {
                        self.course.opened(url, id);
                    }
                    return Ok(answer);
                }
                Err(elicitation::InvalidAnswer::Count { .. }) => {}
                Err(error) => {
                    return Err(RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()));
                }
            }
        }
        Ok(elicitation::cancelled())
    }

    async fn sample(&self, request: ServerRequest) -> Result<RawJson, RpcError> {
        let route = sampling::Route {
            server: request.version,
            client: self.version,
            profile: &self.profile,
            aggregated: self.server_name.is_some(),
        };
        let params = request.params.unwrap_or_else(RawJson::empty_object);
        let invalid = |text: String| RpcError::new(ErrorCode::INVALID_PARAMS, &text);
        let params = sampling::to_client(&params, &route).map_err(|error| invalid(error.to_string()))?;
        let answer = self.ask(&Method::SamplingCreateMessage, Some(params)).await.map_err(failed)?;
        sampling::to_server(&answer, request.version)
            .map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))
    }
}

fn failed(error: AskError) -> RpcError {
    match error {
        AskError::Refused(error) => error,
        AskError::Unreachable(_) => RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()),
    }
}
