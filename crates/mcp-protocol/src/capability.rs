//! What a client or a server says it can do, and what of it each revision knows.
//!
//! Capabilities are kept as the JSON they came in: members nobody here has heard of survive, and a
//! server may declare its own.

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::json::{InvalidJson, JsonKind, RawJson};
use crate::version::ProtocolVersion;
use ProtocolVersion::{V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};

/// One capability that not every revision has. What no rule names exists in all of them, or is unknown.
struct Rule {
    path: &'static [&'static str],
    first: ProtocolVersion,
    last: ProtocolVersion,
}

const fn rule(path: &'static [&'static str], first: ProtocolVersion, last: ProtocolVersion) -> Rule {
    Rule { path, first, last }
}

/// Source: wire reference §2.2.
const CLIENT_RULES: &[Rule] = &[
    rule(&["roots", "listChanged"], V2024_11_05, V2025_11_25),
    rule(&["sampling", "context"], V2025_11_25, V2026_07_28),
    rule(&["sampling", "tools"], V2025_11_25, V2026_07_28),
    rule(&["elicitation"], V2025_06_18, V2026_07_28),
    rule(&["elicitation", "form"], V2025_11_25, V2026_07_28),
    rule(&["elicitation", "url"], V2025_11_25, V2026_07_28),
    rule(&["tasks"], V2025_11_25, V2025_11_25),
];

/// Source: wire reference §2.2. `completion/complete` works in 2024-11-05 although it has no flag there.
const SERVER_RULES: &[Rule] =
    &[rule(&["completions"], V2025_03_26, V2026_07_28), rule(&["tasks"], V2025_11_25, V2025_11_25)];

fn defined_in(rules: &[Rule], path: &[&str], version: ProtocolVersion) -> bool {
    rules
        .iter()
        .filter(|rule| path.starts_with(rule.path))
        .all(|rule| (rule.first..=rule.last).contains(&version))
}

