//! A user's surroundings, and commands run in them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::binary;
use crate::peers::Program;
use crate::wait::PATIENCE;

/// A home directory of its own, so that no configuration of whoever runs the tests is found.
#[derive(Debug)]
pub(crate) struct Home(TempDir);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// The same program, under a name that can be taken away so that it starts no more.
    pub(crate) fn link(&self, name: &str, program: &Path) -> PathBuf {
        let link = self.path().join(name);
        std::os::unix::fs::symlink(program, &link).unwrap();
        link
    }

    /// `mcp-gateway` with these arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Program::at(binary::path()).with_args(args.iter().copied()).command();
        command.current_dir(self.path()).env("HOME", self.path()).env("XDG_CONFIG_HOME", self.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs `mcp-gateway` with these arguments to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Outcome {
        Outcome::of(self.command(args)).await
    }
}

fn is_ours(variable: &std::ffi::OsStr) -> bool {
    variable.to_string_lossy().starts_with("MCP_GATEWAY_")
}

impl Outcome {
    pub(crate) async fn of(mut command: Command) -> Self {
        let output = timeout(PATIENCE, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{command:?} takes longer than {PATIENCE:?}")).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The same, if it ended with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// The same, if stderr has all of these texts, whatever the columns.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        let stderr = in_one_line(&self.stderr);
        for text in texts {
            assert!(stderr.contains(text), "no {text:?} in {self:?}");
        }
        self
    }

    /// The same, if stdout has all of these texts, whatever the columns.
    #[track_caller]
    pub(crate) fn prints(self, texts: &[&str]) -> Self {
        let stdout = in_one_line(&self.stdout);
        for text in texts {
            assert!(stdout.contains(text), "no {text:?} in {self:?}");
        }
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
