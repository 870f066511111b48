//! Tools whose definitions change, and approving them.

use serde::{Deserialize, Serialize};

/// The query of `GET /tool-changes`. Unknown keys are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolChangeQuery {
    /// Only tools of this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Only those that wait for an approval, or only the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<bool>,
}

/// A tool that is, or was, defined in another way than when it was first seen: an item of `GET /tool-changes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolChange {
    /// Name of the server.
    pub server: String,
    /// The name the server gave the tool.
    pub tool: String,
    /// Whether it is not as approved.
    pub pending: bool,
    /// Whether it is not offered until it is approved: the server has `on_tool_change = "block"`.
    pub withheld: bool,
    /// What it is now, or was when it was last there.
    pub current: ToolVersion,
    /// The digest of the definition that is approved.
    pub approved: String,
    /// What it was before, oldest first: the latest fifteen.
    pub earlier: Vec<ToolVersion>,
}

/// One definition of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolVersion {
    /// Tells it from others: 64 hexadecimal digits.
    pub digest: String,
    /// When it was first seen in the place of the one before.
    pub since: String,
}

/// The body of `POST /tool-changes/approve`. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveTool {
    /// Name of the server.
    pub server: String,
    /// The name the server gave the tool.
    pub tool: String,
    /// What it was when somebody decided: if it is something else by now, it is not approved.
    pub digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_the_documented_shape() {
        let text = concat!(
            r#"{"server":"a","tool":"t","pending":true,"withheld":false,"#,
            r#""current":{"digest":"2","since":"2026-01-01T00:00:01Z"},"approved":"1","#,
            r#""earlier":[{"digest":"1","since":"2026-01-01T00:00:00Z"}]}"#
        );
        let change: ToolChange = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&change).unwrap(), text);
        assert!(serde_json::from_str::<ApproveTool>(r#"{"server":"a","tool":"t"}"#).is_err());
    }
}
