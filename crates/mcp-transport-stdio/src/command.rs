//! From an endpoint to a command that can be started, or a text that says why not.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use mcp_transport::StdioEndpoint;
use tokio::process::Command;

use crate::environment::variable;
use crate::process;

/// The command of an endpoint, its program resolved, its environment exactly `variables`.
///
/// # Errors
/// A text that says which setting cannot be used, and why.
pub(crate) fn command(
    endpoint: &StdioEndpoint,
    variables: &BTreeMap<OsString, OsString>,
) -> Result<Command, String> {
    if endpoint.command.is_empty() {
        return Err("command is empty; it must name a program".into());
    }
    if endpoint.command.contains(['\0', '\n', '\r']) {
        return Err(format!("command {:?} holds a NUL or a line end", endpoint.command));
    }
    // Line ends are fine in arguments: no shell reads them.
    if let Some(at) = endpoint.args.iter().position(|arg| arg.contains('\0')) {
        return Err(format!("args[{at}] holds a NUL"));
    }
    if let Some(cwd) = &endpoint.cwd {
        check_directory(cwd)?;
    }
    let mut command = Command::new(program(endpoint, variables)?);
    command.args(&endpoint.args).env_clear().envs(variables);
    if let Some(cwd) = &endpoint.cwd {
        command.current_dir(cwd);
    }
    Ok(command)
}

fn check_directory(cwd: &Path) -> Result<(), String> {
    match cwd.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("working directory {} is not a directory", cwd.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("working directory {} does not exist", cwd.display()))
        }
        Err(error) => Err(format!("working directory {} cannot be used: {error}", cwd.display())),
    }
}

/// The file to start. A path is taken relative to the server's working directory, a bare name is looked
/// up in the `PATH` the server will have.
fn program(endpoint: &StdioEndpoint, variables: &BTreeMap<OsString, OsString>) -> Result<PathBuf, String> {
    let name = Path::new(&endpoint.command);
    let base = endpoint.cwd.as_deref().unwrap_or(Path::new(""));
    if name.components().count() > 1 || name.is_absolute() || endpoint.command.ends_with('/') {
        return match find(&base.join(name), variables) {
            Found::Program(path) => Ok(absolute(path)),
            Found::NotExecutable(path) => Err(format!("program {} is not executable", path.display())),
            Found::Nothing => Err(format!("program {} does not exist", name.display())),
        };
    }
    let path = variable(variables, "PATH").unwrap_or_default();
    let mut unusable = None;
    for directory in std::env::split_paths(path).filter(|directory| !directory.as_os_str().is_empty()) {
        match find(&base.join(directory).join(name), variables) {
            Found::Program(path) => return Ok(absolute(path)),
            Found::NotExecutable(path) => unusable = unusable.or(Some(path)),
            Found::Nothing => {}
        }
    }
    Err(match unusable {
        Some(path) => format!("program {} is not executable", path.display()),
        None if path.is_empty() => {
            format!("program {} cannot be looked up: PATH is not set; give its full path", name.display())
        }
        None => format!("program {} is not in PATH; install it, or give its full path", name.display()),
    })
}

enum Found {
    Program(PathBuf),
    NotExecutable(PathBuf),
    Nothing,
}

fn find(path: &Path, variables: &BTreeMap<OsString, OsString>) -> Found {
    let mut found = Found::Nothing;
    for candidate in process::spellings(path, variables) {
        match candidate.metadata() {
            Ok(file) if process::is_executable(&file) => return Found::Program(candidate),
            Ok(_) => found = Found::NotExecutable(candidate),
            Err(_) => {}
        }
    }
    found
}

/// Where a relative program is looked for after a change of directory differs between systems; an
/// absolute one is the same everywhere.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Why the system refused to start a program that looked fine, and whether trying again may help.
pub(crate) fn spawn_failure(program: &str, error: &io::Error) -> (String, bool) {
    match error.kind() {
        io::ErrorKind::NotFound => (
            format!("program {program:?} cannot be started: the interpreter or loader it needs is missing"),
            false,
        ),
        io::ErrorKind::PermissionDenied => {
            (format!("program {program:?} may not be executed: {error}"), false)
        }
        io::ErrorKind::ArgumentListTooLong | io::ErrorKind::InvalidInput => {
            (format!("program {program:?} cannot be started: {error}"), false)
        }
        // The raw number: std has no stable kind for "exec format error".
        _ if process::is_wrong_format(error) => {
            (format!("program {program:?} is no executable of this system"), false)
        }
        _ => (format!("program {program:?} could not be started: {error}"), true),
    }
}
