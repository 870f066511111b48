//! Limits on what a peer may ask us to parse.

use crate::json::InvalidJson;

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
pub(crate) fn end_of_string(text: &[u8], mut at: usize) -> usize {
    loop {
        at = quote_or_escape(text, at);
        match text.get(at) {
            Some(b'"') => return at,
            Some(_) => at += 2, // the escaped character is never the end
            None => return text.len(),
        }
    }
}

/// Words of eight bytes that are looked at one by one. Most strings are no longer, and for those a search that is
/// made for long texts takes several times as much.
const WORDS: usize = 4;

/// Position of the next `"` or `\`, or the end of the text.
fn quote_or_escape(text: &[u8], mut at: usize) -> usize {
    for _ in 0..WORDS {
        let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) else { break };
        let word = u64::from_le_bytes(*word);
        // Exact in its lowest set bit, the only one that is asked for.
        let found = zeros(word ^ repeated(b'"')) | zeros(word ^ repeated(b'\\'));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    memchr::memchr2(b'"', b'\\', rest).map_or(text.len(), |offset| at + offset)
}

const fn repeated(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of every byte that is zero; above the lowest of those, others may be set as well.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(repeated(1)) & !word & repeated(0x80)
}

#[cfg(test)]
mod tests {
    use super::end_of_string;

    #[test]
    fn strings_end_at_their_first_quote_that_is_not_escaped() {
        let end = |text: &str| end_of_string(text.as_bytes(), 0);
        for length in 0..80 {
            let plain = "x\u{e9}".repeat(length);
            assert_eq!(end(&format!("{plain}\",\"")), plain.len(), "{length}");
            assert_eq!(end(&format!("{plain}\\\"\\\\\"\"")), plain.len() + 4, "{length}");
            assert_eq!(end(&plain), plain.len(), "{length}");
            assert_eq!(end(&format!("{plain}\\")), plain.len() + 1, "{length}: the escape is the last byte");
            // A byte below the one that is looked for must not be taken for it.
            assert_eq!(end(&format!("{plain}!#[]\"")), plain.len() + 4, "{length}");
        }
    }
}
