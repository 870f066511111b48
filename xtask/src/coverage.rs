//! `cargo xtask coverage`.

use std::path::Path;
use std::process::Command;

use crate::checkout::Checkout;
use crate::peers::Problem;
use crate::{peers, tool};

mod lines;

/// Releases of LLVM whose tools, as distributions name them, read what this compiler writes; newest first.
const LLVM_RELEASES: &[&str] = &["22", "21", "20", "19"];

/// What runs to measure or to check, not to be used: no tests need to reach it.
const LEFT_OUT: &[&str] = &["--exclude", "mcp-benches", "--exclude", "xtask"];

/// Line coverage by the workspace's tests: a table of the crates on standard output, and `lcov.info` in
/// the root with every line.
pub(crate) fn run(checkout: &Checkout) -> Result<(), String> {
    if !tool::is_there(&mut checkout.cargo(&["llvm-cov", "--version"])) {
        return Err("cargo-llvm-cov is missing; run `cargo install cargo-llvm-cov`".into());
    }
    let tools = llvm_tools()?;
    let llvm_cov = |args: &[&str]| {
        let mut command = checkout.cargo(&["llvm-cov"]);
        command.args(args).envs(tools.iter().map(|(name, value)| (name, value)));
        command
    };
    match peers::install(checkout) {
        Ok(()) => {}
        Err(Problem::Missing(what)) => println!("the interop tests are skipped: {what}"),
        Err(Problem::Failed(why)) => return Err(why),
    }
    // Programs and counts of an earlier run would be in the report, too.
    tool::run(&mut llvm_cov(&["clean", "--workspace"]))?;
    tool::run(llvm_cov(&["--no-report", "--workspace"]).args(LEFT_OUT))?;
    tool::run(&mut llvm_cov(&["report", "--lcov", "--output-path", "lcov.info"]))?;
    let report = tool::read(&mut llvm_cov(&["report", "--json", "--summary-only"]))?;
    print!("{}", lines::table(&report, &checkout.root().to_string_lossy())?);
    Ok(())
}

/// The variables that tell `cargo llvm-cov` which tools to use, if it would not find any by itself.
fn llvm_tools() -> Result<Vec<(&'static str, String)>, String> {
    let libraries = tool::read(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let component = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata");
    if component.with_extension(std::env::consts::EXE_EXTENSION).exists()
        || std::env::var_os("LLVM_COV").is_some()
    {
        return Ok(Vec::new());
    }
    for release in LLVM_RELEASES {
        let (cov, profdata) = (format!("llvm-cov-{release}"), format!("llvm-profdata-{release}"));
        if tool::is_there(Command::new(&cov).arg("--version")) {
            return Ok(vec![("LLVM_COV", cov), ("LLVM_PROFDATA", profdata)]);
        }
    }
    Err("the LLVM tools are missing; run `rustup component add llvm-tools`, or on Debian \
         `apt-get install llvm-19`"
        .into())
}
