//! JSON values that stay bytes.

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// What a peer may ask us to parse. Source: reliability document §6 (default limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame in bytes.
    pub max_bytes: usize,
    /// Deepest nesting of arrays and objects; the outermost object counts as 1.
    pub max_depth: usize,
    /// Most values in one frame (every `,`, `[`, `{` and `:` starts at most one).
    pub max_nodes: usize,
    /// Most messages in one batch.
    pub max_batch: usize,
}

impl Default for Limits {
    /// 16 MiB, 128 levels, 1 000 000 values, 100 messages a batch.
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_depth: 128, max_nodes: 1_000_000, max_batch: 100 }
    }
}

impl Limits {
    /// The same limits with another frame size in bytes.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Checks size, depth and number of values in one pass, without judging whether the text is JSON.
    ///
    /// `serde_json` limits the depth of a `Value` but not of raw text, hence this check of our own.
    pub(crate) fn check(&self, text: &[u8]) -> Result<(), InvalidJson> {
        if text.len() > self.max_bytes {
            return Err(InvalidJson::TooLarge { bytes: text.len(), limit: self.max_bytes });
        }
        let (mut depth, mut nodes, mut at) = (0usize, 1usize, 0usize);
        while let Some(&byte) = text.get(at) {
            match byte {
                b'"' => at = end_of_string(text, at + 1),
                b'[' | b'{' => {
                    depth += 1;
                    nodes += 1;
                    if depth > self.max_depth {
                        return Err(InvalidJson::TooDeep { limit: self.max_depth });
                    }
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' => nodes += 1,
                _ => {}
            }
            at += 1;
        }
        if nodes > self.max_nodes {
            return Err(InvalidJson::TooManyValues { limit: self.max_nodes });
        }
        Ok(())
    }
}

/// Position of the quote that ends the string whose content starts at `at`, or the end of the text.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(offset) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += offset;
        if text[at] == b'"' {
            return at;
        }
        at += 2; // the escaped character is never the end
    }
    text.len()
}

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

const DUPLICATE: &str = "duplicate member ";

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
    fn of(text: &str) -> Self {
        match text.trim_start().as_bytes().first() {
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

    /// What kind of value it is.
    #[must_use]
    pub fn kind(&self) -> JsonKind {
        JsonKind::of(self.as_str())
    }

    /// The top-level members of an object, in order, their values unparsed.
    ///
    /// # Errors
    /// [`InvalidJson`] if this is no object or a member stands twice.
    pub fn members(&self) -> Result<Members<'_>, InvalidJson> {
        Members::parse(self.as_str())
    }

    /// One member of an object; `None` if it is absent or this is no (proper) object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Self> {
        let members = self.members().ok()?;
        members.get(name).map(|raw| Self::from_raw(&self.0, raw))
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

/// The top-level members of one JSON object: in order, names decoded, values unparsed.
///
/// This is what an edit works on: what is not touched is written back byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> Members<'a> {
    /// Splits the text of one object in a single scan.
    ///
    /// # Errors
    /// [`InvalidJson`] if the text is no JSON object or names a member twice.
    pub fn parse(text: &'a str) -> Result<Self, InvalidJson> {
        struct Split;
        impl<'de> Visitor<'de> for Split {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, Cow<'de, RawValue>)> = Vec::with_capacity(8);
                let mut seen = Names::default();
                while let Some(Name(name)) = map.next_key()? {
                    if !seen.insert(&members, &name) {
                        return Err(serde::de::Error::custom(format_args!("{DUPLICATE}{name}")));
                    }
                    members.push((name, Cow::Borrowed(map.next_value::<&RawValue>()?)));
                }
                Ok(Members(members))
            }
        }

        let kind = JsonKind::of(text);
        if kind != JsonKind::Object && !text.trim().is_empty() {
            serde_json::from_str::<&RawValue>(text)?;
            return Err(InvalidJson::NotAnObject { found: kind });
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(Split)?;
        deserializer.end()?;
        Ok(members)
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Sets a member: in its old place if it is there, else at the end.
    pub fn set(&mut self, name: &'a str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, slot)) => *slot = Cow::Owned(value),
            None => self.0.push((Cow::Borrowed(name), Cow::Owned(value))),
        }
    }

    /// Removes a member; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(key, _)| key != name);
        self.0.len() != before
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the object is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the object back; values are copied verbatim.
    #[must_use]
    pub fn encode(&self) -> RawJson {
        let size = self.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum::<usize>() + 2;
        let mut out = BytesMut::with_capacity(size);
        out.extend_from_slice(b"{");
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b",");
            }
            put_string(&mut out, name);
            out.extend_from_slice(b":");
            out.extend_from_slice(value.get().as_bytes());
        }
        out.extend_from_slice(b"}");
        RawJson(out.freeze())
    }
}

/// Appends a JSON string literal.
pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(b"\"");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\"");
    } else {
        // Serialising a `str` to memory cannot fail.
        out.extend_from_slice(&serde_json::to_vec(text).unwrap_or_default());
    }
}

/// A member name, borrowed where it holds no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Tells repeated names. Short objects are compared directly, long ones through a set, so that an
/// object with 10^5 members does not cost 10^10 comparisons.
#[derive(Default)]
struct Names(std::collections::HashSet<String>);

impl Names {
    const DIRECT: usize = 32;

    fn insert(&mut self, members: &[(Cow<'_, str>, Cow<'_, RawValue>)], name: &str) -> bool {
        if members.len() < Self::DIRECT {
            return members.iter().all(|(key, _)| key != name);
        }
        if self.0.is_empty() {
            self.0.extend(members.iter().map(|(key, _)| key.clone().into_owned()));
        }
        self.0.insert(name.to_owned())
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
