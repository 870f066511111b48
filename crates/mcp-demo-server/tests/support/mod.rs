//! What the tests share: messages, and the schemas every answer is held against.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "what was skipped is said aloud")]

use std::collections::HashMap;
use std::path::PathBuf;

use jsonschema::Validator;
use mcp_protocol::ProtocolVersion;
use serde_json::{Value, json};

pub(crate) const MODERN: ProtocolVersion = ProtocolVersion::V2026_07_28;

/// A request as a revision wants it: with an envelope in the stateless era, plain before.
pub(crate) fn request(version: ProtocolVersion, id: u32, method: &str, params: Value) -> Value {
    request_with(version, id, method, params, &json!({ "elicitation": {}, "sampling": {}, "roots": {} }))
}

pub(crate) fn request_with(
    version: ProtocolVersion,
    id: u32,
    method: &str,
    mut params: Value,
    capabilities: &Value,
) -> Value {
    if version == MODERN {
        let meta = params.as_object_mut().unwrap().entry("_meta").or_insert_with(|| json!({}));
        meta["io.modelcontextprotocol/protocolVersion"] = version.as_str().into();
        meta["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
        meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "test", "version": "0" });
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(crate) fn initialize(version: &str) -> Value {
    let params = json!({
        "protocolVersion": version,
        "capabilities": { "elicitation": {}, "sampling": {}, "roots": {} },
        "clientInfo": { "name": "test", "version": "0" },
    });
    json!({ "jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params })
}

/// The schema of one revision.
pub(crate) struct Schema {
    version: ProtocolVersion,
    document: Value,
    validators: HashMap<String, Validator>,
}

impl Schema {
    /// `None`, said aloud, where the schema files are not at hand; never with `CI=true`.
    pub(crate) fn load(version: ProtocolVersion) -> Option<Self> {
        let folder = std::env::var_os("MCP_SCHEMA_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/protocol/schema"),
            PathBuf::from,
        );
        let path = folder.join(format!("{version}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no schema in {}", folder.display());
            println!("\nSKIPPED: no schema for {version}, set MCP_SCHEMA_DIR");
            return None;
        };
        let document = serde_json::from_str(&text).unwrap();
        Some(Self { version, document, validators: HashMap::new() })
    }

    /// Holds a value against one definition.
    pub(crate) fn check(&mut self, definition: &str, value: &Value) {
        let errors = self.errors(definition, value);
        assert!(errors.is_empty(), "{} {definition}: {errors:?} in {value:#}", self.version);
    }

    /// Where a value breaks a definition.
    pub(crate) fn errors(&mut self, definition: &str, value: &Value) -> Vec<String> {
        let document = &self.document;
        let validator = self.validators.entry(definition.to_owned()).or_insert_with(|| {
            let mut schema = document.clone();
            let home = if schema.get("$defs").is_some() { "$defs" } else { "definitions" };
            schema["$ref"] = format!("#/{home}/{definition}").into();
            jsonschema::validator_for(&schema).unwrap()
        });
        validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect()
    }

    /// Holds a message of the server against the definitions for it; `method` is what it answers.
    pub(crate) fn check_message(&mut self, method: &str, message: &Value) {
        let newest_names = self.version >= ProtocolVersion::V2025_11_25;
        if message.get("error").is_some() {
            return self.check(if newest_names { "JSONRPCErrorResponse" } else { "JSONRPCError" }, message);
        }
        let Some(result) = message.get("result") else {
            let kind = if message.get("id").is_some() { "ServerRequest" } else { "ServerNotification" };
            return self.check(kind, message);
        };
        let definition = match method {
            _ if result["resultType"] == "input_required" => "InputRequiredResult",
            "initialize" => "InitializeResult",
            "server/discover" => "DiscoverResult",
            "tools/list" => "ListToolsResult",
            "tools/call" => "CallToolResult",
            "resources/list" => "ListResourcesResult",
            "resources/templates/list" => "ListResourceTemplatesResult",
            "resources/read" => "ReadResourceResult",
            "prompts/list" => "ListPromptsResult",
            "prompts/get" => "GetPromptResult",
            "completion/complete" => "CompleteResult",
            "subscriptions/listen" => "SubscriptionsListenResult",
            _ => "EmptyResult",
        };
        self.check(definition, result);
    }
}
