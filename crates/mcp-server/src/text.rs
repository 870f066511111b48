//! Messages as text on one line: a line of stdout, or an event of a stream.

use bytes::{BufMut, Bytes, BytesMut};
use mcp_protocol::{Failure, Message, RequestId, Response};

use crate::service::Outcome;

/// A comment, which keeps a stream alive and says nothing.
pub(crate) const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// The answer to a request.
pub(crate) fn answer_message(id: RequestId, outcome: Outcome) -> Message {
    match outcome {
        Ok(result) => Message::Response(Response { id, result }),
        Err(error) => Message::Failure(Failure { id: Some(id), error }),
    }
}

/// How the messages for a client are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Server-sent events, without an id. Source: wire reference §4.6.
    Event,
    /// Lines. Source: wire reference §4.1.
    Line,
}

impl Form {
    pub(crate) fn write(self, message: &Message) -> Bytes {
        let (start, end): (&[u8], &[u8]) = match self {
            Self::Event => (b"event: message\ndata: ", b"\n\n"),
            Self::Line => (b"", b"\n"),
        };
        let mut text = BytesMut::with_capacity(body_len(message) + start.len() + end.len() + 128);
        text.put_slice(start);
        message.encode_into(&mut text);
        // Bodies go out as they came. Between the tokens of JSON, where alone a line end can stand, any other
        // white space is as good.
        let mut at = start.len();
        while let Some(offset) = memchr::memchr2(b'\n', b'\r', &text[at..]) {
            at += offset;
            text[at] = b' ';
        }
        text.put_slice(end);
        text.freeze()
    }
}

fn body_len(message: &Message) -> usize {
    let body = match message {
        Message::Request(request) => request.params.as_ref(),
        Message::Notification(notification) => notification.params.as_ref(),
        Message::Response(response) => Some(&response.result),
        Message::Failure(failure) => Some(failure.error.as_raw()),
    };
    body.map_or(0, |body| body.as_bytes().len())
}

#[cfg(test)]
mod tests {
    use mcp_protocol::Limits;

    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_its_body_looks_like() {
        let text = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\r\n  \"a\": \"\\n\"\n}}";
        let message = Message::parse(&Bytes::from_static(text.as_bytes()), &Limits::default()).unwrap();
        let one_line = text.replace(['\r', '\n'], " ");
        assert_eq!(Form::Line.write(&message), format!("{one_line}\n"));
        assert_eq!(Form::Event.write(&message), format!("event: message\ndata: {one_line}\n\n"));
    }
}
