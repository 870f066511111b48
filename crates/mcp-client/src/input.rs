//! Answering what a stateless server asks before it goes on. Source: wire reference §3.5.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use mcp_protocol::ProtocolVersion;
use mcp_protocol::result::{InputRequired, Retry};

use crate::answer::Answer;
use crate::call::Outgoing;
use crate::error::CallError;
use crate::handler::Asked;
use crate::link::Link;
use crate::stats::count;

/// Most times one call is sent again with answers. Source: reliability document §6.
const MAX_ROUNDS: u32 = 10;
/// Most questions at once.
const MAX_QUESTIONS: usize = 32;
/// Longest state of the server that is sent back, in bytes as it came.
const MAX_STATE: usize = 64 << 10;
/// Pause before a call is sent again that asked for nothing but patience: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The request with everything answered that `answer` asks for. `round` counts from 1.
pub(crate) async fn answered(
    link: &Arc<Link>,
    request: Outgoing,
    answer: &Answer,
    round: u32,
) -> Result<Outgoing, CallError> {
    let invalid = |reason: String| CallError::unusable(reason, answer.frame.clone());
    if round > MAX_ROUNDS {
        return Err(invalid(format!("the server asked for input more than {MAX_ROUNDS} times")));
    }
    let asked = InputRequired::read(&answer.result).map_err(|error| invalid(error.to_string()))?;
    if asked.requests.len() > MAX_QUESTIONS {
        return Err(invalid(format!("the server asked more than {MAX_QUESTIONS} questions at once")));
    }
    if asked.state.as_ref().is_some_and(|state| state.as_bytes().len() > MAX_STATE) {
        return Err(invalid(format!("the requestState is longer than {MAX_STATE} bytes")));
    }
    if asked.requests.is_empty() {
        let pause = PAUSES.0.saturating_mul(1 << (round - 1).min(10)).min(PAUSES.1);
        tokio::time::sleep(pause).await;
    }
    let version = link.version().unwrap_or(ProtocolVersion::LATEST_STATELESS);
    let answers = asked.requests.into_iter().map(async |question| {
        count(&link.counters.questions);
        let method = question.method.clone();
        let asked = match &request.asker {
            Some(asker) => Some(Asked {
                handler: &asker.handler,
                capabilities: request.capabilities.as_ref().unwrap_or(&link.host.capabilities),
            }),
            None => link.host.own(),
        };
        match link.host.answer(asked, question.method, question.params, version).await {
            Ok(result) => Ok((question.key, result)),
            Err(error) => Err(CallError::Unanswered { method, error }),
        }
    });
    let answers = tokio::select! {
        biased;
        reason = link.aborted.wait() => return Err(CallError::Transport(reason)),
        answers = try_join_all(answers) => answers?,
    };
    let retry = Retry { responses: answers, state: asked.state };
    let params = retry.stamp(request.params.as_ref());
    let params = params.map_err(|error| CallError::malformed(format!("params: {error}")))?;
    Ok(Outgoing { params: Some(params), ..request })
}
