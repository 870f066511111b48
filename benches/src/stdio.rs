//! The minimal server on stdin and stdout.

use std::io::{BufRead, BufReader, BufWriter, Write};

use bytes::Bytes;
use mcp_protocol::{Era, Limits, Message};

use crate::Failure;
use crate::answers::Answers;

/// Answers what comes on stdin until it ends. One line is one message; progress is not reported.
///
/// # Errors
/// What cannot be read or written.
pub fn serve_stdio(era: Era) -> Result<(), Failure> {
    let answers = Answers::new(era, 0)?;
    let mut input = BufReader::with_capacity(1 << 16, std::io::stdin().lock());
    let mut output = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let frame = Bytes::copy_from_slice(line.trim_ascii());
        line.clear();
        if let Ok(Message::Request(request)) = Message::parse(&frame, &Limits::default()) {
            output.write_all(&answers.to(&request).message)?;
            output.write_all(b"\n")?;
        }
        // What else has been read already is answered first.
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    Ok(())
}
