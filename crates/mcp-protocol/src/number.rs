//! JSON numbers that keep their spelling.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON number as it was written: `1`, `1.0` and 30-digit integers come back unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number(Box<str>);

impl Number {
    /// A finite number; `None` for infinities and NaN, which JSON does not have.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        serde_json::Number::from_f64(value).map(|number| Self(number.to_string().into()))
    }

    /// The number as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest floating point number; out of range becomes an infinity.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN) // every JSON number is a Rust float literal
    }

    /// The value if it is an integer that fits, also when written as `1.0` or `1e3`.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        canonical_integer(&self.0)?.parse().ok()
    }

    /// The value if it is an integer that fits, also when written as `1.0` or `1e3`.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        canonical_integer(&self.0)?.parse().ok()
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(value.to_string().into())
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(value.to_string().into())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        match raw.get().as_bytes() {
            [b'-' | b'0'..=b'9', ..] => Ok(Self(raw.into())),
            _ => Err(de::Error::custom("expected a number")),
        }
    }
}

/// Most digits of an integer that is compared or mirrored; far above what any peer counts with.
const MAX_DIGITS: usize = 400;

/// The usual spelling of a JSON number that is an integer: an optional `-` and digits without leading
/// zeros. `None` if the text is no JSON number, no integer, or has more than 400 digits.
pub(crate) fn canonical_integer(number: &str) -> Option<String> {
    let (negative, unsigned) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let exponent: i64 = exponent.parse().ok()?;
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    // The value is `digits` times ten to the power of `shift`.
    let shift = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let digits = if shift >= 0 {
        let zeros = usize::try_from(shift).ok().filter(|zeros| *zeros <= MAX_DIGITS)?;
        format!("{digits}{}", "0".repeat(zeros))
    } else {
        let cut = usize::try_from(shift.checked_neg()?).ok()?;
        let (kept, dropped) = digits.split_at_checked(digits.len().checked_sub(cut)?)?;
        if dropped.bytes().any(|byte| byte != b'0') {
            return None;
        }
        kept.to_owned()
    };
    if digits.len() > MAX_DIGITS {
        return None;
    }
    Some(if negative { format!("-{digits}") } else { digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_usual_spelling() {
        for (text, usual) in [
            ("42", Some("42")),
            ("42.0", Some("42")),
            ("4.2e1", Some("42")),
            ("420e-1", Some("42")),
            ("-7", Some("-7")),
            ("-0", Some("0")),
            ("0.0e5", Some("0")),
            ("1E2", Some("100")),
            ("1e+2", Some("100")),
            ("12345678901234567890123", Some("12345678901234567890123")),
            ("0.5", None),
            ("5e-1", None),
            ("1e999999999999", None),
            ("1e-9223372036854775808", None),
            ("1e500", None),
            ("", None),
            ("-", None),
            ("1.", None),
            (".5", None),
            ("+1", None),
            ("0x10", None),
            ("NaN", None),
        ] {
            assert_eq!(canonical_integer(text).as_deref(), usual, "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_spelling() {
        for text in ["1", "1.0", "-1.50e3", "123456789012345678901234567890"] {
            let number: Number = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&number).unwrap(), text);
        }
        assert!(serde_json::from_str::<Number>("\"1\"").is_err());
        assert_eq!(Number::from(7u64).as_i64(), Some(7));
        assert_eq!(Number::from(-7i64).as_u64(), None);
        assert_eq!(Number::from_f64(0.5).unwrap().as_f64(), 0.5);
        assert_eq!(Number::from_f64(f64::NAN), None);
    }
}
