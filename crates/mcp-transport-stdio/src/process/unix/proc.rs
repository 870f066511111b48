//! What Linux tells of processes in `/proc`.

use std::fs::{DirEntry, File};
use std::io::{self, Read};

use rustix::process::Pid;

/// Longest file read, in bytes. A process with a longer environment would have to be started with it.
const MOST_BYTES: u64 = 4 << 20;

/// All processes there are.
///
/// # Errors
/// There is no `/proc`.
pub(super) fn processes() -> io::Result<impl Iterator<Item = Pid>> {
    let number = |entry: DirEntry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
    Ok(std::fs::read_dir("/proc")?.filter_map(move |entry| number(entry.ok()?)))
}

/// Reads a file of a process.
///
/// # Errors
/// It is gone, or not ours to look at.
pub(super) fn read(process: Pid, file: &str, text: &mut Vec<u8>) -> io::Result<usize> {
    text.clear();
    File::open(format!("/proc/{}/{file}", process.as_raw_nonzero()))?.take(MOST_BYTES).read_to_end(text)
}

/// The fields of `stat` behind the name, which may hold anything. The first is field 3, the state.
pub(super) fn fields(stat: &[u8]) -> impl Iterator<Item = &str> {
    let start = memchr::memrchr(b')', stat).map_or(stat.len(), |at| at + 1);
    str::from_utf8(&stat[start..]).unwrap_or_default().split_ascii_whitespace()
}

/// Whether all that is left of a group are zombies: dead, and not yet reaped by their parent. False if nothing is
/// seen of it: somebody else's processes may be hidden.
pub(super) fn is_dead(group: Pid) -> bool {
    let Ok(processes) = processes() else { return false };
    let group = group.to_string();
    let mut seen = false;
    let mut stat = Vec::new();
    for process in processes {
        if read(process, "stat", &mut stat).is_err() {
            continue;
        }
        let mut fields = fields(&stat);
        // Fields 3, 5 and 20: the state, the group and the number of threads.
        let state = fields.next();
        if fields.nth(1) != Some(&group) {
            continue;
        }
        // Threads may outlive the first one of their process.
        if !matches!(state, Some("Z" | "X")) || fields.nth(14).is_some_and(|threads| threads != "1") {
            return false;
        }
        seen = true;
    }
    seen
}
