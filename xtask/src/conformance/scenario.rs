//! The scenarios of the suite, and how one ended.

use std::fmt;

use serde_json::Value;

/// Who is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    /// Clients, by servers of the suite.
    Client,
    /// Servers, by clients of the suite.
    Server,
}

impl Leg {
    /// What the suite calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Scenarios that are run in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
    /// Of extensions, which belong to no revision.
    Extensions,
}

impl Set {
    pub(super) const ALL: [Self; 5] =
        [Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28, Self::Extensions];

    pub(super) fn name(self) -> &'static str {
        self.revision().unwrap_or("extensions")
    }

    /// What the suite calls it in `--spec-version`.
    pub(super) fn revision(self) -> Option<&'static str> {
        match self {
            Self::V2025_03_26 => Some("2025-03-26"),
            Self::V2025_06_18 => Some("2025-06-18"),
            Self::V2025_11_25 => Some("2025-11-25"),
            Self::V2026_07_28 => Some("2026-07-28"),
            Self::Extensions => None,
        }
    }

    /// The file that says which scenarios the revision requires. Where there is none, it is all of them.
    pub(super) fn requirements(self) -> Option<&'static str> {
        match self {
            Self::V2025_11_25 => Some("requirements/2025-11-25.yaml"),
            Self::V2026_07_28 => Some("requirements/2026-07-28.yaml"),
            Self::V2025_03_26 | Self::V2025_06_18 | Self::Extensions => None,
        }
    }

    /// The scenarios of the set, from the suite's list and the file of requirements.
    pub(super) fn scenarios(
        self,
        leg: Leg,
        list: &str,
        requirements: Option<&str>,
    ) -> Result<Vec<Scenario>, String> {
        let listed = list.lines().filter_map(|line| line.strip_prefix("  - ")?.split_once(" ["));
        let mut scenarios: Vec<_> = listed
            .filter(|(_, revisions)| (*revisions == "extension]") == (self == Self::Extensions))
            .map(|(name, _)| Scenario {
                set: self,
                name: name.to_owned(),
                required: self != Self::Extensions,
            })
            .collect();
        if let Some(requirements) = requirements {
            let required: Vec<_> = required(leg, requirements).collect();
            if let Some(unknown) = required.iter().find(|name| !scenarios.iter().any(|s| s.name == **name)) {
                return Err(format!("{} requires {unknown}, which the suite does not list", self.name()));
            }
            for scenario in &mut scenarios {
                scenario.required = required.contains(&scenario.name.as_str());
            }
            // Extensions, too, which the suite runs with the revision if servers are tested.
            for name in not_scored(leg, requirements).filter(|_| leg == Leg::Server) {
                if !scenarios.iter().any(|scenario| scenario.name == name) {
                    scenarios.push(Scenario { set: self, name: name.to_owned(), required: false });
                }
            }
        }
        if scenarios.is_empty() {
            return Err(format!("the suite lists no scenario of {}", self.name()));
        }
        Ok(scenarios)
    }
}

/// The entries of the list `client:` or `server:`.
fn required(leg: Leg, requirements: &str) -> impl Iterator<Item = &str> {
    let start = format!("{}:", leg.name());
    let list = requirements.lines().skip_while(move |line| *line != start).skip(1);
    list.map_while(|line| line.strip_prefix("  - "))
}

/// The entries of the list `not_scored:` that are of this leg.
fn not_scored(leg: Leg, requirements: &str) -> impl Iterator<Item = &str> {
    let ending = format!("    leg: {}", leg.name());
    let lines = requirements.lines();
    let pairs = lines.clone().zip(lines.skip(1));
    pairs.filter_map(move |(line, next)| line.strip_prefix("  - scenario: ").filter(|_| next == ending))
}

/// One scenario under one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) set: Set,
    pub(super) name: String,
    /// Whether the revision requires it.
    pub(super) required: bool,
}

impl Scenario {
    /// Whether it tests how a client gets a token.
    pub(super) fn needs_login(&self) -> bool {
        self.name.starts_with("auth/")
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.set.name(), self.name)
    }
}

/// What scenarios that any text satisfies must have got from the reference server, or an error of whoever
/// stands before it would do.
const TEXTS: [(&str, &str); 2] = [
    ("tools-call-simple-text", "This is a simple text response for testing."),
    ("tools-call-error", "This tool intentionally returns an error for testing"),
];

/// Characters that are kept of what the suite says about a check. It quotes whole messages.
const LONGEST_MESSAGE: usize = 300;

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With so many successful checks and no other.
    Passed(usize),
    Failed(String),
}

impl Outcome {
    pub(super) fn passed(&self) -> bool {
        matches!(self, Self::Passed(_))
    }

