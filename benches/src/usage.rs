//! What another process uses: time on processors, and memory.

use std::path::Path;
use std::time::Duration;

/// Time all threads of a process have run so far; `None` where the system does not tell (only Linux does).
///
/// From `/proc/PID/task/*/schedstat`, which counts nanoseconds; `/proc/PID/stat` counts ticks of 10 ms.
/// Threads that have ended are not in it.
pub(crate) fn cpu(id: u32) -> Option<Duration> {
    let threads = std::fs::read_dir(Path::new("/proc").join(id.to_string()).join("task")).ok()?;
    let nanos = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .map(|text| running(&text))
        .sum::<Option<u64>>()?;
    Some(Duration::from_nanos(nanos))
}

/// Memory a process holds, in bytes (`VmRSS`); `None` where the system does not tell.
pub(crate) fn memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).ok()?;
    resident(&status)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The first of the numbers: nanoseconds on a processor.
fn running(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_counts() {
        assert_eq!(running("77700120 64835766 195\n"), Some(77_700_120));
        assert_eq!(running(""), None);
    }

    #[test]
    fn memory_is_told_in_kibibytes() {
        assert_eq!(resident("VmHWM:\t  9 kB\nVmRSS:\t    2 kB\n"), Some(2048));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn work_takes_time() {
        let id = std::process::id();
        // Not Linux, or a kernel without these numbers.
        let Some(before) = cpu(id) else { return };
        // Threads of other tests may end and take their time with them; this one goes on until it has made up for it.
        while cpu(id).is_some_and(|now| now <= before) {
            std::hint::spin_loop();
        }
        assert!(cpu(id).is_some());
    }
}
