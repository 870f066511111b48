//! Request ids, which keep their JSON type and spelling.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::members::decode_text;

/// The `id` of a JSON-RPC request: a string or an integer, never `null`, never a fraction.
///
/// `1`, `1.0` and `"1"` are three different ids: a peer gets back exactly what it sent.
/// Source: MCP 2026-07-28, Base Protocol, "Requests".
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestId {
    /// An integer in its usual spelling.
    Integer(i64),
    /// An integer that `i64` cannot hold or that is spelled unusually (`1.0`, `1e3`), verbatim.
    Number(Arc<str>),
    /// A string.
    Text(Arc<str>),
}

impl RequestId {
    /// Reads an id from the text of one JSON value; `None` if that value is no valid id.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'"' => Some(Self::Text(decode_text(json.as_bytes()).ok()?.into())),
            b'-' | b'0'..=b'9' => Self::from_number(json),
            _ => None,
        }
    }

    fn from_number(text: &str) -> Option<Self> {
        match text.parse::<i64>() {
            // "-0" is an integer to `parse`, but would be echoed as "0".
            Ok(integer) if text != "-0" => Some(Self::Integer(integer)),
            _ => is_integral(text).then(|| Self::Number(text.into())),
        }
    }
}

/// Whether a JSON number literal denotes an integer, whatever its spelling and size.
fn is_integral(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let Ok(exponent) = exponent.parse::<i64>() else { return false };
    // The smallest exponent has no positive counterpart in its own type.
    let size = exponent.unsigned_abs();
    if exponent >= 0 {
        return fraction.len() as u64 <= size;
    }
    // A negative exponent needs as many trailing zeros before the point; zero has as many as one likes.
    let significant = whole.trim_start_matches('-').trim_end_matches('0');
    let zeros = whole.len() - whole.trim_end_matches('0').len();
    fraction.is_empty() && (significant.is_empty() || zeros as u64 >= size)
}

impl From<i64> for RequestId {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for RequestId {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

/// Shows the id as its JSON text, so that `1` and `"1"` differ in logs as well.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Number(text) => f.write_str(text),
            Self::Text(text) => f.write_str(&serde_json::to_string(&**text).map_err(|_| fmt::Error)?),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(integer) => serializer.serialize_i64(*integer),
            Self::Number(text) => RawValue::from_string(text.to_string())
                .map_err(serde::ser::Error::custom)?
                .serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(raw.get()).ok_or_else(|| de::Error::custom("an id must be a string or an integer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_type_and_spelling() {
        for text in [
            "1",
            "-7",
            "1.0",
            "1e3",
            "100e-2",
            "-0",
            "-0e-5",
            "0.00e-9223372036854775808",
            "1e9223372036854775807",
            "9223372036854775808",
            r#""1""#,
            r#""a\"b""#,
            r#""""#,
        ] {
            let id = RequestId::from_json(text).unwrap_or_else(|| panic!("{text} is a valid id"));
            assert_eq!(id.to_string(), text);
            assert_eq!(serde_json::to_string(&id).unwrap(), text);
        }
        assert_ne!(RequestId::from_json("1"), RequestId::from_json("1.0"));
        assert_ne!(RequestId::from_json("1"), RequestId::from_json(r#""1""#));
    }

    #[test]
    fn what_is_no_string_or_integer_is_no_id() {
        for text in [
            "null",
            "1.5",
            "15e-1",
            "1e-1",
            "1e-9223372036854775807",
            "1e-9223372036854775808",
            "-10e-9223372036854775808",
            "1e-9223372036854775809",
            "1.5e-9223372036854775808",
            "1e9223372036854775808",
            "true",
            "{}",
            "[1]",
            "",
        ] {
            assert_eq!(RequestId::from_json(text), None, "{text}");
        }
    }
}