    /// From what the suite made of it, warnings included, and the checks it wrote. Without a successful
    /// check nothing was tested. That the messages fit their schema is a check the suite adds to all.
    pub(super) fn read(success: bool, checks: Option<&str>) -> Self {
        let Some(checks) = checks else { return Self::Failed("no checks were written".to_owned()) };
        let checks: Vec<Value> = match serde_json::from_str(checks) {
            Ok(checks) => checks,
            Err(error) => return Self::Failed(format!("unreadable checks: {error}")),
        };
        let member = |check: &Value, name: &str| check.get(name).and_then(Value::as_str).map(str::to_owned);
        let with = |wanted: &'static str| {
            let found = checks.iter().filter(move |check| member(check, "status").as_deref() == Some(wanted));
            found.filter_map(move |check| Some((member(check, "id")?, member(check, "errorMessage"))))
        };
        let successes = with("SUCCESS").filter(|(id, _)| *id != "wire-schema-valid").count();
        let wrong = with("FAILURE").chain(with("WARNING")).map(|(id, message)| match message {
            Some(message) => {
                let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
                format!("{id}: {}", message.chars().take(LONGEST_MESSAGE).collect::<String>())
            }
            None => id,
        });
        let mut wrong: Vec<_> = wrong.collect();
        if !wrong.is_empty() {
            wrong.dedup();
            Self::Failed(wrong.join("; "))
        } else if !success {
            Self::Failed("the client ended with an error".to_owned())
        } else if successes == 0 {
            Self::Failed("nothing was checked".to_owned())
        } else {
            Self::Passed(successes)
        }
    }
}

impl Outcome {
    /// The same of a scenario for servers, whose checks must show the text of the reference server.
    pub(super) fn read_of_server(scenario: &str, checks: Option<&str>) -> Self {
        let outcome = Self::read(true, checks);
        let text = TEXTS.iter().find(|(name, _)| *name == scenario).map(|(_, text)| *text);
        match text {
            Some(text) if outcome.passed() && !checks.is_some_and(|checks| checks.contains(text)) => {
                Self::Failed(format!("passed without the text {text:?}"))
            }
            _ => outcome,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(checks) => write!(f, "passed, {checks} checks"),
            Self::Failed(why) => write!(f, "FAILED: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "Client scenarios (test against a client):\n  - initialize [2025-06-18,2025-11-25]\n  \
                        - extra [2025-11-25]\n  - skills [extension]\n";
    const REQUIREMENTS: &str =
        "# comment\nserver:\n  - ping\n\nclient:\n  - initialize\n\nnot_scored:\n  - extra\n";

    fn names(scenarios: &[Scenario]) -> Vec<(&str, bool)> {
        scenarios.iter().map(|scenario| (scenario.name.as_str(), scenario.required)).collect()
    }

    #[test]
    fn what_is_listed_but_not_required_is_optional() {
        let scenarios = Set::V2025_11_25.scenarios(Leg::Client, LIST, Some(REQUIREMENTS)).unwrap();
        assert_eq!(names(&scenarios), [("initialize", true), ("extra", false)]);
        assert_eq!(names(&Set::Extensions.scenarios(Leg::Client, LIST, None).unwrap()), [("skills", false)]);
        assert_eq!(names(&Set::V2025_06_18.scenarios(Leg::Client, LIST, None).unwrap()).len(), 2);
    }

    #[test]
    fn extensions_that_the_suite_runs_with_a_revision_belong_to_it_if_servers_are_tested() {
        let requirements = "server:\n  - initialize\nnot_scored:\n  - scenario: tasks\n    leg: server\n    \
                            reason: extension\n  - scenario: auth/dpop\n    leg: client\n";
        let scenarios = |leg| Set::V2025_11_25.scenarios(leg, LIST, Some(requirements)).unwrap();
        let of_server = scenarios(Leg::Server);
        assert_eq!(names(&of_server), [("initialize", true), ("extra", false), ("tasks", false)]);
        let requirements = requirements.replace("server:\n", "client:\n");
        let of_client = Set::V2025_11_25.scenarios(Leg::Client, LIST, Some(&requirements)).unwrap();
        assert_eq!(names(&of_client), [("initialize", true), ("extra", false)]);
    }

    #[test]
    fn a_required_scenario_must_be_listed_and_a_list_must_not_be_empty() {
        assert!(
            Set::V2025_11_25
                .scenarios(Leg::Client, LIST, Some("client:\n  - gone\n"))
                .unwrap_err()
                .contains("gone")
        );
        Set::V2025_03_26.scenarios(Leg::Client, "", None).unwrap_err();
    }

    #[test]
    fn no_check_no_pass() {
        let check = |id: &str, status: &str| format!(r#"{{"id":"{id}","status":"{status}"}}"#);
        let read =
            |success, checks: &[String]| Outcome::read(success, Some(&format!("[{}]", checks.join(","))));
        let [good, bad, odd] = [check("a", "SUCCESS"), check("b", "FAILURE"), check("c", "WARNING")];
        let schema = check("wire-schema-valid", "SUCCESS");
        assert_eq!(read(true, &[good.clone(), schema.clone()]), Outcome::Passed(1));
        assert_eq!(
            read(true, &[check("a", "SKIPPED"), schema]),
            Outcome::Failed("nothing was checked".into())
        );
        assert_eq!(read(true, &[good.clone(), bad.clone(), odd]), Outcome::Failed("b; c".into()));
        let message = r#"{"id":"d","status":"FAILURE","errorMessage":"it broke"}"#.to_owned();
        assert_eq!(read(true, &[message]), Outcome::Failed("d: it broke".into()));
        assert!(!read(false, &[good]).passed(), "the client ended with an error");
        assert!(!Outcome::read(true, None).passed(), "the suite did not get to its end");
    }

    #[test]
    fn an_error_of_somebody_else_is_no_pass() {
        let read = |text: &str| {
            let checks = format!(r#"[{{"id":"tools-call-error","status":"SUCCESS","details":"{text}"}}]"#);
            Outcome::read_of_server("tools-call-error", Some(&checks))
        };
        assert!(read(TEXTS[1].1).passed());
        assert!(!read("Unknown tool").passed());
    }
}
