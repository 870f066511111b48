//! Where a command writes: results to stdout, everything else to stderr.

use std::{
    fmt,
    future::Future,
    io::{self, IsTerminal as _, Write},
    pin::pin,
    time::Duration,
};

use crate::{
    table::Table,
    text::{self, Line, Span, Style},
};

/// A wait longer than this shows that it goes on.
const PATIENCE: Duration = Duration::from_secs(1);
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// The two streams of a command, and what they are.
pub struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    look: Look,
}

/// What the streams of an [`Output`] can show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether results are coloured.
    pub color: bool,
    /// Columns and rows of the terminal that shows results; `None` if it is none.
    pub size: Option<(u16, u16)>,
    /// Whether messages are coloured.
    pub message_color: bool,
    /// Whether messages go to a terminal, so that progress may be drawn there.
    pub progress: bool,
}

impl Output {
    /// The streams of this process; colours where a stream is a terminal and `color` allows it.
    pub fn stdio(color: bool) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let size = out
            .is_terminal()
            .then(terminal_size::terminal_size)
            .flatten()
            .map(|(width, height)| (width.0, height.0));
        let look = Look {
            color: color && out.is_terminal(),
            size,
            message_color: color && err.is_terminal(),
            progress: err.is_terminal(),
        };
        Self::new(Box::new(out), Box::new(err), look)
    }

    /// Streams of the caller's choice.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, look: Look) -> Self {
        Self { out, err, look }
    }

    /// Columns results may take.
    pub(crate) fn width(&self) -> Option<usize> {
        self.look.size.map(|(width, _)| width.into())
    }

    /// One line of the result.
    pub(crate) fn line(&mut self, line: &[Span]) -> io::Result<()> {
        let text = painted(line, self.look.color);
        self.raw(&text)
    }

    /// Lines of the result.
    pub(crate) fn lines(&mut self, lines: &[Line]) -> io::Result<()> {
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// A table as the result.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        self.lines(&table.lines(self.width()))
    }

    /// JSON text as the result, on one line if it has no line ends.
    pub(crate) fn json(&mut self, json: &str) -> io::Result<()> {
        let mut text = text::json(json.trim_end());
        text.push('\n');
        self.raw(&text)
    }

    /// Text that is written as it is: completion scripts, and the lines this type has made safe.
    pub(crate) fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Makes room for a first [`screen`](Self::screen) on a terminal.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        if self.look.size.is_some() { self.raw("\u{1b}[2J") } else { Ok(()) }
    }

    /// A screen that replaces the one before it; a terminal shows as much of it as it has rows.
    pub(crate) fn screen(&mut self, lines: &[Line]) -> io::Result<()> {
        let Some((width, rows)) = self.look.size else {
            self.lines(lines)?;
            return self.raw("\n");
        };
        // Drawn over the old screen, so that nothing flickers, then what is left of the old one is cleared.
        let fit = usize::from(rows).saturating_sub(2).max(1);
        let mut text = String::from("\u{1b}[H");
        for line in lines.iter().take(fit) {
            // A line that wraps would take a row that is not counted.
            let line = text::fit(line, width.into());
            line.iter().for_each(|span| span.paint(self.look.color, &mut text));
            text.push_str("\u{1b}[K\n");
        }
        if let Some(hidden) = lines.len().checked_sub(fit).filter(|&hidden| hidden > 0) {
            Span::faint(format!("… {hidden} more lines")).paint(self.look.color, &mut text);
            text.push_str("\u{1b}[K\n");
        }
        text.push_str("\u{1b}[J");
        self.raw(&text)
    }

    /// One line that is not part of the result.
    pub(crate) fn note(&mut self, line: &[Span]) -> io::Result<()> {
        self.err.write_all(painted(line, self.look.message_color).as_bytes())?;
        self.err.flush()
    }

    /// A table that is not part of the result.
    pub(crate) fn note_table(&mut self, table: &Table) -> io::Result<()> {
        table.lines(self.width()).iter().try_for_each(|line| self.note(line))
    }

    /// `error: message`; later lines of the message without the prefix.
    pub fn error(&mut self, message: &str) -> io::Result<()> {
        let mut lines = text::lines(Style::Plain, message).into_iter();
        let mut first = vec![Span::new(Style::Bad, "error: ")];
        first.extend(lines.next().unwrap_or_default());
        self.note(&first)?;
        lines.try_for_each(|line| self.note(&line))
    }

    /// Waits for `work`, saying so on a terminal when it takes long.
    pub(crate) async fn wait<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        if !self.look.progress {
            return work.await;
        }
        let mut work = pin!(work);
        if let Ok(done) = tokio::time::timeout(PATIENCE, work.as_mut()).await {
            return done;
        }
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut frames = FRAMES.iter().cycle();
        loop {
            tokio::select! {
                done = &mut work => {
                    self.draw("\r\u{1b}[K");
                    return done;
                }
                _ = tick.tick() => {
                    let frame = frames.next().copied().unwrap_or_default();
                    let mut text = String::from("\r");
                    Span::faint(format!("{frame} {what}")).paint(self.look.message_color, &mut text);
                    self.draw(&text);
                }
            }
        }
    }

    /// Progress is not worth failing for.
    fn draw(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("look", &self.look).finish_non_exhaustive()
    }
}

