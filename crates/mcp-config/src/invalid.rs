//! A mistake in one field.

use std::fmt;

/// A key that is unknown, has the wrong type, or a value out of bounds.
///
/// Names keys, never values. The REST API makes its 422 answers of these (`path` becomes `loc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// The key, with the keys and list positions that lead to it; empty: the definition as a whole.
    pub path: Vec<String>,
    /// What is wrong and what to do.
    pub reason: String,
}

impl InvalidField {
    pub(crate) fn new<const N: usize>(path: [&str; N], reason: impl Into<String>) -> Self {
        Self { path: path.iter().map(ToString::to_string).collect(), reason: reason.into() }
    }

    /// The outermost key, if the mistake concerns one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.path.first().map(String::as_str)
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", quoted(&self.path), self.reason)
        }
    }
}

impl std::error::Error for InvalidField {}

/// Longest piece of a key that is shown.
const MAX_KEY: usize = 64;

/// A path in backquotes, made safe to print.
pub(crate) fn quoted(path: &[String]) -> String {
    let steps: Vec<String> = path.iter().map(|step| printable(step)).collect();
    format!("`{}`", steps.join("."))
}

/// A key as TOML would write it, shortened, control characters escaped.
pub(crate) fn printable(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.len() <= MAX_KEY && key.chars().all(bare) {
        return key.to_owned();
    }
    let short: String = key.chars().take(MAX_KEY).flat_map(char::escape_debug).collect();
    let more = if key.chars().nth(MAX_KEY).is_some() { "…" } else { "" };
    format!("\"{short}{more}\"")
}
