//! Properties that hold for any input: round trips, limits, and no panic whatever comes in.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

use std::collections::BTreeSet;

use bytes::Bytes;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::header::{ParamHeaders, decode_value, encode_value};
use mcp_protocol::meta::{self, RequestMeta};
use mcp_protocol::result::{Envelope, InputRequired, Retry};
use mcp_protocol::tool::Tool;
use mcp_protocol::{
    Failure, InvalidJson, Limits, Members, Message, Method, Notification, Number, Payload, ProtocolVersion,
    RawJson, Request, RequestId, Response, RpcError,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

/// White space between the tokens of JSON.
fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\n\t")]
}

/// A string literal; now and then with escapes that need none.
fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => any::<String>().prop_map(|text| {
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{escaped}\"")
        }),
    ]
}

/// A number literal in any spelling.
fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?"
}

/// The same with exponents of any size, those at the ends of `i64` among them.
fn wild_number() -> impl Strategy<Value = String> {
    let exponent = prop_oneof![
        Just(String::new()),
        any::<i8>().prop_map(|exponent| format!("e{exponent}")),
        any::<i64>().prop_map(|exponent| format!("E{exponent}")),
        Just(format!("e{}", i64::MIN)),
        Just(format!("e+{}", i64::MAX)),
        "[eE][+-]?[0-9]{1,25}",
    ];
    ("-?(0|[1-9][0-9]{0,9}0{0,20})(\\.[0-9]{1,9}0{0,9})?", exponent)
        .prop_map(|(number, exponent)| number + &exponent)
}

/// The text of any JSON value.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number(), string()];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            vec((space(), inner.clone()), 0..5).prop_map(|items| {
                let items: Vec<_> =
                    items.into_iter().map(|(space, item)| format!("{space}{item}{space}")).collect();
                format!("[{}]", items.join(","))
            }),
            members_of(inner).prop_map(|members| object(&members)),
        ]
    })
}

