//! The story of one invocation.

use serde::{Deserialize, Serialize};

use crate::{Attempt, ConnectionEvent, FailureCode, Stage, Status};

/// The body of `GET /invocations/{request_id}`: what was asked, who was considered, what was tried and what came of
/// it, from what the gateway has retained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The invocation.
    pub request_id: String,
    /// When it began.
    pub started_at: String,
    /// When it ended; null while it is under way.
    pub ended_at: Option<String>,
    /// `tools/call`, `resources/read`, …
    pub method: String,
    /// The tool, where one is called.
    pub tool: Option<String>,
    /// The one server a directed call is for; null for a routed call.
    pub server: Option<String>,
    /// The ranking asked for.
    pub preferred_servers: Vec<String>,
    /// Whether it was a restriction.
    pub preferred_only: bool,
    /// The group asked for.
    pub group: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The server that answered.
    pub served_by: Option<String>,
    /// Why it failed as a whole, for programs.
    pub code: Option<FailureCode>,
    /// Why no server could be tried, for people; null if one was.
    pub message: Option<String>,
    /// Every server there was: the candidates in the order of their turn, then those that were skipped by name. Of a
    /// directed call the one it is for.
    pub candidates: Vec<ExplainedCandidate>,
    /// What was tried, in order.
    pub attempts: Vec<ExplainedAttempt>,
    /// What it is waiting for; null if nothing is under way.
    pub under_way: Option<UnderWay>,
    /// The changes of status it caused, in order.
    pub transitions: Vec<ConnectionEvent>,
    /// Whether some of its events are no longer retained, so that attempts are missing.
    pub incomplete: bool,
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Outcome {
    /// Not yet.
    Running,
    /// A server answered.
    Served,
    /// None did.
    Failed,
    /// The caller went away.
    Cancelled,
}

/// One server and its part in an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedCandidate {
    /// Name of the server.
    pub server: String,
    /// Its status when the invocation began.
    pub status: Status,
    /// What became of it.
    pub verdict: Verdict,
    /// The end of its retry window, if it was skipped for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What became of a server in an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It was tried.
    Tried,
    /// It was a candidate, but it was not its turn, or the memory of it is gone.
    NotTried,
    /// Skipped: its retry window was closed.
    WindowClosed,
    /// Skipped: it is known not to offer the tool.
    LacksTool,
    /// Skipped: the operator disabled it.
    Disabled,
    /// Skipped: it is not in the group asked for.
    NotInGroup,
    /// Skipped: only other servers were asked for.
    NotPreferred,
}

/// One step of the trace, with its place in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainedAttempt {
    /// The step.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// When it ended.
    pub at: String,
    /// Position in the one order of all events (contract §5.4).
    pub seq: u64,
}

/// A step that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// On which server.
    pub server: String,
    /// Which stage.
    pub stage: Stage,
    /// Which attempt of a directed call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When it began.
    pub since: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_documented_shape() {
        let text = concat!(
            r#"{"request_id":"id","started_at":"2026-01-01T00:00:00Z","ended_at":"2026-01-01T00:00:01Z","#,
            r#""method":"tools/call","tool":"add","server":null,"preferred_servers":["a"],"preferred_only":false,"#,
            r#""group":null,"outcome":"served","served_by":"b","code":null,"message":null,"#,
            r#""candidates":[{"server":"a","status":"healthy","verdict":"tried"},"#,
            r#"{"server":"c","status":"degraded","verdict":"window_closed","until":"2026-01-01T00:00:09Z"}],"#,
            r#""attempts":[{"server":"a","stage":"invoke","success":false,"error":"gone","#,
            r#""error_category":"transport_error","duration_ms":2.5,"delivery":"not_sent","#,
            r#""at":"2026-01-01T00:00:00Z","seq":4}],"#,
            r#""under_way":{"server":"b","stage":"invoke","since":"2026-01-01T00:00:00Z"},"#,
            r#""transitions":[],"incomplete":false}"#
        );
        let told: Explanation = serde_json::from_str(text).unwrap();
        assert_eq!(told.attempts[0].attempt.stage, Stage::Invoke);
        assert_eq!(serde_json::to_string(&told).unwrap(), text);
    }
}
