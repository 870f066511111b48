//! Servers behind the gateway: what of their conformance is left for the gateway's clients.
//!
//! The reference server of `tests/conformance/reference` passes everything. It is tested directly and through
//! each path in [`PATHS`]; two paths at a time, and on each path the scenarios one after the other, as the suite
//! runs them.

use std::path::{Path as File, PathBuf};
use std::process::{Command, Stdio};

use super::expected::Expected;
use super::scenario::{Leg, Outcome, Scenario, Set};
use super::{Part, Suite, expected, in_pairs, judge};
use crate::checkout::Checkout;
use crate::peers::Problem;
use crate::tool;

mod page;
mod path;
mod program;

use path::{PATHS, Path, Tools};

/// For one scenario, in milliseconds.
const PATIENCE: &str = "10000";
/// Scenarios without a check in them.
const EMPTY: [&str; 1] = ["tasks-status-notifications"];

/// What came of one path.
#[derive(Debug)]
struct Retained {
    path: &'static Path,
    expected: Expected,
    results: Vec<(Scenario, Outcome)>,
}

/// The results of all paths.
pub(super) fn part(checkout: &Checkout, suite: &Suite) -> Result<Part, Problem> {
    let tools = tools(checkout, suite)?;
    let scenarios = scenarios(suite)?;
    let retained = in_pairs(PATHS.iter().collect(), |path| run(checkout, suite, &tools, path, &scenarios));
    let retained = retained.into_iter().collect::<Result<Vec<_>, String>>()?;
    let wrong = retained.iter().filter_map(|one| {
        judge(&one.expected, &one.path.subject(), &one.results, true).and(page::explained(one)).err()
    });
    let wrong: Vec<_> = wrong.collect();
    let judged = if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) };
    Ok(Part { name: "gateway", text: page::render(&retained), judged })
}

/// One path, or one scenario on it with all the suite says about it.
pub(super) fn one(
    checkout: &Checkout,
    suite: &Suite,
    path: &str,
    scenario: Option<&str>,
) -> Result<(), Problem> {
    let Some(path) = PATHS.iter().find(|one| one.name == path) else {
        let names: Vec<_> = PATHS.iter().map(|path| path.name).collect();
        return Err(format!("no path {path}; there are {}", names.join(", ")).into());
    };
    let tools = tools(checkout, suite)?;
    let mut scenarios = scenarios(suite)?;
    let Some(scenario) = scenario else {
        let done = run(checkout, suite, &tools, path, &scenarios)?;
        return Ok(judge(&done.expected, &path.subject(), &done.results, true)?);
    };
    scenarios.retain(|one| one.name == scenario && path.sets.contains(&one.set));
    let folder = folder(checkout, path);
    let chain = path.start(&tools, &folder)?;
    for scenario in scenarios {
        println!("{scenario}, logs in {}", folder.display());
        let mut run = command(suite, &chain.url, &folder.join("one"));
        run.args(["--scenario", &scenario.name]);
        if let Some(revision) = scenario.set.revision() {
            run.args(["--spec-version", revision]);
        }
        // Its exit status says that a check failed, which is no surprise here.
        run.status().map_err(|error| format!("the suite does not start: {error}"))?;
    }
    Ok(())
}

fn tools(checkout: &Checkout, suite: &Suite) -> Result<Tools, String> {
    Ok(Tools {
        gateway: tool::built(checkout, "mcp-gateway", "mcp-gateway")?,
        node: suite.node.command().get_program().to_owned(),
        scripts: checkout.root().join("tests/conformance"),
    })
}

fn scenarios(suite: &Suite) -> Result<Vec<Scenario>, String> {
    let all = suite.scenarios(Leg::Server)?;
    // The suite lists extensions by themselves, and runs some of them with a revision.
    let with_revision =
        |name: &str| all.iter().any(|scenario| scenario.set != Set::Extensions && scenario.name == name);
    let once = |scenario: &&Scenario| scenario.set != Set::Extensions || !with_revision(&scenario.name);
    let checking = |scenario: &&Scenario| !EMPTY.contains(&&*scenario.name);
    Ok(all.iter().filter(once).filter(checking).cloned().collect())
}

fn folder(checkout: &Checkout, path: &Path) -> PathBuf {
    checkout.root().join("target/conformance/gateway").join(path.name)
}

/// Runs the scenarios of a path.
fn run(
    checkout: &Checkout,
    suite: &Suite,
    tools: &Tools,
    path: &'static Path,
    scenarios: &[Scenario],
) -> Result<Retained, String> {
    let folder = folder(checkout, path);
    let chain = path.start(tools, &folder)?;
    let mut results = Vec::new();
    for set in path.sets {
        let of_set: Vec<_> = scenarios.iter().filter(|scenario| scenario.set == *set).collect();
        let folder = folder.join(set.name());
        run_set(suite, &chain.url, *set, &of_set, &folder)?;
        results.extend(of_set.into_iter().map(|scenario| {
            let outcome = Outcome::read_of_server(&scenario.name, checks(&folder, scenario).as_deref());
            (scenario.clone(), outcome)
        }));
    }
    Ok(Retained { path, expected: expected(checkout, &path.subject())?, results })
}

/// Lets the suite run scenarios of one set, its words going into a file beside the checks.
fn run_set(suite: &Suite, url: &str, set: Set, scenarios: &[&Scenario], folder: &File) -> Result<(), String> {
    let failed = |error| format!("cannot run the suite in {}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let runs: Vec<Vec<&str>> = match (set.revision(), set.requirements()) {
        (Some(revision), Some(_)) => vec![vec!["--requirements", revision]],
        (Some(revision), None) => vec![vec!["--spec-version", revision, "--suite", "all"]],
        (None, _) => scenarios.iter().map(|scenario| vec!["--scenario", &*scenario.name]).collect(),
    };
    for (number, args) in runs.into_iter().enumerate() {
        let log = std::fs::File::create(folder.join(format!("suite-{number}.log"))).map_err(failed)?;
        let mut run = command(suite, url, folder);
        run.args(args).stdin(Stdio::null()).stderr(log.try_clone().map_err(failed)?).stdout(log);
        // That a scenario failed is read from its checks.
        run.status().map_err(failed)?;
    }
    Ok(())
}

fn command(suite: &Suite, url: &str, folder: &File) -> Command {
    let mut command = suite.command();
    command.args(["server", "--url", url, "--timeout", PATIENCE, "--output-dir"]).arg(folder);
    command
}

/// The checks of a scenario, from the folder that has its name and the time.
fn checks(folder: &File, scenario: &Scenario) -> Option<String> {
    let start = format!("server-{}-", scenario.name);
    let mut entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let folder = entries.find(|entry| {
        let name = entry.file_name();
        let time = name.to_str().and_then(|name| name.strip_prefix(&start));
        time.is_some_and(|time| time.starts_with("20") && time.ends_with('Z'))
    })?;
    std::fs::read_to_string(folder.path().join("checks.json")).ok()
}
