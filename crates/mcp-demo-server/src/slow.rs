//! The tool `slow`: equal steps, progress at the end of each.

use std::time::Duration;

use mcp_protocol::progress::ProgressToken;
use mcp_protocol::{Method, Notification, ProtocolVersion};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use crate::answer::{Answer, Outcome, raw};
use crate::demo::Turn;

/// Longest time it takes.
const LONGEST: Duration = Duration::from_secs(600);

/// Its arguments.
#[derive(Deserialize)]
pub(crate) struct Pace {
    ms: Option<u64>,
    seconds: Option<f64>,
    steps: Option<u32>,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Slow {
    started: Instant,
    total: Duration,
    steps: u32,
}

/// Encoded without a detour over numbers, so that the token comes back as it was spelled.
#[derive(Serialize)]
struct Progress<'a> {
    #[serde(rename = "progressToken")]
    token: &'a ProgressToken,
    progress: u32,
    total: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Slow {
    /// A call that begins now.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    pub(crate) fn of(pace: &Pace) -> Result<Self, String> {
        let total = match (pace.ms, pace.seconds) {
            (Some(ms), _) => Duration::from_millis(ms),
            (None, Some(seconds)) => {
                Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?
            }
            (None, None) => Duration::from_secs(1),
        };
        let steps = pace.steps.unwrap_or(5);
        if total > LONGEST || !(1..=1000).contains(&steps) {
            return Err(format!("at most {LONGEST:?}, in 1 to 1000 steps"));
        }
        Ok(Self { started: Instant::now(), total, steps })
    }

    /// Takes its time.
    pub(crate) async fn run(self, turn: Turn) -> Outcome {
        for step in 1..=self.steps {
            let share = f64::from(step) / f64::from(self.steps);
            sleep_until(self.started + self.total.mul_f64(share)).await;
            if let Some(token) = &turn.caller.progress_token {
                let message = turn
                    .caller
                    .since(ProtocolVersion::V2025_03_26)
                    .then(|| format!("step {step} of {}", self.steps));
                let params = raw(&Progress { token, progress: step, total: self.steps, message });
                turn.outlet.notify(Notification { method: Method::Progress, params: Some(params) });
            }
        }
        Ok(Answer::text(format!("took {:?}", self.total)))
    }
}
