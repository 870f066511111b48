//! The grammar of `_meta` keys. Source: MCP 2026-07-28, Base Protocol, "`_meta`".

use crate::version::ProtocolVersion;

/// Whether a key follows the grammar: an optional prefix of dotted labels and a slash, then a name.
///
/// A label starts with a letter and ends with a letter or digit, hyphens inside. A name starts and ends
/// with a letter or digit, with `-`, `_` and `.` inside; it may be empty.
#[must_use]
pub fn is_valid(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => prefix.split('.').all(is_label) && is_name(name),
        None => is_name(key),
    }
}

fn is_label(label: &str) -> bool {
    label.starts_with(|first: char| first.is_ascii_alphabetic())
        && label.ends_with(|last: char| last.is_ascii_alphanumeric())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_name(name: &str) -> bool {
    name.is_empty()
        || name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.ends_with(|last: char| last.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Whether a revision keeps a key for itself, so that nobody else may give it a meaning.
///
/// Before 2025-06-18 that is `progressToken` alone.
#[must_use]
pub fn is_reserved(key: &str, version: ProtocolVersion) -> bool {
    let Some((prefix, _)) = key.split_once('/') else {
        return key == super::PROGRESS_TOKEN
            || version == ProtocolVersion::V2026_07_28
                && [super::TRACEPARENT, super::TRACESTATE, super::BAGGAGE].contains(&key);
    };
    let is_ours = |label: &str| matches!(label, "modelcontextprotocol" | "mcp");
    let mut labels = prefix.split('.');
    match version {
        ProtocolVersion::V2024_11_05 | ProtocolVersion::V2025_03_26 => false,
        // There the words must be followed by one further label: `mcp.dev/`, `tools.mcp.com/`.
        ProtocolVersion::V2025_06_18 => labels.rev().skip(1).any(is_ours),
        ProtocolVersion::V2025_11_25 | ProtocolVersion::V2026_07_28 => labels.nth(1).is_some_and(is_ours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProtocolVersion::{V2024_11_05, V2025_06_18, V2025_11_25, V2026_07_28};

    #[test]
    fn the_grammar_holds() {
        for key in
            ["a", "progressToken", "com.example/x", "a-b.c1/n_a.m-e", "com.example/", "9", "a/9", "x.y/a"]
        {
            assert!(is_valid(key), "{key}");
        }
        for key in
            ["/a", ".a/b", "a./b", "1a/b", "a-/b", "-a/b", "_a", "a_", "a b", "a/b/c", "ü", "a_b/c", "a/.b"]
        {
            assert!(!is_valid(key), "{key}");
        }
        for key in super::super::HOP_KEYS {
            assert!(is_valid(key) && is_reserved(key, V2026_07_28), "{key}");
        }
    }

    #[test]
    fn reserved_prefixes_differ_by_revision() {
        for (key, june, november) in [
            ("io.modelcontextprotocol/x", false, true),
            ("dev.mcp/x", false, true),
            ("org.modelcontextprotocol.api/x", true, true),
            ("com.mcp.tools/x", true, true),
            ("mcp.dev/x", true, false),
            ("tools.mcp.com/x", true, true),
            ("com.example.mcp/x", false, false),
            ("com.example/mcp", false, false),
            ("progressToken", true, true),
            ("x", false, false),
        ] {
            assert_eq!(is_reserved(key, V2025_06_18), june, "{key}");
            assert_eq!(is_reserved(key, V2025_11_25), november, "{key}");
            assert_eq!(is_reserved(key, V2026_07_28), november, "{key}");
        }
        assert!(!is_reserved("dev.mcp/x", V2024_11_05) && is_reserved("progressToken", V2024_11_05));
        assert!(is_reserved("traceparent", V2026_07_28) && !is_reserved("traceparent", V2025_11_25));
    }
}
