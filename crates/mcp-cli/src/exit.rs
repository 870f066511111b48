//! How a command ends: its exit code, and the errors that decide it.

use std::{io, process::ExitCode, time::Duration};

use mcp_api_types::{Location, ValidationIssue};

/// The exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it worked.
    Ok,
    /// 1: the call failed, or the gateway refused what was asked.
    Failed,
    /// 2: the command line asks for something that cannot be.
    Usage,
    /// 3: no gateway answers.
    Unreachable,
    /// 4: the configuration is invalid.
    InvalidConfig,
}

impl Exit {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::InvalidConfig => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error(
        "no gateway at {url}: {reason}\nstart one with `mcp-gateway serve`, or name another with --url or MCP_GATEWAY_URL"
    )]
    Unreachable { url: String, reason: String },
    #[error(
        "what answers at {url} is not an mcp-gateway: {reason}\nname the gateway with --url or MCP_GATEWAY_URL"
    )]
    NotAGateway { url: String, reason: String },
    #[error("the gateway did not answer within {limit:?}; the request may have been carried out")]
    Timeout { limit: Duration },
    #[error("the gateway wants an API key it was not given: use --api-key or MCP_GATEWAY_API_KEY")]
    Unauthorized,
    #[error("the gateway refuses: {detail} (status {status})")]
    Refused { status: u16, detail: String },
    #[error("the gateway refuses the request: {}", issues(.0))]
    Invalid(Vec<ValidationIssue>),
    #[error("the answer of the gateway is not understood: {0}")]
    Answer(String),
    #[error("the answer of the gateway is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("{0}")]
    Direct(String),
    #[error("{0}")]
    Config(String),
    #[error("writing the output failed: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Invalid(_) => Exit::Usage,
            Self::Unreachable { .. } | Self::NotAGateway { .. } => Exit::Unreachable,
            Self::Config(_) => Exit::InvalidConfig,
            // The reader has gone away and knows why: `mcp-gateway tools | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            _ => Exit::Failed,
        }
    }

    /// Whether there is anything to tell and anyone to tell it to.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Output(_)) && self.exit() == Exit::Ok
    }
}

fn issues(issues: &[ValidationIssue]) -> String {
    let one = |issue: &ValidationIssue| {
        let path: Vec<String> = issue
            .loc
            .iter()
            .map(|step| match step {
                Location::Key(key) => key.clone(),
                Location::Position(position) => position.to_string(),
            })
            .collect();
        format!("{}: {}", path.join("."), issue.msg)
    };
    issues.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_code() {
        let text = || "x".to_owned();
        for (error, code) in [
            (Error::Usage(text()), 2),
            (Error::Invalid(Vec::new()), 2),
            (Error::Unreachable { url: text(), reason: text() }, 3),
            (Error::NotAGateway { url: text(), reason: text() }, 3),
            (Error::Timeout { limit: Duration::from_secs(1) }, 1),
            (Error::Unauthorized, 1),
            (Error::Refused { status: 404, detail: text() }, 1),
            (Error::Answer(text()), 1),
            (Error::TooLong { limit: 1 }, 1),
            (Error::Direct(text()), 1),
            (Error::Config(text()), 4),
            (Error::Output(io::ErrorKind::StorageFull.into()), 1),
            (Error::Output(io::ErrorKind::BrokenPipe.into()), 0),
        ] {
            assert_eq!(error.exit().code(), code, "{error:?}");
            assert_eq!(error.is_silent(), code == 0, "{error:?}");
        }
    }

    #[test]
    fn problems_name_their_place() {
        let issue =
            |loc: Vec<Location>, msg: &str| ValidationIssue { loc, msg: msg.into(), kind: "x".into() };
        let error = Error::Invalid(vec![
            issue(vec!["body".into(), "args".into(), 2.into()], "not a string"),
            issue(vec!["body".into(), "url".into()], "not a URL"),
        ]);
        assert_eq!(
            error.to_string(),
            "the gateway refuses the request: body.args.2: not a string; body.url: not a URL"
        );
    }
}
