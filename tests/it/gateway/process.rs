//! Processes that are not our children.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A process, told from a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    /// In clock ticks since the system was started.
    started: u64,
}

/// What `/proc/PID/stat` says.
struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

impl Process {
    /// The process that has this id now.
    pub(crate) fn of(pid: u32) -> Self {
        let stat = stat(pid).unwrap_or_else(|| panic!("no process {pid}"));
        Self { pid, started: stat.started }
    }

    /// Everything that was started by `pid`, directly or not, and has not been orphaned.
    pub(crate) fn started_by(pid: u32) -> Vec<Self> {
        let all: Vec<(u32, Stat)> = pids().filter_map(|pid| Some((pid, stat(pid)?))).collect();
        let mut family = vec![pid];
        let mut found = Vec::new();
        while let Some(parent) = family.pop() {
            for (pid, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
                family.push(*pid);
                found.push(Self { pid: *pid, started: stat.started });
            }
        }
        found
    }

    /// Those that were started with this argument.
    pub(crate) fn started_with(argument: &str) -> Vec<Self> {
        let has = |pid: &u32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
        };
        pids().filter(has).filter_map(|pid| Some(Self { pid, started: stat(pid)?.started })).collect()
    }

    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    /// Whether it runs or is stopped. One that only waits for its parent to notice its end does not.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }

    pub(crate) fn signal(self, signal: Signal) {
        let pid = Pid::from_raw(self.pid.try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {self:?}: {error}"));
    }

    /// Stops it, and waits until none of its threads runs any more.
    pub(crate) async fn stop(self) {
        self.signal(Signal::STOP);
        wait::until(&format!("{self:?} to be stopped"), async || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
            let mut stats = threads.filter_map(|entry| read_stat(&entry.unwrap().path().join("stat")));
            stats.all(|stat| stat.state == 'T').then_some(())
        })
        .await;
    }

    /// Waits for the end of all of them.
    pub(crate) async fn all_gone(processes: &[Self]) {
        let gone = async || (!processes.iter().any(|process| process.is_alive())).then_some(());
        wait::until(&format!("the end of {processes:?}"), gone).await;
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
}

fn stat(pid: u32) -> Option<Stat> {
    read_stat(format!("/proc/{pid}/stat").as_ref())
}

fn read_stat(file: &Path) -> Option<Stat> {
    let text = std::fs::read_to_string(file).ok()?;
    // The second field is the program's name in parentheses, and may hold any of both.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}
