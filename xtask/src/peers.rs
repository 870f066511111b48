//! `cargo xtask peers`: the independent MCP servers of the interop tests.
//!
//! They are named with their versions in `tests/peers` and installed into `target/peers`, each set in a
//! folder of its own with a stamp that says what it was made from.

use std::path::Path;
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

/// Installs what is missing or out of date. An error says what to install first; what does not depend on
/// it has been installed all the same.
pub(crate) fn install(checkout: &Checkout) -> Result<(), String> {
    let lists = checkout.root().join("tests/peers");
    let results = [
        node_servers(&lists, &checkout.peers().join("node")),
        python_servers(&lists, &checkout.peers().join("python")),
    ];
    let problems: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn node_servers(lists: &Path, folder: &Path) -> Result<(), String> {
    let node = tool::read(Command::new("node").arg("--version"))
        .map_err(|_| "install Node.js 20 or later with npm (`apt-get install nodejs npm`)".to_owned())?;
    if !tool::is_there(Command::new(names::NPM).arg("--version")) {
        return Err("install npm (`apt-get install npm`)".into());
    }
    let (package, lock) = (read(&lists.join("package.json"))?, read(&lists.join("package-lock.json"))?);
    let stamp = Stamp::new(folder, &[&node, &package, &lock]);
    if stamp.holds() {
        println!("target/peers/node is up to date");
        return Ok(());
    }
    stamp.start_over()?;
    write(&folder.join("package.json"), &package)?;
    write(&folder.join("package-lock.json"), &lock)?;
    // Install scripts of packages are foreign code that nothing here needs.
    let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    tool::run(Command::new(names::NPM).args(options).current_dir(folder))?;
    stamp.set()
}

fn python_servers(lists: &Path, folder: &Path) -> Result<(), String> {
    let python = tool::read(Command::new(names::PYTHON).arg("--version"))
        .map_err(|_| "install Python 3.10 or later (`apt-get install python3 python3-venv`)".to_owned())?;
    let requirements = lists.join("requirements.txt");
    let stamp = Stamp::new(folder, &[&python, &read(&requirements)?]);
    let venv_python = folder.join(names::VENV_PYTHON);
    // The environment links to the interpreter it was made with, which may have gone since.
    if stamp.holds() && venv_python.exists() {
        println!("target/peers/python is up to date");
        return Ok(());
    }
    stamp.start_over()?;
    tool::run(Command::new(names::PYTHON).args(["-m", "venv"]).arg(folder))
        .map_err(|error| format!("{error}; on Debian, `apt-get install python3-venv`"))?;
    let options = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    tool::run(Command::new(&venv_python).args(options).arg(&requirements))?;
    stamp.set()
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
