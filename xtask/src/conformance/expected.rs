//! The scenarios that may fail.

use super::scenario::{Outcome, Scenario};

/// The entries of the file for one subject: `SUBJECT SET SCENARIO` on a line, with comments after `#`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected(Vec<String>);

impl Expected {
    pub(super) fn parse(text: &str, subject: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [] => {}
                [name, set, scenario] if name == subject => entries.push(format!("{set} {scenario}")),
                [_, _, _] => {}
                _ => return Err(format!("expected failures, line {}: not SUBJECT SET SCENARIO", number + 1)),
            }
        }
        Ok(Self(entries))
    }

    /// What differs between the entries and the results. With all scenarios run, an entry that names none is
    /// wrong, too.
    pub(super) fn compare(&self, results: &[(Scenario, Outcome)], all: bool) -> Vec<String> {
        let run = |entry: &String| results.iter().any(|(scenario, _)| scenario.to_string() == *entry);
        let unknown = self.0.iter().filter(|entry| all && !run(entry));
        let mut wrong: Vec<_> = unknown.map(|entry| format!("{entry} is no scenario")).collect();
        for (scenario, outcome) in results {
            let name = scenario.to_string();
            match (outcome, self.0.contains(&name)) {
                (Outcome::Failed(why), false) => wrong.push(format!("{name}: {why}")),
                (Outcome::Passed(_), true) => wrong.push(format!("{name} passes now: remove its line")),
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
    }

    #[test]
    fn a_line_of_another_shape_is_an_error() {
        assert!(Expected::parse("\nclient a\n", "client").unwrap_err().contains("line 2"));
    }
}
