//! Tests wait for conditions or advance the clock; they do not sleep.

use super::{Source, Violation};

/// Files, and folders with a slash at the end, whose sleeps are meant, and why. A paused clock
/// (`start_paused = true`) needs no entry.
const ALLOWED: &[(&str, &str)] = &[
    (
        "crates/mcp-client/tests/client/mishaps.rs",
        "answers and handlers that take their time; every test there has a paused clock",
    ),
    (
        "crates/mcp-client/tests/client/questions.rs",
        "somebody who takes time to answer; every test there has a paused clock",
    ),
    (
        "crates/mcp-client/tests/client/wire.rs",
        "scripted transports that take their time; every test that uses them has a paused clock",
    ),
    (
        "crates/mcp-transport-stdio/tests/stdio/peer.rs",
        "the pause between two looks at what a child process does",
    ),
    ("crates/mcp-clients/tests/it/storm.rs", "the pause between two looks, on a paused clock and on threads"),
    ("crates/mcp-testkit/src/fault/", "upstreams that are slow, and a proxy with latency, over real sockets"),
    ("crates/mcp-testkit/src/server.rs", "delayed answers, for tests with a paused clock"),
    ("crates/mcp-testkit/src/sim/", "the simulator's time is tokio's paused clock"),
    (
        "tests/faults/watch.rs",
        "the pause between two looks, and the clock that tells how busy the machine is",
    ),
    ("tests/it/wait.rs", "the pause between two looks at a condition of another process"),
    ("tests/src/bin/rmcp-server.rs", "a tool that takes as long as the caller asks for"),
];

/// Looks at test code: files and folders named `tests`, what follows `#[cfg(test)]`, and the testkit.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let mut violations = check_against(ALLOWED, sources);
    for (path, _) in ALLOWED {
        let sleeps = |source: &Source| source.lines().any(|(_, line)| sleeps(line));
        if !sources.iter().any(|source| is_in(source, path) && sleeps(source)) {
            let what = format!("{path} does not sleep any more; remove it from the list");
            violations.push(Violation::new("xtask/src/tidy/sleeps.rs", 1, what));
        }
    }
    violations
}

fn check_against(allowed: &[(&str, &str)], sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let is_checked =
        |source: &&Source| source.has_extension("rs") && !allowed.iter().any(|(path, _)| is_in(source, path));
    for source in sources.iter().filter(is_checked) {
        let mut in_test = is_test_file(&source.path);
        let mut paused = false;
        for (number, line) in source.lines() {
            in_test |= line.contains("#[cfg(test)]");
            if line.contains("test(") || line.contains("test]") {
                paused = line.contains("start_paused");
            }
            if in_test && !paused && sleeps(line) {
                let what = "a test sleeps: wait for a condition, pause the clock (`start_paused = true`), or add \
                            the file with a reason to xtask/src/tidy/sleeps.rs";
                violations.push(Violation::new(&source.path, number, what));
            }
        }
    }
    violations
}

/// Whether a source is the file, or in the folder, that an entry names.
fn is_in(source: &Source, entry: &str) -> bool {
    if entry.ends_with('/') { source.path.starts_with(entry) } else { source.path == entry }
}

fn is_test_file(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    name == "tests.rs" || folders.split('/').any(|folder| folder == "tests" || folder == "mcp-testkit")
}

/// Whether `line` calls a function that is named `sleep`.
fn sleeps(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let call = concat!("sle", "ep(");
    code.match_indices(call).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::super::sources::sample;
    use super::*;

    const SLEEP: &str = concat!("    tokio::time::sle", "ep(SECOND).await;\n");

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check_against(&[("tests/src/allowed.rs", "a reason")], &[sample(path, text)])
            .iter()
            .map(|violation| violation.line)
            .collect()
    }

    #[test]
    fn sleeps_of_tests_are_found() {
        let unit_test =
            format!("fn f() {{\n{SLEEP}}}\n#[cfg(test)]\nmod tests {{\n#[tokio::test]\n{SLEEP}}}\n");
        for (path, text, expected) in [
            ("crates/a/tests/x.rs", SLEEP, vec![1]),
            ("crates/a/src/foo/tests.rs", SLEEP, vec![1]),
            ("crates/mcp-testkit/src/script.rs", SLEEP, vec![1]),
            ("crates/a/src/foo.rs", unit_test.as_str(), vec![7]),
        ] {
            assert_eq!(lines(path, text), expected, "{path}");
        }
    }

    #[test]
    fn paused_clocks_other_code_and_listed_files_may_sleep() {
        let paused = format!("#[tokio::test(start_paused = true)]\nasync fn f() {{\n{SLEEP}}}\n");
        let comment = format!("// {SLEEP}");
        for (path, text) in [
            ("crates/a/tests/x.rs", paused.as_str()),
            ("crates/a/tests/x.rs", comment.as_str()),
            ("crates/a/tests/x.rs", "timer.no_sleep(1); sleep_until(t);"),
            ("crates/a/src/foo.rs", SLEEP),
            ("tests/src/allowed.rs", SLEEP),
        ] {
            assert_eq!(lines(path, text), [0; 0], "{path}: {text}");
        }
    }

    #[test]
    fn the_pause_ends_with_its_test() {
        let text = format!("#[tokio::test(start_paused = true)]\n{SLEEP}#[tokio::test]\n{SLEEP}");
        assert_eq!(lines("crates/a/tests/x.rs", &text), [4]);
    }

    #[test]
    fn a_list_entry_without_a_sleep_is_found() {
        let stale = check(&[]);
        assert_eq!(stale.len(), ALLOWED.len(), "{stale:?}");
    }
}
