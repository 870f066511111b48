//! The schema files.

use std::path::PathBuf;
use std::sync::OnceLock;

use jsonschema::Validator;
use mcp_protocol::ProtocolVersion;
use serde_json::{Map, Value, json};

/// The schema of one revision.
pub(crate) struct Schema {
    pub(crate) version: ProtocolVersion,
    pub(crate) document: Value,
}

/// The schemas of all revisions, or `None` (said on standard output) if they are not here.
pub(crate) fn schemas() -> Option<&'static [Schema]> {
    static SCHEMAS: OnceLock<Option<Vec<Schema>>> = OnceLock::new();
    SCHEMAS
        .get_or_init(|| {
            let Some(folder) = folder() else {
                skip();
                return None;
            };
            let read = |version: ProtocolVersion| {
                let file = folder.join(format!("{version}.json"));
                let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                Schema { version, document: serde_json::from_slice(&text).unwrap() }
            };
            Some(ProtocolVersion::ALL.into_iter().map(read).collect())
        })
        .as_deref()
}

fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("MCP_SCHEMA_DIR") {
        return Some(folder.into());
    }
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/protocol/schema");
    beside.is_dir().then_some(beside)
}

#[expect(clippy::print_stdout, reason = "a skipped test says so where `cargo xtask test` finds it")]
fn skip() {
    let line = "SKIPPED: mcp-protocol schema tests: set MCP_SCHEMA_DIR to a folder with the MCP JSON Schemas \
                (2024-11-05.json to 2026-07-28.json)";
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{line}");
    // On a line of its own: `cargo xtask test` looks for it at the start of a line.
    println!("\n{line}");
}

impl Schema {
    fn key(&self) -> &'static str {
        if self.document.get("$defs").is_some() { "$defs" } else { "definitions" }
    }

    pub(crate) fn definitions(&self) -> &Map<String, Value> {
        self.document[self.key()].as_object().unwrap()
    }

    pub(crate) fn definition(&self, name: &str) -> Option<&Value> {
        self.definitions().get(name)
    }

    /// What a `$ref` points at.
    pub(crate) fn resolve(&self, reference: &str) -> &Value {
        self.document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"))
    }

    /// A validator of one definition.
    pub(crate) fn validator(&self, name: &str) -> Validator {
        let key = self.key();
        assert!(self.definition(name).is_some(), "{}: no definition {name}", self.version);
        let schema = json!({
            "$schema": self.document["$schema"],
            key: self.document[key],
            "allOf": [{ "$ref": format!("#/{key}/{name}") }],
        });
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    }

    /// Fails with what is wrong unless the value is as the definition wants it.
    pub(crate) fn assert_valid(&self, name: &str, value: &Value) {
        assert_valid(&self.validator(name), &format!("{} {name}", self.version), value);
    }
}

pub(crate) fn assert_valid(validator: &Validator, what: &str, value: &Value) {
    let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}
