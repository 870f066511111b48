//! What an upstream does, step by step.

use std::time::Duration;

use tokio::sync::watch;

/// One thing an [`Upstream`](super::Upstream) does. The steps of a plan are done one after the other.
///
/// In texts `$ID` stands for the id of the request as it was written, `$NONCE` for the nonce of the call and
/// `$TOKEN` for its progress token.
#[derive(Debug, Clone)]
pub enum Step {
    /// Notes in the history that the call was executed.
    Execute,
    /// Answers well: [`RESULT`] as [`Json`](Self::Json).
    Answer,
    /// Says a whole message: over HTTP as a JSON body, which ends the answer; else as [`Event`](Self::Event).
    Json(String),
    /// Says a whole message: over HTTP as an event of a stream, which is opened first; over stdio as a line.
    Event(String),
    /// Says the first half of what [`Json`](Self::Json) would, and nothing of the rest. Over HTTP the head of the
    /// answer announces the whole.
    HalfJson(String),
    /// Says the first half of what [`Event`](Self::Event) would.
    HalfEvent(String),
    /// Writes bytes where the next message would be: in the open body, on stdout.
    Bytes(Vec<u8>),
    /// Writes bytes without any framing. Over HTTP they stand for the head as well.
    Raw(Vec<u8>),
    /// Header lines, each ended by CRLF, for the head of the answer that follows. HTTP only.
    Head(String),
    /// Answers with a status, header lines each ended by CRLF, and a body. HTTP only.
    Status(u16, String, String),
    /// Writes to stderr. Stdio only.
    Stderr(Vec<u8>),
    /// Writes a block of bytes to stderr so many times. Stdio only.
    StderrFlood(Vec<u8>, u32),
    /// Says a message so many times, as [`Event`](Self::Event).
    Flood(String, u32),
    /// Waits for a time.
    Wait(Duration),
    /// Waits until a gate is open.
    Until(Gate),
    /// Does nothing more until the client has gone.
    Hang,
    /// Reads nothing more from the client after this message. Must be in the plan of the message to be the last.
    Deaf,
    /// Ends the connection in order: FIN; over stdio closes stdout and lives on.
    Close,
    /// Ends the connection with a reset; over stdio as [`Close`](Self::Close).
    Reset,
    /// Ends altogether: the process exits with this status; over HTTP no connection and no listener is left.
    Exit(u8),
    /// Ends the process with SIGKILL; over HTTP as [`Exit`](Self::Exit).
    Kill,
    /// Stops the process as SIGSTOP does; stdio only.
    Freeze,
}

/// The good answer to a call, in both eras.
pub const RESULT: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[{"type":"text","text":"$NONCE"}],"structuredContent":{"nonce":"$NONCE"}}}"#;

/// What a plan can wait for. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Opens it for good.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        // It fails only without a sender, and that is in `self`.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
