use std::collections::HashSet;

use mcp_protocol::Limits;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);
const LATER: Timestamp = Timestamp::from_micros(2_000_000);

fn json(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn params(text: &str) -> Digest {
    digest_of_params(Some(&json(text))).unwrap()
}

fn with_context<T>(test: impl FnOnce(Context<'_>) -> T) -> T {
    test(Context {
        purpose: "state",
        principal: &Principal::named("ada"),
        endpoint: "/mcp",
        method: &Method::from("tools/call"),
        params: params(r#"{"name":"a","arguments":{}}"#),
    })
}

#[test]
fn what_was_sealed_comes_back() {
    let sealer = Sealer::new().unwrap();
    with_context(|context| {
        for payload in [&b""[..], b"x", "\u{0}ü\u{1f600}".as_bytes(), &[0xff; 1000], &[7; MAX_PAYLOAD]] {
            let sealed = sealer.seal(&context, LATER, payload).unwrap();
            assert!(sealed.len() <= MAX_SEALED);
            assert!(sealed.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
            assert_eq!(sealer.open(&context, NOW, &sealed).as_deref(), Ok(payload));
        }
    });
}

#[test]
fn payloads_are_bounded() {
    let sealer = Sealer::new().unwrap();
    with_context(|context| {
        let error = sealer.seal(&context, LATER, &[0; MAX_PAYLOAD + 1]).unwrap_err();
        assert_eq!(error, TooLarge { len: 66561 });
        assert_eq!(error.to_string(), "state of 66561 bytes is more than the 66560 a client carries for us");
        for text in ["A".repeat(MAX_SEALED), "A".repeat(MAX_SEALED + 1)] {
            assert_eq!(sealer.open(&context, NOW, &text), Err(Refused));
        }
    });
}

#[test]
fn every_changed_bit_is_refused() {
    let sealer = Sealer::new().unwrap();
    with_context(|context| {
        // Of three lengths, so that the last character of the text has bits to spare in two of them.
        for payload in ["upstream state", "upstream state!", "upstream state!!"] {
            let sealed = sealer.seal(&context, LATER, payload.as_bytes()).unwrap();
            let refuse = |text: &str| assert_eq!(sealer.open(&context, NOW, text), Err(Refused), "{text}");
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut bytes = sealed.clone().into_bytes();
                    bytes[at] ^= 1 << bit;
                    refuse(&String::from_utf8_lossy(&bytes));
                }
                refuse(&sealed[..at]);
                refuse(&sealed[at + 1..]);
            }
            let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                refuse(&URL_SAFE_NO_PAD.encode(changed));
            }
            for addition in ["A", "=", "==", " ", "\n", "AAAA"] {
                refuse(&format!("{sealed}{addition}"));
                refuse(&format!("{addition}{sealed}"));
            }
            assert!(sealer.open(&context, NOW, &sealed).is_ok());
        }
    });
}

#[test]
fn every_part_of_the_context_counts() {
    let sealer = Sealer::new().unwrap();
    let (ada, bob, nobody) = (Principal::named("ada"), Principal::named("bob"), Principal::anonymous());
    let (call, get) = (Method::from("tools/call"), Method::from("prompts/get"));
    with_context(|context| {
        let others = [
            Context { purpose: "cursor", ..context },
            Context { principal: &bob, ..context },
            Context { principal: &nobody, ..context },
            Context { endpoint: "/mcp/a", ..context },
            Context { method: &get, ..context },
            Context { params: params(r#"{"name":"a","arguments":{"x":1}}"#), ..context },
            // Text that moves from one part to its neighbour.
            Context { purpose: "stat", principal: &Principal::named("eada"), ..context },
            Context { principal: &Principal::named("ada/"), endpoint: "mcp", ..context },
            Context { endpoint: "/mcpt", method: &Method::from("ools/call"), ..context },
        ];
        let sealed = sealer.seal(&context, LATER, b"state").unwrap();
        for other in others {
            assert_eq!(sealer.open(&other, NOW, &sealed), Err(Refused), "{other:?}");
            let theirs = sealer.seal(&other, LATER, b"state").unwrap();
            assert_eq!(sealer.open(&context, NOW, &theirs), Err(Refused), "{other:?}");
        }
        let same = Context { principal: &ada, method: &call, ..context };
        assert_eq!(sealer.open(&same, NOW, &sealed).as_deref(), Ok(&b"state"[..]));
    });
}

#[test]
fn what_expires_is_open_until_then() {
    let sealer = Sealer::new().unwrap();
    let at = |micros| Timestamp::from_micros(micros);
    with_context(|context| {
        let sealed = sealer.seal(&context, at(2_000), b"state").unwrap();
        for (now, open) in [(i64::MIN, true), (0, true), (1_999, true), (2_000, false), (i64::MAX, false)] {
            assert_eq!(sealer.open(&context, at(now), &sealed).is_ok(), open, "{now}");
        }
    });
}

#[test]
fn another_key_opens_nothing() {
    let (ours, theirs) = (Sealer::new().unwrap(), Sealer::new().unwrap());
    with_context(|context| {
        let sealed = ours.seal(&context, LATER, b"state").unwrap();
        assert_eq!(theirs.open(&context, NOW, &sealed), Err(Refused));
    });
}

#[test]
fn the_same_is_never_sealed_the_same_and_shows_nothing() {
    let sealer = Sealer::new().unwrap();
    with_context(|context| {
        let sealed = (0..1000).map(|_| sealer.seal(&context, LATER, &[b'a'; 32]).unwrap());
        let secrets: HashSet<_> =
            sealed.map(|text| URL_SAFE_NO_PAD.decode(text).unwrap()[NUMBER..].to_vec()).collect();
        assert_eq!(secrets.len(), 1000);
        assert!(!secrets.iter().any(|secret| secret.windows(8).any(|part| part == b"aaaaaaaa")));
    });
    assert_eq!(format!("{sealer:?}"), "Sealer { .. }");
}

#[test]
fn attempts_at_one_request_ask_for_the_same() {
    let first = params(r#"{"name":"a","arguments":{"x":1,"y":[ ]},"_meta":{"progressToken":1}}"#);
    for retry in [
        r#"{"arguments":{"x":1,"y":[ ]},"name":"a"}"#,
        r#"{ "name": "a", "arguments": {"x": 1, "y": []} }"#,
        r#"{"n\u0061me":"a","requestState":"s","inputResponses":{"u1":{}},"arguments":{"x":1,"y":[]},"_meta":{}}"#,
    ] {
        assert_eq!(params(retry), first, "{retry}");
    }
    for other in [
        r#"{"name":"b","arguments":{"x":1,"y":[]}}"#,
        r#"{"name":"a","arguments":{"x":1,"y":[0]}}"#,
        r#"{"name":"a","arguments":{"x":1,"y":[]},"extra":null}"#,
        r#"{"name":"a","arguments":{"x":1,"y":[],"_meta":{}}}"#,
        r#"{"name":"a"}"#,
    ] {
        assert_ne!(params(other), first, "{other}");
    }
    assert_eq!(digest_of_params(None), Ok(params("{}")));
    assert_eq!(params(r#"{"requestState":"s"}"#), params("{}"));
    assert!(digest_of_params(Some(&json("[]"))).is_err());
    assert!(digest_of_params(Some(&json(r#"{"a":1,"\u0061":2}"#))).is_err());
}

proptest! {
    #[test]
    fn state_survives_unchanged(state in "\\PC{0,200}|[\\x00-\\u{ffff}]{0,50}", micros in any::<i64>(), number in any::<u64>()) {
        let sealer = Sealer { sealed: AtomicU64::new(number), ..Sealer::new().unwrap() };
        let expires = Timestamp::from_micros(micros);
        with_context(|context| {
            let sealed = sealer.seal(&context, expires, state.as_bytes()).unwrap();
            let before = Timestamp::from_micros(micros.saturating_sub(1));
            let opened = sealer.open(&context, before, &sealed);
            prop_assert_eq!(opened.is_ok(), before < expires);
            prop_assert!(opened.is_err() || opened.as_deref() == Ok(state.as_bytes()));
            Ok(())
        })?;
    }

    #[test]
    fn noise_is_refused(text in "\\PC{0,100}|[A-Za-z0-9_-]{0,200}") {
        let sealer = Sealer::new().unwrap();
        with_context(|context| {
            prop_assert_eq!(sealer.open(&context, NOW, &text), Err(Refused));
            Ok(())
        })?;
    }
}
