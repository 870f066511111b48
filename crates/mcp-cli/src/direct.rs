//! Calling servers without a running gateway: the seam the binary fills in.

use std::path::PathBuf;

use futures::future::BoxFuture;
use mcp_api_types::{InvocationFailure, InvocationResult, InvokeTool, ServerTools};

use crate::{args::DirectArgs, exit::Error};

/// Reaches servers without a gateway. This crate knows commands and answers, not clients and transports.
///
/// Implementations end what they started (child processes, connections) before they resolve, and keep to the
/// same limits as the gateway. Dropping a future cancels the work.
pub trait Direct: Send + Sync {
    /// Calls one tool.
    ///
    /// # Errors
    ///
    /// See [`DirectError`].
    fn call<'a>(
        &'a self,
        target: &'a DirectTarget,
        request: InvokeTool,
    ) -> BoxFuture<'a, Result<InvocationResult, DirectError>>;

    /// Lists the tools of every server of the target.
    ///
    /// # Errors
    ///
    /// See [`DirectError`]; never [`DirectError::Call`].
    fn tools<'a>(&'a self, target: &'a DirectTarget) -> BoxFuture<'a, Result<ServerTools, DirectError>>;
}

/// The servers to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectTarget {
    /// All servers of a configuration file.
    Config(PathBuf),
    /// One child process that speaks MCP over stdin and stdout.
    Command {
        /// What to start.
        program: String,
        /// What to start it with.
        args: Vec<String>,
    },
    /// One server at this URL, not yet parsed.
    Url(String),
}

/// Why [`Direct`] has no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// The call was made and failed; exit code 1.
    #[error("{}", .0.detail.message)]
    Call(InvocationFailure),
    /// The configuration file is invalid; exit code 4. Holds every problem, one a line.
    #[error("{0}")]
    Config(String),
    /// The target cannot be, for example a URL that is none; exit code 2.
    #[error("{0}")]
    Target(String),
    /// The servers were not reached; exit code 1.
    #[error("{0}")]
    Connect(String),
}

impl DirectArgs {
    /// The target the options name, if any.
    pub(crate) fn target(&self) -> Result<Option<DirectTarget>, Error> {
        if let Some(path) = &self.config {
            return Ok(Some(DirectTarget::Config(path.clone())));
        }
        if let Some(command) = &self.server_command {
            let (program, args) = split_command(command)?;
            return Ok(Some(DirectTarget::Command { program, args }));
        }
        Ok(self.server_url.clone().map(DirectTarget::Url))
    }
}

impl From<DirectError> for Error {
    fn from(error: DirectError) -> Self {
        match error {
            DirectError::Config(text) => Self::Config(text),
            DirectError::Target(text) => Self::Usage(text),
            error @ (DirectError::Call(_) | DirectError::Connect(_)) => Self::Direct(error.to_string()),
        }
    }
}

/// Splits a command as a shell does, without expanding anything.
pub(crate) fn split_command(command: &str) -> Result<(String, Vec<String>), Error> {
    let mut words = shlex::split(command)
        .ok_or_else(|| Error::Usage(format!("the command {command:?} has a quote without its end")))?
        .into_iter();
    match words.next() {
        Some(program) if !program.is_empty() => Ok((program, words.collect())),
        _ => Err(Error::Usage("the command is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_a_target() {
        let none = DirectArgs::default();
        assert_eq!(none.target().unwrap(), None);
        let command = DirectArgs { server_command: Some("npx -y 'a b' c\\ d".into()), ..none.clone() };
        assert_eq!(
            command.target().unwrap(),
            Some(DirectTarget::Command {
                program: "npx".into(),
                args: vec!["-y".into(), "a b".into(), "c d".into()]
            })
        );
        let url = DirectArgs { server_url: Some("http://h/mcp".into()), ..none.clone() };
        assert_eq!(url.target().unwrap(), Some(DirectTarget::Url("http://h/mcp".into())));
        let config = DirectArgs { config: Some("a.toml".into()), ..none };
        assert_eq!(config.target().unwrap(), Some(DirectTarget::Config("a.toml".into())));
    }

    #[test]
    fn a_command_that_is_none_is_a_usage_error() {
        for command in ["", "  ", "npx 'open", "''"] {
            assert!(matches!(split_command(command), Err(Error::Usage(_))), "{command:?}");
        }
    }
}
