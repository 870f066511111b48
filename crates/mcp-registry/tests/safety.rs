//! Contract §2.5: whether a call may be repeated.

use mcp_protocol::Method;
use mcp_registry::{CallSafety, KnownTool, ToolHints};

use crate::support::Core;

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

/// Safety of a call of `tool` on a server whose tool of that name has these hints.
fn safety(
    trusted: bool,
    hints: Option<ToolHints>,
    idempotent: Option<bool>,
    tool: Option<&str>,
) -> CallSafety {
    let mut core = Core::new(&[], |_| {});
    core.add("a", |definition| definition.trust_annotations = trusted);
    if let Some(hints) = hints {
        let known = [("tool".into(), KnownTool { listed: None, hints })].into();
        core.registry.tools_listed(core.now, &core.key("a"), known);
    }
    let record = core.record("a");
    let hints = tool.and_then(|tool| record.tool_hints(tool));
    CallSafety::of(&Method::ToolsCall, idempotent, hints, record.definition.trust_annotations)
}

#[test]
fn hints_permit_where_they_are_trusted_and_forbid_everywhere() {
    use CallSafety::{Safe, Unknown, Unsafe};
    for (read_only, idempotent, destructive, trusted, untrusted) in [
        (None, None, None, Unknown, Unknown),
        (YES, None, None, Safe, Unknown),
        (None, YES, None, Safe, Unknown),
        (NO, YES, None, Safe, Unknown),
        (YES, NO, YES, Safe, Unknown),
        (NO, NO, YES, Unsafe, Unsafe),
        (None, NO, YES, Unknown, Unknown),
        (NO, None, YES, Unknown, Unknown),
        (NO, NO, None, Unknown, Unknown),
        (NO, NO, NO, Unknown, Unknown),
        (NO, YES, YES, Safe, Unknown),
    ] {
        let hints = ToolHints { read_only, idempotent, destructive };
        assert_eq!(safety(true, Some(hints), None, Some("tool")), trusted, "trusted {hints:?}");
        assert_eq!(safety(false, Some(hints), None, Some("tool")), untrusted, "untrusted {hints:?}");
    }
}

#[test]
fn the_callers_word_beats_the_tools() {
    let harmless = ToolHints { read_only: YES, ..ToolHints::default() };
    let harmful = ToolHints { read_only: NO, idempotent: NO, destructive: YES };
    for hints in [None, Some(harmless), Some(harmful)] {
        assert_eq!(safety(true, hints, YES, Some("tool")), CallSafety::Safe, "{hints:?}");
        assert_eq!(safety(true, hints, NO, Some("tool")), CallSafety::Unsafe, "{hints:?}");
    }
}

#[test]
fn nothing_is_known_of_an_unknown_tool() {
    let harmless = Some(ToolHints { read_only: YES, ..ToolHints::default() });
    assert_eq!(safety(true, None, None, Some("tool")), CallSafety::Unknown, "the tools are unknown");
    assert_eq!(safety(true, harmless, None, Some("Tool")), CallSafety::Unknown, "another tool");
    assert_eq!(safety(true, harmless, None, None), CallSafety::Unknown, "no tool is named");
}

#[test]
fn reading_is_safe_whatever_the_caller_says_and_an_unknown_method_only_by_its_word() {
    let of = |method: &str, idempotent| CallSafety::of(&method.into(), idempotent, None, true);
    for method in ["resources/read", "tools/list", "server/discover", "ping", "initialize"] {
        for idempotent in [None, YES, NO] {
            assert_eq!(of(method, idempotent), CallSafety::Safe, "{method} {idempotent:?}");
        }
    }
    for (idempotent, expected) in
        [(None, CallSafety::Unsafe), (NO, CallSafety::Unsafe), (YES, CallSafety::Safe)]
    {
        assert_eq!(of("vendor/launch", idempotent), expected, "{idempotent:?}");
    }
}
