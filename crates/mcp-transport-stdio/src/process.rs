//! The server's process and everything it started, as one thing to signal and to wait for.
//!
//! What differs between systems is in one file for each.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{Group, INHERITED, Process, is_executable, is_wrong_format, same_variable, spellings};
#[cfg(windows)]
pub(crate) use windows::{
    Group, INHERITED, Process, is_executable, is_wrong_format, same_variable, spellings,
};

use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

/// Our ends of the three pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}
