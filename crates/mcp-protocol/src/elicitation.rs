//! Elicitation: a server asks the person. Source: wire reference §2.8.

use crate::json::RawJson;
use crate::structure::{structure, words};
use crate::task::TaskMetadata;

words! {
    /// How the person is asked.
    pub open enum ElicitMode {
        /// A form to fill in; also what a missing mode means.
        Form "form",
        /// A page to open; since 2025-11-25.
        Url "url",
    }
}

structure! {
    /// What `elicitation/create` asks for.
    pub struct ElicitParams {
        /// How to ask; 2025-06-18 has no such member. See [`ElicitParams::mode`].
        opt mode "mode": ElicitMode;
        /// What the person is told.
        req message "message": Box<str>;
        /// Form only: a flat JSON Schema of the answer, byte for byte.
        opt requested_schema "requestedSchema": RawJson;
        /// Page only: where it is.
        opt url "url": Box<str>;
        /// Page only: names the elicitation; 2025-11-25 only, where it is required.
        opt elicitation_id "elicitationId": Box<str>;
        /// The wish to run as a task; 2025-11-25 only.
        opt task "task": TaskMetadata;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

impl ElicitParams {
    /// How to ask: a missing mode means a form.
    #[must_use]
    pub fn mode(&self) -> ElicitMode {
        self.mode.clone().unwrap_or(ElicitMode::Form)
    }
}

words! {
    /// What the person did.
    pub enum ElicitAction {
        /// Agreed. For a page this means it may be opened, not that it was completed.
        Accept "accept",
        /// Said no.
        Decline "decline",
        /// Did not decide.
        Cancel "cancel",
    }
}

structure! {
    /// What `elicitation/create` answers.
    pub struct ElicitResult {
        /// What the person did.
        req action "action": ElicitAction;
        /// The answers, an object; accepted forms only.
        opt content "content": RawJson;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `notifications/elicitation/complete` says; 2025-11-25 only.
    pub struct ElicitationCompleteParams {
        /// The elicitation whose page was completed.
        req elicitation_id "elicitationId": Box<str>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}
