//! `cargo xtask test` and `cargo xtask ci`.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use crate::checkout::Checkout;
use crate::peers::Problem;
use crate::steps::{Outcome, Steps};
use crate::{conformance, faults, peers, sim, skipped, tidy, tool};

/// What a missing tool means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// What needs it is skipped, and listed at the end.
    Lenient,
    /// A failure. The lock file must be up to date, too.
    Strict,
}

impl Mode {
    /// Strict with `CI=true`.
    pub(crate) fn from_environment() -> Self {
        if std::env::var_os("CI").is_some_and(|value| value == "true") { Self::Strict } else { Self::Lenient }
    }

    /// What comes of a step that cannot run because something is missing.
    fn missing(self, what: &str) -> Outcome {
        match self {
            Self::Lenient => Outcome::Skipped(what.to_owned()),
            Self::Strict => Outcome::Failed(what.to_owned()),
        }
    }

    /// What comes of installing the peers.
    fn peers(self, result: Result<(), Problem>) -> Outcome {
        match result {
            Ok(()) => Outcome::Passed,
            Err(Problem::Missing(what)) => self.missing(&what),
            Err(Problem::Failed(why)) => Outcome::Failed(why),
        }
    }
}

/// Runs every check and every test; an error names the steps that failed.
pub(crate) fn run(checkout: &Checkout, mode: Mode) -> Result<(), String> {
    let cargo = |args: &[&str]| cargo(checkout, mode, args);
    let mut steps = Steps::default();
    steps.run("format", |_| {
        if !tool::is_there(&mut checkout.cargo(&["fmt", "--version"])) {
            return mode.missing("run `rustup component add rustfmt`");
        }
        outcome(tool::run(&mut checkout.cargo(&["fmt", "--all", "--check"])))
    });
    steps.run("tidy", |_| outcome(tidy::run(checkout)));
    steps.run("clippy", |_| {
        if !tool::is_there(&mut checkout.cargo(&["clippy", "--version"])) {
            return mode.missing("run `rustup component add clippy`");
        }
        let args = ["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"];
        outcome(tool::run(&mut cargo(&args)))
    });
    steps.run("docs", |_| {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--keep-going"]);
        outcome(tool::run(doc.env("RUSTDOCFLAGS", "-D warnings")))
    });
    steps.run("doc tests", |_| outcome(tool::run(&mut cargo(&["test", "--workspace", "--doc"]))));
    steps.run("peers", |_| mode.peers(peers::install(checkout)));
    steps.run("simulators", |_| outcome(tool::run(cargo(&sim::RUN).args(["--seeds", "10000"]))));
    steps.run("tests", |skipped| {
        if tool::is_there(&mut checkout.cargo(&["nextest", "--version"])) {
            // All but the faults, each of which would have to wait in a process and a place of its own.
            let tests =
                nextest(checkout, cargo(&["nextest", "run", "--workspace", "--profile", "xtask"]), skipped);
            let faults = tool::run(&mut cargo(&faults::TEST));
            outcome(tests.and(faults))
        } else {
            // Every target but the benches, as nextest does it; clippy has compiled those.
            let args = ["test", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"];
            outcome(plain(cargo(&args).args(["--", "--show-output"]), skipped))
        }
    });
    steps.run("conformance", |_| mode.peers(conformance::all(checkout, conformance::Table::Compare)));
    print!("{}", steps.report());
    steps.result()
}

/// A cargo command under the rules of `mode`, which the tests learn from `CI`.
fn cargo(checkout: &Checkout, mode: Mode, args: &[&str]) -> Command {
    let (own, rest) = args.split_at(args.iter().position(|arg| *arg == "--").unwrap_or(args.len()));
    let mut command = checkout.cargo(own);
    if mode == Mode::Strict {
        command.arg("--locked").env("CI", "true");
    }
    command.args(rest);
    command
}

fn outcome(result: Result<(), String>) -> Outcome {
    result.map_or_else(Outcome::Failed, |()| Outcome::Passed)
}

/// Runs nextest, which shows the output of failing tests only and keeps the rest in its report.
fn nextest(checkout: &Checkout, mut command: Command, skipped: &mut BTreeSet<String>) -> Result<(), String> {
    let report = checkout.root().join("target/nextest/xtask/junit.xml");
    // Of an earlier run: if this one does not get as far as writing its own, there is nothing to read.
    let _ = std::fs::remove_file(&report);
    let result = tool::run(&mut command);
    if let Ok(report) = std::fs::read_to_string(&report) {
        skipped.extend(skipped::from_junit(&report));
    }
    result
}

/// Runs `cargo test` and passes on what it writes to either stream while reading along.
fn plain(command: &mut Command, skipped: &mut BTreeSet<String>) -> Result<(), String> {
    watch(command, (io::stdout(), io::stderr()), skipped)
}

/// Runs `command`, copies its two streams to `to` and finds the skipped tests that either reports.
fn watch(
    command: &mut Command,
    to: (impl Write, impl Write + Send),
    skipped: &mut BTreeSet<String>,
) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (from_stdout, from_stderr) = thread::scope(|scope| {
        // At the same time, because a stream that nobody reads blocks the tests once it is full.
        let from_stderr = scope.spawn(|| read_along(stderr, to.1));
        (read_along(stdout, to.0), from_stderr.join())
    });
    let status = child.wait().map_err(|error| format!("cannot wait for the tests: {error}"))?;
    skipped.extend(from_stdout?);
    skipped.extend(from_stderr.map_err(|_| "the reader of standard error panicked")??);
    if status.success() { Ok(()) } else { Err(format!("`cargo test` ended with {status}")) }
}

