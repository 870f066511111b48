//! What tells two JSON objects apart: neither the order of their members nor the space between them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// SHA-256 over the members of an object.
///
/// Members count by name, in whatever order they stand, and without the space between tokens. The rest is taken as
/// written: inside of the values the order of members matters, and so does the spelling of numbers and strings.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these members: name, and value as JSON text. No name stands twice.
    pub(crate) fn of<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut members: Vec<_> = members.collect();
        members.sort_unstable_by_key(|&(name, _)| name);
        let mut hash = Sha256::new();
        for (name, value) in members {
            // The length says where the name ends. A value, being JSON, ends where it does: after it comes a byte that
            // no JSON holds outside of strings.
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
            hash_tokens(&mut hash, value.as_bytes());
            hash.update([0]);
        }
        Self(hash.finalize().into())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits, in lower case")]
pub struct InvalidDigest;

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(InvalidDigest),
        };
        if text.len() != 64 {
            return Err(InvalidDigest);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            for &digit in digits {
                *byte = *byte << 4 | value(digit)?;
            }
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes JSON text without the space between its tokens, which in valid JSON separates nothing by itself.
fn hash_tokens(hash: &mut Sha256, json: &[u8]) {
    let (mut in_string, mut escaped) = (false, false);
    let is_space = |byte: &u8| {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => return true,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        false
    };
    json.split(is_space).for_each(|tokens| hash.update(tokens));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(members: &[(&str, &str)]) -> Digest {
        Digest::of(members.iter().copied())
    }

    #[test]
    fn order_and_space_do_not_count() {
        let plain = digest(&[("a", r#"{"x":[1,2],"y":"a b"}"#), ("b", "null")]);
        assert_eq!(digest(&[("b", "null"), ("a", r#"{"x":[1,2],"y":"a b"}"#)]), plain);
        assert_eq!(digest(&[("a", "{ \"x\" :\t[1,\r\n2 ], \"y\":\"a b\"}"), ("b", " null ")]), plain);
    }

    #[test]
    fn everything_else_counts() {
        let cases: &[&[(&str, &str)]] = &[
            &[],
            &[("", "0")],
            &[("a", "0")],
            &[("a0", "0")],
            &[("a", "00")],
            &[("a", "0"), ("b", "0")],
            &[("a", "0"), ("c", "0")],
            &[("a", r#""b""#)],
            &[("a", r#""\u0062""#)],
            &[("a", r#""b ""#)],
            &[("a", r#""b\" ""#)],
            &[("a", r#""b\"""#)],
            &[("a", r#""b\\""#)],
            &[("a", r#"["b\\", "c d"]"#)],
            &[("a", r#"["b\\", "cd"]"#)],
            &[("a", r#"{"x":1,"y":2}"#)],
            &[("a", r#"{"y":2,"x":1}"#)],
            &[("a", "12345678901234567890")],
            &[("a", "12345678901234567891")],
            &[("a", "1.0")],
        ];
        for (at, left) in cases.iter().enumerate() {
            for right in &cases[..at] {
                assert_ne!(digest(left), digest(right), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        // `printf '' | sha256sum`
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(&[]).to_string(), text);
        assert_eq!(text.parse(), Ok(digest(&[])));
        for bad in ["", "e3", &text.to_uppercase(), &text.replace('e', "+"), &text.replace('e', "é")] {
            assert_eq!(bad.parse::<Digest>(), Err(InvalidDigest), "{bad}");
        }
    }
}
