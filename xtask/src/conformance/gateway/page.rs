//! The tables of the document.

use std::fmt::Write as _;

use super::super::EXPECTED;
use super::super::scenario::{Outcome, Scenario, Set};
use super::Retained;

/// Fails if a scenario may fail and the list does not say why.
pub(super) fn explained(one: &Retained) -> Result<(), String> {
    let silent = |(scenario, _): &&(Scenario, Outcome)| one.expected.why(scenario) == Some("");
    match one.results.iter().find(silent) {
        None => Ok(()),
        Some((scenario, _)) => {
            Err(format!("{EXPECTED} does not say why {} fails {scenario}", one.path.subject()))
        }
    }
}

/// A row for each path, and one for each scenario that does not pass on one of them.
pub(super) fn render(retained: &[Retained]) -> String {
    let mut text = String::from(
        "| path | required: 2025-11-25 | 2026-07-28 | both | optional: 2025-11-25 | 2026-07-28 | 2025-06-18 | \
         2025-03-26 | skills |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for one in retained {
        let count = |sets: &[Set], required: bool| {
            let counted = |(scenario, _): &&(Scenario, Outcome)| {
                sets.contains(&scenario.set) && scenario.required == required
            };
            let all = one.results.iter().filter(counted).count();
            let passed = one.results.iter().filter(counted).filter(|(_, outcome)| outcome.passed()).count();
            if all == 0 { "–".to_owned() } else { format!("{passed} of {all}") }
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            one.path.title,
            count(&[Set::V2025_11_25], true),
            count(&[Set::V2026_07_28], true),
            count(&[Set::V2025_11_25, Set::V2026_07_28], true),
            count(&[Set::V2025_11_25], false),
            count(&[Set::V2026_07_28], false),
            count(&[Set::V2025_06_18], true),
            count(&[Set::V2025_03_26], true),
            count(&[Set::Extensions], false),
        );
    }
    let failed: Vec<_> = retained
        .iter()
        .flat_map(|one| one.results.iter().map(move |(scenario, outcome)| (one, scenario, outcome)))
        .filter(|(_, _, outcome)| !outcome.passed())
        .collect();
    if failed.is_empty() {
        text.push_str("\nNothing is lost on any path.\n");
        return text;
    }
    text.push_str(
        "\nWhat does not pass:\n\n| path | scenario | required | why |\n| --- | --- | --- | --- |\n",
    );
    for (one, scenario, _) in failed {
        let required = if scenario.required { "yes" } else { "no" };
        let why = one.expected.why(scenario).unwrap_or("not expected");
        let _ = writeln!(text, "| {} | `{scenario}` | {required} | {why} |", one.path.name);
    }
    text
}