/// Copies `from` to `to` line by line and returns the skipped tests it reports.
fn read_along(from: Option<impl Read>, mut to: impl Write) -> Result<BTreeSet<String>, String> {
    let fail = |error| format!("cannot pass on the output of the tests: {error}");
    let mut skipped = BTreeSet::new();
    for line in from.into_iter().flat_map(|from| BufReader::new(from).split(b'\n')) {
        let mut line = line.map_err(fail)?;
        skipped.extend(skipped::from_output(&String::from_utf8_lossy(&line)));
        line.push(b'\n');
        to.write_all(&line).map_err(fail)?;
    }
    Ok(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_a_failure_only_in_strict_mode() {
        assert_eq!(Mode::Lenient.missing("install npm"), Outcome::Skipped("install npm".into()));
        assert_eq!(Mode::Strict.missing("install npm"), Outcome::Failed("install npm".into()));
    }

    #[test]
    fn peers_that_cannot_be_installed_are_a_failure_in_either_mode() {
        for mode in [Mode::Lenient, Mode::Strict] {
            let failed = Outcome::Failed("`npm ci` ended with 1".into());
            assert_eq!(mode.peers(Err(Problem::Failed("`npm ci` ended with 1".into()))), failed);
            assert_eq!(mode.peers(Err(Problem::Missing("install npm".into()))), mode.missing("install npm"));
        }
    }

    #[test]
    fn output_is_passed_on_unchanged_and_searched() {
        let output = b"running 1 test\n\xff\nSKIPPED: memory: install npm\n";
        let mut passed_on = Vec::new();
        let skipped = read_along(Some(&output[..]), &mut passed_on).unwrap();
        assert_eq!(passed_on, output);
        assert_eq!(Vec::from_iter(skipped), ["memory: install npm"]);
    }

    #[cfg(unix)]
    #[test]
    fn both_streams_of_the_tests_are_searched() {
        let mut skipped = BTreeSet::new();
        let script = "echo 'SKIPPED: a: b'; echo 'SKIPPED: c: d' >&2; exit 3";
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let result = watch(Command::new("sh").args(["-c", script]), (&mut stdout, &mut stderr), &mut skipped);
        assert!(result.is_err_and(|error| error.contains('3')), "the tests failed");
        assert_eq!((&*stdout, &*stderr), (&b"SKIPPED: a: b\n"[..], &b"SKIPPED: c: d\n"[..]));
        assert_eq!(Vec::from_iter(skipped), ["a: b", "c: d"]);
    }
}
