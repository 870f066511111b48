//! The story of one invocation: `GET /invocations/{request_id}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use mcp_api_types as api;
use mcp_registry::{Considered, Explanation, InvocationEvent, Outcome, Part, Phase, Selection, Skip, Story};

use crate::convert;
use crate::error::ApiError;
use crate::state::ApiState;

/// `GET /invocations/{request_id}`
pub(crate) async fn explain(
    State(state): State<ApiState>,
    request_id: Result<Path<String>, PathRejection>,
) -> Result<Json<api::Explanation>, ApiError> {
    // What is no text is no id either.
    let told = request_id.ok().and_then(|Path(id)| state.manager().journal().explain(&id));
    Ok(Json(body(told.ok_or(ApiError::UnknownInvocation)?)))
}

fn body(told: Explanation) -> api::Explanation {
    let story = told.story.clone();
    let Selection { preferred, preferred_only, group, .. } = &*story.selection;
    let ending = story.ending();
    let (outcome, served_by, code) = match ending.map(|ending| &ending.outcome) {
        None => (api::Outcome::Running, None, None),
        Some(Outcome::Served(server)) => (api::Outcome::Served, Some(server.to_string()), None),
        Some(Outcome::Failed(code)) => (api::Outcome::Failed, None, Some(convert::failure_code(*code))),
        Some(Outcome::Abandoned) => (api::Outcome::Cancelled, None, None),
    };
    // A directed call is a selection of one server; told as what it was.
    let (server, preferred_servers) = match story.directed {
        true => (preferred.first().cloned(), Vec::new()),
        false => (None, preferred.clone()),
    };
    api::Explanation {
        request_id: story.request_id.to_string(),
        started_at: story.started_at.to_string(),
        ended_at: ending.map(|ending| ending.at.to_string()),
        method: story.method.as_str().to_owned(),
        tool: story.tool.as_deref().map(str::to_owned),
        server,
        preferred_servers,
        preferred_only: *preferred_only && !story.directed,
        group: group.clone(),
        outcome,
        served_by,
        code,
        message: told.reason_for_nobody().map(str::to_owned),
        candidates: told
            .considered()
            .into_iter()
            .filter(|considered| !story.directed || is_addressed(&story, considered))
            .map(|considered| candidate(&considered))
            .collect(),
        attempts: told.steps.iter().filter_map(attempt).collect(),
        under_way: told.steps.last().and_then(under_way),
        incomplete: told.is_truncated(),
        transitions: told.transitions.into_iter().map(convert::connection_event).collect(),
    }
}

fn is_addressed(story: &Story, considered: &Considered) -> bool {
    story.selection.preferred.iter().any(|name| name == considered.key.name.as_str())
}

fn candidate(considered: &Considered) -> api::ExplainedCandidate {
    let mut until = None;
    let verdict = match considered.part {
        Part::Tried => api::Verdict::Tried,
        Part::NotTried => api::Verdict::NotTried,
        Part::Skipped(Skip::Disabled) => api::Verdict::Disabled,
        Part::Skipped(Skip::NotInGroup) => api::Verdict::NotInGroup,
        Part::Skipped(Skip::NotPreferred) => api::Verdict::NotPreferred,
        Part::Skipped(Skip::LacksTool) => api::Verdict::LacksTool,
        Part::Skipped(Skip::WindowClosed(at)) => {
            until = Some(at.to_string());
            api::Verdict::WindowClosed
        }
    };
    let (server, status) = (considered.key.name.to_string(), convert::status(considered.status));
    api::ExplainedCandidate { server, status, verdict, until }
}

fn stage(phase: Phase) -> api::Stage {
    match phase {
        Phase::InitializeStart | Phase::InitializeSuccess | Phase::InitializeFailure => {
            api::Stage::Initialize
        }
        Phase::InvokeStart | Phase::InvokeSuccess | Phase::InvokeFailure => api::Stage::Invoke,
    }
}

/// The entry of the trace that a step ends.
fn attempt(step: &InvocationEvent) -> Option<api::ExplainedAttempt> {
    if is_start(step) {
        return None;
    }
    let attempt = api::Attempt {
        server: step.server.to_string(),
        stage: stage(step.phase),
        success: step.failure.is_none(),
        error: step.failure.as_ref().map(|failure| failure.text.to_string()),
        error_category: step.failure.as_ref().map(|failure| convert::category(failure.category)),
        attempt: step.attempt,
        duration_ms: step.duration.map(convert::millis),
        delivery: step.delivery.map(convert::delivery),
    };
    Some(api::ExplainedAttempt { attempt, at: step.timestamp.to_string(), seq: step.seq })
}

/// What the last step tells if it has not ended.
fn under_way(step: &InvocationEvent) -> Option<api::UnderWay> {
    is_start(step).then(|| api::UnderWay {
        server: step.server.to_string(),
        stage: stage(step.phase),
        attempt: step.attempt,
        since: step.timestamp.to_string(),
    })
}

fn is_start(step: &InvocationEvent) -> bool {
    matches!(step.phase, Phase::InitializeStart | Phase::InvokeStart)
}
