//! The whole story of one invocation, told from what is retained.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mcp_protocol::Method;

use crate::clock::Timestamp;
use crate::event::{ConnectionEvent, CorrelationId, InvocationEvent, Phase};
use crate::name::ServerName;
use crate::plan::{FailureCode, disabled, nobody};
use crate::record::{ServerKey, Status};
use crate::routing::{Choice, Lineup, Selection, Skip, Stood};

/// What an invocation was about and how it ended. While it is under way it shares the choice of candidates
/// with the call itself; afterwards it keeps no more than what is told of it, so that a long memory of calls
/// is not a long memory of tool lists and definitions.
#[derive(Debug)]
pub struct Story {
    /// Identifies the invocation.
    pub request_id: CorrelationId,
    /// The requested method.
    pub method: Method,
    /// What was asked of the candidates.
    pub selection: Arc<Selection>,
    /// When it began.
    pub started_at: Timestamp,
    /// Whether the caller named the one server to call (contract §8.4).
    pub directed: bool,
    /// The tool that is called, by the name its servers know it by.
    pub tool: Option<Arc<str>>,
    choice: Mutex<Option<Arc<Choice>>>,
    told: OnceLock<Told>,
}

/// What is kept of an invocation that has ended.
#[derive(Debug)]
struct Told {
    ending: Ending,
    lineup: Arc<Lineup>,
    /// Positions in it of the servers that lacked the tool.
    lacking: Box<[usize]>,
    nobody: Option<String>,
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
        let (selection, started_at) = (choice.selection.clone(), choice.at);
        let tool = selection.tool.clone();
        let choice = Mutex::new(Some(choice));
        Self { request_id, method, selection, started_at, directed, tool, choice, told: OnceLock::new() }
    }

    /// The same with the tool that is called, where servers are not chosen by it.
    #[must_use]
    pub fn of_tool(self, tool: Option<Arc<str>>) -> Self {
        Self { tool: tool.or(self.tool), ..self }
    }

    /// Says how the invocation ended. The first word counts: an invocation ends once.
    pub fn end(&self, at: Timestamp, outcome: Outcome) {
        let Some(choice) = self.choice.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let nobody = match &outcome {
            Outcome::Failed(FailureCode::NoCandidates) if self.directed => {
                self.selection.preferred.first().map(|name| disabled(name))
            }
            Outcome::Failed(FailureCode::NoCandidates | FailureCode::NoServerOffersTool) => {
                Some(nobody(&choice).1)
            }
            Outcome::Failed(_) | Outcome::Served(_) | Outcome::Abandoned => None,
        };
        // Nobody else gets here: the choice can be taken once.
        let (lineup, lacking) = (choice.lineup().clone(), choice.lacking());
        let _ = self.told.set(Told { ending: Ending { at, outcome }, lineup, lacking, nobody });
    }

    /// Whether it was said how it ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.told.get().is_some()
    }

    /// How it ended; `None` while it is under way.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.told.get().map(|told| &told.ending)
    }

    fn stood(&self) -> Vec<Stood> {
        let choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (choice, self.told.get()) {
            (Some(choice), _) => choice.considered(),
            (None, Some(Told { lineup, lacking, .. })) => {
                let lacks = |at| lacking.binary_search(&at).is_ok();
                lineup.considered(&self.selection, self.started_at, lacks)
            }
            // Between the two: it is just ending.
            (None, None) => Vec::new(),
        }
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
    /// Which registration.
    pub key: ServerKey,
    /// Its status when the invocation began.
    pub status: Status,
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
        let preferred = &self.story.selection.preferred;
        let named = |name: &ServerName| preferred.iter().any(|wanted| name.as_str() == wanted);
        let part = |stood: &Stood| match stood.skip {
            _ if self.steps.iter().any(|step| step.server == stood.key.name) => Part::Tried,
            // The state of the server does not stand in the way of a directed call, but the operator's word does.
            Some(Skip::Disabled) if named(&stood.key.name) => Part::Skipped(Skip::Disabled),
            Some(_) if self.story.directed && named(&stood.key.name) => Part::NotTried,
            Some(_) if self.story.directed => Part::Skipped(Skip::NotPreferred),
            Some(skip) => Part::Skipped(skip),
            None => Part::NotTried,
        };
        let one = |stood: Stood| Considered { part: part(&stood), key: stood.key, status: stood.status };
        let mut all: Vec<_> = self.story.stood().into_iter().map(one).collect();
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
        let candidate = self.story.stood().into_iter().find(|stood| stood.skip.is_none());
        candidate.is_none_or(|candidate| candidate.key.name == *first)
    }

    /// Why no server could be tried, if that is how it ended.
    #[must_use]
    pub fn reason_for_nobody(&self) -> Option<&str> {
        self.story.told.get()?.nobody.as_deref()
    }
}
