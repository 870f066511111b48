//! What every request of the stateless era carries beside its parameters.

use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::header::{self, encode_value};
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
    /// the progress token to `params._meta`; the rest stays as it is.
    pub(crate) fn wrap(
        &self,
        params: Option<RawJson>,
        stateless: Option<ProtocolVersion>,
        sent_by: Sender<'_>,
    ) -> Result<Option<RawJson>, CallError> {
        let wrapped = match (stateless, sent_by.token) {
            (None, None) => return Ok(params),
            (None, Some(token)) => {
                let params = params.unwrap_or_else(RawJson::empty_object);
                meta::set(&params, meta::PROGRESS_TOKEN, RawJson::string(token))
            }
            (Some(version), token) => {
                let capabilities = sent_by.capabilities.unwrap_or(&self.capabilities);
                let mut sender = RequestMeta::new(version, capabilities.clone());
                sender.client_info = Some(self.client_info.clone());
                sender.progress_token = token.map(RequestId::from);
                sender.log_level = sent_by.log_level;
                sender.stamp(params.as_ref())
            }
        };
        wrapped.map(Some).map_err(|error| CallError::malformed(format!("params: {error}")))
    }
}

/// The headers that mirror the body of a stateless request, apart from those of a tool's arguments.
pub(crate) fn mirror(method: &Method, name: Option<&str>) -> Vec<Header> {
    let mut headers = vec![Header::new(header::METHOD, method.as_str())];
    headers.extend(name.map(|name| Header::new(header::NAME, encode_value(name))));
    headers
}

fn malformed(error: InvalidJson) -> CallError {
    CallError::malformed(error.to_string())
}
