//! Time, and what is left behind in this process and on this machine.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Longest wait for something to be gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What the catalogue allows beside the nominal time of anything.
const TOLERANCE: Duration = Duration::from_millis(100);

/// Files that the process opens once and keeps: the signal pipe of the runtime.
const KEPT_FILES: usize = 2;

/// Measures time, and how much of it this process did not get.
pub(crate) struct Stopwatch {
    started: Instant,
    worst: Rc<Cell<Duration>>,
    ticker: JoinHandle<()>,
}

/// A measured time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) time: Duration,
    /// The longest time by which a timer was late meanwhile.
    stall: Duration,
    /// How many wanted a processor for each there is, if more than one.
    crowd: f64,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let worst = Rc::new(Cell::new(Duration::ZERO));
        let seen = worst.clone();
        let ticker = tokio::task::spawn_local(async move {
            loop {
                let before = Instant::now();
                sleep(PAUSE).await;
                seen.set(seen.get().max(before.elapsed().saturating_sub(PAUSE)));
            }
        });
        Self { started: Instant::now(), worst, ticker }
    }

    pub(crate) fn stop(self) -> Took {
        Took { time: self.started.elapsed(), stall: self.worst.get(), crowd: crowd() }
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.ticker.abort();
    }
}

impl Took {
    /// Not much longer than `nominal`: 100 ms and a half, and more on a busy machine.
    #[track_caller]
    pub(crate) fn at_most(self, nominal: Duration) {
        let limit = nominal + (TOLERANCE * 3 / 2).mul_f64(self.crowd) + self.stall * 3;
        assert!(self.time <= limit, "{self:?}, more than {nominal:?}");
    }

    /// At once.
    #[track_caller]
    pub(crate) fn at_once(self) {
        self.at_most(Duration::ZERO);
    }

    /// When a limit was reached: not before, and not much later.
    #[track_caller]
    pub(crate) fn about(self, limit: Duration) {
        assert!(self.time + Duration::from_millis(5) >= limit, "{self:?}, before the {limit:?} were over");
        self.at_most(limit);
    }
}

/// How many want a processor for each there is, over the last minute; at least 1.
fn crowd() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (load / f64::from(u32::try_from(processors).unwrap_or(1))).max(1.0)
}

/// Whether so many want a processor that a process may take a tenth of a second for what it does at once.
pub(crate) fn is_crowded() -> bool {
    crowd() > 2.0
}

/// Waits until `look` finds something.
///
/// # Panics
/// If it does not within 3 s.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    let looking = async {
        loop {
            match look() {
                Ok(found) => return found,
                Err(instead) => last = instead,
            }
            sleep(PAUSE).await;
        }
    };
    match timeout(PATIENCE, looking).await {
        Ok(found) => found,
        Err(_) => panic!("never: {what}; instead: {last}"),
    }
}

/// Lets the runtime look at its sockets.
pub(crate) async fn turn() {
    sleep(PAUSE).await;
}

/// Lets time pass, where that is what is tested.
pub(crate) async fn pass(time: Duration) {
    sleep(time).await;
}

/// The living processes whose environment has this text; zombies have none.
pub(crate) fn processes_with(mark: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let marked = all.filter(|process| {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark.as_bytes())
    });
    let shown = |path: std::path::PathBuf| std::fs::read_to_string(path.join("stat")).unwrap_or_default();
    marked.map(|process| shown(process.path())).filter(|stat| !stat.is_empty()).collect()
}

/// Whether there is a process of this number, a zombie included.
pub(crate) fn process_exists(pid: &str) -> bool {
    std::path::Path::new("/proc").join(pid).exists()
}

/// How many connections this machine has to a port of its own, from the side of whoever opened them. Those that
/// both sides have closed do not count.
pub(crate) fn connections_to(port: u16) -> usize {
    const TIME_WAIT: &str = "06";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to_port = format!(":{port:04X}");
    let is_open = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&to_port) && fields[3] != TIME_WAIT
    };
    table.lines().skip(1).filter(is_open).count()
}

/// How many files this process has open.
pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Whether no more files are open than before.
pub(crate) fn files_are_closed(before: usize) -> Result<(), String> {
    let now = open_files();
    if now <= before + KEPT_FILES { Ok(()) } else { Err(format!("{now} open files, {before} before")) }
}
