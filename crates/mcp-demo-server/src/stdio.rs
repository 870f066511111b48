//! The server on a pair of byte streams, one message a line.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::demo::Demo;
use crate::options::DemoOptions;
use crate::service::{DemoService, limits};

/// How a stdio server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdioEnd {
    /// The client closed its side.
    Eof,
    /// The tool `crash` was called; the process should exit with this status.
    Crash {
        /// The exit status.
        status: u8,
    },
}

/// Serves one client, usually on `tokio::io::stdin()` and `stdout()`, until it closes its side.
///
/// Both eras may be used on the same pipe, message by message (wire reference §5.4). What is no message
/// is answered with an error and skipped.
///
/// # Errors
/// What the streams report; [`io::ErrorKind::TimedOut`] if the client does not read.
pub async fn serve_stdio<R, W>(options: DemoOptions, reader: R, writer: W) -> io::Result<StdioEnd>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let demo = Demo::new(options);
    let service = Arc::new(DemoService(Arc::clone(&demo)));
    let reader = UntilCrash { reader, demo: &demo };
    tokio::select! {
        end = mcp_server::serve_stdio(service, reader, writer, limits()) => end.map(|()| StdioEnd::Eof),
        status = demo.crashed() => Ok(StdioEnd::Crash { status }),
    }
}

/// Reads no more once the server has crashed: a read of stdin under way would hold up the end of the process.
struct UntilCrash<'a, R> {
    reader: R,
    demo: &'a Demo,
}

impl<R: AsyncRead + Unpin> AsyncRead for UntilCrash<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.demo.has_crashed() {
            return Poll::Pending; // and whoever polls is about to end
        }
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}
