//! The error messages that the guide to troubleshooting explains are those of the code.

use super::{Source, Violation};

/// The guide: tables whose first column quotes messages, with `…` for what differs.
const GUIDE: &str = "docs/troubleshooting.md";

/// The heading of the column.
const COLUMN: &str = "message";

/// Shorter pieces of a message say nothing: they are found anywhere.
const SHORTEST: usize = 8;

/// Looks at every message of the guide.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let code: Vec<&Source> = sources
        .iter()
        .filter(|source| source.has_extension("rs") && source.path.starts_with("crates/"))
        .filter(|source| source.path.contains("/src/"))
        .collect();
    let known = |piece: &str| code.iter().any(|source| source.text.contains(piece));
    let mut violations = Vec::new();
    for guide in sources.iter().filter(|source| source.path == GUIDE) {
        let mut in_table = false;
        for (number, line) in guide.lines() {
            let Some(cell) = line.strip_prefix('|').and_then(|row| row.split('|').next()) else {
                in_table = false;
                continue;
            };
            if !in_table {
                in_table = cell.trim() == COLUMN;
                continue;
            }
            let Some(message) = cell.split('`').nth(1) else { continue };
            if !pieces(message).any(known) {
                let what = format!("no code says {message:?}; quote the message as it is, or remove the row");
                violations.push(Violation::new(GUIDE, number, what));
            }
        }
    }
    violations
}

/// The parts of a message that are the same each time.
fn pieces(message: &str) -> impl Iterator<Item = &str> {
    let parts = message.split(|c: char| c == '…' || c.is_ascii_digit());
    parts.filter(|part| part.len() >= SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::super::sources::sample;
    use super::*;

    #[test]
    fn messages_nobody_says_are_found() {
        let code = "format!(\"the server {name} is on fire: {why}\")";
        let table = |message: &str| {
            let text =
                format!("| message | what |\n| --- | --- |\n| `{message}` | x |\n\n| other |\n| `y` |\n");
            sample(GUIDE, &text)
        };
        for (message, fine) in [
            (" is on fire: …", true),
            ("the server … is on fire: 17", true),
            ("the server is on fire", false),
            ("… on …", false),
        ] {
            let found = check(&[sample("crates/a/src/b.rs", code), table(message)]);
            assert_eq!(found.is_empty(), fine, "{message}: {found:?}");
        }
        assert_eq!(check(&[table(" is on fire: …")]).len(), 1, "tests and documents do not count as code");
    }
}
