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
    while let Some(offset) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += offset;
        if text[at] == b'"' {
            return at;
        }
        at += 2; // the escaped character is never the end
    }
    text.len()
}
