use super::*;

const LIMIT: usize = 64;

type Decoded = Vec<Result<String, EventError>>;

/// The data of the messages in the chunks, and the errors.
fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let text = |event: Event| String::from_utf8(event.data.into()).unwrap();
    let mut events = events(chunks);
    events.retain(|event| event.as_ref().map_or(true, Event::is_message));
    events.into_iter().map(|event| event.map(text)).collect()
}

/// Feeds the chunks; stops after an error nothing can follow.
fn events<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Event, EventError>> {
    let mut decoder = EventDecoder::new(LIMIT);
    let mut decoded = Vec::new();
    for chunk in chunks {
        decoder.feed(Bytes::copy_from_slice(chunk));
        while let Some(item) = decoder.next() {
            let fatal = item.as_ref().is_err_and(EventError::is_fatal);
            decoded.push(item);
            if fatal {
                return decoded;
            }
        }
        assert!(decoder.event.len() <= LIMIT + 1, "kept {} bytes", decoder.event.len());
    }
    decoded
}

fn ok(texts: &[&str]) -> Decoded {
    texts.iter().map(|&text| Ok(text.to_owned())).collect()
}

/// However the bytes are cut into chunks, the events are the same.
#[test]
fn j5_events_are_found_whatever_the_chunks() {
    let table: &[(&str, &[u8], &[&str])] = &[
        ("LF", b"data: a\n\ndata: b\n\n", &["a", "b"]),
        ("CRLF", b"data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
        ("CR", b"data: a\r\rdata: b\r\r", &["a", "b"]),
        ("mixed line ends", b"data: a\r\n\ndata: b\r\r\ndata: c\n\r", &["a", "b", "c"]),
        ("one space removed", b"data:a\n\ndata:  b\n\n", &["a", " b"]),
        ("lines joined", b"data: a\ndata: b\ndata\n\n", &["a\nb\n"]),
        ("message named", b"event: message\ndata: a\n\n", &["a"]),
        ("other types", b"event: ping\ndata: a\n\nevent: error\ndata: b\n\ndata: c\n\n", &["c"]),
        ("comments", b": hi\n\n:\ndata: a\n: ho\ndata: b\n\n", &["a\nb"]),
        ("priming event", b"id: 1\nretry: 10\ndata:\n\ndata: a\n\n", &["a"]),
        ("no data", b"id: 1\n\nevent: message\n\n\n\n", &[]),
        ("odd fields", b"x\ny: 1\nretry: soon\nid: \0\nid\ndata: a\n\n", &["a"]),
        ("byte order mark", b"\xef\xbb\xbfdata: a\n\n", &["a"]),
        ("mark before a comment", b"\xef\xbb\xbf: x\n\ndata: a\n\n", &["a"]),
        ("mark before an empty line", b"\xef\xbb\xbf\n\ndata: a\n\n", &["a"]),
        ("mark elsewhere", b"data: a\n\n\xef\xbb\xbfdata: b\n\ndata: \xef\xbb\xbfc\n\n", &["a", "\u{feff}c"]),
        ("split character", "data: \u{1f600}\u{e9}\n\n".as_bytes(), &["\u{1f600}\u{e9}"]),
        ("unfinished", b"data: a\n\ndata: b\n", &["a"]),
        ("nothing", b"", &[]),
    ];
    for (name, bytes, expected) in table {
        for size in [1, 2, 3, 5, usize::MAX] {
            assert_eq!(decode(bytes.chunks(size.min(bytes.len().max(1)))), ok(expected), "{name} by {size}");
        }
    }
}

/// A line end that may or may not have an LF to come is acted upon at once.
#[test]
fn j5_an_event_ended_by_cr_is_not_held_back() {
    assert_eq!(decode([&b"data: a\r\r"[..]]), ok(&["a"]));
    assert_eq!(decode([&b"data: a\r\n\r"[..]]), ok(&["a"]));
}

#[test]
fn j5_an_unusable_event_does_not_harm_the_next() {
    let too_large = Err(EventError::TooLarge { limit: LIMIT });
    let line = |len: usize| [b"data: ", &vec![b'x'; len][..], b"\n\n"].concat();
    let next = b"data: next\n\n".to_vec();
    let many_lines = [b"data: 7890\n".repeat(6), b"\n".to_vec()].concat();
    let table: [(&str, Vec<u8>, Decoded); 5] = [
        ("invalid UTF-8", b"data: \xff\n\n".to_vec(), vec![Err(EventError::NotUtf8)]),
        ("at the limit", line(LIMIT - 6), ok(&["x".repeat(LIMIT - 6).as_str()])),
        ("over the limit", line(LIMIT - 5), vec![too_large.clone()]),
        ("many lines", many_lines, vec![too_large.clone()]),
        ("twice the limit", line(2 * LIMIT - 6), vec![too_large]),
    ];
    for (name, bytes, mut expected) in table {
        expected.extend(ok(&["next"]));
        let bytes = [bytes, next.clone()].concat();
        for size in [1, 7, bytes.len()] {
            assert_eq!(decode(bytes.chunks(size)), expected, "{name} by {size}");
        }
    }
}

#[test]
fn j5_what_never_ends_is_reported_once_and_cut_off() {
    let expected =
        vec![Err(EventError::TooLarge { limit: LIMIT }), Err(EventError::Endless { limit: LIMIT })];
    let endless: [(&str, &[u8]); 4] = [
        ("a line", b"xxxxxxx"),
        ("data lines", b"data: x\n"),
        ("empty data lines", b"data\n"),
        ("comments in an event", b"data\n: x\n"),
    ];
    for (name, part) in endless {
        assert_eq!(decode(std::iter::repeat_n(part, 1000)), expected, "{name}");
    }
}

/// Keep-alive comments belong to no event and never add up.
#[test]
fn j5_keep_alives_go_on_for_ever() {
    for part in [&b": keep-alive\n\n"[..], b": keep-alive\n", b":\r\n"] {
        let stream = std::iter::repeat_n(part, 1000).chain([&b"data: a\n\n"[..]]);
        assert_eq!(decode(stream), ok(&["a"]), "{}", String::from_utf8_lossy(part));
    }
    let long = [&b":"[..], &[b'x'; LIMIT], b"\n\ndata: a\n\n"].concat();
    assert_eq!(decode([&*long])[0], Err(EventError::TooLarge { limit: LIMIT }));
}

#[test]
fn j5_an_event_has_a_bounded_number_of_lines() {
    for (lines, expected) in
        [(MOST_LINES, Ok(MOST_LINES - 1)), (MOST_LINES + 1, Err(EventError::TooManyLines))]
    {
        let mut decoder = EventDecoder::new(1 << 20);
        let event = ["data\n:\n".repeat(lines), "\ndata: a\n\n".to_owned()].concat();
        decoder.feed(event.into());
        assert_eq!(decoder.next().unwrap().map(|event| event.data.len()), expected);
        assert_eq!(decoder.next().unwrap().unwrap().data, "a");
        assert_eq!(decoder.next(), None);
    }
}

#[test]
fn j5_types_ids_and_waits_are_told() {
    let event = |name: &str, data: &'static str, id: Option<&str>, retry: Option<u64>| {
        let retry = retry.map(Duration::from_millis);
        Event { name: name.into(), data: data.into(), id: id.map(Into::into), retry }
    };
    let table: &[(&[u8], Option<Event>)] = &[
        (b"data: a\n\n", Some(event("message", "a", None, None))),
        (b"event: endpoint\ndata: /m?s=1\n\n", Some(event("endpoint", "/m?s=1", None, None))),
        (b"event\ndata: a\n\n", Some(event("message", "a", None, None))),
        (b"id: 7\ndata: a\ndata:\n\n", Some(event("message", "a\n", Some("7"), None))),
        (b"id: 1\nretry: 10\ndata:\n\n", Some(event("message", "", Some("1"), Some(10)))),
        (b"id: 1\ndata\n\n", Some(event("message", "", Some("1"), None))),
        (b"id: 1\n\n", Some(event("message", "", Some("1"), None))),
        (b"retry: 0\n\n", Some(event("message", "", None, Some(0)))),
        (b"retry: 18446744073709551616\n\n", None),
        (b"retry: -1\ndata: a\n\n", Some(event("message", "a", None, None))),
        (b"id\n\n", Some(event("message", "", Some(""), None))),
        (b"id: 1\nid:\ndata: a\n\n", Some(event("message", "a", Some(""), None))),
        (b"id: a\0b\ndata: a\n\n", Some(event("message", "a", None, None))),
        ("id: \u{e9}\n\n".as_bytes(), Some(event("message", "", Some("\u{e9}"), None))),
        (b"event: x\n\n", None),
        (b": nothing\nx: y\n\n", None),
    ];
    for (bytes, expected) in table {
        let expected: Vec<_> = expected.iter().cloned().map(Ok).collect();
        assert_eq!(events([*bytes]), expected, "{}", String::from_utf8_lossy(bytes));
    }
}
