//! JSON values that stay bytes.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::limits::Limits;
use crate::members::{Members, find_member, string_literal};

/// Why a text is not acceptable JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidJson {
    /// The text breaks the grammar; `detail` says where.
    #[error("not valid JSON: {detail}")]
    Syntax {
        /// What the parser says, with line and column.
        detail: Box<str>,
    },
    /// More bytes than allowed.
    #[error("message of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size of the frame in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nested deeper than allowed.
    #[error("message is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// More values than allowed.
    #[error("message holds more than {limit} values")]
    TooManyValues {
        /// The limit in values.
        limit: usize,
    },
    /// A member name stands twice in an object the gateway reads.
    #[error("duplicate member {name:?}")]
    DuplicateMember {
        /// The repeated name.
        name: Box<str>,
    },
    /// An object was needed.
    #[error("expected an object, found {found}")]
    NotAnObject {
        /// What stands there instead.
        found: JsonKind,
    },
}

impl From<serde_json::Error> for InvalidJson {
    fn from(error: serde_json::Error) -> Self {
        // The visitor below reports duplicates as custom errors; this keeps the name typed.
        let text = error.to_string();
        match text.strip_prefix(DUPLICATE).and_then(|rest| rest.rsplit_once(" at line ")) {
            Some((name, _)) => Self::DuplicateMember { name: name.into() },
            None => Self::Syntax { detail: text.into() },
        }
    }
}

pub(crate) const DUPLICATE: &str = "duplicate member ";

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of JSON")]
pub enum JsonKind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl JsonKind {
    /// The kind of valid JSON text, told from its first byte.
    pub(crate) fn of(text: &[u8]) -> Self {
        match text.trim_ascii_start().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }
}

impl fmt::Display for JsonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

