//! What criterion has measured, as one table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Failure;
use crate::program::target_folder;

#[derive(Deserialize)]
struct Estimates {
    /// Missing where criterion does not fit a line.
    slope: Option<Estimate>,
    mean: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    /// In nanoseconds.
    point_estimate: f64,
}

/// Prints the latest result of each benchmark `group/way/input`: a row for each way, a column for each
/// input, given with its size in bytes. What was never measured is left out.
///
/// # Errors
/// A result that cannot be read.
pub fn print_table(group: &str, ways: &[&str], inputs: &[(&str, usize)]) -> Result<(), Failure> {
    let folder = match std::env::var_os("CRITERION_HOME") {
        Some(home) => PathBuf::from(home),
        None => target_folder()?.join("criterion"),
    };
    println!("{}", table(&folder.join(group), ways, inputs)?);
    Ok(())
}

fn table(folder: &Path, ways: &[&str], inputs: &[(&str, usize)]) -> Result<String, Failure> {
    let mut table = String::from("| |");
    for (name, _) in inputs {
        write!(table, " {name} |")?;
    }
    table.push_str("\n|---|");
    table.push_str(&"---:|".repeat(inputs.len()));
    for way in ways {
        write!(table, "\n| {way} |")?;
        for (name, bytes) in inputs {
            match nanoseconds(&folder.join(way).join(name).join("new").join("estimates.json"))? {
                Some(nanos) => write!(table, " {} |", cell(nanos, *bytes))?,
                None => table.push_str(" – |"),
            }
        }
    }
    table.push('\n');
    Ok(table)
}

fn nanoseconds(path: &Path) -> Result<Option<f64>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    let estimates: Estimates = serde_json::from_str(&text)?;
    Ok(Some(estimates.slope.unwrap_or(estimates.mean).point_estimate))
}

/// The time, and the bytes a second that makes.
fn cell(nanos: f64, bytes: usize) -> String {
    let time = match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    };
    // Bytes in a nanosecond are gigabytes in a second.
    format!("{time}, {:.2} GB/s", bytes as f64 / nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_and_gaps_shown() {
        let home = tempfile::tempdir().unwrap();
        let new = home.path().join("copy/small/new");
        std::fs::create_dir_all(&new).unwrap();
        let estimates = r#"{"mean":{"point_estimate":99.0},"slope":{"point_estimate":50.0},"median":{}}"#;
        std::fs::write(new.join("estimates.json"), estimates).unwrap();
        let table = table(home.path(), &["copy", "parse"], &[("small", 200), ("large", 4000)]).unwrap();
        assert_eq!(
            table,
            "| | small | large |\n|---|---:|---:|\n| copy | 50 ns, 4.00 GB/s | – |\n| parse | – | – |\n"
        );
    }

    #[test]
    fn times_have_the_unit_that_reads_best() {
        for (nanos, expected) in [
            (12.4, "12 ns, 80.65 GB/s"),
            (2_500.0, "2.50 µs, 0.40 GB/s"),
            (3_000_000.0, "3.00 ms, 0.00 GB/s"),
        ] {
            assert_eq!(cell(nanos, 1000), expected);
        }
    }
}