macro_rules! capabilities {
    ($(#[$doc:meta])* $name:ident, $rules:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(RawJson);

        impl $name {
            /// Takes the object a peer sent.
            ///
            /// # Errors
            /// [`InvalidJson`] if it is no object or a member stands twice.
            pub fn from_raw(raw: RawJson) -> Result<Self, InvalidJson> {
                raw.members()?;
                Ok(Self(raw))
            }

            /// The object as it came.
            #[must_use]
            pub fn as_raw(&self) -> &RawJson {
                &self.0
            }

            /// Whether a capability is declared: its member is an object or `true`.
            #[must_use]
            pub fn has(&self, path: &[&str]) -> bool {
                self.get(path).is_some_and(|value| value.kind() == JsonKind::Object || value.as_str() == "true")
            }

            /// The value of a capability.
            #[must_use]
            pub fn get(&self, path: &[&str]) -> Option<RawJson> {
                path.iter().try_fold(self.0.clone(), |object, name| object.get(name))
            }

            /// The settings of an extension; `None` if it is not declared.
            #[must_use]
            pub fn extension(&self, id: &str) -> Option<RawJson> {
                self.get(&["extensions", id]).filter(|settings| settings.kind() == JsonKind::Object)
            }

            /// The same with one capability set, for example `["tools", "listChanged"]` to `true`.
            #[must_use]
            pub fn with(&self, path: &[&str], value: RawJson) -> Self {
                Self(with(&self.0, path, value))
            }

            /// The same without one capability.
            #[must_use]
            pub fn without(&self, path: &[&str]) -> Self {
                Self(without(&self.0, path))
            }

            /// Whether a revision knows a capability. Unknown ones pass: the set is open.
            #[must_use]
            pub fn is_defined_in(path: &[&str], version: ProtocolVersion) -> bool {
                defined_in($rules, path, version)
            }
        }

        /// None at all: the empty object.
        impl Default for $name {
            fn default() -> Self {
                Self(RawJson::empty_object())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::from_raw(RawJson::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

capabilities! {
    /// What a client can do: `capabilities` of `initialize`, or `clientCapabilities` of each request.
    ClientCapabilities, CLIENT_RULES
}

capabilities! {
    /// What a server can do: `capabilities` of its answer to `initialize` or `server/discover`.
    ServerCapabilities, SERVER_RULES
}

impl ClientCapabilities {
    /// Whether the client fills in forms. `elicitation: {}` means forms. Source: wire reference §2.2.
    #[must_use]
    pub fn elicits_forms(&self) -> bool {
        self.has(&["elicitation", "form"])
            || (self.has(&["elicitation"]) && self.get(&["elicitation", "url"]).is_none())
    }

    /// Whether the client opens pages for the person.
    #[must_use]
    pub fn elicits_urls(&self) -> bool {
        self.has(&["elicitation", "url"])
    }

    /// What of this a revision knows. Members unknown to all revisions stay, `extensions` among them:
    /// peers of the handshake era use it although no schema there names it.
    #[must_use]
    pub fn clip(&self, version: ProtocolVersion) -> Self {
        // An empty object would promise forms where only pages were offered.
        let pages_only = self.elicits_urls() && !self.elicits_forms();
        if pages_only && !Self::is_defined_in(&["elicitation", "url"], version) {
            return Self(clip(&without(&self.0, &["elicitation"]), CLIENT_RULES, version));
        }
        Self(clip(&self.0, CLIENT_RULES, version))
    }
}

impl ServerCapabilities {
    /// What of this a revision knows. Members unknown to all revisions stay.
    #[must_use]
    pub fn clip(&self, version: ProtocolVersion) -> Self {
        Self(clip(&self.0, SERVER_RULES, version))
    }
}

fn clip(object: &RawJson, rules: &[Rule], version: ProtocolVersion) -> RawJson {
    let foreign = rules.iter().filter(|rule| !(rule.first..=rule.last).contains(&version));
    foreign.fold(object.clone(), |object, rule| without(&object, rule.path))
}

fn without(object: &RawJson, path: &[&str]) -> RawJson {
    let (Some((name, rest)), Ok(mut members)) = (path.split_first(), object.members()) else {
        return object.clone();
    };
    match object.get(name) {
        None => return object.clone(),
        Some(_) if rest.is_empty() => {
            members.remove(name);
        }
        Some(inner) => members.set_json(name, without(&inner, rest)),
    }
    members.encode()
}

fn with(object: &RawJson, path: &[&str], value: RawJson) -> RawJson {
    let Some((name, rest)) = path.split_first() else { return value };
    let inner = object.get(name).unwrap_or_else(RawJson::empty_object);
    // What stands where an object is needed gives way to one.
    let mut members = object.members().unwrap_or_default();
    members.set_json(name, with(&inner, rest, value));
    members.encode()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn client(text: &'static str) -> ClientCapabilities {
        ClientCapabilities::from_raw(RawJson::parse(text, &Limits::default()).unwrap()).unwrap()
    }

    fn server(text: &'static str) -> ServerCapabilities {
        ServerCapabilities::from_raw(RawJson::parse(text, &Limits::default()).unwrap()).unwrap()
    }

    #[test]
    fn clients_are_clipped_to_the_revision() {
        let full = client(
            r#"{"roots":{"listChanged":true},"sampling":{"context":{},"tools":{},"x":1.0},"elicitation":{"form":{},"url":{}},"tasks":{"list":{}},"experimental":{"a":{}},"extensions":{"b/c":{}},"vendor":[ ]}"#,
        );
        let rest = r#""experimental":{"a":{}},"extensions":{"b/c":{}},"vendor":[ ]}"#;
        for (version, start) in [
            (V2024_11_05, r#"{"roots":{"listChanged":true},"sampling":{"x":1.0},"#),
            (V2025_03_26, r#"{"roots":{"listChanged":true},"sampling":{"x":1.0},"#),
            (V2025_06_18, r#"{"roots":{"listChanged":true},"sampling":{"x":1.0},"elicitation":{},"#),
            (
                V2025_11_25,
                r#"{"roots":{"listChanged":true},"sampling":{"context":{},"tools":{},"x":1.0},"elicitation":{"form":{},"url":{}},"tasks":{"list":{}},"#,
            ),
            (
                V2026_07_28,
                r#"{"roots":{},"sampling":{"context":{},"tools":{},"x":1.0},"elicitation":{"form":{},"url":{}},"#,
            ),
        ] {
            assert_eq!(full.clip(version).as_raw().as_str(), format!("{start}{rest}"), "{version}");
        }
    }

    #[test]
    fn pages_never_turn_into_forms() {
        for (text, forms, urls, clipped) in [
            (r#"{"elicitation":{}}"#, true, false, r#"{"elicitation":{}}"#),
            (r#"{"elicitation":{"form":{}}}"#, true, false, r#"{"elicitation":{}}"#),
            (r#"{"elicitation":{"url":{}}}"#, false, true, "{}"),
            (r#"{"elicitation":{"url":{},"form":{}}}"#, true, true, r#"{"elicitation":{}}"#),
            ("{}", false, false, "{}"),
        ] {
            let capabilities = client(text);
            assert_eq!((capabilities.elicits_forms(), capabilities.elicits_urls()), (forms, urls), "{text}");
            assert_eq!(capabilities.clip(V2025_06_18).as_raw().as_str(), clipped, "{text}");
        }
    }

    #[test]
    fn servers_are_clipped_to_the_revision() {
        let full = server(r#"{"tools":{"listChanged":true},"completions":{},"tasks":{}}"#);
        for (version, clipped) in [
            (V2024_11_05, r#"{"tools":{"listChanged":true}}"#),
            (V2025_06_18, r#"{"tools":{"listChanged":true},"completions":{}}"#),
            (V2025_11_25, r#"{"tools":{"listChanged":true},"completions":{},"tasks":{}}"#),
            (V2026_07_28, r#"{"tools":{"listChanged":true},"completions":{}}"#),
        ] {
            assert_eq!(full.clip(version).as_raw().as_str(), clipped, "{version}");
        }
        assert!(!ServerCapabilities::is_defined_in(&["tasks", "list"], V2026_07_28));
        assert!(ServerCapabilities::is_defined_in(&["anything"], V2024_11_05));
    }

    #[test]
    fn capabilities_are_read_and_set_by_path() {
        let capabilities = server(r#"{"tools":{"listChanged":false},"logging":{},"prompts":null}"#);
        assert!(capabilities.has(&["tools"]) && capabilities.has(&["logging"]));
        assert!(!capabilities.has(&["prompts"]) && !capabilities.has(&["tools", "listChanged"]));
        let capabilities = capabilities
            .with(&["tools", "listChanged"], RawJson::encode(&true).unwrap())
            .with(&["extensions", "a/b"], RawJson::empty_object())
            .without(&["prompts"])
            .without(&["missing", "too"]);
        assert_eq!(
            capabilities.as_raw().as_str(),
            r#"{"tools":{"listChanged":true},"logging":{},"extensions":{"a/b":{}}}"#
        );
        assert_eq!(capabilities.extension("a/b"), Some(RawJson::empty_object()));
        assert_eq!(capabilities.extension("a/c"), None);
        assert!(serde_json::from_str::<ServerCapabilities>("[]").is_err());
        assert!(serde_json::from_str::<ServerCapabilities>(r#"{"a":1,"a":2}"#).is_err());
    }
}