fn painted(line: &[Span], color: bool) -> String {
    let mut text = String::new();
    line.iter().for_each(|span| span.paint(color, &mut text));
    text.push('\n');
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Notify;

    use super::*;

    /// A stream that keeps what was written to it.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Kept(Arc<(Mutex<Vec<u8>>, Notify)>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().clone()).unwrap()
        }

        /// Waits until `text` was written to it.
        pub(crate) async fn until(&self, text: &str) {
            let written = async {
                while !self.text().contains(text) {
                    // A write between the look and the wait has left its notice.
                    self.0.1.notified().await;
                }
            };
            let seen = tokio::time::timeout(Duration::from_secs(20), written).await;
            assert!(seen.is_ok(), "{text:?} never came; there is {:?}", self.text());
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.0.0.lock().unwrap().write(bytes);
            self.0.1.notify_one();
            written
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn kept(look: Look) -> (Output, Kept, Kept) {
        let (out, err) = (Kept::default(), Kept::default());
        (Output::new(Box::new(out.clone()), Box::new(err.clone()), look), out, err)
    }

    #[test]
    fn colours_follow_the_look_of_each_stream() {
        let (mut output, out, err) = kept(Look { color: true, ..Look::default() });
        output.line(&[Span::new(Style::Good, "up")]).unwrap();
        output.error("first\nsecond \u{1b}[2J").unwrap();
        assert_eq!(out.text(), "\u{1b}[32mup\u{1b}[0m\n");
        assert_eq!(err.text(), "error: first\nsecond \\u{1b}[2J\n");
    }

    #[test]
    fn a_screen_is_redrawn_on_a_terminal_and_repeated_elsewhere() {
        let lines: Vec<Line> = ["a", "b", "c", "d"].map(|text| vec![Span::plain(text)]).into();
        let (mut output, out, _) = kept(Look { size: Some((80, 4)), ..Look::default() });
        output.screen(&lines).unwrap();
        assert_eq!(out.text(), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n… 2 more lines\u{1b}[K\n\u{1b}[J");

        let (mut output, out, _) = kept(Look::default());
        output.screen(&lines).unwrap();
        assert_eq!(out.text(), "a\nb\nc\nd\n\n");
    }

    #[test]
    fn a_screen_never_wraps() {
        let (mut output, out, _) = kept(Look { size: Some((4, 9)), ..Look::default() });
        output.screen(&[vec![Span::plain("abcdef")]]).unwrap();
        assert_eq!(out.text(), "\u{1b}[Habc…\u{1b}[K\n\u{1b}[J");
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_long_wait_on_a_terminal_is_shown() {
        for (progress, millis, shown) in [(true, 900, false), (true, 1500, true), (false, 1500, false)] {
            let (mut output, _, err) = kept(Look { progress, ..Look::default() });
            let work = async {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                7
            };
            assert_eq!(output.wait("calling", work).await, 7);
            let text = err.text();
            assert_eq!(text.contains("calling"), shown, "{progress} {millis}");
            assert_eq!(text.ends_with("\r\u{1b}[K"), shown, "{progress} {millis}: erased at the end");
        }
    }
}
