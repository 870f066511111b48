//! Text that may come from a server, made safe for a terminal.
//!
//! Architecture invariant: a [`Span`] is the only thing [`Output`](crate::Output) writes for people, its text
//! is private, and its constructor is the one place where characters that move the cursor, change colours,
//! reorder or hide text are taken out. JSON goes through [`json`].

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

/// A piece of one line in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    text: String,
    style: Style,
}

/// What a piece of text means; colours follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Strong,
    Faint,
    Good,
    Doubtful,
    Bad,
}

/// One line for people.
pub(crate) type Line = Vec<Span>;

impl Span {
    /// `text` on one line: line ends and tabs become a space, other unsafe characters visible escapes.
    pub(crate) fn new(style: Style, text: impl AsRef<str>) -> Self {
        Self { text: one_line(text.as_ref()), style }
    }

    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(Style::Plain, text)
    }

    pub(crate) fn faint(text: impl AsRef<str>) -> Self {
        Self::new(Style::Faint, text)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Columns it takes on a terminal.
    pub(crate) fn width(&self) -> usize {
        self.text.width()
    }

    /// Cut to at most `width` columns, with `…` for what is missing.
    pub(crate) fn cut(&self, width: usize) -> Self {
        if self.width() <= width {
            return self.clone();
        }
        let mut text = String::new();
        let mut used = 0;
        for c in self.text.chars() {
            let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
            if used + wide + 1 > width {
                break;
            }
            used += wide;
            text.push(c);
        }
        if width > 0 {
            text.push('…');
        }
        Self { text, style: self.style }
    }

    /// Appends it to `to`, with escape codes for its style if `color`.
    pub(crate) fn paint(&self, color: bool, to: &mut String) {
        let code = match self.style {
            Style::Plain => "",
            Style::Strong => "1",
            Style::Faint => "2",
            Style::Good => "32",
            Style::Doubtful => "33",
            Style::Bad => "31",
        };
        if color && !code.is_empty() && !self.text.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(to, "\u{1b}[{code}m{}\u{1b}[0m", self.text);
        } else {
            to.push_str(&self.text);
        }
    }
}

/// `line` cut to at most `width` columns.
pub(crate) fn fit(line: &[Span], width: usize) -> Line {
    let mut left = width;
    let mut fitted = Line::new();
    for span in line {
        let cut = span.cut(left);
        left = left.saturating_sub(cut.width());
        let whole = cut.text.len() == span.text.len();
        fitted.push(cut);
        if !whole {
            break;
        }
    }
    fitted
}

/// The lines of a text of several lines.
pub(crate) fn lines(style: Style, text: &str) -> Vec<Line> {
    text.lines().map(|line| vec![Span::new(style, line.replace('\t', "    "))]).collect()
}

/// JSON text in which unsafe characters are written as `\u` escapes: the same value, safe to show.
///
/// Valid JSON has such characters inside strings only; control characters below U+0020 are line ends and tabs
/// between values, or were escaped already.
pub(crate) fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) && !matches!(c, '\n' | '\r' | '\t') {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end_matches(['\n', '\r']).chars() {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if is_unsafe(c) => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

/// Control characters (C0, DEL, C1), and format characters: bidirectional controls, zero-width characters, line and
/// paragraph separators, interlinear annotations, tags and variation selectors that can carry hidden text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_stays() {
        for (raw, safe) in [
            ("plain text, ünïcödé, 漢字, 🙂", "plain text, ünïcödé, 漢字, 🙂"),
            ("\u{1b}[2Jcleared", r"\u{1b}[2Jcleared"),
            ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
            ("\u{9b}31mred", r"\u{9b}31mred"),
            ("back\u{8}space\u{7f}", r"back\u{8}space\u{7f}"),
            ("evil\u{202e}txt.exe", r"evil\u{202e}txt.exe"),
            ("zero\u{200b}width\u{feff}", r"zero\u{200b}width\u{feff}"),
            ("tags\u{e0041}", r"tags\u{e0041}"),
            ("two\nlines\r\n", "two lines"),
            ("over\rwritten", "over written"),
            ("a\tb", "a b"),
        ] {
            assert_eq!(Span::plain(raw).text(), safe, "{raw:?}");
        }
    }

    #[test]
    fn lines_keep_their_breaks_and_their_indent() {
        let texts: Vec<_> =
            lines(Style::Plain, "a\r\n\tb\u{1b}\n\nc").iter().map(|l| l[0].text().to_owned()).collect();
        assert_eq!(texts, ["a", r"    b\u{1b}", "", "c"]);
    }

    #[test]
    fn json_stays_the_same_value() {
        let text = "{\"a\": \"\u{202e}x\u{9b}\u{e0041}ü\\u001b\",\n\t\"b\": 1.0}";
        let safe = json(text);
        assert_eq!(safe, "{\"a\": \"\\u202ex\\u009b\\udb40\\udc41ü\\u001b\",\n\t\"b\": 1.0}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&safe), value(text));
    }

    #[test]
    fn cutting_counts_columns() {
        for (text, width, cut) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcd…"),
            ("abcdef", 1, "…"),
            ("abcdef", 0, ""),
            ("漢字漢字", 6, "漢字…"),
            ("漢字漢字", 4, "漢…"),
        ] {
            let span = Span::plain(text).cut(width);
            assert_eq!(span.text(), cut, "{text} to {width}");
            assert!(span.width() <= width);
        }
    }

    #[test]
    fn a_line_is_cut_where_the_terminal_ends() {
        let line = [Span::plain("abc"), Span::new(Style::Good, "def"), Span::plain("ghi")];
        for (width, text) in
            [(9, "abcdefghi"), (8, "abcdefg…"), (6, "abcdef"), (4, "abc…"), (2, "a…"), (0, "")]
        {
            let shown: String = fit(&line, width).iter().map(Span::text).collect();
            assert_eq!(shown, text, "to {width}");
        }
    }

    #[test]
    fn colours_only_when_asked_for() {
        let mut text = String::new();
        Span::new(Style::Bad, "down").paint(true, &mut text);
        Span::new(Style::Bad, "").paint(true, &mut text);
        Span::plain(" or ").paint(true, &mut text);
        Span::new(Style::Good, "up").paint(false, &mut text);
        assert_eq!(text, "\u{1b}[31mdown\u{1b}[0m or up");
    }
}
