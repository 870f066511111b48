//! Finds and kills the processes of a server that left its group.
//!
//! `setsid`, daemons and session managers take a process out of the group, and then neither the group's
//! number nor the parent (which has exited) leads to it. What it keeps is its environment: every process a
//! server starts inherits the [marker](super::marker), unless somebody takes it out on purpose. So once a group
//! is dead, `/proc/*/environ` is searched for it, on Linux; other systems do not show it.
//!
//! Making ourselves the parent of all orphans instead (`PR_SET_CHILD_SUBREAPER`) would find those without the
//! marker, too, but change how every child of the host process is reaped, which is not for a library to do.
//!
//! A process is held through a descriptor (`pidfd`, Linux 5.3) from before its environment is read until it is
//! signalled, so that never another one is hit that got its number.
//!
//! A look takes as long as there are processes whose environment we may read, some 10 µs each. Servers
//! that end at the same time share one. It runs on a thread of its own, because reading another process may
//! block, and because it must also work while a runtime shuts down.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::marker::Marker;

/// Most servers that can wait for a look. One is never long.
const MOST_WAITING: usize = 4096;

static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: Vec::new(), at_work: false });

struct Queue {
    waiting: Vec<Request>,
    /// Whether there is a thread that will look again for those who wait.
    at_work: bool,
}

struct Request {
    server: Marker,
    all_dead: oneshot::Sender<bool>,
}

/// Kills every process of a server. To be called when its group is dead; the look begins after the call.
/// The receiver gets whether nothing of it is left, or is closed if nobody could look.
pub(super) fn kill(server: Marker) -> oneshot::Receiver<bool> {
    let (all_dead, outcome) = oneshot::channel();
    let mut queue = queue();
    if queue.waiting.len() < MOST_WAITING {
        queue.waiting.push(Request { server, all_dead });
    }
    if !queue.at_work {
        let thread = std::thread::Builder::new().name("mcp-stdio-strays".into()).stack_size(128 << 10);
        queue.at_work = thread.spawn(work).is_ok();
        if !queue.at_work {
            queue.waiting.clear();
        }
    }
    outcome
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work() {
    loop {
        let batch = {
            let mut queue = queue();
            let batch = std::mem::take(&mut queue.waiting);
            queue.at_work = !batch.is_empty();
            batch
        };
        if batch.is_empty() {
            return;
        }
        let left = system::kill_all(&batch.iter().map(|request| request.server).collect());
        for Request { server, all_dead } in batch {
            let _ = all_dead.send(!left.contains(&server));
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::{DirEntry, File};
    use std::io::{self, Read};
    use std::os::fd::OwnedFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
    };

    use super::{BTreeSet, Marker};

    /// How often is looked again, for what was started meanwhile.
    const LOOKS: usize = 10;

    /// Most processes killed at one look: each takes a descriptor.
    const MOST_AT_ONCE: usize = 64;

    /// Longest wait for one of the killed processes to be dead.
    const DEATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

    /// Longest environment looked at, in bytes. A process with a longer one would have to be started with it.
    const MOST_BYTES: u64 = 4 << 20;

    /// Kills every process of these servers, and says which of them have some nevertheless.
    pub(super) fn kill_all(servers: &BTreeSet<Marker>) -> BTreeSet<Marker> {
        let mut found = BTreeSet::new();
        for _ in 0..LOOKS {
            let killed = kill_some(servers);
            found = killed.iter().map(|(server, _)| *server).collect();
            if found.is_empty() {
                break;
            }
            tracing::debug!(
                processes = killed.len(),
                "killed processes that had left the group of their server"
            );
            wait(killed.into_iter().map(|(_, process)| process).collect());
        }
        found
    }

    fn kill_some(servers: &BTreeSet<Marker>) -> Vec<(Marker, OwnedFd)> {
        // Without /proc nobody can be found.
        let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
        let mut environment = Vec::new();
        let mut is_one = |pid: Pid| {
            read(pid, &mut environment).ok()?;
            Marker::find(&environment).filter(|server| servers.contains(server))
        };
        let killed = processes.filter_map(|entry| {
            let pid = number(&entry.ok()?)?;
            is_one(pid)?;
            let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            // Again: what the descriptor stands for is dead, or it is the process that has this environment.
            let server = is_one(pid)?;
            pidfd_send_signal(&process, Signal::KILL).ok()?;
            Some((server, process))
        });
        killed.take(MOST_AT_ONCE).collect()
    }

    fn number(entry: &DirEntry) -> Option<Pid> {
        Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)
    }

    fn read(pid: Pid, environment: &mut Vec<u8>) -> io::Result<usize> {
        environment.clear();
        let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
        File::open(path)?.take(MOST_BYTES).read_to_end(environment)
    }

    fn wait(mut processes: Vec<OwnedFd>) {
        while !processes.is_empty() {
            let mut polled: Vec<PollFd<'_>> =
                processes.iter().map(|process| PollFd::new(process, PollFlags::IN)).collect();
            if !matches!(poll(&mut polled, Some(&DEATH)), Ok(1..)) {
                return;
            }
            let mut dead =
                polled.iter().map(|polled| !polled.revents().is_empty()).collect::<Vec<_>>().into_iter();
            processes.retain(|process| {
                let dead = dead.next().unwrap_or(true);
                if dead {
                    // It is ours to reap if orphans are: if we are the first process of a container.
                    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                    let _ = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(process)), options);
                }
                !dead
            });
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{BTreeSet, Marker};

    /// The environment of another process cannot be read here.
    pub(super) fn kill_all(_: &BTreeSet<Marker>) -> BTreeSet<Marker> {
        BTreeSet::new()
    }
}
