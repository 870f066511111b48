//! From cells to tests.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::known::KNOWN;
use crate::table::{self, Cell};
use crate::{rows, watch, world};

/// Cells that run at once if nothing else is said: most of their time they wait.
const THREADS: usize = 6;

/// Runs the cells that the arguments name, or prints their table.
pub(crate) fn run() -> ExitCode {
    let rows = rows::all();
    let document = table::document(&rows, KNOWN);
    if std::env::args().any(|arg| arg == "--document") {
        print!("{document}");
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let cells = table::cells(&rows);
    let names: Vec<String> = cells.iter().map(|cell| cell.name.clone()).collect();
    let mut trials: Vec<Trial> = cells.into_iter().map(trial).collect();
    trials.push(Trial::test("the_document_is_current", move || is_current(&document)));
    trials.push(Trial::test("the_table_is_sound", move || is_sound(&names)));

    let runs = !arguments.list;
    let before = runs.then(watch::open_files);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(before) = before
        && let Err(what) = watch::files_are_closed(before)
    {
        eprintln!("left behind by all cells together: {what}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn trial(cell: Cell) -> Trial {
    let known = KNOWN.iter().find(|(name, _)| *name == cell.name);
    match known {
        None => Trial::test(cell.name.clone(), move || {
            world::run(&cell);
            Ok(())
        }),
        Some((_, why)) => Trial::test(cell.name.clone(), move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world::run(&cell)));
            match outcome {
                Err(_) => {
                    println!("KNOWN: {}: {why}", cell.name);
                    Ok(())
                }
                Ok(()) => Err(Failed::from("passes; remove it from KNOWN in tests/faults/known.rs")),
            }
        }),
    }
}

fn is_current(document: &str) -> Result<(), Failed> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md");
    if std::fs::read_to_string(path)? != document {
        return Err("docs/faults.md is out of date; run `cargo xtask faults`".into());
    }
    Ok(())
}

/// Names are unique, and what is known to fail exists.
fn is_sound(names: &[String]) -> Result<(), Failed> {
    let mut sorted = names.to_vec();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{} is there twice", twice[0]).into());
    }
    for (name, _) in KNOWN {
        if !names.iter().any(|cell| cell == name) {
            return Err(format!("KNOWN has {name}, which is no cell").into());
        }
    }
    Ok(())
}
