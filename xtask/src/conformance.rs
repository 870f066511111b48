//! `cargo xtask conformance`: the official suite against our client, against the gateway as a client, and
//! against servers behind the gateway.
//!
//! The result is a page, `docs/conformance.md`; what may fail is listed in
//! `tests/conformance/expected-failures.txt`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::checkout::Checkout;
use crate::peers::{Node, Problem};
use crate::{docs, peers, tool};

mod client;
mod expected;
mod gateway;
mod scenario;

use client::Subject;
use expected::Expected;
use scenario::{Leg, Outcome, Scenario, Set};

/// Where the suite is in the installed packages.
const SUITE: &str = "node_modules/@modelcontextprotocol/conformance";
const EXPECTED: &str = "tests/conformance/expected-failures.txt";
const DOC: &str = "docs/conformance.md";

/// What to do with the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Write it into the document.
    Write,
    /// Compare it with the document.
    Compare,
}

/// A part of the document, and what is wrong with the results in it.
#[derive(Debug)]
struct Part {
    name: &'static str,
    text: String,
    judged: Result<(), String>,
}

/// `cargo xtask conformance [client|gateway-client|gateway [PATH] [SCENARIO]]`.
pub(crate) fn run(checkout: &Checkout, args: &[String]) -> Result<(), String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    some(checkout, &args).map_err(|problem| problem.to_string())
}

fn some(checkout: &Checkout, args: &[&str]) -> Result<(), Problem> {
    let usage = "takes `client` or `gateway-client` and after it a scenario, or `gateway` and after it a path and \
                 a scenario";
    let [subject, rest @ ..] = args else { return all(checkout, Table::Write) };
    let of_client = Subject::from_name(subject);
    peers::install(checkout)?;
    let suite = Suite::find(checkout)?;
    match (of_client, rest) {
        (Some(subject), []) => put(checkout, &[client::part(checkout, &suite, subject)?], Table::Write)?,
        (Some(subject), [scenario]) => client::one(checkout, &suite, subject, scenario)?,
        (None, []) if *subject == "gateway" => {
            put(checkout, &[gateway::part(checkout, &suite)?], Table::Write)?;
        }
        (None, [path]) if *subject == "gateway" => gateway::one(checkout, &suite, path, None)?,
        (None, [path, scenario]) if *subject == "gateway" => {
            gateway::one(checkout, &suite, path, Some(scenario))?;
        }
        _ => return Err(usage.to_owned().into()),
    }
    Ok(())
}

/// Everything; the peers are installed if they are not.
pub(crate) fn all(checkout: &Checkout, table: Table) -> Result<(), Problem> {
    peers::install(checkout)?;
    let suite = Suite::find(checkout)?;
    let mut parts = Vec::new();
    for subject in Subject::ALL {
        parts.push(client::part(checkout, &suite, subject)?);
    }
    parts.push(gateway::part(checkout, &suite)?);
    Ok(put(checkout, &parts, table)?)
}

/// The installed suite.
#[derive(Debug)]
struct Suite {
    node: Node,
    folder: PathBuf,
}

impl Suite {
    fn find(checkout: &Checkout) -> Result<Self, Problem> {
        let set = checkout.peers().join("node");
        Ok(Self { node: Node::find(&set)?, folder: set.join(SUITE) })
    }

    fn command(&self) -> Command {
        let mut command = self.node.command();
        command.arg(self.folder.join("dist/index.js"));
        command
    }

    /// Every scenario for clients or servers, under each revision it belongs to.
    fn scenarios(&self, leg: Leg) -> Result<Vec<Scenario>, String> {
        let mut scenarios = Vec::new();
        for set in Set::ALL {
            let mut list = self.command();
            list.arg("list").arg(format!("--{}", leg.name()));
            if let Some(revision) = set.revision() {
                list.args(["--spec-version", revision]);
            }
            let requirements = match set.requirements() {
                Some(file) => Some(read(&self.folder.join(file))?),
                None => None,
            };
            scenarios.extend(set.scenarios(leg, &tool::read(&mut list)?, requirements.as_deref())?);
        }
        Ok(scenarios)
    }
}

/// Does `work` to each of `items`, two at a time, and gives the results in the order of the items.
fn in_pairs<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let Some((number, item)) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                break;
            };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Fails for scenarios that failed and may not, and for those that may and did not.
fn judge(
    expected: &Expected,
    subject: &str,
    results: &[(Scenario, Outcome)],
    all: bool,
) -> Result<(), String> {
    let wrong = expected.compare(results, all);
    for line in &wrong {
        eprintln!("{subject}: {line}");
    }
    let passed = results.iter().filter(|(_, outcome)| outcome.passed()).count();
    println!("{subject}: {passed} of {} scenarios passed", results.len());
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{subject}: {} of the results are not those of {EXPECTED}", wrong.len()))
    }
}

/// Writes these parts of the document, or compares them with it. Fails, too, if one of them has been judged
/// wrong.
fn put(checkout: &Checkout, parts: &[Part], table: Table) -> Result<(), String> {
    let file = checkout.root().join(DOC);
    let old = read(&file)?;
    let mut new = old.clone();
    for part in parts {
        new = docs::replace(&new, part.name, &part.text)?;
    }
    let written = match table {
        Table::Write => std::fs::write(&file, new).map_err(|error| format!("cannot write {DOC}: {error}")),
        Table::Compare if new == old => Ok(()),
        Table::Compare => Err(format!("{DOC} has other results; run `cargo xtask conformance`")),
    };
    parts.iter().map(|part| part.judged.clone()).chain([written]).collect()
}

fn expected(checkout: &Checkout, subject: &str) -> Result<Expected, String> {
    Expected::parse(&read(&checkout.root().join(EXPECTED))?, subject)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
