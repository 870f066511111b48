//! The resources on offer: static ones, one that changes, and a template.

use std::time::Duration;

use mcp_protocol::{ErrorCode, ProtocolVersion, RawJson, RpcError};
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome};
use crate::caller::Caller;

/// The resource that the tool `increment` changes.
pub(crate) const COUNTER: &str = "demo://counter";
/// The template of the items.
pub(crate) const ITEM_TEMPLATE: &str = "demo://items/{id}";
/// Items are numbered from 1 to this.
pub(crate) const LAST_ITEM: u32 = 100;

const TEXT: &str = "demo://text";
const IMAGE: &str = "demo://image";
/// A PNG of one transparent pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
/// How long static content may be cached.
const STATIC_TTL: Duration = Duration::from_secs(60);

/// Every listed resource, as a revision describes it.
pub(crate) fn list(version: ProtocolVersion) -> Vec<Value> {
    let fixed = [
        (TEXT, "text", "A text", "text/plain"),
        (IMAGE, "image", "One pixel", "image/png"),
        (COUNTER, "counter", "A number that the tool increment changes", "text/plain"),
    ];
    let fixed = fixed.map(|(uri, name, description, mime)| {
        json!({ "uri": uri, "name": name, "description": description, "mimeType": mime })
    });
    // Enough entries for a second page; the rest is reached through the template.
    let items = (1..=4).map(|id| {
        json!({ "uri": format!("demo://items/{id}"), "name": format!("item-{id}"), "mimeType": "application/json" })
    });
    fixed.into_iter().chain(items).map(|resource| titled(resource, version)).collect()
}

/// Every template, as a revision describes it.
pub(crate) fn templates(version: ProtocolVersion) -> Vec<Value> {
    let item = json!({
        "uriTemplate": ITEM_TEMPLATE,
        "name": "item",
        "description": format!("An item, numbered 1 to {LAST_ITEM}"),
        "mimeType": "application/json",
    });
    vec![titled(item, version)]
}

/// `resources/read`
pub(crate) fn read(uri: &str, counter: u64, caller: &Caller) -> Outcome {
    let (content, ttl) = match uri {
        TEXT => (json!({ "mimeType": "text/plain", "text": "Hello from the demo server.\n" }), STATIC_TTL),
        IMAGE => (json!({ "mimeType": "image/png", "blob": PIXEL }), STATIC_TTL),
        COUNTER => (json!({ "mimeType": "text/plain", "text": counter.to_string() }), Duration::ZERO),
        _ => {
            let id = item_id(uri).ok_or_else(|| not_found(uri, caller))?;
            let text = json!({ "id": id, "label": format!("Item {id}") }).to_string();
            (json!({ "mimeType": "application/json", "text": text }), STATIC_TTL)
        }
    };
    let mut content = content;
    content["uri"] = uri.into();
    Ok(Answer::cached(json!({ "contents": [content] }), ttl))
}

/// Whether a client may subscribe to it.
pub(crate) fn exists(uri: &str) -> bool {
    matches!(uri, TEXT | IMAGE | COUNTER) || item_id(uri).is_some()
}

/// The error for an unknown resource; its code changed with the eras (wire reference §1.3).
pub(crate) fn not_found(uri: &str, caller: &Caller) -> RpcError {
    let code = if caller.is_stateless() { ErrorCode::INVALID_PARAMS } else { ErrorCode::RESOURCE_NOT_FOUND };
    let data = RawJson::encode(&json!({ "uri": uri })).unwrap_or_else(|_| RawJson::empty_object());
    RpcError::with_data(code, "resource not found", &data)
}

fn item_id(uri: &str) -> Option<u32> {
    let digits = uri.strip_prefix("demo://items/")?;
    let id = digits.parse().ok().filter(|id| (1..=LAST_ITEM).contains(id))?;
    (id.to_string() == digits).then_some(id) // one spelling, one resource
}

fn titled(mut described: Value, version: ProtocolVersion) -> Value {
    if version >= ProtocolVersion::V2025_06_18 {
        described["title"] = format!("Demo {}", described["name"].as_str().unwrap_or_default()).into();
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_have_one_uri_each() {
        for (uri, known) in [
            ("demo://text", true),
            ("demo://items/1", true),
            ("demo://items/100", true),
            ("demo://items/101", false),
            ("demo://items/0", false),
            ("demo://items/01", false),
            ("demo://items/+1", false),
            ("demo://items/", false),
            ("demo://Text", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(exists(uri), known, "{uri}");
        }
    }
}
