//! Finding the members of an object whose text is known to be valid JSON.

use std::ops::Range;

use crate::limits::end_of_string;

/// The top-level members of an object, in order: where the name as written (with its quotes) and the value are.
///
/// A parser has accepted the text before, so this only looks for the ends of strings and brackets. That
/// is several times faster than a second parse. On text that is no valid object it ends early, and
/// never panics.
pub(crate) struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// `text` is one JSON object.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let at = text.iter().position(|&byte| byte == b'{').map_or(text.len(), |at| at + 1);
        Self { text, at }
    }

    fn skip(&mut self, also: u8) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|&&byte| is_space(byte) || byte == also).count();
    }
}

impl Iterator for Walk<'_> {
    type Item = (Range<usize>, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.text;
        self.skip(b',');
        let name = self.at;
        if text.get(name) != Some(&b'"') {
            return None;
        }
        self.at = end_of_string(text, name + 1) + 1;
        let name = name..self.at;
        self.skip(b':');
        let value = self.at;
        self.at = end_of_value(text, value);
        (self.at <= text.len()).then_some((name, value..self.at))
    }
}

/// Position after the value that starts at `start`.
fn end_of_value(text: &[u8], start: usize) -> usize {
    match text.get(start) {
        Some(b'"') => end_of_string(text, start + 1) + 1,
        Some(b'{' | b'[') => end_of_nested(text, start),
        _ => {
            let rest = text.get(start..).unwrap_or_default();
            let is_end = |byte: &u8| is_space(*byte) || matches!(byte, b',' | b'}' | b']');
            start + rest.iter().position(is_end).unwrap_or(rest.len())
        }
    }
}

fn end_of_nested(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_found() {
        let text =
            " { \"a\" : [1,{\"x\":\"]\"}] ,\"b\\\"\":\"q\\\"}\", \"c\":-1.5e3,\"d\" :null\n, \"e\":{} } ";
        let seen: Vec<_> =
            Walk::new(text.as_bytes()).map(|(name, value)| (&text[name], &text[value])).collect();
        assert_eq!(
            seen,
            [
                ("\"a\"", "[1,{\"x\":\"]\"}]"),
                ("\"b\\\"\"", "\"q\\\"}\""),
                ("\"c\"", "-1.5e3"),
                ("\"d\"", "null"),
                ("\"e\"", "{}"),
            ]
        );
        assert_eq!(Walk::new(b"{}").next(), None);
    }
}
