//! Everything that is not a success, and its status code.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mcp_api_types::{ErrorDetail, Location, NotOffered, NotOfferedDetail, ValidationError, ValidationIssue};
use mcp_bridge::{ApproveError, Withheld};
use mcp_config::InvalidField;
use mcp_manager::{DirectedError, SessionControlError, UnknownServer};
use mcp_registry::{CorrelationId, InvocationError, RegistryFull};

use crate::invoke::{invocation_failure, request_id};

/// A request that did not succeed. The status code of each case is decided here and nowhere else.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// 404
    UnknownServer(UnknownServer),
    /// 404
    NotOffered(NotOffered),
    /// 404
    UnknownInvocation,
    /// 409
    Full(RegistryFull),
    /// 403
    StdioNotAllowed,
    /// 409
    NoSessionControls(SessionControlError),
    /// 409
    NothingToReload,
    /// 409
    NoBridge,
    /// 404
    UnknownView(String),
    /// 403
    Withheld(Withheld),
    /// 409, or 500 where it could not be saved
    NotApproved(ApproveError),
    /// 503
    Unfetched {
        /// Why.
        message: String,
        /// Its id, if a server was asked.
        request_id: Option<CorrelationId>,
    },
    /// 415
    ContentType,
    /// 413
    BodyTooLarge,
    /// 422
    Invalid(ValidationError),
    /// 503
    Invocation(InvocationError),
}

impl ApiError {
    /// 422 for fields of a definition.
    pub(crate) fn fields(fields: Vec<InvalidField>) -> Self {
        let issue = |field: InvalidField| ValidationIssue {
            loc: std::iter::once("body".to_owned()).chain(field.path).map(Location::Key).collect(),
            msg: field.reason,
            kind: "value_error".into(),
        };
        Self::Invalid(ValidationError { detail: fields.into_iter().map(issue).collect() })
    }
}

impl ApiError {
    /// 422 for the configuration file.
    pub(crate) fn configuration(mistakes: Vec<String>) -> Self {
        let issue =
            |msg| ValidationIssue { loc: vec!["configuration".into()], msg, kind: "value_error".into() };
        Self::Invalid(ValidationError { detail: mistakes.into_iter().map(issue).collect() })
    }
}

impl From<UnknownServer> for ApiError {
    fn from(error: UnknownServer) -> Self {
        Self::UnknownServer(error)
    }
}

impl From<SessionControlError> for ApiError {
    fn from(error: SessionControlError) -> Self {
        match error {
            SessionControlError::UnknownServer(error) => error.into(),
            SessionControlError::NotAvailable { .. } => Self::NoSessionControls(error),
        }
    }
}

impl From<Withheld> for ApiError {
    fn from(error: Withheld) -> Self {
        Self::Withheld(error)
    }
}

impl From<ApproveError> for ApiError {
    fn from(error: ApproveError) -> Self {
        Self::NotApproved(error)
    }
}

impl From<RegistryFull> for ApiError {
    fn from(error: RegistryFull) -> Self {
        Self::Full(error)
    }
}

impl From<DirectedError> for ApiError {
    fn from(error: DirectedError) -> Self {
        let message = error.to_string();
        let detail = match error {
            DirectedError::UnknownServer(UnknownServer { requested, available }) => {
                NotOfferedDetail { message, requested, available, server: None }
            }
            DirectedError::UnknownTool { server, requested, available } => {
                NotOfferedDetail { message, requested, available, server: Some(server) }
            }
            DirectedError::InvalidArguments { reason } => {
                let loc = ["body", "parameters"];
                return Self::Invalid(ValidationError::one(loc, reason, "value_error"));
            }
            DirectedError::Failed(error) => return Self::Invocation(error),
        };
        Self::NotOffered(NotOffered { detail })
    }
}

impl From<InvocationError> for ApiError {
    fn from(error: InvocationError) -> Self {
        Self::Invocation(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail =
            |status: StatusCode, text: String| (status, Json(ErrorDetail::new(text))).into_response();
        match self {
            Self::UnknownServer(error) => detail(StatusCode::NOT_FOUND, unknown(&error)),
            Self::NotOffered(body) => (StatusCode::NOT_FOUND, Json(body)).into_response(),
            Self::UnknownInvocation => detail(
                StatusCode::NOT_FOUND,
                "no request of this id is remembered: it is unknown, or so long ago that newer ones took its place"
                    .into(),
            ),
            Self::Full(error) => detail(StatusCode::CONFLICT, error.to_string()),
            Self::StdioNotAllowed => detail(
                StatusCode::FORBIDDEN,
                "registering a command to run is off; set policy.allow_stdio_registration, or put the server \
                 into the configuration file"
                    .into(),
            ),
            Self::NoSessionControls(error) => detail(StatusCode::CONFLICT, error.to_string()),
            Self::NothingToReload => {
                detail(StatusCode::CONFLICT, "the gateway was started without a configuration file".into())
            }
            Self::NoBridge => detail(StatusCode::CONFLICT, "the gateway serves no MCP clients".into()),
            Self::UnknownView(name) => detail(StatusCode::NOT_FOUND, format!("no view is named {name:?}")),
            Self::Withheld(error) => detail(StatusCode::FORBIDDEN, error.to_string()),
            Self::NotApproved(error) => {
                let status = match error {
                    ApproveError::NotCurrent(_) => StatusCode::CONFLICT,
                    ApproveError::NotSaved(_) => StatusCode::INTERNAL_SERVER_ERROR,
                };
                detail(status, error.to_string())
            }
            Self::Unfetched { message, request_id: id } => {
                let answer = detail(StatusCode::SERVICE_UNAVAILABLE, message);
                match &id {
                    Some(id) => (request_id(id), answer).into_response(),
                    None => answer,
                }
            }
            Self::ContentType => {
                detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as application/json".into())
            }
            Self::BodyTooLarge => detail(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB for a call, or 1 MiB for anything else".into()),
            Self::Invalid(error) => (StatusCode::UNPROCESSABLE_ENTITY, Json(error)).into_response(),
            Self::Invocation(error) => {
                let id = request_id(&error.request_id);
                (StatusCode::SERVICE_UNAVAILABLE, id, Json(invocation_failure(error))).into_response()
            }
        }
    }
}

fn unknown(error: &UnknownServer) -> String {
    if error.available.is_empty() {
        return format!("{error}; none is registered");
    }
    // A bound on what an error says, whatever is registered.
    let shown: Vec<_> = error.available.iter().take(20).map(String::as_str).collect();
    let more = if error.available.len() > shown.len() { ", …" } else { "" };
    format!("{error}; there are: {}{more}", shown.join(", "))
}
