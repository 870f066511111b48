//! Process groups, a watchdog over them, and what leaves them.

mod marker;
#[cfg(target_os = "linux")]
mod proc;
mod strays;
mod watchdog;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, test_kill_process_group, waitid,
    waitpgid,
};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
#[cfg(target_os = "linux")]
use tokio::sync::oneshot;

use self::marker::Marker;
use self::watchdog::Watch;
use super::Pipes;

/// Variables every server inherits, if we have them. A `*` stands for any ending.
pub(crate) const INHERITED: &[&str] = &[
    "HOME", "LANG", "LANGUAGE", "LC_*", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "XDG_*",
];

/// Wait before it is asked again whether the last process of a killed group is gone, doubled each time. There is no
/// event for it.
const GONE_POLL: Duration = Duration::from_millis(5);

/// The process group of a server, to be signalled from anywhere.
///
/// Invariant: the number is forgotten, here and by the watchdog, before the leader is reaped. Until then it
/// cannot come to mean another group, so a signal never reaches a stranger.
#[derive(Debug)]
pub(crate) struct Group(Mutex<Option<Pid>>);

impl Group {
    /// Kills every process of the group at once.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = *self.leader() {
            // It fails only if there is nothing left to signal.
            let _ = kill_process_group(leader, signal);
        }
    }

    /// Kills the group for the last time, forgets its number and lets the leader be reaped.
    fn finish<T>(&self, reap: impl FnOnce() -> T) -> T {
        let mut leader = self.leader();
        if let Some(leader) = leader.take() {
            let _ = kill_process_group(leader, Signal::KILL);
            watchdog::forget(leader);
        }
        reap()
    }

    fn leader(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server: the leader of a process group of its own. Dropping it kills the group and what left it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    leader: Pid,
    group: Arc<Group>,
    marker: Marker,
    /// Given up with the last look for processes of the server.
    watch: Option<Watch>,
    child_signals: unix::Signal,
}

impl Process {
    /// Starts a command in a new process group with piped stdin, stdout and stderr.
    pub(crate) fn spawn(mut command: Command) -> io::Result<(Self, Pipes)> {
        // Before the start, so that no exit is missed.
        let child_signals = unix::signal(SignalKind::child())?;
        let marker = Marker::new();
        command.env(marker::VARIABLE, marker.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(leader), (Some(stdin), Some(stdout), Some(stderr))) = (leader, pipes) else {
            return Err(io::Error::other("the new process has no id or pipes"));
        };
        let watch = Some(watchdog::watch(leader));
        let group = Arc::new(Group(Mutex::new(Some(leader))));
        Ok((Self { child, leader, group, marker, watch, child_signals }, Pipes { stdin, stdout, stderr }))
    }

    pub(crate) fn id(&self) -> u32 {
        self.leader.as_raw_nonzero().get().cast_unsigned()
    }

    pub(crate) fn group(&self) -> Arc<Group> {
        Arc::clone(&self.group)
    }

    /// Waits until the process itself has exited. It is not reaped yet: its number stays reserved.
    pub(crate) async fn exited(&mut self) {
        while !self.has_exited() {
            // The child that has died may be the watchdog.
            watchdog::keep();
            self.child_signals.recv().await;
        }
    }

    /// Asks every process of the group to exit.
    pub(crate) fn terminate(&self) {
        self.group.signal(Signal::TERM);
    }

    /// Kills what is left of the group and reaps the process. `None` if it is not gone within `limit`.
    pub(crate) async fn finish(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.group.kill();
        tokio::time::timeout(limit, self.exited()).await.ok()?;
        // Once more: a process may have joined the group since.
        self.group.finish(|| self.child.try_wait().ok().flatten())
    }

    /// Waits until no process of the finished server is left, and says whether none is. Those that left its
    /// group are killed here.
    pub(crate) async fn gone(&mut self) -> bool {
        let mut pause = GONE_POLL;
        loop {
            // Orphans are reaped by init. That is us if we are the first process of a container.
            while let Ok(Some(_)) = waitpgid(self.leader, WaitOptions::NOHANG) {}
            if test_kill_process_group(self.leader).is_err() {
                break;
            }
            // Mostly one pause is enough. If not, init may be late.
            if pause > GONE_POLL && is_dead(self.leader).await {
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        match self.watch.take() {
            Some(watch) => strays::kill(self.marker, watch).await.unwrap_or(false),
            None => true,
        }
    }

    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means there is no such child: it was reaped.
        !matches!(waitid(WaitId::Pid(self.leader), options), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The child, which is dropped next, is reaped at a time we do not learn of.
        self.group.finish(|| ());
        if let Some(watch) = self.watch.take() {
            strays::kill(self.marker, watch);
        }
    }
}

/// Whether nothing but zombies is left of a group.
#[cfg(target_os = "linux")]
async fn is_dead(group: Pid) -> bool {
    // Reading the files of all processes takes a while, and one of the pool would idle for 10 s afterwards.
    let (tell, told) = oneshot::channel();
    let look = move || tell.send(proc::is_dead(group));
    let thread = std::thread::Builder::new().name("mcp-stdio-group".into()).stack_size(128 << 10).spawn(look);
    thread.is_ok() && told.await.unwrap_or(false)
}

/// Other systems do not show it.
#[cfg(not(target_os = "linux"))]
fn is_dead(_: Pid) -> std::future::Ready<bool> {
    std::future::ready(false)
}

/// The file names a program may have.
pub(crate) fn spellings(path: &Path, _: &BTreeMap<OsString, OsString>) -> Vec<PathBuf> {
    vec![path.to_owned()]
}

/// Whether somebody may execute the file.
pub(crate) fn is_executable(file: &Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}

/// Whether the system does not know how to run such a file.
pub(crate) fn is_wrong_format(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error())
}

/// Whether two names mean the same variable.
pub(crate) fn same_variable(one: &str, other: &str) -> bool {
    one == other
}
