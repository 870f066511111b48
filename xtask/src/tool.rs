//! Programs that may or may not be installed.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::checkout::Checkout;

/// Runs `command` to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = shown(command);
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(error) => Err(format!("cannot start `{shown}`: {error}")),
    }
}

/// Standard output of `command`, its standard error going where ours goes.
pub(crate) fn read(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{shown}` ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{shown}` did not print UTF-8"))
}

/// Builds a binary of a package with the profile of the tests, and says where it is.
pub(crate) fn built(checkout: &Checkout, package: &str, name: &str) -> Result<String, String> {
    let args = ["build", "--message-format=json-render-diagnostics", "--package", package, "--bin", name];
    let messages = read(&mut checkout.cargo(&args))?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == name;
        message["executable"].as_str().filter(|_| is_it).map(str::to_owned)
    };
    messages.lines().find_map(executable).ok_or_else(|| format!("cargo built no {name}"))
}

/// Whether `command`, an inquiry such as `--version`, can be run at all.
pub(crate) fn is_there(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
