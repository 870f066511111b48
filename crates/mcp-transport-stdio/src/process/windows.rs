//! Process trees, ended with the system's `taskkill`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::Pipes;
use crate::environment::variable;

/// Variables every server inherits, if we have them. A `*` stands for any ending.
pub(crate) const INHERITED: &[&str] = &[
    "APPDATA",
    "COMSPEC",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "NUMBER_OF_PROCESSORS",
    "OS",
    "PATH",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "PROGRAMDATA",
    "PROGRAMFILES*",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "TZ",
    "USERNAME",
    "USERPROFILE",
    "WINDIR",
];

/// `CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP`: no console of its own, and no Ctrl-C meant for us.
const CREATION_FLAGS: u32 = 0x0800_0000 | 0x0000_0200;

/// `ERROR_BAD_EXE_FORMAT`.
const BAD_FORMAT: i32 = 193;

/// The process tree of a server, to be killed from anywhere. Holds the id of a process that runs, or
/// whose handle is still open, so that the id cannot come to mean another process.
#[derive(Debug)]
pub(crate) struct Group(Mutex<Option<u32>>);

impl Group {
    /// Kills the process and what it started.
    pub(crate) fn kill(&self) {
        if let Some(id) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let mut taskkill = std::process::Command::new("taskkill");
            taskkill.args(["/T", "/F", "/PID", &id.to_string()]);
            // If it cannot be started, the process itself is still killed through its handle.
            let _ = taskkill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        }
    }
}

/// A running server. Dropping it kills it and what it started.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    id: u32,
    group: Arc<Group>,
}

impl Process {
    /// Starts a command with piped stdin, stdout and stderr.
    pub(crate) fn spawn(mut command: Command) -> io::Result<(Self, Pipes)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.creation_flags(CREATION_FLAGS).kill_on_drop(true).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(id), (Some(stdin), Some(stdout), Some(stderr))) = (child.id(), pipes) else {
            return Err(io::Error::other("the new process has no id or pipes"));
        };
        let group = Arc::new(Group(Mutex::new(Some(id))));
        Ok((Self { child, id, group }, Pipes { stdin, stdout, stderr }))
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn group(&self) -> Arc<Group> {
        Arc::clone(&self.group)
    }

    /// Waits until the process itself has exited.
    pub(crate) async fn exited(&mut self) {
        // The status is kept and returned again by `finish`.
        let _ = self.child.wait().await;
    }

    /// There is no way to ask a process without windows to exit, so this ends it.
    pub(crate) fn terminate(&self) {
        self.group.kill();
    }

    /// Kills what is left of the tree. `None` if the process is not gone within `limit`.
    pub(crate) async fn finish(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.group.kill();
        let half = limit / 2;
        let mut status = tokio::time::timeout(half, self.child.wait()).await.ok().and_then(Result::ok);
        if status.is_none() {
            let _ = self.child.start_kill();
            status = tokio::time::timeout(half, self.child.wait()).await.ok().and_then(Result::ok);
        }
        *self.group.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        status
    }

    /// There is nothing to wait for: an ended process is gone.
    pub(crate) async fn gone(&mut self) -> bool {
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill();
    }
}

/// The file names a program may have: as given, or with an ending from `PATHEXT`.
pub(crate) fn spellings(path: &Path, variables: &BTreeMap<OsString, OsString>) -> Vec<PathBuf> {
    let endings = variable(variables, "PATHEXT").and_then(|endings| endings.to_str());
    let endings = endings.unwrap_or(".COM;.EXE;.BAT;.CMD").split(';').filter(|ending| !ending.is_empty());
    let with_ending = endings.map(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    });
    let as_given = path.extension().map(|_| path.to_owned());
    as_given.into_iter().chain(with_ending).collect()
}

/// Whether it is a file; its name says the rest.
pub(crate) fn is_executable(file: &Metadata) -> bool {
    file.is_file()
}

/// Whether the system does not know how to run such a file.
pub(crate) fn is_wrong_format(error: &io::Error) -> bool {
    error.raw_os_error() == Some(BAD_FORMAT)
}

/// Whether two names mean the same variable.
pub(crate) fn same_variable(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}
