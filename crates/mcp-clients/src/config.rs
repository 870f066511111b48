//! The configuration of a client, as a factory takes it.

use std::fmt;

use serde_json::{Map, Value};

/// The keys of one server, as a configuration file has them (contract §7.4), in JSON. What is wrong with them
/// shows when a client is made of them.
///
/// ```
/// use mcp_clients::ClientConfig;
/// use serde_json::json;
///
/// let config = ClientConfig::from(json!({"url": "https://a.example/mcp"})).with("timeout_ms", 5000);
/// assert_eq!(config.get("timeout_ms"), Some(&json!(5000)));
/// ```
#[derive(Clone, PartialEq)]
pub struct ClientConfig(Value);

impl ClientConfig {
    /// No keys: all have their defaults.
    #[must_use]
    pub fn new() -> Self {
        Self(Value::Object(Map::new()))
    }

    /// The same with a key more, or another value for it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a key. Nothing happens to a configuration that is no JSON object.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        if let Value::Object(keys) = &mut self.0 {
            keys.insert(key.to_owned(), value.into());
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The JSON text, secrets included.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }

    /// Adds what only `defaults` has; in objects such as `headers`, member by member. A key that is `null` has
    /// its value and gets none.
    #[must_use]
    pub fn over(mut self, defaults: &Self) -> Self {
        merge(&mut self.0, &defaults.0);
        self
    }
}

fn merge(explicit: &mut Value, defaults: &Value) {
    let (Value::Object(explicit), Value::Object(defaults)) = (explicit, defaults) else { return };
    for (key, default) in defaults {
        match explicit.get_mut(key) {
            Some(value) => merge(value, default),
            None => {
                explicit.insert(key.clone(), default.clone());
            }
        }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Value> for ClientConfig {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

/// Shows the keys alone: values may be secrets.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.0.as_object().into_iter().flat_map(Map::keys).collect();
        f.debug_tuple("ClientConfig").field(&keys).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_lie_under_explicit_keys() {
        let explicit =
            json!({"url": "a", "group": null, "headers": {"X": "1"}, "tools": ["t"], "priority": 3});
        let defaults = json!({"url": "b", "group": "g", "headers": {"X": "2", "Y": "2"}, "tools": ["u", "v"], "env": {"A": "1"}});
        let merged = ClientConfig::from(explicit).over(&ClientConfig::from(defaults));
        let expected = json!({
            "url": "a", "group": null, "headers": {"X": "1", "Y": "2"}, "tools": ["t"], "priority": 3,
            "env": {"A": "1"},
        });
        assert_eq!(merged, ClientConfig::from(expected));
    }

    #[test]
    fn debug_shows_no_values() {
        let config = ClientConfig::new().with("auth", json!({"token": "secret"}));
        assert_eq!(format!("{config:?}"), r#"ClientConfig(["auth"])"#);
    }
}
