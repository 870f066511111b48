//! Steps that are run one after the other, whatever came of the ones before, and the table at the end.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// What went wrong, one line.
    Failed(String),
    /// What to install so that it runs.
    Skipped(String),
}

/// What came of the steps so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Outcome, Duration)>,
    skipped: BTreeSet<String>,
}

impl Steps {
    /// Runs one step and keeps what came of it.
    #[expect(clippy::disallowed_methods, reason = "the time a step takes is shown, nothing depends on it")]
    pub(crate) fn run(&mut self, name: &'static str, step: impl FnOnce(&mut BTreeSet<String>) -> Outcome) {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = step(&mut self.skipped);
        match &outcome {
            Outcome::Passed => {}
            Outcome::Failed(why) => eprintln!("{name}: {why}"),
            Outcome::Skipped(why) => {
                self.skipped.insert(format!("{name}: {why}"));
            }
        }
        self.done.push((name, outcome, start.elapsed()));
    }

    /// The closing table, and the list of what was skipped.
    pub(crate) fn report(&self) -> String {
        let mut report = String::from("\n");
        for (name, outcome, took) in &self.done {
            let word = match outcome {
                Outcome::Passed => "passed",
                Outcome::Failed(_) => "FAILED",
                Outcome::Skipped(_) => "skipped",
            };
            let _ = writeln!(report, "{name:<12} {word:<8} {:>7.1} s", took.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, _, took)| *took).sum();
        let _ = writeln!(report, "{:<12} {:<8} {:>7.1} s", "total", "", total.as_secs_f64());
        if self.skipped.is_empty() {
            report.push_str("\nNothing was skipped.\n");
        } else {
            report.push_str("\nSkipped, and what to install:\n");
            for line in &self.skipped {
                let _ = writeln!(report, "  {line}");
            }
        }
        report
    }

    /// An error that names the steps that failed, if any did.
    pub(crate) fn result(&self) -> Result<(), String> {
        let failed: Vec<_> = self
            .done
            .iter()
            .filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
            .map(|(name, ..)| *name)
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_run_but_does_not_end_it() {
        let mut steps = Steps::default();
        steps.run("one", |_| Outcome::Failed("broken".into()));
        steps.run("two", |_| Outcome::Passed);
        assert_eq!(steps.result(), Err("failed: one".into()));
        assert!(steps.report().contains("two          passed"), "{}", steps.report());
    }

    #[test]
    fn skipped_steps_and_skipped_tests_are_listed_together_and_are_no_failure() {
        let mut steps = Steps::default();
        steps.run("peers", |_| Outcome::Skipped("install npm".into()));
        steps.run("tests", |skipped| {
            skipped.insert("everything over stdio: install npm".into());
            Outcome::Passed
        });
        assert_eq!(steps.result(), Ok(()));
        let report = steps.report();
        assert!(report.contains("  everything over stdio: install npm\n  peers: install npm\n"), "{report}");
    }
}
