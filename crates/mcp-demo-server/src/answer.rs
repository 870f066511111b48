//! Results, and what the stateless era adds to every one of them.

use std::time::Duration;

use mcp_protocol::meta::SERVER_INFO;
use mcp_protocol::{ErrorCode, ProtocolVersion, RawJson, RpcError};
use serde_json::{Map, Value, json};

use crate::caller::Caller;

/// A result before its envelope.
pub(crate) type Object = Map<String, Value>;

/// What answering a request came to.
pub(crate) type Outcome = Result<Answer, RpcError>;

/// A result, and how long it may be cached if its method is one of those that say.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Object,
    cache: Option<Duration>,
}

impl Answer {
    /// A result that is not for caches. `body` is an object.
    pub(crate) fn new(body: Value) -> Self {
        let body = match body {
            Value::Object(body) => body,
            _ => Object::new(),
        };
        Self { body, cache: None }
    }

    /// A result that stays good for `ttl`, for anyone: nothing here depends on who asks.
    pub(crate) fn cached(body: Value, ttl: Duration) -> Self {
        Self { cache: Some(ttl), ..Self::new(body) }
    }

    /// The result of a tool: one text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::new(json!({ "content": [{ "type": "text", "text": text.into() }] }))
    }

    /// The result of a tool that failed: a model reads it, so it says what to do.
    pub(crate) fn tool_error(text: impl Into<String>) -> Self {
        let mut answer = Self::text(text);
        answer.body.insert("isError".into(), true.into());
        answer
    }

    /// The result of a tool with an output schema; the text repeats the value for older clients.
    pub(crate) fn structured(value: Value, caller: &Caller) -> Self {
        let mut answer = Self::text(value.to_string());
        if caller.since(ProtocolVersion::V2025_06_18) {
            answer.body.insert("structuredContent".into(), value);
        }
        answer
    }

    /// The result as the caller's revision wants it.
    pub(crate) fn into_result(mut self, caller: &Caller, server: &Identity) -> RawJson {
        if caller.is_stateless() {
            self.body.entry("resultType").or_insert_with(|| "complete".into());
            if let Some(ttl) = self.cache {
                let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                self.body.insert("ttlMs".into(), ttl_ms.into());
                self.body.insert("cacheScope".into(), "public".into());
            }
            let meta = self.body.entry("_meta").or_insert_with(|| json!({}));
            if let Value::Object(meta) = meta {
                meta.insert(SERVER_INFO.into(), server.describe(caller.version));
            }
        }
        raw(&Value::Object(self.body))
    }
}

/// Who answers.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
}

impl Identity {
    /// The `Implementation` object of a revision.
    pub(crate) fn describe(&self, version: ProtocolVersion) -> Value {
        let mut info = json!({ "name": self.name, "version": env!("CARGO_PKG_VERSION") });
        if version >= ProtocolVersion::V2025_06_18 {
            info["title"] = "Demo server".into();
        }
        if version >= ProtocolVersion::V2025_11_25 {
            info["description"] = "Exercises every feature of the protocol".into();
        }
        info
    }
}

/// Encodes what this crate made up, which has string keys only and therefore always has a JSON form.
pub(crate) fn raw(value: &impl serde::Serialize) -> RawJson {
    RawJson::encode(value).unwrap_or_else(|_| RawJson::empty_object())
}

pub(crate) fn invalid_params(text: &str) -> RpcError {
    RpcError::new(ErrorCode::INVALID_PARAMS, text)
}
