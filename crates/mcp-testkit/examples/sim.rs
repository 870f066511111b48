//! Runs the simulators over many seeds on all cores; what `cargo xtask sim` starts.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]

use std::any::Any;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mcp_testkit::sim::{SIMULATORS, Simulator};

const USAGE: &str = "\
usage: cargo xtask sim [--seeds N] [--seed S] [--jobs J] [--only NAME]

  --seeds N   run the seeds 0 to N-1 (default 1000)
  --seed S    run one seed and say where it fails
  --jobs J    threads (default: one for each core)
  --only NAME one simulator: core or driver";

/// Failing seeds that are shown for each simulator.
const SHOWN: usize = 10;

struct Options {
    seeds: std::ops::Range<u64>,
    jobs: usize,
    only: Option<String>,
}

/// What came of one simulator.
#[derive(Default)]
struct Sum {
    steps: u64,
    simulated: Duration,
    /// By seed.
    failures: Vec<(u64, String)>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(report));
    println!("simulator      seeds        steps   simulated hours    wall time   failures");
    let mut failed = false;
    let chosen = |simulator: &Simulator| options.only.as_ref().is_none_or(|only| only == simulator.name);
    for simulator in SIMULATORS.into_iter().filter(chosen) {
        let broken = !simulate(simulator, &options).failures.is_empty();
        if broken && options.seeds.end - options.seeds.start == 1 {
            tell(simulator, options.seeds.start);
        }
        failed |= broken;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// One line for a panic, and only for the first few: a fault in a common path panics in every seed.
fn report(panic: &PanicHookInfo<'_>) {
    static REPORTED: AtomicUsize = AtomicUsize::new(0);
    if REPORTED.fetch_add(1, Ordering::Relaxed) < SHOWN {
        eprintln!("{}", panic.to_string().replace('\n', " "));
    }
}

#[expect(clippy::disallowed_methods, reason = "the time a run takes is shown, nothing depends on it")]
fn simulate(simulator: Simulator, options: &Options) -> Sum {
    let Simulator { name, run, .. } = simulator;
    let started = Instant::now();
    let next = AtomicU64::new(options.seeds.start);
    let sum = Mutex::new(Sum::default());
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !options.seeds.contains(&seed) {
                        return;
                    }
                    // A panic is a failure of its seed.
                    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed)));
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    match outcome {
                        Ok(Ok(run)) => {
                            sum.steps += run.steps;
                            sum.simulated += run.simulated;
                        }
                        Ok(Err(broken)) => sum.failures.push((seed, broken.to_string())),
                        Err(panic) => sum.failures.push((seed, panicked(seed, &*panic))),
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failures.sort();
    let seeds = options.seeds.end - options.seeds.start;
    let (hours, failures) = (sum.simulated.as_secs() / 3600, sum.failures.len());
    let wall = started.elapsed().as_secs_f64();
    println!("{name:<9} {seeds:>10} {:>12} {hours:>17} {wall:>10.1} s {failures:>10}", sum.steps);
    for (_, failure) in sum.failures.iter().take(SHOWN) {
        println!("  {failure}");
    }
    if failures > SHOWN {
        println!("  and {} more", failures - SHOWN);
    }
    sum
}

/// What led to the failure of a seed.
fn tell(simulator: Simulator, seed: u64) {
    match catch_unwind(|| (simulator.replay)(seed)) {
        Ok((_, lines)) => lines.iter().for_each(|line| println!("  {line}")),
        Err(_) => println!("  it panics"),
    }
}

fn panicked(seed: u64, panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    format!("seed {seed}: panicked: {text}; replay with `cargo xtask sim --seed {seed}`")
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let jobs = thread::available_parallelism().map_or(1, NonZero::get);
    let mut options = Options { seeds: 0..1000, jobs, only: None };
    while let Some(option) = args.next() {
        let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
        if option == "--only" {
            if !SIMULATORS.iter().any(|simulator| simulator.name == value) {
                return Err(format!("no such simulator: {value}"));
            }
            options.only = Some(value);
            continue;
        }
        let number: u64 = value.parse().map_err(|_| format!("{option}: not a number: {value}"))?;
        match option.as_str() {
            "--seeds" => options.seeds = 0..number,
            "--seed" => options.seeds = number..number.saturating_add(1),
            "--jobs" => options.jobs = usize::try_from(number.clamp(1, 256)).unwrap_or(1),
            unknown => return Err(format!("no such option: {unknown}")),
        }
    }
    Ok(options)
}
