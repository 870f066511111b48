//! What every request of the stateless era carries beside its parameters.

use mcp_protocol::{JsonKind, Method, ProtocolVersion, RawJson};
use mcp_transport::Header;
use serde_json::value::RawValue;

use crate::error::CallError;
use crate::options::ConnectOptions;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";

const TASKS: &str = "io.modelcontextprotocol/tasks";
/// The last one belongs to the extension [`TASKS`].
const RESULT_TYPES: [&str; 3] = ["complete", "input_required", "task"];

/// The constant parts of the envelope.
#[derive(Debug)]
pub(crate) struct Envelope {
    capabilities: Box<RawValue>,
    client_info: Box<RawValue>,
    result_types: &'static [&'static str],
}

impl Envelope {
    pub(crate) fn new(options: &ConnectOptions) -> Result<Self, CallError> {
        if options.capabilities.kind() != JsonKind::Object {
            return Err(CallError::malformed("the client capabilities are not an object"));
        }
        let info = RawJson::encode(&options.client_info).map_err(|e| CallError::malformed(e.to_string()))?;
        let extensions = options.capabilities.get("extensions");
        let declares_tasks = extensions.is_some_and(|extensions| extensions.get(TASKS).is_some());
        Ok(Self {
            capabilities: raw(options.capabilities.as_str())?,
            client_info: raw(info.as_str())?,
            result_types: if declares_tasks { &RESULT_TYPES } else { &RESULT_TYPES[..2] },
        })
    }

    /// The values of `resultType` a server may use toward these capabilities: any other makes the
    /// answer invalid (wire reference §3.1).
    pub(crate) fn result_types(&self) -> &'static [&'static str] {
        self.result_types
    }

    /// The parameters of `initialize`.
    pub(crate) fn initialize(&self, version: ProtocolVersion) -> Result<RawJson, CallError> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Initialize<'a> {
            protocol_version: ProtocolVersion,
            capabilities: &'a RawValue,
            client_info: &'a RawValue,
        }
        RawJson::encode(&Initialize {
            protocol_version: version,
            capabilities: &self.capabilities,
            client_info: &self.client_info,
        })
        .map_err(|error| CallError::malformed(error.to_string()))
    }

    /// Adds the era's members and the progress token to `params._meta`; the rest stays as it is.
    pub(crate) fn wrap(
        &self,
        params: Option<RawJson>,
        version: Option<ProtocolVersion>,
        token: Option<&str>,
    ) -> Result<Option<RawJson>, CallError> {
        if version.is_none() && token.is_none() {
            return Ok(params);
        }
        let params = params.unwrap_or_else(RawJson::empty_object);
        let bad = |error: mcp_protocol::InvalidJson| CallError::malformed(format!("params: {error}"));
        let mut members = params.members().map_err(bad)?;
        let meta = params.get("_meta").unwrap_or_else(RawJson::empty_object);
        let mut meta_members = meta.members().map_err(bad)?;
        if let Some(version) = version {
            meta_members.set(VERSION, raw(&format!("\"{version}\""))?);
            meta_members.set(CAPABILITIES, self.capabilities.clone());
            meta_members.set(CLIENT_INFO, self.client_info.clone());
        }
        if let Some(token) = token {
            meta_members.set("progressToken", raw(&format!("\"{token}\""))?);
        }
        members.set("_meta", raw(meta_members.encode().as_str())?);
        Ok(Some(members.encode()))
    }
}

/// The headers that mirror the body of a stateless request.
pub(crate) fn mirror(method: &Method, params: Option<&RawJson>) -> Vec<Header> {
    let mut headers = vec![Header::new("Mcp-Method", method.as_str())];
    let named = match method {
        Method::ToolsCall | Method::PromptsGet => "name",
        Method::ResourcesRead => "uri",
        _ => return headers,
    };
    if let Some(name) = params.and_then(|params| params.get(named)?.to::<String>().ok()) {
        headers.push(Header::new("Mcp-Name", name));
    }
    headers
}

fn raw(text: &str) -> Result<Box<RawValue>, CallError> {
    RawValue::from_string(text.to_owned()).map_err(|error| CallError::malformed(error.to_string()))
}
