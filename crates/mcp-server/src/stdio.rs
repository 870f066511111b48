//! One client on a pair of pipes (wire reference §4.1, §5.4).

use std::io;
use std::sync::Arc;

use bytes::Buf;
use mcp_protocol::{ErrorCode, Failure, Message, RpcError};
use mcp_transport_stdio::framing::{Line, LineReader};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::flight::Shared;
use crate::limits::FrontLimits;
use crate::peer::Peer;
use crate::reader::Reader;
use crate::serial;
use crate::service::{Principal, Service, TransportShape};
use crate::store::COMMON;

/// Serves one client, usually on `tokio::io::stdin()` and `stdout()`, until it closes its side.
///
/// Both eras may be used on the same pipe, message by message. What is no message is answered with an error and
/// skipped.
///
/// When the client closes its side, what it listened to ends and what it was asked counts as not answered. Its calls go on
/// for [`FrontLimits::linger`], so that requests can be piped in from a file, and are cancelled then. What was answered goes out.
///
/// # Errors
/// What the streams report; [`io::ErrorKind::TimedOut`] if the client leaves what is written to it untaken for
/// longer than [`FrontLimits::write_stall`].
pub async fn serve_stdio<R, W>(
    service: Arc<dyn Service>,
    reader: R,
    writer: W,
    limits: FrontLimits,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let shared = Shared::new(limits);
    let peer = Peer::new(&shared, Principal::anonymous(), service, TransportShape::Stdio);
    let ends = EndsWithPipe(Arc::clone(&peer));
    let Ok(said) = peer.attach(COMMON, None) else { return Ok(()) }; // nobody else reads it
    let writing = write(said, writer, &shared);
    let reading = read(&peer, reader);
    // Side by side, so that a client that writes before it reads does not stop both for good.
    tokio::pin!(reading, writing);
    let end = tokio::select! {
        end = &mut reading => end,
        written = &mut writing => return written,
    };
    if end.is_ok() {
        peer.says_no_more();
        if let Ok(written) = timeout(shared.limits.linger, &mut writing).await {
            return written;
        }
        let (calls, linger) = (shared.in_flight(), shared.limits.linger);
        if calls > 0 {
            tracing::warn!(
                calls,
                ?linger,
                "calls are given up: they took too long after the client had closed its side"
            );
        }
    }
    drop(ends);
    end.and(writing.await)
}

async fn read(peer: &Arc<Peer>, reader: impl AsyncRead + Unpin) -> io::Result<()> {
    let most = peer.shared.limits.max_body;
    let mut lines = LineReader::new(reader, most);
    while let Some(line) = lines.next_line().await? {
        let failure = match line {
            Line::Whole(text) => serial::receive(peer, &text).err(),
            Line::TooLong { bytes } => {
                let text = format!("a line of {bytes} bytes exceeds the limit of {most}");
                Some(Failure { id: None, error: RpcError::new(ErrorCode::INVALID_REQUEST, &text) })
            }
        };
        if let Some(failure) = failure {
            peer.answer(COMMON, &Message::Failure(failure));
        }
        // Each line may be answered at once, so no more are read than answers may wait. A client that never reads
        // is the writer's affair.
        peer.has_room().await;
    }
    Ok(())
}

async fn write(mut said: Reader, mut writer: impl AsyncWrite + Unpin, shared: &Shared) -> io::Result<()> {
    let stall = shared.limits.write_stall;
    let unread = || io::Error::new(io::ErrorKind::TimedOut, "the client does not read what is written to it");
    while let Some((piece, large)) = said.next().await {
        let mut rest = piece.chain(large.unwrap_or_default());
        while rest.has_remaining() {
            // The time begins afresh with each part that finds room.
            let written = timeout(stall, writer.write_buf(&mut rest)).await.map_err(|_| unread())??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        timeout(stall, writer.flush()).await.map_err(|_| unread())??;
    }
    Ok(())
}

/// Ends everything of a client, also if whoever serves it is dropped.
struct EndsWithPipe(Arc<Peer>);

impl Drop for EndsWithPipe {
    fn drop(&mut self) {
        self.0.end();
    }
}
