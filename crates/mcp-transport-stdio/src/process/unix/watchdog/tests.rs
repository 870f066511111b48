use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use rustix::process::{Signal, kill_process};

use super::*;

/// A process group of one process that does nothing.
struct Idler(Child);

impl Idler {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").process_group(0).spawn().unwrap())
    }

    fn group(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// As the host announces it.
    fn name(&self) -> String {
        format!("{}:{}", self.group(), started(self.group()))
    }

    /// The signal that ended it, if it has ended.
    fn signal(&mut self) -> Option<i32> {
        self.0.try_wait().unwrap()?.signal()
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pid(process: &Child) -> Pid {
    Pid::from_child(process)
}

/// The script, run by one of the shells that are `/bin/sh` somewhere, and told `text` but not yet the end.
fn script(shell: &Path, text: &str) -> Child {
    let mut child = Command::new(shell)
        .args(["-c", SCRIPT, NAME])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    child
}

/// `wait` closes stdin, which is how the watchdog learns of the end of its host.
fn lose_host(mut watchdog: Child) {
    assert!(watchdog.wait().unwrap().success());
}

fn shells() -> Vec<&'static Path> {
    ["/bin/sh", "/bin/dash", "/bin/bash", "/bin/ash"]
        .map(Path::new)
        .into_iter()
        .filter(|shell| shell.exists())
        .collect()
}

#[test]
fn groups_that_are_left_are_ended_and_no_others() {
    for shell in shells() {
        let mut idlers: Vec<Idler> = (0..5).map(|_| Idler::start()).collect();
        let names: Vec<String> = idlers.iter().map(Idler::name).collect();
        let reused = format!("{}:{}", idlers[4].group(), started(idlers[4].group()) + 1);
        let text = format!(
            "\n+ {0}\n+ {1}\n+ {2}\n- {1}\n+ {3}\n- {2}\n+ {2}\n+ {reused}\n- {1}\n",
            names[0], names[1], names[2], names[3]
        );
        lose_host(script(shell, &text));
        let signals: Vec<_> = idlers.iter_mut().map(Idler::signal).collect();
        assert_eq!(signals, [Some(15), None, Some(15), Some(15), None], "{}", shell.display());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ten_thousand_groups_leave_no_trace_in_it() {
    let memory = |process: &Child| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    };
    for shell in shells() {
        let mut idler = Idler::start();
        let mut watchdog = script(shell, &format!("\n+ {}\n", idler.name()));
        let mut feed = |count: u32| {
            let pipe = watchdog.stdin.as_mut().unwrap();
            for group in 0..count {
                // One starts before the other has ended. No process has such a number.
                let (this, last) = (5_000_000 + group, 4_999_999 + group);
                pipe.write_all(format!("+ {this}:1\n- {last}:1\n").as_bytes()).unwrap();
            }
            pipe.write_all(format!("- {}:1\n", 4_999_999 + count).as_bytes()).unwrap();
            // It has read all but the 64 KiB that fit into the pipe.
            memory(&watchdog)
        };
        let before = feed(5_000);
        let after = feed(10_000);
        assert!(after <= before + 256, "{}: {before} kB, then {after} kB", shell.display());
        lose_host(watchdog);
        assert_eq!(idler.signal(), Some(15));
    }
}

#[test]
fn what_a_terminal_or_a_stop_of_the_system_sends_does_not_end_it() {
    let mut idler = Idler::start();
    let watchdog = start("/bin/sh", &BTreeMap::from([(idler.group(), started(idler.group()))])).unwrap();
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::TSTP, Signal::PIPE] {
        until_ignored(&watchdog, signal);
        kill_process(pid(&watchdog), signal).unwrap();
    }
    lose_host(watchdog);
    assert_eq!(idler.signal(), Some(15));
}

/// Waits until the process ignores a signal.
fn until_ignored(process: &Child, signal: Signal) {
    let bit = 1_u64 << (signal.as_raw() - 1);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        if u64::from_str_radix(ignored.trim(), 16).unwrap() & bit != 0 {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn one_that_is_dead_or_stuck_is_replaced_without_a_wait() {
    let mut idlers = [Idler::start(), Idler::start()];
    let mut ours = Watchdog { watches: 1, ..Watchdog::new() };
    let mut numbers = Vec::new();
    let mut note = |watchdog: &Watchdog| numbers.push(watchdog.shell.as_ref().unwrap().id());
    let mut watch = |ours: &mut Watchdog, idler: &Idler| {
        ours.groups.insert(idler.group(), started(idler.group()));
        ours.tell('+', idler.group(), started(idler.group()));
        note(ours);
    };
    watch(&mut ours, &idlers[0]);
    // Dead.
    let first = ours.shell.as_mut().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    watch(&mut ours, &idlers[1]);
    // Stuck: the pipe becomes full some time, and nobody waits until it is empty.
    kill_process(pid(ours.shell.as_ref().unwrap()), Signal::STOP).unwrap();
    let stopped = ours.shell.as_ref().unwrap().id();
    for group in 0..10_000 {
        ours.tell('-', 1_000_000 + group, 1);
    }
    assert_ne!(ours.shell.as_ref().unwrap().id(), stopped);
    lose_host(ours.shell.take().unwrap());
    for idler in &mut idlers {
        assert_eq!(idler.signal(), Some(15), "both groups were handed on");
    }
}

#[test]
fn one_that_cannot_live_is_not_started_for_ever() {
    let mut ours = Watchdog { watches: 1, restarts: 2, ..Watchdog::new() };
    ours.restart();
    for expected in [true, true, false] {
        let now = ours.shell.as_ref().unwrap().id();
        ours.keep();
        assert_eq!(ours.shell.as_ref().unwrap().id(), now, "it lives");
        let shell = ours.shell.as_mut().unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
        ours.keep();
        assert_eq!(ours.shell.is_some(), expected);
    }
    // Without servers there is nothing to watch.
    let mut idle = Watchdog { restarts: 2, ..Watchdog::new() };
    idle.tell('-', 1, 1);
    idle.keep();
    assert!(idle.shell.is_none());
}

#[test]
fn a_system_without_a_shell_is_warned_about_once() {
    let mut ours = Watchdog { program: "/no/such/shell", watches: 1, ..Watchdog::new() };
    let log = crate::testing::log(|| {
        for group in [1, 2] {
            ours.groups.insert(group, 1);
            ours.tell('+', group, 1);
            ours.keep();
        }
    });
    assert!(ours.shell.is_none());
    assert_eq!(log.matches("cannot be started with /bin/sh").count(), 1, "{log}");
}
