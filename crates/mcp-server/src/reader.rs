//! The end of a stream that goes to the client.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::peer::Peer;
use crate::stats::OpenStream;
use crate::store::Next;

/// Reads one stream. Dropping it leaves the rest to the next reader.
pub(crate) struct Reader {
    pub(crate) peer: Arc<Peer>,
    pub(crate) stream: u64,
    pub(crate) reader: u64,
    pub(crate) news: Arc<Notify>,
    pub(crate) _open: OpenStream,
}

impl Reader {
    /// What waits, and what follows it if that is large. `None` if the stream has ended. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<(Bytes, Option<Bytes>)> {
        loop {
            let next = self.peer.lock().store.next(self.stream, self.reader);
            match next {
                Next::Events(piece, large) => {
                    self.peer.read.notify_one();
                    return Some((piece, large));
                }
                Next::End => return None,
                Next::Wait => self.news.notified().await,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.peer.lock();
        state.used = Instant::now();
        state.store.detach(self.stream, self.reader);
    }
}
