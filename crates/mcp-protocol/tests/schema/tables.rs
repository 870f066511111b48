//! The tables of methods, error codes and capabilities agree with the schema files.

use std::collections::BTreeSet;

use mcp_protocol::capability::{ClientCapabilities, ServerCapabilities};
use mcp_protocol::{Direction, ErrorCode, Method, ProtocolVersion};
use serde_json::Value;

use crate::files::{Schema, schemas};

/// In 2026-07-28 these are asked inside `input_required` results only, never as requests.
const EMBEDDED: [&str; 3] = ["elicitation/create", "roots/list", "sampling/createMessage"];

/// In 2026-07-28 these belong to the tasks extension, which has no schema file.
const EXTENSION: [&str; 4] = ["notifications/tasks", "tasks/cancel", "tasks/get", "tasks/update"];

#[test]
fn methods_exist_where_the_schema_has_them() {
    let Some(schemas) = schemas() else { return };
    for schema in schemas {
        let mut expected: BTreeSet<&str> =
            schema.definitions().values().filter_map(|definition| method_of(definition)).collect();
        if schema.version == ProtocolVersion::V2026_07_28 {
            expected.retain(|method| !EMBEDDED.contains(method));
            expected.extend(EXTENSION);
        }
        let known = Method::known().filter(|method| method.exists_in(schema.version));
        let known: BTreeSet<&str> = known.map(Method::as_str).collect();
        assert_eq!(known, expected, "{}", schema.version);
    }
}

#[test]
fn directions_are_those_of_the_schema() {
    let Some(schemas) = schemas() else { return };
    for method in Method::known().filter(|method| !matches!(method, Method::TasksUpdate | Method::Tasks)) {
        let sent_by = |side: &str| {
            schemas.iter().any(|schema| {
                ["Request", "Notification"]
                    .iter()
                    .any(|kind| union(schema, &format!("{side}{kind}")).contains(method.as_str()))
            })
        };
        let expected = match (sent_by("Client"), sent_by("Server")) {
            (true, true) => Direction::Both,
            (true, false) => Direction::ToServer,
            (false, true) => Direction::ToClient,
            (false, false) => panic!("nobody sends {method}"),
        };
        assert_eq!(method.direction(), Some(expected), "{method}");
    }
}

/// The methods of a union of messages.
fn union<'a>(schema: &'a Schema, name: &str) -> BTreeSet<&'a str> {
    let Some(definition) = schema.definition(name) else { return BTreeSet::new() };
    let alternatives = definition["anyOf"].as_array().map_or(std::slice::from_ref(definition), Vec::as_slice);
    let resolve =
        |alternative: &'a Value| alternative["$ref"].as_str().map_or(alternative, |to| schema.resolve(to));
    alternatives.iter().filter_map(|alternative| method_of(resolve(alternative))).collect()
}

fn method_of(definition: &Value) -> Option<&str> {
    definition["properties"]["method"]["const"].as_str()
}

#[test]
fn error_codes_exist_where_the_schema_has_them() {
    let Some(schemas) = schemas() else { return };
    for schema in schemas {
        let mut found = BTreeSet::new();
        codes(&schema.document, &mut found);
        for code in &found {
            assert!(ErrorCode(*code).is_defined_in(schema.version), "{} {code}", schema.version);
        }
        if schema.version == ProtocolVersion::V2026_07_28 {
            let defined = ErrorCode::KNOWN.into_iter().filter(|code| code.is_defined_in(schema.version));
            assert_eq!(defined.map(|code| code.0).collect::<BTreeSet<_>>(), found);
        }
    }
}

/// Every fixed value of a `code` property.
fn codes(schema: &Value, found: &mut BTreeSet<i64>) {
    match schema {
        Value::Object(members) => {
            found.extend(members.get("code").and_then(|code| code["const"].as_i64()));
            members.values().for_each(|value| codes(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| codes(item, found)),
        _ => {}
    }
}

#[test]
fn capabilities_exist_where_the_schema_has_them() {
    type Rule = fn(&[&str], ProtocolVersion) -> bool;
    let Some(schemas) = schemas() else { return };
    let sides: [(&str, Rule); 2] = [
        ("ClientCapabilities", ClientCapabilities::is_defined_in),
        ("ServerCapabilities", ServerCapabilities::is_defined_in),
    ];
    for (name, is_defined_in) in sides {
        let all: BTreeSet<Vec<String>> = schemas.iter().flat_map(|schema| paths(schema, name)).collect();
        for schema in schemas {
            let here = paths(schema, name);
            // `extensions` works in the handshake era although no schema of it has the member.
            for path in all.iter().filter(|path| path[0] != "extensions") {
                let path_text: Vec<&str> = path.iter().map(String::as_str).collect();
                let what = format!("{} {name} {path_text:?}", schema.version);
                assert_eq!(is_defined_in(&path_text, schema.version), here.contains(path), "{what}");
            }
        }
    }
}

/// The members of a definition, and the members of those.
fn paths(schema: &Schema, name: &str) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    for (outer, definition) in schema.definition(name).unwrap()["properties"].as_object().unwrap() {
        paths.insert(vec![outer.clone()]);
        let inner = definition["properties"].as_object();
        paths.extend(inner.into_iter().flatten().map(|(inner, _)| vec![outer.clone(), inner.clone()]));
    }
    paths
}
