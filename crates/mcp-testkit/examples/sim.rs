//! Runs the simulators over many seeds on all cores; what `cargo xtask sim` starts.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]

use std::num::NonZero;
use std::panic::{PanicHookInfo, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use mcp_testkit::sim::{SIMULATORS, Simulator, Sweep};

const USAGE: &str = "\
usage: cargo xtask sim [--seeds N] [--seed S] [--jobs J] [--only NAME]

  --seeds N   run the seeds 0 to N-1 (default 1000)
  --seed S    run one seed; if it fails, show every step that led there
  --jobs J    threads (default: one for each core)
  --only NAME one simulator: core or driver";

/// Failing seeds that are shown for each simulator.
const SHOWN: usize = 10;

struct Options {
    seeds: std::ops::Range<u64>,
    jobs: usize,
    only: Option<String>,
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
        failed |= !simulate(simulator, &options);
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

/// Runs one simulator and shows what came of it; false if a seed failed.
#[expect(clippy::disallowed_methods, reason = "the time a run takes is shown, nothing depends on it")]
fn simulate(simulator: Simulator, options: &Options) -> bool {
    let started = Instant::now();
    let Sweep { steps, simulated, failures } = simulator.sweep(options.seeds.clone(), options.jobs);
    let (name, seeds) = (simulator.name, options.seeds.end - options.seeds.start);
    let (hours, failed, wall) = (simulated.as_secs() / 3600, failures.len(), started.elapsed().as_secs_f64());
    println!("{name:<9} {seeds:>10} {steps:>12} {hours:>17} {wall:>10.1} s {failed:>10}");
    for (_, failure) in failures.iter().take(SHOWN) {
        println!("  {failure}");
    }
    if failed > SHOWN {
        println!("  and {} more", failed - SHOWN);
    }
    if seeds == 1 && failed == 1 {
        tell(simulator, options.seeds.start);
    }
    failures.is_empty()
}

/// What led to the failure of a seed.
fn tell(simulator: Simulator, seed: u64) {
    match catch_unwind(|| (simulator.replay)(seed)) {
        Ok((_, lines)) => lines.iter().for_each(|line| println!("  {line}")),
        Err(_) => println!("  it panics"),
    }
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
