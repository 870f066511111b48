//! Bodies of the answers 403, 404, 409 and 422.

use serde::{Deserialize, Serialize};

/// The body of 403, 404 and 409 (contract §6, §6.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// What is wrong, for people. Holds no header value, token, environment value or upstream body.
    pub detail: String,
}

impl ErrorDetail {
    /// The body that says `detail`.
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }
}

/// The body of 404 of a directed call: what there is instead (contract §6.3, endpoint 26; §8.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotOffered {
    /// What is missing.
    pub detail: NotOfferedDetail,
}

/// A server or a tool that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotOfferedDetail {
    /// For people.
    pub message: String,
    /// The name asked for: of a tool if `server` is there, else of a server.
    pub requested: String,
    /// The names there are, sorted.
    pub available: Vec<String>,
    /// The server without the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// The body of 422: every problem of the request (contract §6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationError {
    /// The problems, in the order they were found.
    pub detail: Vec<ValidationIssue>,
}

impl ValidationError {
    /// The body with one problem: where (`["body", "url"]`), what, and its stable kind.
    pub fn one(
        loc: impl IntoIterator<Item = impl Into<Location>>,
        msg: impl Into<String>,
        kind: impl Into<String>,
    ) -> Self {
        let loc = loc.into_iter().map(Into::into).collect();
        Self { detail: vec![ValidationIssue { loc, msg: msg.into(), kind: kind.into() }] }
    }
}

/// One problem of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationIssue {
    /// The way to the offending value: `body`, `query` or `path`, then keys and positions.
    pub loc: Vec<Location>,
    /// What is wrong with it, for people.
    pub msg: String,
    /// What is wrong with it, for programs: `missing`, `value_error`, `json_invalid`, …
    #[serde(rename = "type")]
    pub kind: String,
}

/// One step of [`ValidationIssue::loc`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Location {
    /// A key of an object, or the part of the request.
    Key(String),
    /// A position in a list, counted from 0.
    Position(u64),
}

impl From<&str> for Location {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<String> for Location {
    fn from(key: String) -> Self {
        Self::Key(key)
    }
}

impl From<u64> for Location {
    fn from(position: u64) -> Self {
        Self::Position(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_documented_shape() {
        let detail = ErrorDetail::new("server not found");
        assert_eq!(serde_json::to_string(&detail).unwrap(), r#"{"detail":"server not found"}"#);

        let text = r#"{"detail":[{"loc":["body","args",2],"msg":"not a string","type":"string_type"}]}"#;
        let error: ValidationError = serde_json::from_str(text).unwrap();
        assert_eq!(error.detail[0].loc, ["body".into(), "args".into(), 2.into()]);
        assert_eq!(serde_json::to_string(&error).unwrap(), text);
    }

    #[test]
    fn one_problem_is_a_list_of_one() {
        let error = ValidationError::one(["query", "limit"], "must be at least 1", "greater_than_equal");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"detail":[{"loc":["query","limit"],"msg":"must be at least 1","type":"greater_than_equal"}]}"#
        );
    }
}
