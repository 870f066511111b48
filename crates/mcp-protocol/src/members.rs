//! The members of one object, for reading and editing without touching the rest.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::json::{DUPLICATE, InvalidJson, JsonKind, RawJson};
use crate::walk::Walk;

/// The top-level members of one JSON object: in order, names decoded, values unparsed.
///
/// This is what an edit works on: what is not touched is written back byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Members<'a>(SmallVec<[Member<'a>; 5]>);

#[derive(Debug, Clone)]
struct Member<'a> {
    name: Cow<'a, str>,
    /// The name as it was written, with quotes, if that is not simply the quoted name.
    spelled: Option<&'a [u8]>,
    value: Value<'a>,
}

#[derive(Debug, Clone)]
enum Value<'a> {
    /// Text a parser has accepted.
    Text(&'a [u8]),
    Raw(Cow<'a, RawValue>),
    Json(RawJson),
}

impl Value<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => str::from_utf8(text).unwrap_or_default(),
            Self::Raw(raw) => raw.get(),
            Self::Json(json) => json.as_str(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Raw(raw) => raw.get().as_bytes(),
            Self::Json(json) => json.as_bytes(),
        }
    }

    fn raw(&self) -> Option<&RawValue> {
        match self {
            Self::Raw(raw) => Some(raw),
            Self::Text(_) | Self::Json(_) => serde_json::from_str(self.text()).ok(),
        }
    }
}

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
                let mut members = Members::default();
                let mut seen = Names::default();
                while let Some(Name(name)) = map.next_key()? {
                    if !seen.insert(&members.0, &name) {
                        return Err(serde::de::Error::custom(format_args!("{DUPLICATE}{name}")));
                    }
                    let value = Value::Raw(Cow::Borrowed(map.next_value::<&RawValue>()?));
                    members.0.push(Member { name, spelled: None, value });
                }
                Ok(members)
            }
        }

        let kind = JsonKind::of(text.as_bytes());
        if kind != JsonKind::Object && !text.trim().is_empty() {
            serde_json::from_str::<&RawValue>(text)?;
            return Err(InvalidJson::NotAnObject { found: kind });
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(Split)?;
        deserializer.end()?;
        Ok(members)
    }

    /// Splits text that a parser has accepted before, without parsing it again.
    pub(crate) fn of_valid(text: &'a [u8]) -> Result<Self, InvalidJson> {
        let kind = JsonKind::of(text);
        if kind != JsonKind::Object {
            return Err(InvalidJson::NotAnObject { found: kind });
        }
        let mut members = Self::default();
        let mut seen = Names::default();
        for (spelled, value) in Walk::new(text) {
            let (Some(spelled), Some(value)) = (text.get(spelled), text.get(value)) else { break };
            let name = decode_text(spelled)?;
            if !seen.insert(&members.0, &name) {
                return Err(InvalidJson::DuplicateMember { name: name.into() });
            }
            let spelled = matches!(name, Cow::Owned(_)).then_some(spelled);
            members.0.push(Member { name, spelled, value: Value::Text(value) });
        }
        Ok(members)
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.find(name)?.raw()
    }

    /// The JSON text of a member's value. Unlike [`get`](Self::get) it never scans the value.
    #[must_use]
    pub fn get_text(&self, name: &str) -> Option<&str> {
        self.find(name).map(Value::text)
    }

    fn find(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|member| member.name == name).map(|member| &member.value)
    }

    /// Sets a member: in its old place if it is there, else at the end.
    pub fn set(&mut self, name: &'a str, value: Box<RawValue>) {
        self.put(name, Value::Raw(Cow::Owned(value)));
    }

    /// Sets a member like [`set`](Self::set), to a value that is already JSON of ours.
    pub fn set_json(&mut self, name: &'a str, value: RawJson) {
        self.put(name, Value::Json(value));
    }

    fn put(&mut self, name: &'a str, value: Value<'a>) {
        match self.0.iter_mut().find(|member| member.name == name) {
            Some(member) => member.value = value,
            None => self.0.push(Member { name: Cow::Borrowed(name), spelled: None, value }),
        }
    }

    /// Removes a member; says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|member| member.name != name);
        self.0.len() != before
    }

    /// Removes every member the test does not accept.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|member| keep(&member.name));
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().filter_map(|member| Some((&*member.name, member.value.raw()?)))
    }

    /// The members in order, each value as JSON text. Unlike [`iter`](Self::iter) it scans no value.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|member| (&*member.name, member.value.text()))
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
        let sizes = self.0.iter().map(|member| member.name.len() + member.value.bytes().len() + 4);
        let size = sizes.sum::<usize>() + 2;
        let mut out = BytesMut::with_capacity(size);
        out.extend_from_slice(b"{");
        for (at, member) in self.0.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b",");
            }
            match member.spelled {
                Some(spelled) => out.extend_from_slice(spelled),
                None => put_string(&mut out, &member.name),
            }
            out.extend_from_slice(b":");
            out.extend_from_slice(member.value.bytes());
        }
        out.extend_from_slice(b"}");
        RawJson::from_trusted(out.freeze())
    }
}

/// The value of one member of a valid object; `None` if it is absent or stands twice.
pub(crate) fn find_member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    for (spelled, value) in Walk::new(object) {
        if is_name(&object[spelled], name) && found.replace(value).is_some() {
            return None;
        }
    }
    object.get(found?)
}

/// Whether a JSON string spells a name.
fn is_name(spelled: &[u8], name: &str) -> bool {
    // Escapes only make it longer.
    match spelled.len().cmp(&(name.len() + 2)) {
        Ordering::Less => false,
        Ordering::Equal => spelled[1..].starts_with(name.as_bytes()) && !name.contains('\\'),
        Ordering::Greater => {
            memchr::memchr(b'\\', spelled).is_some()
                && serde_json::from_slice::<Cow<'_, str>>(spelled).is_ok_and(|decoded| decoded == name)
        }
    }
}

/// Reads a text from its JSON string, which a parser has accepted before; borrowed if it holds no escapes.
pub(crate) fn decode_text(spelled: &[u8]) -> Result<Cow<'_, str>, InvalidJson> {
    let plain = spelled.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    match plain.filter(|name| !name.contains(&b'\\')).and_then(|name| str::from_utf8(name).ok()) {
        Some(name) => Ok(Cow::Borrowed(name)),
        None => Ok(Cow::Owned(serde_json::from_slice(spelled)?)),
    }
}

/// A JSON string literal.
pub(crate) fn string_literal(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len() + 2);
    put_string(&mut out, text);
    out.freeze()
}

/// Appends a JSON string literal.
pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    // Without a way out in the middle it is done for many bytes at once.
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.extend_from_slice(b"\"");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\"");
    } else {
        // Serialising a `str` to memory cannot fail.
        out.extend_from_slice(&serde_json::to_vec(text).unwrap_or_default());
    }
}

/// A member name, borrowed where it holds no escapes.
pub(crate) struct Name<'a>(pub(crate) Cow<'a, str>);

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
struct Names(HashSet<String>);

impl Names {
    const DIRECT: usize = 32;

    fn insert(&mut self, members: &[Member<'_>], name: &str) -> bool {
        if members.len() < Self::DIRECT {
            return members.iter().all(|member| member.name != name);
        }
        if self.0.is_empty() {
            self.0.extend(members.iter().map(|member| member.name.clone().into_owned()));
        }
        self.0.insert(name.to_owned())
    }
}