/// Members with distinct names: the literal of the name, white space, the text of the value.
fn members_of(
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = Vec<(String, &'static str, String)>> {
    vec((string(), space(), value), 0..6).prop_map(|mut members| {
        let mut seen = BTreeSet::new();
        members.retain(|(name, _, _)| seen.insert(decoded(name)));
        members
    })
}

fn members() -> impl Strategy<Value = Vec<(String, &'static str, String)>> {
    members_of(json())
}

fn object(members: &[(String, &'static str, String)]) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, space, value)| format!("{space}{name}{space}:{space}{value}{space}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn decoded(literal: &str) -> String {
    serde_json::from_str(literal).unwrap()
}

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn id() -> impl Strategy<Value = RequestId> {
    prop_oneof![
        any::<i64>().prop_map(RequestId::from),
        any::<String>().prop_map(|text| RequestId::from(&*text)),
        "-?[1-9][0-9]{20,40}".prop_map(|text| raw(&text).to().unwrap()),
        "[1-9][0-9]{0,3}\\.0".prop_map(|text| raw(&text).to().unwrap()),
    ]
}

fn method() -> impl Strategy<Value = Method> {
    let known: Vec<_> = Method::known().cloned().collect();
    prop_oneof![proptest::sample::select(known), any::<String>().prop_map(|name| Method::from(&*name))]
}

fn params() -> impl Strategy<Value = Option<RawJson>> {
    proptest::option::of(members().prop_map(|members| raw(&object(&members))))
}

fn message() -> impl Strategy<Value = Message> {
    let error =
        (any::<i64>(), any::<String>(), proptest::option::of(json())).prop_map(|(code, text, data)| {
            let code = mcp_protocol::ErrorCode(code);
            data.map_or_else(
                || RpcError::new(code, &text),
                |data| RpcError::with_data(code, &text, &raw(&data)),
            )
        });
    prop_oneof![
        (id(), method(), params()).prop_map(|(id, method, params)| Message::Request(Request {
            id,
            method,
            params
        })),
        (method(), params())
            .prop_map(|(method, params)| Message::Notification(Notification { method, params })),
        (id(), json()).prop_map(|(id, result)| Message::Response(Response { id, result: raw(&result) })),
        (proptest::option::of(id()), error).prop_map(|(id, error)| Message::Failure(Failure { id, error })),
    ]
}

proptest! {
    #[test]
    fn values_stay_the_bytes_they_came_in(text in json(), before in space(), after in space()) {
        let value = raw(&format!("{before}{text}{after}"));
        prop_assert_eq!(value.as_str(), &text);
        prop_assert_eq!(RawJson::encode(&value).unwrap(), value.clone());
        prop_assert_eq!(value.to::<RawJson>().unwrap(), value);
    }

    #[test]
    fn members_are_what_was_written(members in members()) {
        let value = raw(&object(&members));
        let found = value.members().unwrap();
        let parsed = Members::parse(value.as_str()).unwrap();
        let texts: Vec<_> = found.texts().collect();
        prop_assert_eq!(&texts, &parsed.texts().collect::<Vec<_>>());
        let names: Vec<_> = members.iter().map(|(name, _, _)| decoded(name)).collect();
        let expected: Vec<_> = names.iter().zip(&members).map(|(name, (_, _, value))| (&**name, &**value)).collect();
        prop_assert_eq!(texts, expected);
        for (name, (_, _, text)) in names.iter().zip(&members) {
            let found = value.get(name).unwrap();
            prop_assert_eq!(found.as_str(), text);
        }
        let spelled: Vec<_> = members.iter().map(|(name, _, value)| format!("{name}:{value}")).collect();
        // Names are spelled as they were; white space between members goes.
        let encoded = found.encode();
        prop_assert_eq!(encoded.as_str(), format!("{{{}}}", spelled.join(",")));
    }

    #[test]
    fn an_edit_touches_one_member(members in members(), name in any::<String>(), value in json(), at in any::<usize>()) {
        let original = raw(&object(&members));
        // Half of the time a member that is there.
        let name = match members.get(at % (2 * members.len().max(1))) {
            Some((literal, _, _)) => decoded(literal),
            None => name,
        };
        let mut edited = original.members().unwrap();
        edited.set_json(&name, raw(&value));
        let edited = edited.encode();
        let found = edited.get(&name).unwrap();
        prop_assert_eq!(found.as_str(), &value);
        for (literal, _, text) in members.iter().filter(|(literal, _, _)| decoded(literal) != name) {
            let kept = edited.get(&decoded(literal)).unwrap();
            prop_assert_eq!(kept.as_str(), text);
        }
        let mut removed = edited.members().unwrap();
        prop_assert!(removed.remove(&name));
        prop_assert_eq!(removed.encode().get(&name), None);
    }

    #[test]
    fn repeated_names_are_refused(members in members(), at in any::<usize>(), value in json()) {
        prop_assume!(!members.is_empty());
        let name = members[at % members.len()].0.clone();
        let mut members = members;
        members.push((name.clone(), "", value));
        let value = raw(&object(&members));
        let duplicate = InvalidJson::DuplicateMember { name: decoded(&name).into() };
        prop_assert_eq!(value.members().unwrap_err(), duplicate.clone());
        prop_assert_eq!(Members::parse(value.as_str()).unwrap_err(), duplicate);
        prop_assert_eq!(value.get(&decoded(&name)), None);
    }

    #[test]
    fn messages_survive_the_wire(message in message()) {
        let frame = message.encode();
        prop_assert_eq!(Message::parse(&frame, &Limits::default()).unwrap(), message.clone());
        prop_assert_eq!(Payload::parse(&frame, &Limits::default()).unwrap(), Payload::Single(message));
    }

    #[test]
    fn batches_survive_the_wire(messages in vec(message(), 1..5)) {
        let entries: Vec<_> = messages.iter().map(|message| String::from_utf8(message.encode().to_vec()).unwrap()).collect();
        let frame = Bytes::from(format!("[{}]", entries.join(",")));
        let expected = Payload::Batch(messages.into_iter().map(Ok).collect());
        prop_assert_eq!(Payload::parse(&frame, &Limits::default()).unwrap(), expected);
    }

    #[test]
    fn ids_keep_type_and_spelling(id in id()) {
        let text = serde_json::to_string(&id).unwrap();
        prop_assert_eq!(&text, &id.to_string());
        prop_assert_eq!(serde_json::from_str::<RequestId>(&text).unwrap(), id);
    }

    #[test]
    fn header_values_carry_any_text(text in any::<String>()) {
        let value = encode_value(&text);
        prop_assert!(value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        prop_assert_eq!(value.trim(), &value);
        prop_assert_eq!(decode_value(value.as_bytes()).unwrap(), &*text);
    }

    #[test]
    fn mirrored_arguments_pass_their_own_check(text in any::<String>(), number in any::<i64>(), flag in any::<bool>()) {
        let schema = raw(r#"{"type":"object","properties":{
            "s":{"type":"string","x-mcp-header":"S"},
            "o":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
            "b":{"type":"boolean","x-mcp-header":"B"}}}"#);
        let headers = ParamHeaders::from_schema(&schema).unwrap();
        let arguments = raw(&serde_json::json!({ "s": text, "o": { "n": number }, "b": flag }).to_string());
        let values = headers.values(Some(&arguments));
        prop_assert_eq!(values.len(), 3);
        let look_up = |name: &str| values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_bytes());
        prop_assert_eq!(headers.check(Some(&arguments), look_up), Ok(()));
        prop_assert!(headers.check(None, look_up).is_err());
    }

    #[test]
    fn numbers_are_read_whatever_their_spelling(value in any::<i64>(), zeros in 0usize..5) {
        for text in [format!("{value}"), format!("{value}.{}", "0".repeat(zeros + 1)), format!("{value}{}e-{zeros}", "0".repeat(zeros))] {
            let number: Number = raw(&text).to().unwrap();
            prop_assert_eq!(number.as_i64(), Some(value), "{}", text);
            prop_assert_eq!(number.as_str(), text);
        }
    }

    #[test]
    fn metadata_is_added_and_taken_off_without_a_trace(members in members(), token in proptest::option::of(id())) {
        let names: Vec<_> = members.iter().map(|(name, _, _)| decoded(name)).collect();
        prop_assume!(!names.iter().any(|name| name == meta::MEMBER));
        let params = raw(&object(&members));
        let mut sender = RequestMeta::new(ProtocolVersion::V2026_07_28, ClientCapabilities::default());
        sender.progress_token = token;
        let stamped = sender.stamp(Some(&params)).unwrap();
        prop_assert_eq!(RequestMeta::read(Some(&stamped)).unwrap(), sender);
        let bare = meta::strip(&meta::strip(&stamped, meta::HOP_KEYS).unwrap(), &[meta::PROGRESS_TOKEN]).unwrap();
        prop_assert_eq!(bare, params.members().unwrap().encode());
    }

    #[test]
    fn depth_is_limited_exactly(depth in 1usize..40, objects in any::<bool>()) {
        let (open, close, core) = if objects { ("{\"a\":", "}", "1") } else { ("[", "]", "") };
        let text = format!("{}{core}{}", open.repeat(depth), close.repeat(depth));
        for (max_depth, ok) in [(depth - 1, false), (depth, true), (depth + 1, true)] {
            let limits = Limits { max_depth, ..Limits::default() };
            let read = RawJson::parse(text.clone(), &limits);
            prop_assert_eq!(read.is_ok(), ok, "{} at {}", text, max_depth);
            if let Err(error) = read {
                prop_assert_eq!(error, InvalidJson::TooDeep { limit: max_depth });
            }
        }
    }

    #[test]
    fn sizes_are_limited_exactly(text in json()) {
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        prop_assume!(!value.is_null());
        for (less, ok) in [(0, true), (1, false)] {
            let limits = Limits::default().with_max_bytes(text.len() - less);
            prop_assert_eq!(RawJson::parse(text.clone(), &limits).is_ok(), ok);
        }
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let read = Message::parse(&bytes, &Limits::default());
        prop_assert_eq!(Payload::parse(&bytes, &Limits::default()).is_ok(), read.is_ok());
        if let Ok(value) = RawJson::parse(bytes.clone(), &Limits::default()) {
            prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok());
            drop(value.members());
        }
        drop(decode_value(&bytes));
    }

    #[test]
    fn any_number_is_an_id_or_refused(number in wild_number()) {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"ping"}}"#);
        match Message::parse(&Bytes::from(text), &Limits::default()) {
            Ok(Message::Request(request)) => prop_assert_eq!(request.id.to_string(), number),
            Ok(other) => prop_assert!(false, "{other:?}"),
            Err(_) => prop_assert_eq!(serde_json::from_str::<Number>(&number).unwrap().as_i64(), None),
        }
    }

    #[test]
    fn nothing_panics_on_broken_messages(message in message(), at in any::<usize>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = message.encode().to_vec();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(message) = Message::parse(&Bytes::from(bytes), &Limits::default()) {
            let again = Message::parse(&message.encode(), &Limits::default()).unwrap();
            prop_assert_eq!(again, message);
        }
    }

    #[test]
    fn readers_of_any_object_return(members in members(), keys in vec(0usize..12, 0..6), value in json()) {
        // Known member names with arbitrary values reach deeper than random names do.
        let known = ["name", "inputSchema", "_meta", "resultType", "inputRequests", "requestState", "inputResponses",
            "ttlMs", "cacheScope", "properties", "x-mcp-header", "tools"];
        let mut members = members;
        let taken: BTreeSet<_> = members.iter().map(|(name, _, _)| decoded(name)).collect();
        let keys: BTreeSet<_> = keys.into_iter().map(|at| known[at]).filter(|key| !taken.contains(*key)).collect();
        members.extend(keys.into_iter().map(|key| (format!("\"{key}\""), "", value.clone())));
        let object = raw(&object(&members));
        if let Ok(tool) = object.to::<Tool>() {
            let written: Tool = RawJson::encode(&tool).unwrap().to().unwrap();
            prop_assert_eq!(written, tool);
        }
        if let Ok(asked) = InputRequired::read(&object) {
            prop_assert_eq!(InputRequired::read(&asked.encode()), Ok(asked));
        }
        if let Ok(envelope) = Envelope::read(&object) {
            let stamped = envelope.stamp(&object, None).unwrap();
            let said = Envelope { says_type: true, ..envelope };
            prop_assert_eq!(Envelope::read(&stamped).unwrap(), said);
        }
        drop((RequestMeta::read(Some(&object)), Retry::read(&object), ParamHeaders::from_schema(&object)));
    }
}
