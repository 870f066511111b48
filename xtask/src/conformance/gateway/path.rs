//! The paths from the suite to the reference server.

use std::ffi::OsString;
use std::path::{Path as File, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::super::scenario::Set;
use super::program::{Announces, Program, post};

/// How the suite gets to the reference server.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) name: &'static str,
    /// For the table.
    pub(super) title: &'static str,
    /// What the reference server is restricted to.
    era: &'static str,
    way: Way,
    pub(super) sets: &'static [Set],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    /// `/mcp/{server}`.
    Server(Transport),
    /// `/mcp` with names as they are.
    Aggregate,
    /// `/mcp` with prefixes, and another server beside it that comes after this one.
    Prefixed,
}

/// How the gateway talks with the reference server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Http,
    Stdio,
}

/// The two sets that say what a revision requires.
const BOTH: &[Set] = &[Set::V2025_11_25, Set::V2026_07_28];

/// All of them; the first is what the others are compared with.
pub(super) const PATHS: [Path; 8] = [
    Path {
        name: "direct",
        title: "the reference server itself",
        era: "both",
        way: Way::Direct,
        sets: &Set::ALL,
    },
    Path {
        name: "server-http",
        title: "`/mcp/{server}`, HTTP behind it",
        era: "both",
        way: Way::Server(Transport::Http),
        sets: &Set::ALL,
    },
    Path {
        name: "server-stdio",
        title: "`/mcp/{server}`, stdio behind it",
        era: "both",
        way: Way::Server(Transport::Stdio),
        sets: BOTH,
    },
    Path {
        name: "aggregate",
        title: "`/mcp`, one server, `prefix = false`",
        era: "both",
        way: Way::Aggregate,
        sets: BOTH,
    },
    Path {
        name: "aggregate-prefixed",
        title: "`/mcp`, two servers, names prefixed",
        era: "both",
        way: Way::Prefixed,
        sets: BOTH,
    },
    Path {
        name: "legacy-upstream",
        title: "`/mcp/{server}`, the server knows the handshake era only",
        era: "legacy",
        way: Way::Server(Transport::Http),
        sets: BOTH,
    },
    Path {
        name: "legacy-upstream-stdio",
        title: "the same, stdio behind it",
        era: "legacy",
        way: Way::Server(Transport::Stdio),
        sets: BOTH,
    },
    Path {
        name: "modern-upstream",
        title: "`/mcp/{server}`, the server knows 2026-07-28 only",
        era: "modern",
        way: Way::Server(Transport::Http),
        sets: BOTH,
    },
];

/// What a path is made of.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) gateway: String,
    pub(super) node: OsString,
    /// The folder of the reference server and the shim.
    pub(super) scripts: PathBuf,
}

/// Programs that run, one behind the other, until this is dropped.
#[derive(Debug)]
pub(super) struct Chain {
    /// Where the suite goes.
    pub(super) url: String,
    _programs: Vec<Program>,
}

impl Path {
    /// What `tests/conformance/expected-failures.txt` calls it.
    pub(super) fn subject(&self) -> String {
        format!("gateway/{}", self.name)
    }

    /// Starts everything on the path, with logs in `folder`, which is emptied before.
    pub(super) fn start(&self, tools: &Tools, folder: &File) -> Result<Chain, String> {
        // Of an earlier run: what is read afterwards must be of this one.
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let script = |name: &str, args: &[&str]| {
            let mut command = Command::new(&tools.node);
            command.arg(tools.scripts.join(name)).args(args);
            command
        };
        let server = |transport| script("reference/server.mjs", &[transport, "--era", self.era]);
        let listening = |command, name: &str| {
            Program::start(command, &folder.join(format!("{name}.log")), Announces::OnStdout)
        };
        if self.way == Way::Server(Transport::Stdio) {
            let behind = server("stdio");
            let args: Vec<_> = behind.get_args().map(|arg| arg.to_string_lossy()).collect();
            let reference = json!({ "command": tools.node.to_string_lossy(), "args": args });
            let gateway = self.gateway(tools, folder, reference)?;
            return Ok(Chain { url: format!("{}/mcp/ref", gateway.url()), _programs: vec![gateway] });
        }
        let reference = listening(server("http"), "reference")?;
        if self.way == Way::Direct {
            return Ok(Chain { url: reference.url().to_owned(), _programs: vec![reference] });
        }
        let gateway = self.gateway(tools, folder, json!({ "url": reference.url() }))?;
        let base = gateway.url();
        match self.way {
            Way::Prefixed => {
                let shim = script("prefix_shim.mjs", &[&format!("{base}/mcp"), "ref__"]);
                let shim = listening(shim, "shim")?;
                let url = shim.url().to_owned();
                Ok(Chain { url, _programs: vec![shim, gateway, reference] })
            }
            Way::Aggregate => Ok(Chain { url: format!("{base}/mcp"), _programs: vec![gateway, reference] }),
            Way::Direct | Way::Server(_) => {
                Ok(Chain { url: format!("{base}/mcp/ref"), _programs: vec![gateway, reference] })
            }
        }
    }

    /// A gateway that has shaken hands with its servers, of which `reference` is one.
    fn gateway(&self, tools: &Tools, folder: &File, reference: Value) -> Result<Program, String> {
        let mut servers = json!({ "ref": reference });
        if self.way == Way::Prefixed {
            servers["demo"] = json!({ "command": tools.gateway, "args": ["demo-server"], "priority": 1 });
        }
        let configuration =
            json!({ "gateway": { "prefix": self.way != Way::Aggregate }, "servers": servers });
        let file = folder.join("gateway.json");
        std::fs::write(&file, configuration.to_string())
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        let mut command = Command::new(&tools.gateway);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
        command.current_dir(folder).env("HOME", folder);
        let gateway = Program::start(command, &folder.join("gateway.log"), Announces::ListeningOnStderr)?;
        for name in servers.as_object().into_iter().flatten().map(|(name, _)| name) {
            post(gateway.url(), &format!("/api/v1/mcp/servers/{name}/initialize"))?;
        }
        Ok(gateway)
    }
}
