use ProtocolVersion::{V2024_11_05, V2025_03_26, V2026_07_28};
use mcp_protocol::Limits;
use proptest::prelude::*;

use super::*;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn route(server: ProtocolVersion, client: ProtocolVersion) -> Route<'static> {
    Route { server, client, server_name: None }
}

fn ask(text: &str, route: &Route<'_>) -> Result<Question, Unaskable> {
    to_client(&raw(text), route, || "minted".into())
}

/// Bridging §6.2, §6.3.3: `mode` and `elicitationId`; §10.3 for what is impossible; §14, I9.
#[test]
fn modes_fit_the_revision() {
    let bare = r#"{"message":"m","requestedSchema":{"type":"object","properties":{}}}"#;
    let form = r#"{"message":"m","requestedSchema":{"type":"object","properties":{}},"mode":"form"}"#;
    let page = r#"{"mode":"url","message":"m","url":"u"}"#;
    let minted = r#"{"mode":"url","message":"m","url":"u","elicitationId":"minted"}"#;
    let given = r#"{"mode":"url","message":"m","url":"u","elicitationId":"given"}"#;
    for (text, server, client, expected) in [
        (bare, V2025_06_18, V2025_06_18, Some(bare)),
        (bare, V2025_06_18, V2025_11_25, Some(form)),
        (bare, V2025_06_18, V2026_07_28, Some(form)),
        (bare, V2025_11_25, V2025_11_25, Some(bare)),
        (bare, V2026_07_28, V2025_11_25, Some(form)),
        (form, V2026_07_28, V2025_06_18, Some(bare)),
        (form, V2025_11_25, V2026_07_28, Some(form)),
        (form, V2025_11_25, V2025_03_26, None),
        (form, V2025_11_25, V2024_11_05, None),
        (page, V2026_07_28, V2025_11_25, Some(minted)),
        (given, V2025_11_25, V2025_11_25, Some(given)),
        (given, V2025_11_25, V2026_07_28, Some(page)),
        (page, V2026_07_28, V2026_07_28, Some(page)),
        (page, V2026_07_28, V2025_06_18, None),
        (page, V2026_07_28, V2025_03_26, None),
        (r#"{"mode":"voice","message":"m"}"#, V2026_07_28, V2026_07_28, None),
        (r#"{"mode":7,"message":"m"}"#, V2026_07_28, V2026_07_28, None),
    ] {
        let asked = ask(text, &route(server, client));
        let asked = asked.as_ref().ok().map(|question| question.params.as_str());
        assert_eq!(asked, expected, "{text} from {server} to {client}");
    }
    assert_eq!(
        ask(page, &route(V2026_07_28, V2025_06_18)).unwrap_err().to_string(),
        "clients of 2025-06-18 know no elicitation of the mode \"url\""
    );
}

/// Bridging §1, rule 7.
#[test]
fn the_asker_is_named_where_several_could_be_meant() {
    let text = r#"{"mode":"form","message":"Your name?","task":{},"x": 1.0}"#;
    let named = Route { server_name: Some("Files"), ..route(V2026_07_28, V2026_07_28) };
    assert_eq!(
        ask(text, &named).unwrap().params.as_str(),
        r#"{"mode":"form","message":"Files: Your name?","x":1.0}"#
    );
    let params = raw(r#"{"mode":"form","message":"Your name?"}"#);
    let same = to_client(&params, &route(V2026_07_28, V2026_07_28), Box::default).unwrap();
    assert_eq!(same.params.as_bytes().as_ptr(), params.as_bytes().as_ptr());
}

fn form(properties: &str, required: &str) -> Result<Question, Unaskable> {
    let text = format!(
        r#"{{"mode":"form","message":"m","requestedSchema":{{"$schema":"s","type":"object","properties":{{{properties}}},"required":{required},"additionalProperties":false}}}}"#
    );
    ask(&text, &route(V2026_07_28, V2025_06_18))
}

fn schema(question: &Question) -> String {
    question.params.get("requestedSchema").unwrap().as_str().to_owned()
}

/// Bridging §10.3, row by row.
#[test]
fn fields_are_put_in_the_words_of_2025_06_18() {
    for (field, converted) in [
        (
            r#"{"type":"string","oneOf":[{"const":"r","title":"Red"},{"const":"g","title":"Green"}],"default":"r"}"#,
            r#"{"type":"string","description":"(default: Red)","enum":["r","g"],"enumNames":["Red","Green"]}"#,
        ),
        (
            r#"{"type":"string","title":"C","enum":["r"],"enumNames":["Red"]}"#,
            r#"{"type":"string","title":"C","enum":["r"],"enumNames":["Red"]}"#,
        ),
        (
            r#"{"type":"string","description":"Mail","format":"email","maxLength":9,"pattern":".","default":"a@b"}"#,
            r#"{"type":"string","description":"Mail (default: a@b)","format":"email","maxLength":9}"#,
        ),
        (
            r#"{"type":"integer","minimum":1,"default":12345678901234567890}"#,
            r#"{"type":"integer","minimum":1,"description":"(default: 12345678901234567890)"}"#,
        ),
        (
            r#"{"type":"string","oneOf":[{"const":"r"}],"default":"x"}"#,
            r#"{"type":"string","enum":["r"],"enumNames":["r"]}"#,
        ),
        (r#"{"type":"boolean","default":true,"x":1}"#, r#"{"type":"boolean","default":true}"#),
        (r#"{"type":"number", "maximum": 1.0}"#, r#"{"type":"number", "maximum": 1.0}"#),
    ] {
        let question = form(&format!(r#""f":{field}"#), r#"["f"]"#).unwrap();
        assert_eq!(
            schema(&question),
            format!(r#"{{"type":"object","properties":{{"f":{converted}}},"required":["f"]}}"#)
        );
        assert_eq!(question.reading, Reading::default());
    }
    for field in [
        r#"{"type":"object"}"#,
        "{}",
        "7",
        r#"{"type":"array"}"#,
        r#"{"type":"array","items":{"type":"string"}}"#,
        r#"{"type":"array","items":{"enum":7}}"#,
    ] {
        let error = form(&format!(r#""f":{field}"#), "[]").unwrap_err();
        assert_eq!(error, Unaskable::Field { field: "f".into() }, "{field}");
    }
    let nameless = form(r#""f":{"type":"string","oneOf":[{"title":"Red"}]}"#, "[]");
    assert!(matches!(nameless, Err(Unaskable::Malformed(_))));
}

/// Bridging §10.3: a server of 2025-06-18 is understood as it is.
#[test]
fn forms_of_the_same_revision_pass() {
    let text =
        r#"{"message":"m","requestedSchema":{"type":"object","properties":{"f":{"type":"array"}},"x":1}}"#;
    assert_eq!(ask(text, &route(V2025_06_18, V2025_06_18)).unwrap().params.as_str(), text);
}

const COLOURS: &str = r#""c":{"type":"array","title":"Colours","description":"Pick","minItems":1,"maxItems":2,"items":{"anyOf":[{"const":"r","title":"Red"},{"const":"g","title":"Green"},{"const":"b","title":"Blue"}]},"default":["g"]},"c.1":{"type":"string"}"#;

/// Bridging §10.3, "multi-select array".
#[test]
fn many_choices_become_switches_and_a_list_again() {
    let question = form(COLOURS, r#"["c","c.1"]"#).unwrap();
    assert_eq!(
        schema(&question),
        r#"{"type":"object","properties":{"c.0":{"type":"boolean","title":"Colours: Red","description":"Pick (choose 1 to 2)"},"c.1_":{"type":"boolean","title":"Colours: Green","description":"Pick (choose 1 to 2)","default":true},"c.2":{"type":"boolean","title":"Colours: Blue","description":"Pick (choose 1 to 2)"},"c.1":{"type":"string"}},"required":["c.1"]}"#
    );
    let answer = |content: &str| {
        let result = format!(r#"{{"action":"accept","content":{content},"_meta":{{"v": 1.0}}}}"#);
        question
            .reading
            .to_server(&raw(&result))
            .map(|answer| answer.get("content").unwrap().as_str().to_owned())
    };
    assert_eq!(
        answer(r#"{"c.0":true,"c.1":"x","c.1_":false,"c.2":true,"n": 1.0}"#).unwrap(),
        r#"{"c.1":"x","n":1.0,"c":["r","b"]}"#
    );
    let count = |chosen| InvalidAnswer::Count { field: "c".into(), min: 1, max: 2, chosen };
    assert_eq!(answer(r#"{"c.1":"x"}"#), Err(count(0)));
    assert_eq!(answer(r#"{"c.0":true,"c.1_":true,"c.2":true}"#), Err(count(3)));
    assert!(matches!(answer("[]"), Err(InvalidAnswer::Malformed(_))));
    assert_eq!(answer("null"), Err(count(0)));
    for other in [r#"{"action":"decline"}"#, r#"{"action":"cancel","content":{"c.0":true}}"#] {
        assert_eq!(question.reading.to_server(&raw(other)).unwrap().as_str(), other);
    }
}

#[test]
fn a_choice_that_may_be_left_out_is_left_out() {
    let optional =
        form(r#""c":{"type":"array","minItems":1,"items":{"type":"string","enum":["r","g"]}}"#, r#"[]"#)
            .unwrap();
    let answer = |content: &str| {
        let result = format!(r#"{{"action":"accept","content":{content}}}"#);
        optional.reading.to_server(&raw(&result)).unwrap().as_str().to_owned()
    };
    assert_eq!(answer(r#"{"c.0":false}"#), r#"{"action":"accept","content":{}}"#);
    assert_eq!(answer(r#"{"c.1":true}"#), r#"{"action":"accept","content":{"c":["g"]}}"#);
    let required = form(r#""c":{"type":"array","items":{"enum":["r"]}}"#, r#"["c"]"#).unwrap();
    let result = required.reading.to_server(&raw(r#"{"action":"accept","content":{}}"#)).unwrap();
    assert_eq!(result.as_str(), r#"{"action":"accept","content":{"c":[]}}"#);
}

/// Bridging §6.2: what is no answer is not passed on as one.
#[test]
fn answers_are_checked_and_pass_as_they_are() {
    let reading = Reading::default();
    for (text, ok) in [
        (r#"{"action":"accept","content":{"n": 12345678901234567890},"_meta":{}}"#, true),
        (r#"{"action":"accept"}"#, true),
        (r#"{"action":"agree"}"#, false),
        ("{}", false),
        ("[]", false),
        (r#"{"action":7}"#, false),
    ] {
        let result = raw(text);
        match reading.to_server(&result) {
            Ok(answer) => assert!(ok && answer == result, "{text}"),
            Err(error) => assert!(!ok, "{text}: {error}"),
        }
    }
    assert_eq!(reading.to_server(&cancelled()).unwrap().as_str(), r#"{"action":"cancel"}"#);
}

proptest! {
    /// Whatever is chosen through the switches is what the server gets, whatever the fields are called.
    #[test]
    fn choices_survive_the_way_there_and_back(
        fields in prop::collection::btree_map("[a.0_]{1,4}", prop::collection::vec(any::<bool>(), 1..4), 1..5),
    ) {
        let choices = |chosen: &[bool]| (0..chosen.len()).map(|n| format!("v{n}")).collect::<Vec<_>>();
        let properties: Vec<_> = fields
            .iter()
            .map(|(name, chosen)| format!(
                r#""{name}":{{"type":"array","items":{{"enum":{}}}}}"#,
                serde_json::to_string(&choices(chosen)).unwrap()
            ))
            .collect();
        let names: Vec<_> = fields.keys().collect();
        let question = form(&properties.join(","), &serde_json::to_string(&names).unwrap()).unwrap();
        let schema = raw(&schema(&question));
        let shown = schema.get("properties").unwrap();
        let switches: Vec<String> = shown.members().unwrap().texts().map(|(name, _)| name.to_owned()).collect();
        let chosen: Vec<bool> = fields.values().flatten().copied().collect();
        prop_assert_eq!(switches.len(), chosen.len());
        let content: serde_json::Map<_, _> =
            switches.into_iter().zip(chosen).map(|(name, on)| (name, on.into())).collect();
        let result = serde_json::json!({"action": "accept", "content": content}).to_string();
        let answer = question.reading.to_server(&raw(&result)).unwrap().get("content").unwrap();
        let expected: serde_json::Map<String, serde_json::Value> = fields
            .iter()
            .map(|(name, chosen)| {
                let on: Vec<_> =
                    choices(chosen).into_iter().zip(chosen).filter(|(_, on)| **on).map(|(v, _)| v).collect();
                (name.clone(), on.into())
            })
            .collect();
        prop_assert_eq!(answer.to::<serde_json::Value>().unwrap(), serde_json::Value::Object(expected));
    }
}
