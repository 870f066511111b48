//! Nothing is left for later where nobody would look for it.

use super::{Source, Violation};

/// What to look for and what to do instead. Put together here, so that this file is no finding.
const LEFTOVERS: &[(&str, &str)] = &[
    (concat!("to", "do!("), "write the code, or leave the item out"),
    (concat!("unimpl", "emented!("), "write the code, or leave the item out"),
    (concat!("FIX", "ME"), "fix it, or file it where it will be found"),
    (
        concat!("#[ign", "ore]"),
        "let it print `SKIPPED: name: what to install` and return where it cannot run",
    ),
    (
        concat!("#[ign", "ore ="),
        "let it print `SKIPPED: name: what to install` and return where it cannot run",
    ),
];

/// Looks at Rust, Python and shell sources.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let code = |source: &&Source| ["rs", "py", "sh"].iter().any(|extension| source.has_extension(extension));
    for source in sources.iter().filter(code) {
        for (number, line) in source.lines() {
            for (leftover, remedy) in LEFTOVERS.iter().filter(|(leftover, _)| line.contains(leftover)) {
                let what = format!("{}: {remedy}", leftover.trim_end_matches('('));
                violations.push(Violation::new(&source.path, number, what));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::sources::sample;
    use super::*;

    #[test]
    fn each_leftover_is_found_where_it_stands() {
        for (leftover, remedy) in LEFTOVERS {
            let found = check(&[sample("crates/a/src/lib.rs", &format!("fn f() {{}}\n    {leftover}\n"))]);
            assert_eq!(found.len(), 1, "{leftover}");
            assert_eq!((found[0].line, found[0].what.ends_with(remedy)), (2, true), "{leftover}");
        }
    }

    #[test]
    fn documents_may_speak_of_them() {
        assert_eq!(check(&[sample("docs/style.md", LEFTOVERS[0].0)]), []);
    }
}
