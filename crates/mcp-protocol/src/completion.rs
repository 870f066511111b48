//! Argument completion: `completion/complete`.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::json::RawJson;
use crate::number::Number;
use crate::structure::structure;

/// Most values one answer may hold. Source: schema, `CompleteResult`.
pub const MAX_VALUES: usize = 100;

structure! {
    /// Names a prompt.
    pub struct PromptReference ("type" = "ref/prompt") {
        /// The prompt.
        req name "name": Box<str>;
        /// Its name for people; since 2025-06-18.
        opt title "title": Box<str>;
    }
}

structure! {
    /// Names a resource or a resource template.
    pub struct ResourceReference ("type" = "ref/resource") {
        /// A URI or a URI template.
        req uri "uri": Box<str>;
    }
}

/// What is being completed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reference {
    /// An argument of a prompt.
    Prompt(PromptReference),
    /// A variable of a resource template.
    Resource(ResourceReference),
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Prompt(reference) => reference.serialize(serializer),
            Self::Resource(reference) => reference.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        let kind = raw.get("type").and_then(|kind| kind.to::<Box<str>>().ok());
        match kind.as_deref() {
            Some("ref/prompt") => raw.to().map(Self::Prompt).map_err(D::Error::custom),
            Some("ref/resource") => raw.to().map(Self::Resource).map_err(D::Error::custom),
            _ => Err(D::Error::custom("a reference must be of type \"ref/prompt\" or \"ref/resource\"")),
        }
    }
}

structure! {
    /// The argument being typed.
    pub struct CompleteArgument {
        /// Its name.
        req name "name": Box<str>;
        /// What was typed so far.
        req value "value": Box<str>;
    }
}

structure! {
    /// What is already known; since 2025-06-18.
    pub struct CompleteContext {
        /// Arguments that were filled before.
        opt arguments "arguments": BTreeMap<Box<str>, Box<str>>;
    }
}

structure! {
    /// What `completion/complete` asks for.
    pub struct CompleteParams {
        /// What is being completed.
        req reference "ref": Reference;
        /// The argument being typed.
        req argument "argument": CompleteArgument;
        /// What is already known; since 2025-06-18.
        opt context "context": CompleteContext;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// The proposals.
    pub struct Completion {
        /// At most [`MAX_VALUES`] proposals.
        req values "values": Vec<Box<str>>;
        /// How many there are in all.
        opt total "total": Number;
        /// Whether there are more.
        opt has_more "hasMore": bool;
    }
}

structure! {
    /// What `completion/complete` answers.
    pub struct CompleteResult {
        /// The proposals.
        req completion "completion": Completion;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}
