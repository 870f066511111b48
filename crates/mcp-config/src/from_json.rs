//! JSON into a tree. Comments and trailing commas are accepted in files, because clients write them.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::diagnostic::Finding;
use crate::tree::{Entry, Node, Value};

/// Deepest accepted nesting. Each level is scanned once more for the levels above it, so this bounds time.
const MAX_DEPTH: usize = 32;

/// Parses a document as JSON itself defines it.
pub(crate) fn parse(text: &str) -> Result<Node, Finding> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| syntax(text, 0, &error))?;
    Parser { text }.node(raw, 0)
}

/// Parses a document with comments and trailing commas.
pub(crate) fn parse_relaxed(text: &str) -> Result<Node, Finding> {
    parse(&without_extras(text))
}

struct Parser<'a> {
    text: &'a str,
}

impl<'a> Parser<'a> {
    fn node(&self, raw: &'a RawValue, depth: usize) -> Result<Node, Finding> {
        let at = self.offset(raw);
        if depth > MAX_DEPTH {
            return Err(Finding::at(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let value = match raw.get().as_bytes().first() {
            Some(b'{') => {
                let Members(members) = self.decode(raw)?;
                let mut seen = HashSet::new();
                let mut entries = Vec::with_capacity(members.len());
                for (key, value) in members {
                    let key_at = self.offset(key);
                    let key: String = self.decode(key)?;
                    if !seen.insert(key.clone()) {
                        return Err(Finding::at(key_at, "the key stands twice in its object; remove one"));
                    }
                    entries.push(Entry { key, key_at, node: self.node(value, depth + 1)? });
                }
                Value::Table(entries)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = self.decode(raw)?;
                Value::List(
                    items.into_iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?,
                )
            }
            Some(b'"') => Value::Text(self.decode(raw)?),
            Some(b't' | b'f') => Value::Bool(self.decode(raw)?),
            Some(b'n') => Value::Null,
            _ => match raw.get().parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Float(self.decode(raw)?),
            },
        };
        Ok(Node { at, value })
    }

    /// Every raw value is a slice of the text.
    fn offset(&self, raw: &RawValue) -> usize {
        raw.get().as_ptr().addr() - self.text.as_ptr().addr()
    }

    fn decode<T: Deserialize<'a>>(&self, raw: &'a RawValue) -> Result<T, Finding> {
        serde_json::from_str(raw.get()).map_err(|error| syntax(raw.get(), self.offset(raw), &error))
    }
}

/// Turns the line and column of an error within `part`, which starts at `start`, into an offset.
fn syntax(part: &str, start: usize, error: &serde_json::Error) -> Finding {
    let line_start: usize =
        part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = start + (line_start + error.column().saturating_sub(1)).min(part.len());
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
    Finding::at(at, format!("not valid JSON: {what}"))
}

/// The members of an object with all their occurrences, in order.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Blanks comments and commas before a closing bracket. Lengths and line ends stay, so offsets hold.
fn without_extras(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    // The last byte that counts, and where.
    let mut last: (u8, usize) = (0, 0);
    let mut before_comma = 0u8;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at = string_end(&bytes, at);
                last = (b'"', at);
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    bytes[at] = b' ';
                    at += 1;
                }
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let close = text.as_bytes()[at + 2..].windows(2).position(|pair| pair == b"*/");
                let end = close.map_or(bytes.len(), |close| at + 2 + close + 2);
                bytes[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
                at = end;
                continue;
            }
            close @ (b'}' | b']') => {
                if last.0 == b',' && !matches!(before_comma, 0 | b',' | b':' | b'[' | b'{') {
                    bytes[last.1] = b' ';
                }
                last = (close, at);
            }
            byte if !byte.is_ascii_whitespace() => {
                if byte == b',' {
                    before_comma = last.0;
                }
                last = (byte, at);
            }
            _ => {}
        }
        at += 1;
    }
    // Only ASCII and whole characters inside comments were replaced.
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Index of the closing quote of the string that opens at `open`, or of the last byte.
fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'"' => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len().saturating_sub(1)
}
