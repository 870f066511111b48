//! What is wrong with a file, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A place in a file. Lines and columns count from one, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// One error or warning. Shows as `file:line:col: message` and holds keys of the file, never its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the user named it.
    pub origin: Arc<str>,
    /// The place; `None` if it concerns the file as a whole.
    pub position: Option<Position>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file was read and refused as a whole. Shows one line for each error, in the order of the file.
    #[error("{}", lines(.0))]
    Invalid(Vec<Diagnostic>),
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A message with the byte offset it belongs to, before it is given a line and a column.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) at: Option<usize>,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn at(at: usize, message: impl Into<String>) -> Self {
        Self { at: Some(at), message: message.into() }
    }
}

/// Most diagnostics shown of one kind.
const MAX_SHOWN: usize = 50;

/// Gives findings their positions in `text`, in the order of the text.
pub(crate) fn positioned(mut findings: Vec<Finding>, text: &str, origin: &Arc<str>) -> Vec<Diagnostic> {
    findings.sort_by_key(|finding| finding.at);
    let hidden = findings.len().saturating_sub(MAX_SHOWN);
    findings.truncate(MAX_SHOWN);
    if hidden > 0 {
        findings.push(Finding { at: None, message: format!("{hidden} more not shown") });
    }
    let place = |finding: Finding| Diagnostic {
        origin: Arc::clone(origin),
        position: finding.at.map(|at| position(text, at)),
        message: finding.message,
    };
    findings.into_iter().map(place).collect()
}

/// Line and column of a byte offset.
pub(crate) fn position(text: &str, at: usize) -> Position {
    let before = &text.as_bytes()[..at.min(text.len())];
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    // Counting the bytes that start a character works for an offset inside one, too.
    let column = before[start..].iter().filter(|&&byte| byte & 0xC0 != 0x80).count() + 1;
    Position { line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        for (at, line, column) in [(0, 1, 1), (1, 1, 2), (3, 1, 3), (4, 2, 1), (5, 2, 2), (99, 2, 2)] {
            assert_eq!(position("aé\nb", at), Position { line, column }, "offset {at}");
        }
    }

    #[test]
    fn too_many_findings_are_counted() {
        let findings = (0..60).map(|at| Finding::at(at, "wrong")).collect();
        let shown = positioned(findings, &"x".repeat(60), &"f".into());
        assert_eq!(shown.len(), MAX_SHOWN + 1);
        assert_eq!(shown[MAX_SHOWN].to_string(), "f: 10 more not shown");
    }
}
