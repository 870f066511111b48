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

/// A row for each path, one for each scenario that does not pass on one of them, and what was tested less.
pub(super) fn render(retained: &[Retained]) -> String {
    let mut text = String::from(
        "| path | | required: 2025-11-25 | 2026-07-28 | both | optional: 2025-11-25 | 2026-07-28 | 2025-06-18 | \
         2025-03-26 | skills |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
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
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            one.path.name,
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
    text.push_str(&failures(retained));
    text.push_str(&fewer_checks(retained));
    text
}

/// A row for each scenario and reason, with the paths.
fn failures(retained: &[Retained]) -> String {
    let mut rows: Vec<(&Scenario, &str, Vec<&str>)> = Vec::new();
    for one in retained {
        for (scenario, _) in one.results.iter().filter(|(_, outcome)| !outcome.passed()) {
            let why = one.expected.why(scenario).unwrap_or("not expected");
            match rows.iter_mut().find(|(other, reason, _)| *other == scenario && *reason == why) {
                Some((.., paths)) => paths.push(one.path.name),
                None => rows.push((scenario, why, vec![one.path.name])),
            }
        }
    }
    if rows.is_empty() {
        return "\nNothing is lost on any path.\n".to_owned();
    }
    let mut text = String::from(
        "\nWhat does not pass:\n\n| scenario | required | paths | why |\n| --- | --- | --- | --- |\n",
    );
    for (scenario, why, paths) in rows {
        let required = if scenario.required { "yes" } else { "no" };
        let paths = if paths.len() + 1 == retained.len() { "all".to_owned() } else { paths.join(", ") };
        let _ = writeln!(text, "| `{scenario}` | {required} | {paths} | {why} |");
    }
    text
}

/// Scenarios in which the suite saw less than it does without the gateway, such as a stream where it got a body. On which
/// path it did may differ from run to run: an answer that comes soon comes without a stream.
fn fewer_checks(retained: &[Retained]) -> String {
    let [direct, others @ ..] = retained else { return String::new() };
    let mut fewer = Vec::new();
    for (scenario, directly) in &direct.results {
        let has_fewer = |one: &Retained| {
            one.results.iter().any(|(other, outcome)| {
                other == scenario
                    && matches!((outcome, directly), (Outcome::Passed(checks), Outcome::Passed(all)) if checks < all)
            })
        };
        if others.iter().any(has_fewer) {
            fewer.push(format!("`{scenario}`"));
        }
    }
    if fewer.is_empty() {
        return String::new();
    }
    format!(
        "\nPassed with fewer successful checks than directly, on some path at least: {}.\n",
        fewer.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::expected::Expected;
    use super::super::path::PATHS;
    use super::*;

    fn retained(path: usize, outcomes: [Outcome; 3]) -> Retained {
        let scenario = |name: &str, required| Scenario { set: Set::V2026_07_28, name: name.into(), required };
        let scenarios = [scenario("a", true), scenario("b", true), scenario("c", false)];
        let path = &PATHS[path];
        let list = format!("{} 2026-07-28 b # not to be had\n{0} 2026-07-28 c\n", path.subject());
        let expected = Expected::parse(&list, &path.subject()).unwrap();
        Retained { path, expected, results: scenarios.into_iter().zip(outcomes).collect() }
    }

    #[test]
    fn a_path_is_counted_and_what_is_lost_on_it_is_named() {
        let failed = || Outcome::Failed("x".into());
        let direct = retained(0, [Outcome::Passed(2), Outcome::Passed(2), Outcome::Passed(1)]);
        let text = render(&[direct, retained(1, [Outcome::Passed(1), failed(), Outcome::Passed(1)])]);
        assert!(text.contains("| – | 2 of 2 | 2 of 2 | – | 1 of 1 | – | – | – |"), "{text}");
        assert!(text.contains("| – | 1 of 2 | 1 of 2 | – | 1 of 1 | – | – | – |"), "{text}");
        assert!(text.contains("| `2026-07-28 b` | yes | all | not to be had |"), "{text}");
        assert!(text.contains("on some path at least: `2026-07-28 a`.\n"), "{text}");
    }

    #[test]
    fn a_failure_needs_a_reason() {
        let failed = || Outcome::Failed("x".into());
        let error = explained(&retained(1, [Outcome::Passed(1), failed(), failed()])).unwrap_err();
        assert!(error.ends_with("why gateway/server-http fails 2026-07-28 c"), "{error}");
    }
}
