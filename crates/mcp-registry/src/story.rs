//! The whole story of one invocation, told from what is retained.

use std::sync::{Arc, OnceLock};

use mcp_protocol::Method;

use crate::clock::Timestamp;
use crate::event::{ConnectionEvent, CorrelationId, InvocationEvent, Phase};
use crate::name::ServerName;
use crate::plan::{FailureCode, nobody};
use crate::record::ServerRecord;
use crate::routing::{Choice, Skip};

/// What an invocation was about and how it ended. Keeping it costs the call no copy: the choice of
/// candidates is the one the call itself uses.
#[derive(Debug)]
pub struct Story {
    /// Identifies the invocation.
    pub request_id: CorrelationId,
    /// The requested method.
    pub method: Method,
    /// What the candidates were chosen from and by.
    pub choice: Arc<Choice>,
    /// Whether the caller named the one server to call (contract §8.4).
    pub directed: bool,
    ending: OnceLock<Ending>,
}

/// When and how an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This server answered.
    Served(ServerName),
    /// The caller got an error.
    Failed(FailureCode),
    /// The caller left before the end.
    Abandoned,
}

impl Story {
    /// The story of an invocation that begins.
    #[must_use]
    pub fn new(request_id: CorrelationId, method: Method, choice: Arc<Choice>, directed: bool) -> Self {
        Self { request_id, method, choice, directed, ending: OnceLock::new() }
    }

    /// Says how the invocation ended. The first word counts: an invocation ends once.
    pub fn end(&self, at: Timestamp, outcome: Outcome) {
        // A second ending would be a fault of the caller of this function; the first one was told already.
        let _ = self.ending.set(Ending { at, outcome });
    }

    /// How it ended; `None` while it is under way.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }
}

/// Everything that is retained of one invocation.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What it was about and how it ended.
    pub story: Arc<Story>,
    /// Its steps, oldest first.
    pub steps: Vec<InvocationEvent>,
    /// The status changes it caused, oldest first.
    pub transitions: Vec<ConnectionEvent>,
}

/// The part one server had in an invocation.
#[derive(Debug, Clone)]
pub struct Considered {
    /// The server as it was when the invocation began.
    pub server: Arc<ServerRecord>,
    /// What became of it.
    pub part: Part,
}

/// What became of a server in an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It was tried.
    Tried,
    /// It was a candidate, but its turn did not come, or the memory of it is gone.
    NotTried,
    /// It was passed over.
    Skipped(Skip),
}

impl Explanation {
    pub(crate) fn new(
        story: Arc<Story>,
        steps: Vec<InvocationEvent>,
        transitions: Vec<ConnectionEvent>,
    ) -> Self {
        Self { story, steps, transitions }
    }

    /// Every server there was with its part: the candidates in the order of their turn, then those passed
    /// over by name. In a directed call the server named is the only candidate, whatever its state.
    #[must_use]
    pub fn considered(&self) -> Vec<Considered> {
        let choice = &self.story.choice;
        let named =
            |server: &ServerRecord| choice.selection.preferred.iter().any(|n| server.name().as_str() == n);
        let part = |server: &ServerRecord, skip| match skip {
            _ if self.steps.iter().any(|step| step.server == *server.name()) => Part::Tried,
            Some(_) if self.story.directed && named(server) => Part::NotTried,
            Some(_) if self.story.directed => Part::Skipped(Skip::NotPreferred),
            Some(skip) => Part::Skipped(skip),
            None => Part::NotTried,
        };
        let all = choice.considered().into_iter();
        let mut all: Vec<_> =
            all.map(|(server, skip)| Considered { part: part(&server, skip), server }).collect();
        // Stable: who was tried although the list says otherwise comes first.
        all.sort_by_key(|considered| matches!(considered.part, Part::Skipped(_)));
        all
    }

    /// Whether the oldest steps are not retained any more.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        match self.steps.first() {
            Some(first) => {
                first.phase != Phase::InitializeStart
                    || (!self.story.directed && !self.begins_with_the_first_candidate(&first.server))
            }
            // A served call has steps; a failed one without any had no candidate.
            None => match self.story.ending() {
                Some(Ending { outcome: Outcome::Failed(code), .. }) => !matches!(
                    code,
                    FailureCode::NoCandidates | FailureCode::NoServerOffersTool | FailureCode::ShuttingDown
                ),
                Some(_) => true,
                None => false,
            },
        }
    }

    fn begins_with_the_first_candidate(&self, first: &ServerName) -> bool {
        let candidates = crate::routing::Candidates::of(self.story.choice.clone());
        candidates.map(|candidate| candidate.name() == first).next().unwrap_or(true)
    }

    /// Why no server could be tried, if that is how it ended.
    #[must_use]
    pub fn reason_for_nobody(&self) -> Option<String> {
        let ended_without = matches!(
            self.story.ending(),
            Some(Ending {
                outcome: Outcome::Failed(FailureCode::NoCandidates | FailureCode::NoServerOffersTool),
                ..
            })
        );
        (ended_without && !self.story.directed).then(|| nobody(&self.story.choice).1)
    }
}
