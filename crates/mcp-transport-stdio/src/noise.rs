//! How much output that is no message a server may print on stdout.

use mcp_protocol::{InvalidJson, ParseError, ParseErrorKind};

use crate::foreign::Foreign;

/// Longest piece of foreign output in an error text, in characters.
const SAMPLE_CHARS: usize = 200;

/// Counts lines that are no message since the last message.
///
/// Banners and stray debug prints are common and harmless, so a message starts the count afresh. A program
/// that prints line after line without one message in between does not speak MCP.
#[derive(Debug)]
pub(crate) struct Noise {
    max_lines: u32,
    max_bytes: u64,
    lines: u32,
    bytes: u64,
    first: String,
}

impl Noise {
    pub(crate) fn new(max_lines: u32, max_bytes: u64) -> Self {
        Self { max_lines, max_bytes, lines: 0, bytes: 0, first: String::new() }
    }

    /// A message came.
    pub(crate) fn reset(&mut self) {
        (self.lines, self.bytes) = (0, 0);
    }

    /// A line came that is none. `Err` with a description once there are too many.
    pub(crate) fn add(&mut self, line: &[u8], foreign: &Foreign) -> Result<(), String> {
        if self.lines == 0 {
            self.first = foreign.line(line, SAMPLE_CHARS);
        }
        self.lines = self.lines.saturating_add(1);
        self.bytes = self.bytes.saturating_add(line.len() as u64);
        if self.lines < self.max_lines && self.bytes < self.max_bytes {
            return Ok(());
        }
        let lines = if self.lines == 1 { "line" } else { "lines" };
        Err(format!("{} {lines} of other output on stdout, first: {}", self.lines, self.first))
    }
}

/// Whether a line was never meant as a message, as opposed to a message with a mistake in it.
///
/// Text that is no JSON object is none. Neither is an object without `"jsonrpc": "2.0"`, such as a line of
/// a structured log, unless it has an `id`.
pub(crate) fn is_noise(error: &ParseError) -> bool {
    match &error.kind {
        ParseErrorKind::Json(InvalidJson::Syntax { .. } | InvalidJson::NotAnObject { .. }) => true,
        ParseErrorKind::Version => error.id.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mcp_protocol::{Limits, Payload};

    use super::*;

    #[test]
    fn either_limit_ends_the_patience_and_a_message_restores_it() {
        let foreign = Foreign::default();
        let mut noise = Noise::new(3, 10);
        assert!(noise.add(b"old", &foreign).is_ok());
        assert!(noise.add(b"old", &foreign).is_ok());
        noise.reset();
        assert!(noise.add(b"a", &foreign).is_ok());
        assert!(noise.add(b"b", &foreign).is_ok());
        assert_eq!(noise.add(b"c", &foreign).unwrap_err(), "3 lines of other output on stdout, first: a");
        noise.reset();
        assert!(noise.add(b"123456789", &foreign).is_ok());
        assert!(noise.add(b"1", &foreign).is_err());
        noise.reset();
        assert_eq!(
            noise.add(b"a long line", &foreign).unwrap_err(),
            "1 line of other output on stdout, first: a long line"
        );
    }

    #[test]
    fn messages_with_a_mistake_are_no_noise() {
        for (text, expected) in [
            ("Server listening", true),
            ("{'a': 1}", true),
            ("true", true),
            (r#"{"level":30,"msg":"started"}"#, true),
            (r#"{"id":1,"result":{}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1}"#, false),
            (r#"{"jsonrpc":"2.0","method":1}"#, false),
            (r#"{"jsonrpc":"2.0","method":"x","method":"y"}"#, false),
            ("[]", false),
        ] {
            let error = Payload::parse(&Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap_err();
            assert_eq!(is_noise(&error), expected, "{text}: {error}");
        }
    }
}
