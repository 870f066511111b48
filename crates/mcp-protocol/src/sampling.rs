//! Sampling: a server asks for a model's answer. Source: wire reference §2.7.

use crate::content::{OneOrMany, Role};
use crate::json::RawJson;
use crate::number::Number;
use crate::structure::{structure, words};
use crate::task::TaskMetadata;
use crate::tool::Tool;

structure! {
    /// One message of a conversation.
    pub struct SamplingMessage {
        /// Who says it.
        req role "role": Role;
        /// What is said.
        req content "content": OneOrMany;
        /// Metadata; since 2025-11-25.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// A model the server would like.
    pub struct ModelHint {
        /// A name, or a part of one.
        opt name "name": Box<str>;
    }
}

structure! {
    /// What matters in the choice of the model; weights from 0 to 1.
    pub struct ModelPreferences {
        /// Models, best first.
        opt hints "hints": Vec<ModelHint>;
        /// Weight of the price.
        opt cost_priority "costPriority": Number;
        /// Weight of the speed.
        opt speed_priority "speedPriority": Number;
        /// Weight of the capability.
        opt intelligence_priority "intelligencePriority": Number;
    }
}

words! {
    /// Which servers' context to include. Everything but `none` is deprecated.
    pub open enum IncludeContext {
        /// None.
        None "none",
        /// That of the asking server.
        ThisServer "thisServer",
        /// That of all servers.
        AllServers "allServers",
    }
}

words! {
    /// Whether the model may or must use tools.
    pub open enum ToolChoiceMode {
        /// As it likes; also what a missing mode means.
        Auto "auto",
        /// At least one.
        Required "required",
        /// None.
        None "none",
    }
}

structure! {
    /// How the model may use tools; since 2025-11-25.
    pub struct ToolChoice {
        /// Whether it may or must.
        opt mode "mode": ToolChoiceMode;
    }
}

structure! {
    /// What `sampling/createMessage` asks for.
    pub struct CreateMessageParams {
        /// The conversation so far.
        req messages "messages": Vec<SamplingMessage>;
        /// Most tokens to produce.
        req max_tokens "maxTokens": Number;
        /// Instructions to the model.
        opt system_prompt "systemPrompt": Box<str>;
        /// What matters in the choice of the model.
        opt model_preferences "modelPreferences": ModelPreferences;
        /// Which context to include.
        opt include_context "includeContext": IncludeContext;
        /// Randomness.
        opt temperature "temperature": Number;
        /// Texts that end the answer.
        opt stop_sequences "stopSequences": Vec<Box<str>>;
        /// Data for the model's provider.
        opt metadata "metadata": RawJson;
        /// Tools the model may use; since 2025-11-25.
        opt tools "tools": Vec<Tool>;
        /// How it may use them; since 2025-11-25.
        opt tool_choice "toolChoice": ToolChoice;
        /// The wish to run as a task; 2025-11-25 only.
        opt task "task": TaskMetadata;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

words! {
    /// Why the model stopped.
    pub open enum StopReason {
        /// It had said everything.
        EndTurn "endTurn",
        /// It met a stop sequence.
        StopSequence "stopSequence",
        /// It ran out of tokens.
        MaxTokens "maxTokens",
        /// It wants to use a tool; since 2025-11-25.
        ToolUse "toolUse",
    }
}

structure! {
    /// What `sampling/createMessage` answers.
    pub struct CreateMessageResult {
        /// Who says it.
        req role "role": Role;
        /// What is said.
        req content "content": OneOrMany;
        /// The model that was used.
        req model "model": Box<str>;
        /// Why it stopped.
        opt stop_reason "stopReason": StopReason;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}
