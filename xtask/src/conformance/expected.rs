//! The scenarios that may fail.

use super::scenario::{Outcome, Scenario};

/// The entries of the file for one subject: `SUBJECT SET SCENARIO` on a line, and why after `#`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected(Vec<Entry>);

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// `SET SCENARIO`.
    scenario: String,
    /// Empty if the line does not say why.
    why: String,
}

impl Expected {
    pub(super) fn parse(text: &str, subject: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let (line, why) = line.split_once('#').unwrap_or((line, ""));
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [] => {}
                [name, set, scenario] if name == subject => {
                    entries.push(Entry { scenario: format!("{set} {scenario}"), why: why.trim().to_owned() });
                }
                [_, _, _] => {}
                _ => return Err(format!("expected failures, line {}: not SUBJECT SET SCENARIO", number + 1)),
            }
        }
        Ok(Self(entries))
    }

    /// Why the scenario may fail, if it may.
    pub(super) fn why(&self, scenario: &Scenario) -> Option<&str> {
        let name = scenario.to_string();
        self.0.iter().find(|entry| entry.scenario == name).map(|entry| &*entry.why)
    }

    /// What differs between the entries and the results. With all scenarios run, an entry that names none is
    /// wrong, too.
    pub(super) fn compare(&self, results: &[(Scenario, Outcome)], all: bool) -> Vec<String> {
        let run = |entry: &Entry| results.iter().any(|(scenario, _)| scenario.to_string() == entry.scenario);
        let unknown = self.0.iter().filter(|entry| all && !run(entry));
        let mut wrong: Vec<_> = unknown.map(|entry| format!("{} is no scenario", entry.scenario)).collect();
        for (scenario, outcome) in results {
            match (outcome, self.why(scenario)) {
                (Outcome::Failed(why), None) => wrong.push(format!("{scenario}: {why}")),
                (Outcome::Passed(_), Some(_)) => {
                    wrong.push(format!("{scenario} passes now: remove its line"))
                }
                _ => {}
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Set;
    use super::*;

    #[test]
    fn failures_that_are_not_expected_and_passes_that_are_are_wrong() {
        let text = "# a comment\nclient 2026-07-28 e\nclient 2026-07-28 a\nclient 2026-07-28 b # why\ngateway-client 2026-07-28 c\n";
        let expected = Expected::parse(text, "client").unwrap();
        let result = |name: &str, outcome| {
            (Scenario { set: Set::V2026_07_28, name: name.to_owned(), required: true }, outcome)
        };
        let results = [
            result("a", Outcome::Failed("x".into())),
            result("b", Outcome::Passed(1)),
            result("c", Outcome::Failed("y".into())),
            result("d", Outcome::Passed(2)),
        ];
        let wrong = ["2026-07-28 b passes now: remove its line", "2026-07-28 c: y"];
        assert_eq!(expected.compare(&results, false), wrong);
        assert_eq!(expected.compare(&results, true)[0], "2026-07-28 e is no scenario");
        assert_eq!([1, 2].map(|n: usize| expected.why(&results[n].0)), [Some("why"), None]);
    }

    #[test]
    fn a_line_of_another_shape_is_an_error() {
        assert!(Expected::parse("\nclient a\n", "client").unwrap_err().contains("line 2"));
    }
}
