//! What a server prints on stderr: drained always, kept in part, logged at debug level.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::connection::Connection;

/// Longest line shown to anybody, in characters.
const LINE_CHARS: usize = 1000;

/// The newest bytes of a stream.
#[derive(Debug)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
    limit: usize,
    /// Whether older bytes were dropped, so that the first line may be a part of one.
    cut: bool,
}

impl Tail {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), limit, cut: false }
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        let text = &text[text.len().saturating_sub(self.limit)..];
        let excess = (self.bytes.len() + text.len()).saturating_sub(self.limit);
        self.cut |= excess > 0;
        self.bytes.drain(..excess);
        self.bytes.extend(text);
    }

    /// The last lines that are not blank, oldest first, at most `count`.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<Vec<u8>> {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        if self.cut && lines.len() > 1 {
            lines.remove(0); // Half a line may hold half a secret, which is not recognised.
        }
        lines.retain(|line| !line.trim_ascii().is_empty());
        lines[lines.len().saturating_sub(count)..].iter().map(|line| line.to_vec()).collect()
    }
}

/// Reads the stream to its end.
pub(crate) async fn drain(mut stream: impl AsyncRead + Unpin, connection: Arc<Connection>) {
    let mut chunk = vec![0; 8 * 1024];
    let mut log = LineLog::default();
    // A stream that cannot be read any more has ended.
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        connection.push_stderr(&chunk[..read]);
        log.push(&chunk[..read], &connection);
    }
    log.end_line(&connection);
}

/// Puts chunks together to lines and logs these.
#[derive(Default)]
struct LineLog {
    line: Vec<u8>,
}

impl LineLog {
    fn push(&mut self, text: &[u8], connection: &Connection) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            // What exceeds the longest line shown need not be remembered; a character has up to 4 bytes.
            let room = (4 * LINE_CHARS + 4).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end_line(connection);
            }
        }
    }

    fn end_line(&mut self, connection: &Connection) {
        if !self.line.trim_ascii().is_empty() {
            tracing::debug!(
                pid = connection.pid(),
                line = connection.foreign().line(&self.line, LINE_CHARS),
                "server stderr"
            );
        }
        self.line.clear();
    }
}

/// The last lines of stderr as they may be shown.
pub(crate) fn shown(tail: &Tail, connection: &Connection, count: usize) -> Vec<String> {
    tail.last_lines(count).iter().map(|line| connection.foreign().line(line, LINE_CHARS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::Foreign;

    #[test]
    fn j14_lines_are_logged_whole_redacted_and_bounded() {
        let foreign = Foreign::new(["s3cr3t-value".into()]);
        let connection = Connection::new(7, foreign, 1000);
        let long = "x".repeat(10_000);
        let log = crate::testing::log(|| {
            let mut lines = LineLog::default();
            for part in ["one\n\ntw", "o, s3cr3t-", "value\n", &long, &long, "\nrest"] {
                lines.push(part.as_bytes(), &connection);
            }
            lines.end_line(&connection);
        });
        let logged: Vec<&str> =
            log.lines().filter_map(|line| line.split_once("line=")).map(|(_, line)| line).collect();
        let cut = format!("{:?}", format!("{}…", "x".repeat(LINE_CHARS)));
        assert_eq!(logged, ["\"one\"", "\"two, [REDACTED]\"", &cut, "\"rest\""], "{log}");
    }

    #[test]
    fn the_newest_bytes_are_kept_as_whole_lines() {
        let mut tail = Tail::new(10);
        let lines = |tail: &Tail, count| -> Vec<String> {
            tail.last_lines(count).into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
        };
        assert!(lines(&tail, 5).is_empty());
        tail.push(b"one\n\ntwo");
        assert_eq!(lines(&tail, 5), ["one", "two"]);
        assert_eq!(lines(&tail, 1), ["two"]);
        tail.push(b"2\nthree");
        assert_eq!(lines(&tail, 5), ["three"]);
        tail.push(b"a line that is far too long for the ring");
        assert_eq!(tail.bytes.len(), 10);
        assert_eq!(lines(&tail, 5), ["r the ring"]);
    }
}
