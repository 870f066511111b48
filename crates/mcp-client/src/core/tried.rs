//! What was tried, for people: texts of bounded length, whatever the server wrote.

use std::fmt::{self, Write};

/// Most characters of one entry, the sign that more was left out not counted.
const LONGEST: usize = 500;

/// One entry: what was tried, and its outcome.
pub(crate) fn entry(what: &dyn fmt::Display, outcome: &dyn fmt::Display) -> String {
    let mut entry = Entry { text: String::new(), room: LONGEST };
    if write!(entry, "{what}: {outcome}").is_err() {
        entry.text.push('…');
    }
    entry.text
}

/// Takes what fits. An error tells that something did not.
struct Entry {
    text: String,
    /// Characters still to be taken.
    room: usize,
}

impl Write for Entry {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let (fits, left_out) = match text.char_indices().nth(self.room) {
            Some((at, _)) => (&text[..at], true),
            None => (text, false),
        };
        self.room -= fits.chars().count();
        self.text.push_str(fits);
        if left_out { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_outcomes_are_cut_between_characters() {
        for c in ["x", "ä", "€", "🦀"] {
            assert_eq!(entry(&"p", &c.repeat(497)), format!("p: {}", c.repeat(497)), "just fits");
            for many in [498, 100_000] {
                assert_eq!(entry(&"p", &c.repeat(many)), format!("p: {}…", c.repeat(497)), "{many}");
            }
        }
        assert_eq!(entry(&"p".repeat(600), &"no").chars().count(), LONGEST + 1);
    }
}
