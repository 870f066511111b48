//! Asking a client of the handshake era what a server wants to know. Source: bridging §6.1, §6.2.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{RequestHandler, ServerRequest};
use mcp_protocol::{Era, ErrorCode, Method, ProtocolVersion, RawJson, RpcError};
use mcp_server::{AskError, Outlet};

use crate::convert::capabilities::Profile;
use crate::convert::envelope::question_params;
use crate::convert::{elicitation, sampling};

/// Asks one client, on account of one request or of none.
pub(crate) struct AskClient {
    pub(crate) outlet: Outlet,
    pub(crate) version: ProtocolVersion,
    pub(crate) profile: Profile,
    /// What the client knows the server as, where several could be meant.
    pub(crate) server_name: Option<Box<str>>,
    /// Makes ids for pages to be opened.
    pub(crate) page_id: Arc<dyn Fn() -> Box<str> + Send + Sync>,
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
        self.outlet.ask(method.clone(), params).await
    }

    async fn elicit(&self, request: ServerRequest) -> Result<RawJson, RpcError> {
        let route = elicitation::Route {
            server: request.version,
            client: self.version,
            server_name: self.server_name.as_deref(),
        };
        let params = request.params.unwrap_or_else(RawJson::empty_object);
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
                Err(error) if request.version.era() == Era::Stateless => {
                    tracing::info!(%error, "the client did not answer a question");
                    return Ok(elicitation::cancelled());
                }
                Err(error) => return Err(failed(error)),
            };
            match question.reading.to_server(&answer) {
                Ok(answer) => return Ok(answer),
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
