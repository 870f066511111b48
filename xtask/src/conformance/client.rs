//! Our client, and the gateway as one, against the suite's servers.
//!
//! Each scenario is a run of the suite of its own, two at a time: started all at once they get in each
//! other's way on a small machine, and its own summary does not see a client that failed.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use super::scenario::{Leg, Outcome, Scenario, Set};
use super::{Part, Suite, expected, in_pairs, judge};
use crate::checkout::Checkout;
use crate::peers::Problem;
use crate::tool;

/// For one run of the client, in milliseconds.
const PATIENCE: &str = "25000";

/// Who is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A program around `mcp-client`.
    Client,
    /// `mcp-gateway serve`, driven over REST by a program.
    GatewayClient,
}

impl Subject {
    pub(super) const ALL: [Self; 2] = [Self::Client, Self::GatewayClient];

    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::GatewayClient => "gateway-client",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.name() == name)
    }

    /// Builds what is tested, and gives the command that the suite runs.
    fn command(self, checkout: &Checkout) -> Result<String, String> {
        let binaries: &[(&str, &str)] = match self {
            Self::Client => &[("mcp-tests", "mcp-conformance-client")],
            Self::GatewayClient => {
                &[("mcp-tests", "mcp-conformance-gateway-client"), ("mcp-gateway", "mcp-gateway")]
            }
        };
        let files = binaries.iter().map(|(package, name)| tool::built(checkout, package, name));
        Ok(files.collect::<Result<Vec<_>, _>>()?.join(" "))
    }
}

/// The results of all scenarios.
pub(super) fn part(checkout: &Checkout, suite: &Suite, subject: Subject) -> Result<Part, Problem> {
    let results = results(checkout, suite, subject, None)?;
    let name = subject.name();
    let judged = judge(&expected(checkout, name)?, name, &results, true);
    Ok(Part { name, text: render(&results), judged })
}

/// One scenario, with what the suite has to say about it.
pub(super) fn one(
    checkout: &Checkout,
    suite: &Suite,
    subject: Subject,
    scenario: &str,
) -> Result<(), Problem> {
    let results = results(checkout, suite, subject, Some(scenario))?;
    Ok(judge(&expected(checkout, subject.name())?, subject.name(), &results, false)?)
}

/// Runs the scenarios and prints how each ended.
fn results(
    checkout: &Checkout,
    suite: &Suite,
    subject: Subject,
    only: Option<&str>,
) -> Result<Vec<(Scenario, Outcome)>, Problem> {
    let mut scenarios = suite.scenarios(Leg::Client)?;
    scenarios.retain(|scenario| match only {
        Some(name) => scenario.name == name,
        // How the gateway gets a token is the client's to show, and these are most of the scenarios.
        None => subject == Subject::Client || !scenario.needs_login(),
    });
    if scenarios.is_empty() {
        return Err(format!("the suite has no scenario {}", only.unwrap_or_default()).into());
    }
    let command = subject.command(checkout)?;
    let folder = checkout.root().join("target/conformance").join(subject.name());
    let verbose = only.is_some();
    Ok(in_pairs(scenarios, |scenario| {
        let outcome = run(suite, &scenario, &command, &folder, verbose);
        println!("{} {}: {outcome}", subject.name(), scenario);
        (scenario, outcome)
    }))
}

fn run(suite: &Suite, scenario: &Scenario, client: &str, folder: &Path, verbose: bool) -> Outcome {
    let folder = folder.join(scenario.set.name()).join(scenario.name.replace('/', "-"));
    // Of an earlier run: what is read afterwards must be of this one.
    let _ = std::fs::remove_dir_all(&folder);
    let mut run = suite.command();
    run.args(["client", "--command", client, "--scenario", &scenario.name, "--timeout", PATIENCE]);
    if let Some(revision) = scenario.set.revision() {
        run.args(["--spec-version", revision]);
    }
    run.arg("--output-dir").arg(&folder).stdin(Stdio::null()).stdout(Stdio::null());
    if !verbose {
        run.stderr(Stdio::null());
    }
    match run.status() {
        Ok(status) => Outcome::read(status.success(), checks(&folder).as_deref()),
        Err(error) => Outcome::Failed(format!("the suite does not start: {error}")),
    }
}

/// The checks the suite wrote below `folder`, in which it makes one with a name of its own.
fn checks(folder: &Path) -> Option<String> {
    let mut pending = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).ok()? {
            let path = entry.ok()?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.file_name().is_some_and(|name| name == "checks.json") {
                return std::fs::read_to_string(path).ok();
            }
        }
    }
    None
}

/// A row for each set that was run, and the scenarios by name.
fn render(results: &[(Scenario, Outcome)]) -> String {
    let mut text = String::from(
        "| set | required | passed | optional | passed |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    for set in Set::ALL.into_iter().filter(|set| results.iter().any(|(scenario, _)| scenario.set == *set)) {
        let count = |required: bool, passed: bool| {
            let of_set = results.iter().filter(|(scenario, _)| scenario.set == set);
            let counted = |(scenario, outcome): &&(Scenario, Outcome)| {
                scenario.required == required && (!passed || outcome.passed())
            };
            of_set.filter(counted).count()
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            set.name(),
            count(true, false),
            count(true, true),
            count(false, false),
            count(false, true)
        );
    }
    let list = |passed: bool| {
        let of_kind = results.iter().filter(|(_, outcome)| outcome.passed() == passed);
        let without_login = of_kind.filter(|(scenario, _)| !scenario.needs_login());
        let names: Vec<_> = without_login.map(|(scenario, _)| format!("`{scenario}`")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let _ = writeln!(text, "\nOf those that need no login, these pass: {}.\n", list(true));
    let _ = writeln!(text, "These fail: {}.", list(false));
    text
}
