//! Text written by a server, made fit for logs, errors and terminals.

use std::borrow::Cow;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// Shorter values are not searched for: they are words that occur anywhere (`true`, `8080`).
const SHORTEST_SECRET: usize = 8;

/// Hides the secrets a server was given in what it prints, and disarms control characters.
#[derive(Clone, Default)]
pub(crate) struct Foreign {
    secrets: Vec<SecretString>,
}

impl Foreign {
    /// `secrets` are the values of the variables the server was given by name.
    pub(crate) fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let long = |secret: &SecretString| secret.expose_secret().len() >= SHORTEST_SECRET;
        Self { secrets: secrets.into_iter().filter(long).collect() }
    }

    /// One line of at most `max_chars` characters and an ellipsis.
    pub(crate) fn line(&self, text: &[u8], max_chars: usize) -> String {
        let text = String::from_utf8_lossy(text);
        let text = self.redact(text.trim_end());
        let mut line = String::with_capacity(text.len().min(max_chars));
        for (at, c) in text.chars().enumerate() {
            if at == max_chars {
                line.push('…');
                break;
            }
            if is_unsafe(c) { line.extend(c.escape_default()) } else { line.push(c) }
        }
        line
    }

    fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), "[REDACTED]").into();
            }
        }
        text
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").field("secrets", &self.secrets.len()).finish()
    }
}

/// Control characters, and those that change the direction or the lines of the text around them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_secrets_do_not_show() {
        let foreign = Foreign::new(["hunter2hunter2".into(), "short".into()]);
        for (text, expected) in [
            (&b"plain \xc3\xa9\r\n"[..], "plain é"),
            (b"\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            (b"a\tb\0", "a\\tb\\u{0}"),
            ("\u{202e}evil".as_bytes(), "\\u{202e}evil"),
            (b"\xff!", "\u{fffd}!"),
            (b"key hunter2hunter2, short", "key [REDACTED], short"),
        ] {
            assert_eq!(foreign.line(text, 100), expected);
        }
        assert_eq!(foreign.line(b"12345", 4), "1234…");
        assert!(!format!("{foreign:?}").contains("hunter"));
    }
}
