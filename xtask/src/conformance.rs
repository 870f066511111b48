//! `cargo xtask conformance`: the official suite against our client, and against the gateway as a client.
//!
//! Each scenario is a run of the suite of its own, two at a time: started all at once they get in each
//! other's way on a small machine, and its own summary does not see a client that failed. The result is a
//! table in `docs/conformance.md`; what may fail is listed in `tests/conformance/expected-failures.txt`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::checkout::Checkout;
use crate::peers::{Node, Problem};
use crate::{docs, peers, tool};

mod expected;
mod scenario;

use expected::Expected;
use scenario::{Outcome, Scenario, Set};

/// Where the suite is in the installed packages.
const SUITE: &str = "node_modules/@modelcontextprotocol/conformance";
const EXPECTED: &str = "tests/conformance/expected-failures.txt";
const DOC: &str = "docs/conformance.md";
/// How many scenarios run at the same time.
const AT_ONCE: usize = 2;
/// For one run of the client, in milliseconds.
const PATIENCE: &str = "25000";

/// Who is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A program around `mcp-client`.
    Client,
    /// `mcp-gateway serve`, driven over REST by a program.
    GatewayClient,
}

impl Subject {
    const ALL: [Self; 2] = [Self::Client, Self::GatewayClient];

    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::GatewayClient => "gateway-client",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
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

/// What to do with the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Write it into the document.
    Write,
    /// Compare it with the document.
    Compare,
}

/// `cargo xtask conformance [client|gateway-client [SCENARIO]]`.
pub(crate) fn run(checkout: &Checkout, args: &[String]) -> Result<(), String> {
    let done = match args {
        [] => all(checkout, Table::Write),
        [subject] => one(checkout, subject, None),
        [subject, scenario] => one(checkout, subject, Some(scenario)),
        _ => Err("takes `client` or `gateway-client`, and after it a scenario".to_owned().into()),
    };
    done.map_err(|problem| problem.to_string())
}

fn one(checkout: &Checkout, subject: &str, only: Option<&str>) -> Result<(), Problem> {
    let subject = Subject::from_name(subject).ok_or_else(|| format!("{subject} is not to be tested"))?;
    peers::install(checkout)?;
    let results = results(checkout, subject, only)?;
    if only.is_none() {
        put(checkout, &[(subject, &results)], Table::Write)?;
    }
    Ok(judge(checkout, subject, &results, only.is_none())?)
}

/// Both subjects; the peers are installed if they are not.
pub(crate) fn all(checkout: &Checkout, table: Table) -> Result<(), Problem> {
    peers::install(checkout)?;
    let results = Subject::ALL.map(|subject| results(checkout, subject, None));
    let [client, gateway] = results;
    let (client, gateway) = (client?, gateway?);
    let both = [(Subject::Client, &client), (Subject::GatewayClient, &gateway)];
    let judged = both.map(|(subject, results)| judge(checkout, subject, results, true));
    let written = put(checkout, &both.map(|(subject, results)| (subject, &results[..])), table);
    judged.into_iter().chain([written]).collect::<Result<(), String>>()?;
    Ok(())
}

/// Runs the scenarios and prints how each ended.
fn results(
    checkout: &Checkout,
    subject: Subject,
    only: Option<&str>,
) -> Result<Vec<(Scenario, Outcome)>, Problem> {
    let suite = Suite::find(checkout)?;
    let mut scenarios = suite.scenarios()?;
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
    let next = Mutex::new(scenarios.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some((number, scenario)) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                break;
            };
            let outcome = suite.run(&scenario, &command, &folder, verbose);
            println!("{} {}: {outcome}", subject.name(), scenario);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, scenario, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, ..)| *number);
    Ok(done.into_iter().map(|(_, scenario, outcome)| (scenario, outcome)).collect())
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

    /// Every scenario for clients, under each revision it belongs to.
    fn scenarios(&self) -> Result<Vec<Scenario>, String> {
        let mut scenarios = Vec::new();
        for set in Set::ALL {
            let mut list = self.command();
            list.args(["list", "--client"]);
            if let Some(revision) = set.revision() {
                list.args(["--spec-version", revision]);
            }
            let requirements = match set.requirements() {
                Some(file) => Some(read(&self.folder.join(file))?),
                None => None,
            };
            scenarios.extend(set.scenarios(&tool::read(&mut list)?, requirements.as_deref())?);
        }
        Ok(scenarios)
    }

    fn run(&self, scenario: &Scenario, client: &str, folder: &Path, verbose: bool) -> Outcome {
        let folder = folder.join(scenario.set.name()).join(scenario.name.replace('/', "-"));
        // Of an earlier run: what is read afterwards must be of this one.
        let _ = std::fs::remove_dir_all(&folder);
        let mut run = self.command();
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

/// Fails for scenarios that failed and may not, and for those that may and did not.
fn judge(
    checkout: &Checkout,
    subject: Subject,
    results: &[(Scenario, Outcome)],
    all: bool,
) -> Result<(), String> {
    let expected = Expected::parse(&read(&checkout.root().join(EXPECTED))?, subject.name())?;
    let wrong = expected.compare(results, all);
    for line in &wrong {
        eprintln!("{}: {line}", subject.name());
    }
    let passed = results.iter().filter(|(_, outcome)| outcome.passed()).count();
    println!("{}: {passed} of {} scenarios passed", subject.name(), results.len());
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{}: {} of the results are not those of {EXPECTED}", subject.name(), wrong.len()))
    }
}

/// Writes the tables of these subjects into the document, or compares them with it.
fn put(
    checkout: &Checkout,
    subjects: &[(Subject, &[(Scenario, Outcome)])],
    table: Table,
) -> Result<(), String> {
    let file = checkout.root().join(DOC);
    let old = read(&file)?;
    let mut new = old.clone();
    for (subject, results) in subjects {
        new = docs::replace(&new, subject.name(), &render(results))?;
    }
    match table {
        Table::Write => std::fs::write(&file, new).map_err(|error| format!("cannot write {DOC}: {error}")),
        Table::Compare if new == old => Ok(()),
        Table::Compare => Err(format!("{DOC} has other results; run `cargo xtask conformance`")),
    }
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

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
