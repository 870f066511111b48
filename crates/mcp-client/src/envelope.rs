//! What every request of the stateless era carries beside its parameters.

use std::sync::Arc;

use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::header::{self, encode_value, name_in};
use mcp_protocol::logging::LogLevel;
use mcp_protocol::meta::{self, RequestMeta};
use mcp_protocol::result::ResultType;
use mcp_protocol::{InvalidJson, Method, ProtocolVersion, RawJson, RequestId};
use mcp_transport::Header;

use crate::error::CallError;
use crate::options::ConnectOptions;

/// The extension whose servers may answer with a task.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The constant parts of the envelope.
#[derive(Debug)]
pub(crate) struct Envelope {
    capabilities: ClientCapabilities,
    client_info: RawJson,
}

/// What a request of the stateless era says of its sender, beyond what the connection says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sender<'a> {
    /// Instead of the connection's.
    pub(crate) capabilities: Option<&'a ClientCapabilities>,
    pub(crate) log_level: Option<LogLevel>,
    /// Either era.
    pub(crate) token: Option<&'a str>,
}

impl Envelope {
    pub(crate) fn new(options: &ConnectOptions) -> Result<Self, CallError> {
        let capabilities = ClientCapabilities::from_raw(options.capabilities.clone()).map_err(|error| {
            CallError::malformed(format!("the client capabilities are not usable: {error}"))
        })?;
        Ok(Self { capabilities, client_info: RawJson::encode(&options.client_info).map_err(malformed)? })
    }

    /// What we declare to be able to do.
    pub(crate) fn capabilities(&self) -> &ClientCapabilities {
        &self.capabilities
    }

    /// The kinds of result a server may use toward these capabilities: any other makes the answer
    /// invalid (wire reference §3.1). `declared`: those of the request, if not the connection's.
    pub(crate) fn result_types(&self, declared: Option<&ClientCapabilities>) -> &'static [ResultType] {
        if declared.unwrap_or(&self.capabilities).extension(TASKS).is_some() {
            &[ResultType::Complete, ResultType::InputRequired, ResultType::Task]
        } else {
            &[ResultType::Complete, ResultType::InputRequired]
        }
    }

    /// The parameters of `initialize`.
    pub(crate) fn initialize(&self, version: ProtocolVersion) -> Result<RawJson, CallError> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Initialize<'a> {
            protocol_version: ProtocolVersion,
            capabilities: &'a RawJson,
            client_info: &'a RawJson,
        }
        RawJson::encode(&Initialize {
            protocol_version: version,
            capabilities: self.capabilities.as_raw(),
            client_info: &self.client_info,
        })
        .map_err(malformed)
    }

    /// Adds what the era wants, for the stateless version if it is one with the level of log messages, and
    /// the progress token to `params._meta`. What stands there of another sender, as in a request that is passed on,
    /// is left out, which for servers of the handshake era is all that is done; the rest stays as it is.
    ///
    /// Gives also what a stateless request is about, for the headers that repeat it.
    pub(crate) fn wrap(
        &self,
        method: &Method,
        params: Option<&RawJson>,
        stateless: Option<ProtocolVersion>,
        sent_by: Sender<'_>,
    ) -> Result<(Option<RawJson>, Option<Arc<str>>), CallError> {
        let empty = RawJson::empty_object();
        let object = params.unwrap_or(&empty);
        let members = object.members().map_err(in_params)?;
        let name = stateless.and_then(|_| name_in(method, &members));
        let wrapped = match (stateless, sent_by.token) {
            (None, None) if params.is_none() => return Ok((None, None)),
            (None, None) => meta::strip_in(object, members, meta::HOP_KEYS),
            (None, Some(token)) => {
                let token = RawJson::string(token);
                meta::replace_in(object, members, meta::HOP_KEYS, meta::PROGRESS_TOKEN, token)
            }
            (Some(version), token) => {
                let capabilities = sent_by.capabilities.unwrap_or(&self.capabilities);
                let mut sender = RequestMeta::new(version, capabilities.clone());
                sender.client_info = Some(self.client_info.clone());
                sender.progress_token = token.map(RequestId::from);
                sender.log_level = sent_by.log_level;
                sender.stamp_in(object, members)
            }
        };
        Ok((Some(wrapped.map_err(in_params)?), name))
    }
}

/// The headers that mirror the body of a stateless request, apart from those of a tool's arguments.
pub(crate) fn mirror(method: &Method, name: Option<&str>) -> Vec<Header> {
    // With room for those of the caller.
    let mut headers = Vec::with_capacity(4);
    headers.push(Header::new(header::METHOD, method.as_str()));
    if let Some(name) = name {
        headers.push(Header::new(header::NAME, encode_value(name)));
    }
    headers
}

fn in_params(error: InvalidJson) -> CallError {
    CallError::malformed(format!("params: {error}"))
}

fn malformed(error: InvalidJson) -> CallError {
    CallError::malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use mcp_protocol::Limits;
    use mcp_protocol::ProtocolVersion::V2026_07_28;

    use super::*;

    /// Bridging §5, "`_meta` vendor keys".
    #[test]
    fn what_is_said_of_another_sender_goes_and_the_rest_stays() {
        let envelope = Envelope::new(&ConnectOptions::default()).unwrap();
        let raw = |text: &str| RawJson::parse(text.to_owned(), &Limits::default()).unwrap();
        let of_other = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/logLevel":"debug","io.modelcontextprotocol/subscriptionId":1"#;
        let params = raw(&format!(
            r#"{{"n": 1.0,"_meta":{{{of_other},"traceparent":"00-1","vendor/x": 1.0,"progressToken":7}}}}"#
        ));
        let wrap = |params: &RawJson, version, token| {
            let sender = Sender { token, ..Sender::default() };
            envelope.wrap(&Method::ToolsCall, Some(params), version, sender).unwrap().0.unwrap()
        };
        let kept = r#""_meta":{"traceparent":"00-1","vendor/x":1.0,"progressToken":"#;
        assert_eq!(wrap(&params, None, None).as_str(), format!(r#"{{"n":1.0,{kept}7}}}}"#));
        assert_eq!(wrap(&params, None, Some("t")).as_str(), format!(r#"{{"n":1.0,{kept}"t"}}}}"#));
        let stamped = wrap(&params, Some(V2026_07_28), None);
        assert!(stamped.as_str().starts_with(&format!(r#"{{"n":1.0,{kept}7,"#)), "{stamped:?}");
        let own = RequestMeta::read(Some(&stamped)).unwrap();
        assert_eq!(own.client_capabilities, *envelope.capabilities());
        assert_eq!((own.client_info, own.log_level), (Some(envelope.client_info.clone()), None));
        assert_eq!(meta::get(&stamped, meta::SUBSCRIPTION_ID), None);
        let alone = raw(&format!(r#"{{"_meta":{{{of_other}}}}}"#));
        assert_eq!(wrap(&alone, None, None).as_str(), "{}");
        let plain = raw(r#"{"a": 1,"_meta":{"progressToken":7}}"#);
        assert_eq!(wrap(&plain, None, None), plain);
    }
}
