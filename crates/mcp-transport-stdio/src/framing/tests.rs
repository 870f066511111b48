use std::pin::Pin;
use std::task::{Context, Poll};

use mcp_protocol::Limits;
use tokio::io::ReadBuf;

use super::*;

/// A stream that hands out its input in pieces of a fixed size.
struct Pieces<'a> {
    input: &'a [u8],
    size: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.input.split_at(self.size.min(self.input.len()).min(out.remaining()));
        out.put_slice(now);
        self.input = later;
        Poll::Ready(Ok(()))
    }
}

async fn lines(input: &[u8], size: usize, max_bytes: usize) -> Vec<Line> {
    let mut reader = LineReader::new(Pieces { input, size }, max_bytes);
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().await.unwrap() {
        lines.push(line);
    }
    lines
}

fn whole(text: &'static str) -> Line {
    Line::Whole(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn lines_are_found_however_the_input_is_cut() {
    let table: [(&[u8], Vec<Line>); 19] = [
        (b"", vec![]),
        (b"\n\r\n \t\n", vec![]),
        (b"a\nb\n", vec![whole("a"), whole("b")]),
        (b"a\r\n\r\nb", vec![whole("a"), whole("b")]),
        (b"a\rb\n", vec![whole("a\rb")]),
        (b"12345678\n12345678\r\n", vec![whole("12345678"), whole("12345678")]),
        (b"123456789\nb\n", vec![Line::TooLong { bytes: 9 }, whole("b")]),
        (b"123456789012345678901234567890\r\nb\n", vec![Line::TooLong { bytes: 31 }, whole("b")]),
        (b"123456789\r\nb\r\n", vec![Line::TooLong { bytes: 10 }, whole("b")]),
        (b"12345678\r", vec![whole("12345678")]),
        (b"\n\n\n   \t   \t   \n\r\na\n\n", vec![Line::TooLong { bytes: 11 }, whole("a")]),
        (b"a\0b\n\xff\xfe\n", vec![whole("a\0b"), Line::Whole(Bytes::from_static(b"\xff\xfe"))]),
        // A byte order mark, at the start alone. It does not count.
        (b"\xef\xbb\xbf12345678\n", vec![whole("12345678")]),
        (b"\xef\xbb\xbf123456789\n", vec![Line::TooLong { bytes: 9 }]),
        (b"\xef\xbb\xbf", vec![]),
        (b"\xef\xbb\xbf\r\na", vec![whole("a")]),
        (b"\xef\xbb\n", vec![Line::Whole(Bytes::from_static(b"\xef\xbb"))]),
        (b"a\n\xef\xbb\xbfb\n", vec![whole("a"), whole("\u{feff}b")]),
        (b"a\n1234567890", vec![whole("a"), Line::TooLong { bytes: 10 }]),
    ];
    for (input, expected) in table {
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(lines(input, size, 8).await, expected, "{input:?} in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn the_default_limit_is_exact() {
    let limit = Limits::default().max_bytes;
    assert_eq!(limit, 16 << 20);
    for (bytes, fits) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
        for end in [&b"\n"[..], b"\r\n", b""] {
            let mut input = vec![b'x'; bytes];
            input.extend_from_slice(end);
            input.extend_from_slice(if end.is_empty() { b"" } else { b"next" });
            let found = lines(&input, 64 << 10, limit).await;
            match &found[0] {
                Line::Whole(text) => assert!(fits && text.len() == bytes, "{bytes}"),
                Line::TooLong { bytes: reported } => {
                    assert!(!fits && (*reported == bytes as u64 || end == b"\r\n"), "{bytes}: {reported}");
                }
            }
            assert_eq!(found.get(1), (!end.is_empty()).then(|| whole("next")).as_ref(), "{bytes}");
        }
    }
}

#[tokio::test]
async fn a_line_without_end_is_an_error() {
    let mut reader = LineReader::new(tokio::io::repeat(b'x'), 1000);
    let error = reader.next_line().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_large_line_does_not_keep_its_memory_for_the_next_one() {
    let mut input = vec![b'x'; 4 * READ_BYTES];
    input.extend_from_slice(b"\nsmall\n");
    let mut reader = LineReader::new(&input[..], input.len());
    assert!(
        matches!(reader.next_line().await.unwrap(), Some(Line::Whole(text)) if text.len() == 4 * READ_BYTES)
    );
    assert!(reader.buffer.capacity() <= READ_BYTES, "{} bytes kept", reader.buffer.capacity());
    assert_eq!(reader.next_line().await.unwrap(), Some(whole("small")));
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let (mut theirs, ours) = tokio::io::duplex(64);
    let mut reader = LineReader::new(ours, 64);
    theirs.write_all(b"half").await.unwrap();
    assert!(futures::FutureExt::now_or_never(reader.next_line()).is_none());
    theirs.write_all(b" and half\n").await.unwrap();
    assert_eq!(reader.next_line().await.unwrap(), Some(whole("half and half")));
}

#[tokio::test]
async fn a_dropped_write_is_completed_by_the_next() {
    let (ours, theirs) = tokio::io::duplex(8);
    let mut writer = LineWriter::new(ours);
    let line = |text: &'static str| Bytes::from_static(text.as_bytes());
    assert!(futures::FutureExt::now_or_never(writer.write_line(line("a line of 20 bytes.\n"))).is_none());
    assert_eq!(writer.unwritten(), 12);
    let reading = async {
        let mut reader = LineReader::new(theirs, 64);
        (reader.next_line().await.unwrap(), reader.next_line().await.unwrap())
    };
    let (written, read) = tokio::join!(writer.write_line(line("second\n")), reading);
    written.unwrap();
    assert_eq!(read, (Some(whole("a line of 20 bytes.")), Some(whole("second"))));
}

#[test]
fn a_body_of_several_lines_becomes_one() {
    let frame = Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\r\n \"a\": \"\\n\"\n}}");
    let message = Message::parse(&frame, &Limits::default()).unwrap();
    let line = encode_line(&message);
    assert_eq!(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{   \"a\": \"\\n\" }}\n");
}