/// One valid JSON value as the bytes it came in. Cloning bumps a reference count.
///
/// Equality is equality of bytes, not of meaning.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Takes text from outside: checks the limits, then the grammar.
    ///
    /// # Errors
    /// [`InvalidJson`] if a limit is exceeded or the text is not exactly one JSON value.
    pub fn parse(text: impl Into<Bytes>, limits: &Limits) -> Result<Self, InvalidJson> {
        let text: Bytes = text.into();
        limits.check(&text)?;
        let raw: &RawValue = serde_json::from_slice(&text)?;
        let slice = text.slice_ref(raw.get().as_bytes());
        Ok(Self(slice))
    }

    /// Encodes a value of ours.
    ///
    /// # Errors
    /// [`InvalidJson::Syntax`] if the value has no JSON form (a map with keys that are no strings).
    pub fn encode(value: &(impl Serialize + ?Sized)) -> Result<Self, InvalidJson> {
        Ok(Self(serde_json::to_vec(value)?.into()))
    }

    /// The empty object.
    #[must_use]
    pub fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// A JSON string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self(string_literal(text))
    }

    /// Wraps text this crate wrote itself.
    pub(crate) fn from_trusted(text: Bytes) -> Self {
        Self(text)
    }

    /// Wraps a part of an already validated frame.
    pub(crate) fn from_raw(frame: &Bytes, raw: &RawValue) -> Self {
        Self(frame.slice_ref(raw.get().as_bytes()))
    }

    /// The value as JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every constructor takes text that a JSON parser accepted, which includes being UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The value as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes themselves.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The same value in memory of its own. A value that was read is a slice of the whole frame it came in, which it
    /// keeps: what is kept for long should be detached.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// What kind of value it is.
    #[must_use]
    pub fn kind(&self) -> JsonKind {
        JsonKind::of(&self.0)
    }

    /// The top-level members of an object, in order, their values unparsed.
    ///
    /// # Errors
    /// [`InvalidJson`] if this is no object or a member stands twice.
    pub fn members(&self) -> Result<Members<'_>, InvalidJson> {
        Members::of_valid(&self.0)
    }

    /// One member of an object; `None` if it is absent, stands twice, or this is no object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Self> {
        (self.kind() == JsonKind::Object)
            .then(|| find_member(&self.0, name))?
            .map(|text| Self(self.0.slice_ref(text)))
    }

    /// A value that is usually a part of this one, and then not copied.
    pub(crate) fn part(&self, text: &str) -> Self {
        let (all, part) = (self.0.as_ptr_range(), text.as_bytes().as_ptr_range());
        let is_own = all.start <= part.start && part.end <= all.end;
        Self(if is_own { self.0.slice_ref(text.as_bytes()) } else { Bytes::copy_from_slice(text.as_bytes()) })
    }

    /// Reads the value into a type.
    ///
    /// # Errors
    /// [`InvalidJson::Syntax`] if the value does not have the shape of `T`.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, InvalidJson> {
        Ok(serde_json::from_slice(&self.0)?)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(Bytes::from(String::from(Box::<str>::from(raw)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RawJson, InvalidJson> {
        RawJson::parse(text.to_owned(), &Limits::default())
    }

    #[test]
    fn members_keep_order_names_and_bytes() {
        let raw = parse(r#" {"b": 12345678901234567890 ,"a\u0041":[1, 2],"":null} "#).unwrap();
        let members = raw.members().unwrap();
        let seen: Vec<_> = members.iter().map(|(name, value)| (name, value.get())).collect();
        assert_eq!(seen, [("b", "12345678901234567890"), ("aA", "[1, 2]"), ("", "null")]);
    }

    #[test]
    fn edits_leave_the_rest_alone() {
        let raw = parse(r#"{"name":"a","arguments":{"x": 1.0, "y":[ ]},"z":0}"#).unwrap();
        let mut members = raw.members().unwrap();
        members.set("name", RawValue::from_string(r#""b""#.into()).unwrap());
        members.set("new", RawValue::from_string("true".into()).unwrap());
        assert!(members.remove("z"));
        assert!(!members.remove("z"));
        assert_eq!(members.encode().as_str(), r#"{"name":"b","arguments":{"x": 1.0, "y":[ ]},"new":true}"#);
    }

    #[test]
    fn limits_hold_at_their_edge() {
        let limits = Limits { max_bytes: 12, max_depth: 3, max_nodes: 4, max_batch: 1 };
        for (text, ok) in [
            ("[[[]]]", true),
            ("[[[[]]]]", false),
            (r#""[[[[[[""#, true),
            (r#""\"[[[[[""#, true),
            ("[1,2,3]", true),
            ("[1,2,3,4]", false),
            ("123456789012", true),
            ("1234567890123", false),
        ] {
            assert_eq!(RawJson::parse(text, &limits).is_ok(), ok, "{text}");
        }
    }

    #[test]
    fn duplicates_are_named_even_when_spelled_differently() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#] {
            let raw = parse(text).unwrap();
            assert_eq!(
                raw.members().unwrap_err(),
                InvalidJson::DuplicateMember { name: "a".into() },
                "{text}"
            );
        }
        let many: Vec<_> = (0..100).map(|n| format!("\"m{n}\":{n}")).collect();
        assert_eq!(parse(&format!("{{{}}}", many.join(","))).unwrap().members().unwrap().len(), 100);
        let twice = parse(&format!("{{{},\"m40\":0}}", many.join(","))).unwrap();
        assert_eq!(twice.members().unwrap_err(), InvalidJson::DuplicateMember { name: "m40".into() });
    }

    #[test]
    fn bad_text_is_refused() {
        for text in ["", "{", "nul", "1 2", "{\"a\":}", "\u{feff}{}", "{\"a\":\"\u{1}\"}"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(RawJson::parse(Bytes::from_static(b"\"\xff\""), &Limits::default()).is_err());
        assert_eq!(
            parse("[1]").unwrap().members().unwrap_err(),
            InvalidJson::NotAnObject { found: JsonKind::Array }
        );
    }
}
