//! Reading requests, with 422 answers that say where a request is wrong.

use std::fmt::Display;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use mcp_api_types::{Location, ValidationError};
use mcp_bridge::Bridge;
use mcp_manager::DirectedError;
use mcp_protocol::{JsonKind, Limits, RawJson};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use crate::error::ApiError;
use crate::state::ApiState;

/// A JSON object as a body of type `T`. What takes one takes no parameters in the query.
pub(crate) struct Body<T>(pub(crate) T);

/// The text of a JSON body; whether it is JSON is for the reader to say.
pub(crate) struct JsonText(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonText {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.map(|value| value.split(';').next().unwrap_or("").trim());
        // Browsers send other types across origins without asking; those never reach a handler (S04).
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return Err(ApiError::ContentType);
        }
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| match rejection
                .status()
            {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::BodyTooLarge,
                _ => body_issue("the body could not be read", "body_error"),
            })?;
        Ok(Self(bytes))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        no_parameters(request.uri())?;
        let JsonText(bytes) = JsonText::from_request(request, state).await?;
        // Depth and size first: what follows passes parts of the body on as they are.
        let raw = RawJson::parse(bytes, &Limits::default())
            .map_err(|error| body_issue(&error.to_string(), "json_invalid"))?;
        // Serde would take a list for a structure, key by key.
        if raw.kind() != JsonKind::Object {
            return Err(body_issue("must be a JSON object", "value_error"));
        }
        serde_json::from_slice(raw.as_bytes()).map(Self).or_else(|_| {
            // Where it went wrong costs more to find out than most bodies cost to read: only now.
            let mut deserializer = serde_json::Deserializer::from_slice(raw.as_bytes());
            serde_path_to_error::deserialize(&mut deserializer)
                .map(Self)
                .map_err(|error| located("body", &error))
        })
    }
}

/// The query string as type `T`.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| located("query", &error))
    }
}

/// Refuses a query, for paths that take no parameters: what is not read must not look as if it were.
pub(crate) fn no_parameters(uri: &Uri) -> Result<(), ApiError> {
    let Some((key, _)) = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).next() else {
        return Ok(());
    };
    let loc = ["query".into(), key.into_owned()];
    Err(ApiError::Invalid(ValidationError::one(
        loc,
        "is unknown; this path takes no parameters",
        "value_error",
    )))
}

/// The bridge that serves clients. There is one, unless the API is over servers alone.
pub(crate) struct TheBridge(pub(crate) Bridge);

impl FromRequestParts<ApiState> for TheBridge {
    type Rejection = ApiError;

    async fn from_request_parts(_parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        state.bridge().cloned().map(Self).ok_or(ApiError::NoBridge)
    }
}

/// The `{name}` of a path. A server has that name: 404 comes before anything else that is wrong.
pub(crate) struct ServerPath(pub(crate) String);

impl FromRequestParts<ApiState> for ServerPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(state.manager().server(&name).map(|_| name)?)),
            Err(_) => Err(not_utf8(["path", "name"])),
        }
    }
}

/// The `{name}` and `{tool}` of a path. A server has that name.
pub(crate) struct ToolPath {
    pub(crate) server: String,
    pub(crate) tool: String,
}

impl FromRequestParts<ApiState> for ToolPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Ok(Path((server, tool))) = Path::<(String, String)>::from_request_parts(parts, state).await
        else {
            return Err(not_utf8(["path"]));
        };
        state.manager().server(&server).map_err(DirectedError::UnknownServer)?;
        Ok(Self { server, tool })
    }
}

fn not_utf8(loc: impl IntoIterator<Item = &'static str>) -> ApiError {
    ApiError::Invalid(ValidationError::one(loc, "must be UTF-8 after percent-decoding", "value_error"))
}

fn body_issue(msg: &str, kind: &str) -> ApiError {
    ApiError::Invalid(ValidationError::one(["body"], msg, kind))
}

/// What serde found wrong in a part of the request, with the way there.
fn located<E: Display>(part: &str, error: &serde_path_to_error::Error<E>) -> ApiError {
    let mut loc = vec![Location::from(part)];
    loc.extend(error.path().iter().filter_map(step));
    let text = error.inner().to_string();
    // serde_json adds where in the text it stopped, which the location says better.
    let msg = text.rsplit_once(" at line ").map_or(&*text, |(msg, _)| msg);
    // These two are said of the object that holds the key; the location is to name the key itself.
    let missing = key_of(msg, "missing field ");
    loc.extend(missing.or_else(|| key_of(msg, "duplicate field ")).map(Location::from));
    let kind = if missing.is_some() { "missing" } else { "value_error" };
    ApiError::Invalid(ValidationError::one(loc, plain(msg), kind))
}

/// A mistake without the words of Rust, and without what was given instead: it may be a secret in the wrong
/// place.
fn plain(msg: &str) -> String {
    let rule = match msg.rsplit_once(", expected ") {
        Some((given, known)) if given.starts_with("unknown field ") => {
            return format!("is unknown; use {known}");
        }
        Some((_, rule)) => rule,
        None => msg,
    };
    match rule {
        "a nonzero u64"
        | "invalid digit found in string"
        | "cannot parse integer from empty string"
        | "number too large to fit in target type" => "must be an integer of at least 1".into(),
        "a boolean" | "provided string was not `true` or `false`" => "must be true or false".into(),
        "a sequence" => "must be a list".into(),
        // All that can be missing from valid JSON is the name of a variant.
        "expected value" => "must be a string".into(),
        rule if rule.starts_with("missing field ") => "is missing".into(),
        rule if rule.starts_with("duplicate field ") => "is given twice".into(),
        // The rules of the types themselves are whole sentences already.
        rule if rule.len() == msg.len() => rule.into(),
        rule => format!("must be {rule}"),
    }
}

/// Refuses a text of more than `most` bytes that would be kept with all that a request leaves behind.
pub(crate) fn bounded<const N: usize>(
    loc: [Location; N],
    text: &str,
    most: usize,
) -> Result<(), ValidationError> {
    if text.len() <= most {
        return Ok(());
    }
    Err(ValidationError::one(loc, format!("must be at most {most} bytes long"), "too_long"))
}

fn key_of<'a>(msg: &'a str, what: &str) -> Option<&'a str> {
    msg.strip_prefix(what)?.strip_prefix('`')?.strip_suffix('`')
}

fn step(segment: &serde_path_to_error::Segment) -> Option<Location> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => Some(Location::Position(*index as u64)),
        Segment::Map { key } => Some(Location::Key(key.clone())),
        Segment::Enum { variant } => Some(Location::Key(variant.clone())),
        Segment::Unknown => None,
    }
}
