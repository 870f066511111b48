//! The other end of a puppet process: what it reads comes here, what it does is said from here.
//!
//! The puppet connects to the controller. Each time it is granted one read it sends what it read from stdin: the
//! length in four bytes, big-endian, and that; nothing is left when stdin has ended. It is sent frames of the same
//! kind with a letter in front: `r` grants a read, `o` and `e` write to stdout and stderr, `c` closes stdout, `x`
//! exits with the status in the one byte that follows, `k` and `s` send SIGKILL and SIGSTOP to itself.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::http::perform_shared;
use super::ledger::{Ledger, Order, Seen};
use super::output::{After, Piece};
use super::request;
use super::script::Step;
use super::upstream::{Kind, default_steps};

/// Pieces waiting to be sent to a puppet.
const PIECES: usize = 64;

/// Plays one process until it has ended.
pub(crate) async fn play(ledger: Ledger, kind: Kind, mut stream: TcpStream) {
    // Failing that, small messages come late, which tests of time would show.
    let _ = stream.set_nodelay(true);
    let (mut buffer, mut lines) = (Vec::new(), Vec::new());
    let open = ledger.connected();
    let mut orders = ledger.orders();
    let (mut read, mut write) = stream.split();
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let mut performing = JoinSet::new();
    let perform = |performing: &mut JoinSet<()>, received, steps| {
        let (ledger, sender) = (ledger.clone(), sender.clone());
        performing.spawn(async move {
            let received: Option<super::Received> = received;
            perform_shared(&ledger, received.as_ref(), sender, false, steps).await;
        });
    };

    let mut deaf = false;
    if let Some(steps) = ledger.take_plan(["connect"]) {
        deaf = is_deaf(&steps);
        perform(&mut performing, None, steps);
    }
    if !deaf && write.write_all(&frame(b'r', &[])).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            // What is to be done comes before what is read next: an exit must not be outrun.
            biased;
            Some(piece) = pieces.recv() => {
                let frame = match piece {
                    Piece::Out(bytes) => frame(b'o', &bytes),
                    Piece::Err(bytes) => frame(b'e', &bytes),
                    Piece::Freeze | Piece::End(After::Stay) => frame(b's', &[]),
                    Piece::End(After::Close | After::Reset) => frame(b'c', &[]),
                    Piece::End(After::Die(Some(status))) => frame(b'x', &[status]),
                    Piece::End(After::Die(None)) => frame(b'k', &[]),
                };
                if write.write_all(&frame).await.is_err() {
                    return;
                }
            }
            Ok(Order::Do(step)) = orders.recv() => perform(&mut performing, None, vec![step]),
            read = read.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
                let Some(chunk) = take_chunk(&mut buffer) else { continue };
                if chunk.is_empty() {
                    ledger.note(Seen::Left(open.number));
                    let steps = ledger.take_plan(["eof"]).unwrap_or_else(|| vec![Step::Exit(0)]);
                    perform(&mut performing, None, steps);
                    continue;
                }
                lines.extend_from_slice(&chunk);
                while let Some(end) = lines.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = lines.drain(..=end).collect();
                    let line = String::from_utf8(line).expect("the line is text");
                    let received = request::message(open.number, "LINE", line.trim_end().to_owned());
                    ledger.note(Seen::Message(Box::new(received.clone())));
                    let plan = ledger.take_plan(received.keys());
                    let steps = plan.unwrap_or_else(|| default_steps(kind, &ledger, &received));
                    deaf |= is_deaf(&steps);
                    perform(&mut performing, Some(received), steps);
                }
                if !deaf && write.write_all(&frame(b'r', &[])).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes a whole chunk from the front of a buffer. There is never more than one: each is granted.
fn take_chunk(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
    let chunk = buffer.get(4..4 + length)?.to_vec();
    buffer.clear();
    Some(chunk)
}

fn is_deaf(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::Deaf))
}

fn frame(letter: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a frame is small").to_be_bytes();
    [&[letter], &length[..], bytes].concat()
}
