//! Ends the servers when we are killed.
//!
//! A killed process can clean nothing up, so somebody else has to notice. The system's own means do not fit:
//! `PR_SET_PDEATHSIG` fires when the *thread* that started the server ends, reaches only the first process of
//! a server, is forgotten when that runs a set-user-id program, exists on Linux alone, and needs `unsafe`.
//! A new control group needs rights that few processes have. So there is a watchdog: one small shell script
//! for each host process, whose stdin is a pipe that only we can write to. The pipe ends when we do, whatever
//! the cause; the script ([`SCRIPT`]) then ends the process groups it was told of, first gently, and
//! whatever else bears our [marker](super::marker). `/bin/sh` is there wherever servers are; a program of our
//! own would have to be found and installed by every user of this crate.
//!
//! - It runs while there are servers, so nothing is left of it after an orderly end. It is in a process group of
//!   its own and ignores what a terminal sends, and what a polite stop of the whole system sends, for it has
//!   work to do afterwards. It inherits nothing but `PATH`.
//! - It is told of every group that starts, and of every group that ended before the leader is reaped. From
//!   then on the number may come to mean another group, but the watchdog has forgotten it. A group is known
//!   with the start time of its leader, so a number that was reused after our own end is recognised too.
//! - If it dies, the signal of a dead child wakes whoever waits for a server, and another one starts with the
//!   groups of now. If it does not read any more, it is replaced as well.
//! - It never holds us up: the pipe does not block.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;

use super::marker;

/// What the watchdog runs.
const SCRIPT: &str = include_str!("watchdog.sh");

/// How it gets to it: by way of a variable, since people read the arguments of processes in lists.
const RUN: &str = "eval \"$MCP_STDIO_WATCHDOG\"";

/// `$0` of the script, to be found in a list of processes.
const NAME: &str = "mcp-stdio-watchdog";

/// Deaths of the watchdog that are made good before another server is started. Without a bound, one that
/// cannot live would be started again for ever.
const RESTARTS: u8 = 8;

static WATCHDOG: Mutex<Watchdog> = Mutex::new(Watchdog::new());

struct Watchdog {
    /// Runs the script.
    program: &'static str,
    /// Not reaped yet, so its number means nobody else.
    shell: Option<Child>,
    /// The groups that may have members, by their leaders; when these were started.
    groups: BTreeMap<i32, u64>,
    /// How many [`Watch`]es there are. A server may have left processes behind after its group has ended.
    watches: usize,
    restarts: u8,
    warned: bool,
}

/// Keeps the watchdog alive. With the last one it is ended, which takes a moment.
#[derive(Debug)]
pub(super) struct Watch(());

impl Drop for Watch {
    fn drop(&mut self) {
        let last = {
            let mut watchdog = watchdog();
            watchdog.watches = watchdog.watches.saturating_sub(1);
            if watchdog.watches == 0 { watchdog.shell.take() } else { None }
        };
        if let Some(shell) = last {
            end(shell);
        }
    }
}

/// A group was started. To be dropped when no process of that server is left.
pub(super) fn watch(leader: Pid) -> Watch {
    let mut watchdog = watchdog();
    let group = leader.as_raw_nonzero().get();
    let start = started(group);
    watchdog.groups.insert(group, start);
    watchdog.watches += 1;
    watchdog.restarts = RESTARTS;
    watchdog.tell('+', group, start);
    Watch(())
}

/// The processes of a group are dead or dying, and its leader is about to be reaped.
pub(super) fn forget(leader: Pid) {
    let mut watchdog = watchdog();
    let group = leader.as_raw_nonzero().get();
    if let Some(start) = watchdog.groups.remove(&group) {
        watchdog.tell('-', group, start);
    }
}

/// Starts the watchdog again if it has died.
pub(super) fn keep() {
    watchdog().keep();
}

fn watchdog() -> MutexGuard<'static, Watchdog> {
    WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    const fn new() -> Self {
        let groups = BTreeMap::new();
        Self { program: "/bin/sh", shell: None, groups, watches: 0, restarts: 0, warned: false }
    }

    fn keep(&mut self) {
        let died = self.shell.as_mut().is_some_and(|shell| !matches!(shell.try_wait(), Ok(None)));
        if died {
            self.shell = None;
            if self.watches > 0 && self.restarts > 0 {
                self.restarts -= 1;
                self.restart();
            }
        }
    }

    fn tell(&mut self, change: char, group: i32, start: u64) {
        // A line this short is written whole or not at all.
        let line = format!("{change} {group}:{start}\n");
        let told = match self.shell.as_mut().and_then(|shell| shell.stdin.as_mut()) {
            Some(pipe) => pipe.write_all(line.as_bytes()).is_ok(),
            None => false,
        };
        if !told && self.watches > 0 {
            self.restart();
        }
    }

    /// Starts a watchdog with the groups of now in the place of the one there is.
    fn restart(&mut self) {
        if let Some(old) = self.shell.take() {
            end(old);
        }
        match start(self.program, &self.groups) {
            Ok(shell) => {
                tracing::debug!(pid = shell.id(), groups = self.groups.len(), "watchdog started");
                self.shell = Some(shell);
                self.warned = false;
            }
            Err(error) if !self.warned => {
                self.warned = true;
                tracing::warn!(
                    %error,
                    "the watchdog over server processes cannot be started with /bin/sh; if this process is killed, \
                     only the end of their stdin tells servers to exit"
                );
            }
            Err(_) => {}
        }
    }
}

fn start(program: &str, groups: &BTreeMap<i32, u64>) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.args(["-c", RUN, NAME]).env_clear().env("MCP_STDIO_WATCHDOG", SCRIPT);
    command.current_dir("/").process_group(0);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut shell = command.spawn()?;
    let mut text = format!("{}\n", marker::host());
    for (group, start) in groups {
        text.push_str(&format!("+ {group}:{start}\n"));
    }
    let told = shell.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe.into()).and_then(|pipe| {
        rustix::io::ioctl_fionbio(&*pipe, true)?;
        // 64 KiB fit into the pipe: that is 2 000 servers and more.
        pipe.write_all(text.as_bytes())
    });
    match told {
        Ok(()) => Ok(shell),
        Err(error) => {
            end(shell);
            Err(error)
        }
    }
}

/// Kills a watchdog before its input ends: it must not act on that.
fn end(mut shell: Child) {
    let _ = shell.kill();
    let _ = shell.wait();
}

/// When a process was started, in the unit of `/proc/PID/stat`. 0 if the system does not tell.
fn started(process: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, field 2, ends with the last parenthesis; the start time is field 22.
    let fields = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19));
    fields.and_then(|start| start.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
