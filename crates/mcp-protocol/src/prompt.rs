//! Prompts: message templates a server offers.

use std::collections::BTreeMap;

use crate::content::{ContentBlock, Role};
use crate::json::RawJson;
use crate::resource::Icon;
use crate::structure::structure;

structure! {
    /// A prompt as its server describes it.
    pub struct Prompt {
        /// Its programmatic name.
        req name "name": Box<str>;
        /// Its name for people; since 2025-06-18.
        opt title "title": Box<str>;
        /// What it is for.
        opt description "description": Box<str>;
        /// What it can be filled with.
        opt arguments "arguments": Vec<PromptArgument>;
        /// Pictures; since 2025-11-25.
        opt icons "icons": Vec<Icon>;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// One argument of a prompt.
    pub struct PromptArgument {
        /// Its programmatic name.
        req name "name": Box<str>;
        /// Its name for people; since 2025-06-18.
        opt title "title": Box<str>;
        /// What it is for.
        opt description "description": Box<str>;
        /// Whether it must be given.
        opt required "required": bool;
    }
}

structure! {
    /// One message of a filled prompt.
    pub struct PromptMessage {
        /// Who says it.
        req role "role": Role;
        /// What is said.
        req content "content": ContentBlock;
    }
}

structure! {
    /// What `prompts/get` asks for.
    pub struct GetPromptParams {
        /// The prompt.
        req name "name": Box<str>;
        /// Its arguments: strings only.
        opt arguments "arguments": BTreeMap<Box<str>, Box<str>>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `prompts/get` answers.
    pub struct GetPromptResult {
        /// What the prompt is for.
        opt description "description": Box<str>;
        /// The messages.
        req messages "messages": Vec<PromptMessage>;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}
