use super::*;
use crate::limits::Limits;

fn raw(text: &str) -> RawJson {
    RawJson::parse(text.to_owned(), &Limits::default()).unwrap()
}

fn headers(properties: &str) -> Result<ParamHeaders, InvalidAnnotation> {
    ParamHeaders::from_schema(&raw(&format!(r#"{{"type":"object","properties":{properties}}}"#)))
}

fn example() -> ParamHeaders {
    headers(
        r#"{"region":{"type":"string","x-mcp-header":"Region"},
            "n":{"type":"integer","x-mcp-header":"N"},
            "deep":{"type":"object","properties":{"flag":{"type":"boolean","x-mcp-header":"Flag"}}},
            "x-mcp-header":{"type":"string"},
            "plain":{"type":"string","default":{"x-mcp-header":""}}}"#,
    )
    .unwrap()
}

#[test]
fn annotations_are_found_along_properties() {
    let found: Vec<_> = example()
        .as_slice()
        .iter()
        .map(|header| (header.path.join("."), header.name(), header.kind))
        .collect();
    let expected = [
        ("deep.flag", "mcp-param-flag", ParamType::Boolean),
        ("n", "mcp-param-n", ParamType::Integer),
        ("region", "mcp-param-region", ParamType::String),
    ];
    assert_eq!(found.len(), expected.len());
    for (path, name, kind) in expected {
        assert!(found.contains(&(path.to_owned(), name.to_owned(), kind)), "{path}");
    }
    assert!(headers("{}").unwrap().is_empty());
    assert_eq!(headers(r#"{"a":{"type":"string","x-mcp-h\u0065ader":"A"}}"#).unwrap().as_slice().len(), 1);
}

#[test]
fn broken_annotations_are_named() {
    let token = |at: &str, found: &str| InvalidAnnotation::Token { at: at.into(), found: found.into() };
    let unreachable = |at: &str| InvalidAnnotation::Unreachable { at: at.into() };
    let of_type = |at: &str| InvalidAnnotation::Type { at: at.into() };
    for (properties, error) in [
        (r#"{"a":{"type":"string","x-mcp-header":""}}"#, token("/properties/a", "\"\"")),
        (r#"{"a":{"type":"string","x-mcp-header":"a b"}}"#, token("/properties/a", "\"a b\"")),
        (r#"{"a":{"type":"string","x-mcp-header":"a\r"}}"#, token("/properties/a", "\"a\\r\"")),
        (r#"{"a":{"type":"string","x-mcp-header":7}}"#, token("/properties/a", "7")),
        (r#"{"a":{"type":"number","x-mcp-header":"A"}}"#, of_type("/properties/a")),
        (r#"{"a":{"type":["string"],"x-mcp-header":"A"}}"#, of_type("/properties/a")),
        (r#"{"a":{"x-mcp-header":"A"}}"#, of_type("/properties/a")),
        (r#"{"a/b":{"items":{"type":"string","x-mcp-header":"A"}}}"#, unreachable("/properties/a~1b/items")),
        (r#"{"a":{"items":[{"type":"string","x-mcp-header":"A"}]}}"#, unreachable("/properties/a/items/0")),
        (
            r#"{"a":{"oneOf":[{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}]}}"#,
            unreachable("/properties/a/oneOf/0/properties/b"),
        ),
        (
            r#"{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}"#,
            InvalidAnnotation::Repeated { at: "/properties/b".into(), token: "a".into() },
        ),
    ] {
        assert_eq!(headers(properties).unwrap_err(), error, "{properties}");
    }
    for schema in [
        r##"{"$defs":{"x":{"type":"string","x-mcp-header":"A"}},"properties":{"a":{"$ref":"#/$defs/x"}}}"##,
        r#"{"if":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}"#,
    ] {
        let error = ParamHeaders::from_schema(&raw(schema)).unwrap_err();
        assert!(matches!(error, InvalidAnnotation::Unreachable { .. }), "{schema}");
    }
    let root = ParamHeaders::from_schema(&raw(r#"{"type":"string","x-mcp-header":"A"}"#));
    assert_eq!(root.unwrap_err(), of_type("the root"));
}

#[test]
fn values_are_taken_at_the_exact_path() {
    let headers = example();
    let mut values = headers
        .values(Some(&raw(r#"{"region":"Zürich","n":42.0,"deep":{"flag":false},"flag":true,"extra":1}"#)));
    values.sort();
    assert_eq!(
        values,
        [
            ("mcp-param-flag".to_owned(), "false".to_owned()),
            ("mcp-param-n".to_owned(), "42".to_owned()),
            ("mcp-param-region".to_owned(), "=?base64?WsO8cmljaA==?=".to_owned()),
        ]
    );
    assert!(headers.values(Some(&raw(r#"{"region":null,"n":{},"deep":[]}"#))).is_empty());
    assert!(headers.values(None).is_empty());
}

#[test]
fn a_server_compares_decoded_and_integers_as_numbers() {
    let headers = example();
    for (arguments, name, value, verdict) in [
        (r#"{"n":42}"#, "mcp-param-n", Some("42"), Ok(())),
        (r#"{"n":42}"#, "mcp-param-n", Some(" 42.0 "), Ok(())),
        (r#"{"n":4.2e1}"#, "mcp-param-n", Some("42"), Ok(())),
        (r#"{"n":42}"#, "mcp-param-n", Some("43"), Err("differs from the body")),
        (r#"{"n":9007199254740993}"#, "mcp-param-n", Some("9007199254740992"), Err("differs from the body")),
        (r#"{"n":42}"#, "mcp-param-n", None, Err("is missing")),
        ("{}", "mcp-param-n", Some("42"), Err("has no value in the body")),
        (r#"{"region":"42"}"#, "mcp-param-region", Some("42.0"), Err("differs from the body")),
        (r#"{"region":"ü"}"#, "mcp-param-region", Some("=?base64?w7w=?="), Ok(())),
        (r#"{"region":""}"#, "mcp-param-region", Some(""), Ok(())),
        (r#"{"region":"ü"}"#, "mcp-param-region", Some("=?base64?w7w?="), Err("cannot be read")),
        (r#"{"region":null}"#, "mcp-param-region", None, Ok(())),
    ] {
        let found = headers
            .check(Some(&raw(arguments)), |asked| (asked == name).then_some(value?.as_bytes()))
            .map_err(|error| error.reason);
        assert_eq!(found, verdict, "{arguments} {value:?}");
    }
    let mismatch = headers.check(Some(&raw(r#"{"n":1}"#)), |_| None).unwrap_err();
    assert_eq!(mismatch.to_error().code(), Some(ErrorCode::HEADER_MISMATCH));
}
