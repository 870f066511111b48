//! Every definition that is a message: examples are parsed and encoded without loss.

use bytes::Bytes;
use mcp_protocol::{Limits, Message, Method, Payload};
use serde_json::{Value, json};

use crate::files::{assert_valid, schemas};
use crate::generate::Generator;
use crate::structures::{EXAMPLES, assert_survives, params_structure};

/// Whether a definition describes whole messages.
pub(crate) fn is_message(definition: &str) -> bool {
    let is_answer = |name: &str| {
        name.ends_with("ResultResponse")
            || matches!(
                name,
                "HeaderMismatchError"
                    | "MissingRequiredClientCapabilityError"
                    | "UnsupportedProtocolVersionError"
                    | "URLElicitationRequiredError"
            )
    };
    definition.starts_with("JSONRPC")
        || definition.ends_with("Request") && definition != "InputRequest"
        || definition.ends_with("Notification")
        || is_answer(definition)
}

#[test]
fn examples_of_every_message_survive() {
    let Some(schemas) = schemas() else { return };
    let mut checked = 0;
    for schema in schemas {
        for name in schema.definitions().keys().filter(|name| is_message(name)) {
            let validator = schema.validator(name);
            for seed in 0..EXAMPLES {
                let what = format!("{} {name}, seed {seed}", schema.version);
                let example = Generator::new(schema, seed).definition(name);
                assert_valid(&validator, &what, &example);
                match example {
                    Value::Array(entries) => {
                        let entries: Vec<_> = entries.into_iter().map(|entry| whole(entry, name)).collect();
                        check_batch(&what, entries);
                    }
                    example => check(&what, &whole(example, name)),
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 200 * EXAMPLES, "only {checked} examples");
}

/// Completes what older revisions describe without its frame. Members next to `params` and the like carry
/// nothing in JSON-RPC and are not kept.
fn whole(mut message: Value, definition: &str) -> Value {
    let members = message.as_object_mut().unwrap();
    members.retain(|name, _| !name.starts_with("com.example/"));
    members.insert("jsonrpc".to_owned(), json!("2.0"));
    let is_request = members.contains_key("method") && !definition.contains("Notification");
    let is_notification =
        members.get("method").is_some_and(|method| Method::from(method.as_str().unwrap()).is_notification());
    if is_request && !is_notification && !definition.starts_with("JSONRPC") && !members.contains_key("id") {
        members.insert("id".to_owned(), json!(7));
    }
    message
}

fn check(what: &str, example: &Value) {
    let frame = Bytes::from(serde_json::to_vec(example).unwrap());
    let example: Value = serde_json::from_slice(&frame).unwrap();
    let message =
        Message::parse(&frame, &Limits::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let encoded: Value = serde_json::from_slice(&message.encode()).unwrap();
    assert_eq!(encoded, example, "{what}");
    let (method, params) = match message {
        Message::Request(request) => (request.method, request.params),
        Message::Notification(notification) => (notification.method, notification.params),
        Message::Response(_) | Message::Failure(_) => return,
    };
    if let (Some(structure), Some(params)) = (params_structure(&method), params) {
        assert_survives(what, structure, &params.to().unwrap());
    }
}

fn check_batch(what: &str, entries: Vec<Value>) {
    let frame = Bytes::from(serde_json::to_vec(&entries).unwrap());
    match Payload::parse(&frame, &Limits::default()) {
        Ok(Payload::Batch(read)) => {
            let read: Vec<Value> = read
                .into_iter()
                .map(|entry| serde_json::from_slice(&entry.unwrap().encode()).unwrap())
                .collect();
            assert_eq!(Value::Array(read), serde_json::from_slice::<Value>(&frame).unwrap(), "{what}");
        }
        Ok(Payload::Single(_)) => panic!("{what}: not a batch"),
        Err(error) => assert!(entries.is_empty(), "{what}: {error}"),
    }
}
