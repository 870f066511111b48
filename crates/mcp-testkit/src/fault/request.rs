//! Reading what a client sends, as far as an upstream needs it.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::time::Instant;

use super::ledger::Received;

/// A message of a line or body.
pub(crate) fn message(connection: usize, verb: &str, body: String) -> Received {
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    let params = &json["params"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let written = |value: &Value| (!value.is_null()).then(|| value.to_string());
    Received {
        at: Instant::now(),
        connection,
        verb: verb.to_owned(),
        target: String::new(),
        headers: BTreeMap::new(),
        method: text(&json["method"]),
        id: written(&json["id"]),
        nonce: text(&params["arguments"]["nonce"]),
        token: written(&params["_meta"]["progressToken"]),
        body,
    }
}

/// Takes a whole HTTP request from the front of a buffer, if one is there.
///
/// # Panics
/// If it is none; the client under test must not send such.
pub(crate) fn take(buffer: &mut Vec<u8>, connection: usize) -> Option<Received> {
    let head_end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..head_end]).expect("the head is text");
    let mut lines = head.trim_end().split("\r\n");
    let mut start = lines.next().unwrap_or_default().split(' ');
    let (verb, target) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let body = buffer.get(head_end..head_end + length)?;
    let body = String::from_utf8(body.to_vec()).expect("the body is text");
    let received = Received { target: target.to_owned(), headers, ..message(connection, verb, body) };
    buffer.drain(..head_end + length);
    Some(received)
}
