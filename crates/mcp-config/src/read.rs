//! Reads typed structures out of a tree, and says everything that is wrong with it.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, Unexpected, Visitor};
use serde::de::{IntoDeserializer, MapAccess, SeqAccess};
use serde::forward_to_deserialize_any;

use crate::invalid::{InvalidField, printable};
use crate::tree::{Entry, Node, Value};

/// Most faults found in one structure; finding one more costs another pass over it.
const MAX_FAULTS: usize = 20;

/// A part of a tree that does not fit the structure it is read into.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) field: InvalidField,
    /// Where the offending key or value stands.
    pub(crate) at: Option<usize>,
    /// Where the innermost key above it stands.
    entry: Option<usize>,
}

/// Reads a structure. Entries that do not fit are reported and left out.
///
/// Serde stops at the first error; the entry it stopped at is removed and the rest read again.
pub(crate) fn read<T: DeserializeOwned + Default>(node: &mut Node) -> (T, Vec<Fault>) {
    let mut faults = Vec::new();
    loop {
        match T::deserialize(&*node) {
            Ok(value) => return (value, faults),
            Err(fault) => {
                let removed = fault.entry.is_some_and(|key_at| node.remove(key_at));
                faults.push(fault);
                if !removed || faults.len() == MAX_FAULTS {
                    return (T::default(), faults);
                }
            }
        }
    }
}

/// What to say about a key that is not among the known ones.
pub(crate) fn unknown_key(key: &str, known: &[&str]) -> String {
    let folded = key.to_ascii_lowercase().replace('-', "_");
    if let Some(advice) = advice(&folded, known) {
        return advice;
    }
    // A long key is no typing mistake and would only cost time.
    let distance = |known: &&str| match key.len() {
        0..=64 => strsim::damerau_levenshtein(&folded, known),
        long => long,
    };
    let mut nearest = known.to_vec();
    nearest.sort_by_cached_key(distance);
    match nearest.first() {
        Some(near) if distance(near) <= (near.len() / 3).max(1) => {
            format!("unknown key; did you mean `{near}`?")
        }
        _ => {
            let nearest: Vec<String> = nearest.iter().take(3).map(|near| format!("`{near}`")).collect();
            format!("unknown key; the nearest known ones are {}", nearest.join(", "))
        }
    }
}

/// Keys whose right spelling is no matter of letters, and keys of later versions.
fn advice(key: &str, known: &[&str]) -> Option<String> {
    let instead = match key {
        "type" => "transport",
        "timeout" | "request_timeout" => "timeout_ms",
        "disabled" => "enabled",
        "serverurl" | "server_url" | "httpurl" | "http_url" | "endpoint" => "url",
        "mcpservers" | "mcp_servers" => "servers",
        _ => "",
    };
    if known.contains(&instead) {
        return Some(format!("unknown key; did you mean `{instead}`?"));
    }
    let later = ["breaker", "pool"];
    if later.contains(&key) {
        return Some("not available in this version; leave it out".into());
    }
    if key == "allow_stdio_registration" && known.contains(&"listen") {
        return Some("unknown key; it belongs in `policy`".into());
    }
    let of_servers = ["auth", "heartbeat_ms", "on_tool_change", "proxy", "rate_limit", "sharing", "tls"];
    let of_all = known.contains(&"listen") || known.contains(&"unreachable_after");
    (of_servers.contains(&key) && of_all).then(|| "unknown key; it belongs to a server".into())
}

impl Fault {
    fn new(reason: impl Into<String>) -> Self {
        Self { field: InvalidField { path: Vec::new(), reason: reason.into() }, at: None, entry: None }
    }

    /// Adds where it happened, unless something deeper already did.
    fn located(mut self, at: usize) -> Self {
        self.at.get_or_insert(at);
        self
    }

    fn below(mut self, step: String) -> Self {
        self.field.path.insert(0, step);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.field.fmt(f)
    }
}

impl std::error::Error for Fault {}

/// The texts hold what was expected and what kind of value was found, never the value: it may be a secret.
impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("must be {}, not {}", wanted(&expected.to_string()), kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(unknown_key(field, known))
    }
}

fn wanted(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    }
}

fn kind(found: Unexpected<'_>) -> &str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) => "a whole number",
        Unexpected::Signed(_) => "a negative number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Str(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        Unexpected::Other(kind) => kind,
        _ => "this",
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(Fault::new("the number is too large")),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Date => Err(Fault::invalid_type(Unexpected::Other("a date"), &visitor)),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            Value::Table(entries) => visitor.visit_map(Entries { entries: entries.iter(), value: None }),
        }
        .map_err(|fault| fault.located(self.at))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// Only from a table: serde would also fill a structure from a list.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Value::List(_) => Err(Fault::invalid_type(Unexpected::Seq, &visitor).located(self.at)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.value = self.entries.next();
        let Some(entry) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|fault| within(entry, fault.located(entry.key_at)))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let entry = self.value.take().ok_or_else(|| Fault::new("a value without a key"))?;
        seed.deserialize(&entry.node).map_err(|fault| within(entry, fault.located(entry.node.at)))
    }
}

fn within(entry: &Entry, mut fault: Fault) -> Fault {
    fault.entry.get_or_insert(entry.key_at);
    fault.below(entry.key.clone())
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(item).map(Some).map_err(|fault| fault.located(item.at).below(index.to_string()))
    }
}

/// A name for messages: the section and, within it, the field.
pub(crate) fn dotted(section: &[&str], field: &InvalidField) -> String {
    let steps = section.iter().copied().chain(field.path.iter().map(String::as_str));
    let steps: Vec<String> = steps.map(printable).collect();
    format!("`{}`: {}", steps.join("."), field.reason)
}
