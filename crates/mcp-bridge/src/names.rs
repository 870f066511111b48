//! Names of tools and prompts in the aggregate, and whose they are. Source: product §4, bridging §10.5.

use mcp_registry::ServerName;
use sha2::{Digest, Sha256};

/// Between the owner and the name.
const SEPARATOR: &str = "__";

/// Longest exposed name in bytes; some model providers refuse longer ones.
pub const MAX_LEN: usize = 64;

/// Between the readable part of a shortened name and its digest.
const MARK: &str = "--";

/// Hexadecimal digits of the digest: 96 bits.
const DIGITS: usize = 24;

/// The name under which a tool or prompt of a server or group is found in the aggregate.
///
/// That is `owner__name`. A name some client could not take, because it is longer than [`MAX_LEN`] or holds anything
/// but `[A-Za-z0-9_-]`, becomes as much of that as fits, with `-` for every other character, then `--` and 24
/// hexadecimal digits of the SHA-256 of `owner__name`. So does a name that looks like one of these already, which
/// is why no two pairs share a name. The result depends on the pair alone.
#[must_use]
pub fn exposed(owner: &ServerName, name: &str) -> Box<str> {
    let plain = [owner.as_str(), SEPARATOR, name].concat();
    if plain.len() <= MAX_LEN && plain.chars().all(is_common) && !is_shortened(&plain) {
        return plain.into();
    }
    let readable = plain.chars().take(MAX_LEN - MARK.len() - DIGITS);
    let mut short: String = readable.map(|c| if is_common(c) { c } else { '-' }).collect();
    short.push_str(MARK);
    let digest = Sha256::digest(plain.as_bytes());
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    short.extend(digits.take(DIGITS).filter_map(|digit| char::from_digit(digit.into(), 16)));
    short.into()
}

/// The owner and the name behind an exposed name, as long as it is not a shortened one: what that stands for is
/// known to those alone who have seen the lists. Whether there is such an owner is another question.
#[must_use]
pub fn owner_of(exposed: &str) -> Option<(&str, &str)> {
    // The name of an owner holds no separator and does not end in half of one: the first is where it ends.
    exposed.split_once(SEPARATOR).filter(|_| !is_shortened(exposed))
}

/// Whether every client takes the character in a name.
fn is_common(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Whether a name looks like a shortened one, which no other exposed name does.
pub(crate) fn is_shortened(name: &str) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let parts = name.len().checked_sub(DIGITS).and_then(|at| name.as_bytes().split_at_checked(at));
    parts.is_some_and(|(readable, digits)| readable.ends_with(MARK.as_bytes()) && digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests;
