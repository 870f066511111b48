//! The tools on offer, as each revision describes them.

use mcp_protocol::ProtocolVersion;
use serde_json::{Value, json};

/// One tool.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) name: String,
    title: &'static str,
    description: &'static str,
    properties: Value,
    required: &'static [&'static str],
    output: Option<Value>,
    annotations: Value,
    added: bool,
}

impl Tool {
    /// A tool that was added while the server runs.
    pub(crate) fn added(name: &str) -> Self {
        let mut tool =
            tool("", "Added tool", "Added by add_tool; says its own name.", json!({}), &[]).reads();
        tool.name = name.to_owned();
        tool.added = true;
        tool
    }

    /// Whether it was added while the server runs.
    pub(crate) fn is_added(&self) -> bool {
        self.added
    }

    /// The `Tool` object of a revision.
    pub(crate) fn describe(&self, version: ProtocolVersion) -> Value {
        let mut properties = self.properties.clone();
        if version < ProtocolVersion::V2026_07_28
            && let Some(region) = properties.get_mut("region").and_then(Value::as_object_mut)
        {
            region.remove("x-mcp-header");
        }
        let mut described = json!({
            "name": self.name,
            "description": self.description,
            "inputSchema": { "type": "object", "properties": properties, "required": self.required },
        });
        if version >= ProtocolVersion::V2025_03_26 {
            described["annotations"] = self.annotations.clone();
        }
        if version >= ProtocolVersion::V2025_06_18 {
            described["title"] = self.title.into();
            if let Some(output) = &self.output {
                described["outputSchema"] = output.clone();
            }
        }
        described
    }

    fn reads(mut self) -> Self {
        self.annotations = json!({ "readOnlyHint": true, "openWorldHint": false });
        self
    }

    fn destroys(mut self) -> Self {
        self.annotations = json!({
            "readOnlyHint": false,
            "destructiveHint": true,
            "idempotentHint": false,
            "openWorldHint": false,
        });
        self
    }

    fn returns(mut self, properties: Value, required: &[&str]) -> Self {
        self.output = Some(json!({ "type": "object", "properties": properties, "required": required }));
        self
    }
}

/// The tools every demo server has, in the order they are listed.
pub(crate) fn built_in(allow_crash: bool) -> Vec<Tool> {
    let mut tools = basic();
    tools.extend(interactive());
    if allow_crash {
        let status = json!({ "status": { "type": "integer", "minimum": 0, "maximum": 255, "default": 1 } });
        tools.push(tool("crash", "Crash", "Ends the server at once.", status, &[]).destroys());
    }
    tools
}

fn basic() -> Vec<Tool> {
    let message = json!({ "message": { "type": "string" } });
    let numbers = json!({ "a": { "type": "number" }, "b": { "type": "number" } });
    let code = json!({ "code": { "type": "integer" }, "message": { "type": "string" } });
    let time = json!({
        "ms": { "type": "integer", "minimum": 0, "description": "Milliseconds to take" },
        "seconds": { "type": "number", "minimum": 0, "description": "Seconds to take, if ms is absent" },
        "steps": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 5 },
    });
    let region = json!({ "region": { "type": "string", "x-mcp-header": "Region" } });
    let who = json!({
        "server": { "type": "string" },
        "pid": { "type": "integer" },
        "era": { "type": "string", "enum": ["legacy", "modern"] },
        "revision": { "type": "string" },
    });
    vec![
        tool("echo", "Echo", "Says back what it is given.", message, &["message"]).reads(),
        tool("add", "Add", "Adds two numbers.", numbers, &["a", "b"])
            .reads()
            .returns(json!({ "sum": { "type": "number" } }), &["sum"]),
        tool("whoami", "Who am I", "Says which server answered, and how it was asked.", json!({}), &[])
            .reads()
            .returns(who, &["server", "pid", "era", "revision"]),
        tool(
            "fail",
            "Fail",
            "Fails inside the tool (isError).",
            json!({ "message": { "type": "string" } }),
            &[],
        )
        .reads(),
        tool("rpc_error", "RPC error", "Fails with a JSON-RPC error.", code, &[]).reads(),
        tool("slow", "Slow", "Takes its time, reports progress, can be cancelled.", time, &[]).reads(),
        tool(
            "route",
            "Route",
            "Takes an argument that HTTP clients mirror in a header.",
            region,
            &["region"],
        )
        .reads(),
    ]
}

fn interactive() -> Vec<Tool> {
    let name = json!({ "name": { "type": "string", "minLength": 1, "maxLength": 64 } });
    let question = json!({ "question": { "type": "string" } });
    let log = json!({
        "level": { "type": "string", "enum": LEVELS, "default": "info" },
        "message": { "type": "string" },
    });
    vec![
        tool("ask_user", "Ask the user", "Shows the user a form (elicitation).", question.clone(), &[]),
        tool("sample", "Sample", "Asks the client's language model.", question, &[]),
        tool("list_roots", "List roots", "Asks the client for its directories.", json!({}), &[]).reads(),
        tool("log", "Log", "Sends a log message, if the client wants its level.", log, &["message"]).reads(),
        tool("increment", "Increment", "Adds one to the resource demo://counter.", json!({}), &[]),
        tool("add_tool", "Add a tool", "Adds a tool to the list.", name.clone(), &["name"]),
        tool("remove_tool", "Remove a tool", "Removes a tool that was added.", name, &["name"]),
    ]
}

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

fn tool(
    name: &str,
    title: &'static str,
    description: &'static str,
    properties: Value,
    required: &'static [&'static str],
) -> Tool {
    let annotations = json!({ "readOnlyHint": false, "destructiveHint": false, "openWorldHint": false });
    Tool {
        name: name.to_owned(),
        title,
        description,
        properties,
        required,
        output: None,
        annotations,
        added: false,
    }
}
