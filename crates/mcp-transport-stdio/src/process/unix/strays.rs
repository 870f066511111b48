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
use super::watchdog::Watch;

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
    watch: Watch,
    all_dead: oneshot::Sender<bool>,
}

/// Kills every process of a server. To be called when its group is dead; the look begins after the call.
/// The receiver gets whether nothing of it is left, or is closed if nobody could look.
pub(super) fn kill(server: Marker, watch: Watch) -> oneshot::Receiver<bool> {
    let (all_dead, outcome) = oneshot::channel();
    let mut queue = queue();
    if queue.waiting.len() < MOST_WAITING {
        queue.waiting.push(Request { server, watch, all_dead });
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
        let outcomes: Vec<_> = batch
            .into_iter()
            .map(|Request { server, watch, all_dead }| {
                // Until now, the watchdog would have looked if we had been killed.
                drop(watch);
                (all_dead, !left.contains(&server))
            })
            .collect();
        // Whoever learns of the end may find no watchdog any more.
        for (all_dead, outcome) in outcomes {
            let _ = all_dead.send(outcome);
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::OwnedFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
    };

    use super::{BTreeSet, Marker};
    use crate::process::unix::proc::{self, read};

    /// How often is looked again, for what was started meanwhile. On a busy machine that takes its time.
    const LOOKS: u32 = 40;

    /// Most processes killed at one look: each takes a descriptor.
    const MOST_AT_ONCE: usize = 64;

    /// Longest wait for one of the killed processes to be dead.
    const DEATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

    /// Pauses before another look for the sake of a process that was just starting a program: the first, and
    /// the longest. Together they are less than a second.
    const STARTS: (i64, i64) = (2_000_000, 25_000_000);

    /// Kills every process of these servers, and says which of them have some nevertheless.
    pub(super) fn kill_all(servers: &BTreeSet<Marker>) -> BTreeSet<Marker> {
        let mut left = BTreeSet::new();
        for number in 0..LOOKS {
            let Look { killed, unsure } = look(servers);
            left = killed.iter().map(|(server, _)| *server).collect();
            if !killed.is_empty() {
                tracing::debug!(processes = killed.len(), "killed what had left the group of its server");
                wait(killed.into_iter().map(|(_, process)| process).collect());
            } else if unsure {
                let pause = (STARTS.0 << number.min(10)).min(STARTS.1);
                let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: pause }));
            } else {
                break;
            }
        }
        left
    }

    /// What one look at all processes has brought.
    struct Look {
        killed: Vec<(Marker, OwnedFd)>,
        /// Whether there was a process that might have been one of them a moment later.
        unsure: bool,
    }

    fn look(servers: &BTreeSet<Marker>) -> Look {
        let mut look = Look { killed: Vec::new(), unsure: false };
        // Without /proc nobody can be found.
        let Ok(processes) = proc::processes() else { return look };
        let server = |environment: &[u8]| Marker::find(environment).filter(|server| servers.contains(server));
        let mut environment = Vec::new();
        for pid in processes {
            // An error means that it is not ours to look at, or gone.
            let Ok(bytes) = read(pid, "environ", &mut environment) else { continue };
            if bytes == 0 {
                look.unsure |= is_starting_a_program(pid);
            }
            if server(&environment).is_none() {
                continue;
            }
            let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            // Again: what the descriptor stands for is dead, or it is the process that has this environment.
            let Ok(_) = read(pid, "environ", &mut environment) else { continue };
            let Some(server) = server(&environment) else { continue };
            if pidfd_send_signal(&process, Signal::KILL).is_ok() {
                look.killed.push((server, process));
            }
            if look.killed.len() == MOST_AT_ONCE {
                break;
            }
        }
        look
    }

    /// Whether a process without environment is about to get one: it is in the middle of `execve`. Others have
    /// none for good: threads of the kernel, zombies, and programs that were started so.
    fn is_starting_a_program(pid: Pid) -> bool {
        let mut text = Vec::new();
        // Without memory it is none of ours. This file is much cheaper than the next.
        if read(pid, "statm", &mut text).is_err() || text.starts_with(b"0 ") {
            return false;
        }
        if read(pid, "stat", &mut text).is_err() {
            return false;
        }
        let mut fields = proc::fields(&text);
        // Fields 50 and 51: where its environment starts and ends.
        let (start, end) = (fields.nth(47), fields.next());
        start != end || end == Some("0")
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
