//! Tools: what `tools/list` describes and `tools/call` runs.

use crate::content::ContentBlock;
use crate::json::RawJson;
use crate::resource::Icon;
use crate::structure::{structure, words};
use crate::task::TaskMetadata;

structure! {
    /// A tool as its server describes it.
    pub struct Tool {
        /// Its programmatic name.
        req name "name": Box<str>;
        /// Its name for people; since 2025-06-18. See [`Tool::display_name`].
        opt title "title": Box<str>;
        /// What it does, for models.
        opt description "description": Box<str>;
        /// JSON Schema of its arguments, byte for byte.
        req input_schema "inputSchema": RawJson;
        /// JSON Schema of its structured result, byte for byte; since 2025-06-18.
        opt output_schema "outputSchema": RawJson;
        /// Hints on its behaviour; since 2025-03-26.
        opt annotations "annotations": ToolAnnotations;
        /// How it may be run; 2025-11-25 only.
        opt execution "execution": ToolExecution;
        /// Pictures; since 2025-11-25.
        opt icons "icons": Vec<Icon>;
        /// Metadata; since 2025-06-18.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What a server claims about a tool. Hints, never guarantees.
    pub struct ToolAnnotations {
        /// A name for people, older than [`Tool::title`].
        opt title "title": Box<str>;
        /// It changes nothing.
        opt read_only_hint "readOnlyHint": bool;
        /// It may destroy something.
        opt destructive_hint "destructiveHint": bool;
        /// Calling it twice with the same arguments does no more than calling it once.
        opt idempotent_hint "idempotentHint": bool;
        /// It talks to the world outside.
        opt open_world_hint "openWorldHint": bool;
    }
}

words! {
    /// Whether a tool may run as a task.
    pub open enum TaskSupport {
        /// Never; what a tool that says nothing means.
        Forbidden "forbidden",
        /// If the caller wishes.
        Optional "optional",
        /// Only so.
        Required "required",
    }
}

structure! {
    /// How a tool may be run; 2025-11-25 only.
    pub struct ToolExecution {
        /// Whether as a task.
        opt task_support "taskSupport": TaskSupport;
    }
}

impl Tool {
    /// The name to show: `title`, else the title among the annotations, else `name`.
    /// Source: wire reference §2.4.
    #[must_use]
    pub fn display_name(&self) -> &str {
        let annotated = || self.annotations.as_ref().and_then(|annotations| annotations.title.as_deref());
        self.title.as_deref().or_else(annotated).unwrap_or(&self.name)
    }

    /// Whether the tool may run as a task (2025-11-25).
    #[must_use]
    pub fn task_support(&self) -> TaskSupport {
        let said = self.execution.as_ref().and_then(|execution| execution.task_support.clone());
        said.unwrap_or(TaskSupport::Forbidden)
    }

    /// Whether its annotations say that repeating a call does no harm.
    #[must_use]
    pub fn claims_repeatable(&self) -> bool {
        let hints = self.annotations.as_ref();
        hints.is_some_and(|hints| hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true))
    }
}

/// Whether a tool name is as the specification recommends: 1 to 128 of `[A-Za-z0-9_.-]`.
///
/// A recommendation only: peers use other names, and those work.
#[must_use]
pub fn is_recommended_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

structure! {
    /// What `tools/call` asks for.
    pub struct CallToolParams {
        /// The tool.
        req name "name": Box<str>;
        /// Its arguments, an object.
        opt arguments "arguments": RawJson;
        /// The wish to run as a task; 2025-11-25 only.
        opt task "task": TaskMetadata;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

structure! {
    /// What `tools/call` answers.
    pub struct CallToolResult {
        /// What the tool says.
        req content "content": Vec<ContentBlock>;
        /// The same as data: an object until 2025-11-25, any JSON from 2026-07-28 on, `null` included.
        any structured_content "structuredContent": RawJson;
        /// Whether the tool failed. See [`CallToolResult::failed`].
        opt is_error "isError": bool;
        /// Metadata.
        opt meta "_meta": RawJson;
    }
}

impl CallToolResult {
    /// Whether the tool failed: a missing `isError` means it did not.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.is_error == Some(true)
    }
}

/// Whether the bytes of a `tools/call` result say that the tool failed, without reading its content.
#[must_use]
pub fn result_failed(result: &RawJson) -> bool {
    result.get("isError").is_some_and(|flag| flag.as_str() == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_display_name_prefers_the_title() {
        let mut tool = Tool::new("name", RawJson::empty_object());
        assert_eq!(tool.display_name(), "name");
        let mut annotations = ToolAnnotations::new();
        annotations.title = Some("annotated".into());
        tool.annotations = Some(annotations);
        assert_eq!(tool.display_name(), "annotated");
        tool.title = Some("title".into());
        assert_eq!(tool.display_name(), "title");
    }

    #[test]
    fn recommended_names() {
        let long = "a".repeat(128);
        for name in ["a", "get_weather", "ns.tool-1", &*long] {
            assert!(is_recommended_name(name), "{name}");
        }
        let longer = "a".repeat(129);
        for name in ["", "a b", "ü", "a/b", &*longer] {
            assert!(!is_recommended_name(name), "{name}");
        }
    }

    #[test]
    fn hints_and_failure_default_to_no() {
        let tool: Tool = serde_json::from_str(
            r#"{"name":"a","inputSchema":{},"annotations":{"idempotentHint":true},"execution":{"taskSupport":"optional"}}"#,
        )
        .unwrap();
        assert!(tool.claims_repeatable());
        assert_eq!(tool.task_support(), TaskSupport::Optional);
        let plain = Tool::new("a", RawJson::empty_object());
        assert!(!plain.claims_repeatable());
        assert_eq!(plain.task_support(), TaskSupport::Forbidden);
        for (text, failed) in [
            (r#"{"content":[]}"#, false),
            (r#"{"isError": true,"content":[]}"#, true),
            (r#"{"content":[],"isError":false}"#, false),
        ] {
            let raw = RawJson::parse(text, &crate::Limits::default()).unwrap();
            assert_eq!(result_failed(&raw), failed, "{text}");
            assert_eq!(raw.to::<CallToolResult>().unwrap().failed(), failed, "{text}");
        }
    }
}
