use ProtocolVersion::{V2024_11_05, V2025_03_26, V2026_07_28};
use mcp_protocol::Limits;

use super::*;

const UI: &str = "io.modelcontextprotocol/ui";

fn client(text: &str) -> ClientCapabilities {
    ClientCapabilities::from_raw(RawJson::parse(text.to_owned(), &Limits::default()).unwrap()).unwrap()
}

fn server(text: &str) -> ServerCapabilities {
    ServerCapabilities::from_raw(RawJson::parse(text.to_owned(), &Limits::default()).unwrap()).unwrap()
}

/// Bridging §4.3, row by row: what the client says, its revision, and what servers of each revision are told.
#[test]
fn servers_are_told_what_the_table_says() {
    for (said, version, told) in [
        ("{}", V2025_11_25, ["{}"; 5]),
        (r#"{"experimental":{"a":{}},"vendor":1,"tasks":{"list":{}}}"#, V2025_11_25, ["{}"; 5]),
        (
            r#"{"roots":{"listChanged":true}}"#,
            V2024_11_05,
            [
                r#"{"roots":{"listChanged":true}}"#,
                r#"{"roots":{"listChanged":true}}"#,
                r#"{"roots":{"listChanged":true}}"#,
                r#"{"roots":{"listChanged":true}}"#,
                r#"{"roots":{}}"#,
            ],
        ),
        (r#"{"roots":{"listChanged":false}}"#, V2025_11_25, [r#"{"roots":{}}"#; 5]),
        (r#"{"roots":{"listChanged":true}}"#, V2026_07_28, [r#"{"roots":{}}"#; 5]),
        (r#"{"sampling":{}}"#, V2025_06_18, [r#"{"sampling":{}}"#; 5]),
        (r#"{"sampling":{"tools":{}}}"#, V2025_06_18, [r#"{"sampling":{}}"#; 5]),
        (
            r#"{"sampling":{"tools":{},"context":{}}}"#,
            V2026_07_28,
            [
                r#"{"sampling":{}}"#,
                r#"{"sampling":{}}"#,
                r#"{"sampling":{}}"#,
                r#"{"sampling":{"context":{},"tools":{}}}"#,
                r#"{"sampling":{"context":{},"tools":{}}}"#,
            ],
        ),
        (
            r#"{"elicitation":{}}"#,
            V2025_06_18,
            [
                "{}",
                "{}",
                r#"{"elicitation":{}}"#,
                r#"{"elicitation":{"form":{}}}"#,
                r#"{"elicitation":{"form":{}}}"#,
            ],
        ),
        (
            r#"{"elicitation":{"url":{}}}"#,
            V2025_11_25,
            ["{}", "{}", "{}", r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":{"url":{}}}"#],
        ),
        (
            r#"{"elicitation":{"url":{},"form":{}}}"#,
            V2026_07_28,
            [
                "{}",
                "{}",
                r#"{"elicitation":{}}"#,
                r#"{"elicitation":{"form":{},"url":{}}}"#,
                r#"{"elicitation":{"form":{},"url":{}}}"#,
            ],
        ),
        // Its revision has none of this.
        (r#"{"elicitation":{"form":{}}}"#, V2025_03_26, ["{}"; 5]),
        (
            r#"{"extensions":{"other/x":{},"io.modelcontextprotocol/ui":{"n": 1.0}}}"#,
            V2025_11_25,
            [
                "{}",
                "{}",
                "{}",
                r#"{"extensions":{"io.modelcontextprotocol/ui":{"n": 1.0}}}"#,
                r#"{"extensions":{"io.modelcontextprotocol/ui":{"n": 1.0}}}"#,
            ],
        ),
    ] {
        let profile = Profile::of(&client(said), version, &Extensions::named(&[UI]));
        for (server, told) in ProtocolVersion::ALL.into_iter().zip(told) {
            assert_eq!(profile.declare(server).as_raw().as_str(), told, "{said} of {version} to {server}");
            assert_eq!(profile.clip(server).declare(server), profile.declare(server));
        }
    }
}

/// Bridging §3: profiles are keys. Those that tell a server the same are the same.
#[test]
fn profiles_that_tell_the_same_are_equal() {
    let forms = Profile::of(&client(r#"{"elicitation":{}}"#), V2025_06_18, &Extensions::named(&[]));
    let both = Profile::of(
        &client(r#"{"elicitation":{"url":{},"form":{"x":1}}}"#),
        V2026_07_28,
        &Extensions::named(&[]),
    );
    assert_ne!(forms, both);
    assert_eq!(forms.clip(V2025_06_18), both.clip(V2025_06_18));
    assert!(both.clip(V2024_11_05).is_empty() && !both.is_empty());
    for (said, asked) in [
        ("{}", false),
        (r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#, false),
        (r#"{"roots":{}}"#, true),
        (r#"{"sampling":{}}"#, true),
        (r#"{"elicitation":{"url":{}}}"#, true),
    ] {
        let profile = Profile::of(&client(said), V2026_07_28, &Extensions::named(&[UI]));
        assert_eq!(profile.can_be_asked(), asked, "{said}");
        assert_eq!(profile.is_empty(), said == "{}", "{said}");
    }
    let full = Profile::of(
        &client(r#"{"roots":{},"sampling":{"tools":{}},"elicitation":{"form":{}}}"#),
        V2026_07_28,
        &Extensions::named(&[]),
    );
    assert!(full.has_roots() && full.samples() && full.samples_with_tools() && full.elicits_forms());
    assert!(!full.elicits_urls());
}

/// Bridging §9, `-32021`.
#[test]
fn what_is_missing_is_what_was_not_declared() {
    for (required, declared, expected) in [
        (r#"{"roots":{}}"#, r#"{"roots":{"listChanged":true}}"#, None),
        (r#"{"roots":{}}"#, "{}", Some(r#"{"roots":{}}"#)),
        (r#"{"elicitation":{"form":{}}}"#, r#"{"elicitation":{}}"#, None),
        (r#"{"elicitation":{}}"#, r#"{"elicitation":{"url":{}}}"#, Some(r#"{"elicitation":{"form":{}}}"#)),
        (
            r#"{"elicitation":{"url":{}},"sampling":{"tools":{}}}"#,
            r#"{"elicitation":{},"sampling":{}}"#,
            Some(r#"{"elicitation":{"url":{}},"sampling":{"tools":{}}}"#),
        ),
        (
            r#"{"extensions":{"a/b":{}}}"#,
            r#"{"extensions":{"a/c":{}}}"#,
            Some(r#"{"extensions":{"a/b":{}}}"#),
        ),
        ("{}", "{}", None),
    ] {
        let missing = missing(&client(required), &client(declared));
        assert_eq!(missing.as_ref().map(|missing| missing.as_raw().as_str()), expected, "{required}");
    }
}

/// Bridging §6.2, "something we did not declare"; §6.3.1, rule 4.
#[test]
fn questions_need_what_they_ask_for() {
    let raw = |text: &str| RawJson::parse(text.to_owned(), &Limits::default()).unwrap();
    for (question, params, needed) in [
        (Method::RootsList, None, r#"{"roots":{}}"#),
        (Method::ElicitationCreate, Some(r#"{"message":"m"}"#), r#"{"elicitation":{"form":{}}}"#),
        (Method::ElicitationCreate, Some(r#"{"mode":"form"}"#), r#"{"elicitation":{"form":{}}}"#),
        (Method::ElicitationCreate, Some(r#"{"mode":"url"}"#), r#"{"elicitation":{"url":{}}}"#),
        (Method::SamplingCreateMessage, Some(r#"{"tools":[]}"#), r#"{"sampling":{}}"#),
        (Method::SamplingCreateMessage, Some(r#"{"tools":[{}]}"#), r#"{"sampling":{"tools":{}}}"#),
        (Method::Ping, None, "{}"),
    ] {
        let params = params.map(raw);
        let found = needed_for(&question, params.as_ref());
        assert_eq!(found.as_raw().as_str(), needed, "{question}");
        assert_eq!(missing(&found, &found), None);
        assert_eq!(missing(&found, &client("{}")).is_none(), needed == "{}");
    }
    let forms = Profile::of(&client(r#"{"elicitation":{}}"#), V2025_06_18, &Extensions::named(&[]))
        .declare(V2025_06_18);
    assert_eq!(missing(&needed_for(&Method::ElicitationCreate, None), &forms), None);
}

/// Bridging §4.1, §4.2.
#[test]
fn clients_are_offered_what_any_server_has() {
    let servers = [
        r#"{"tools":{},"completions":{},"tasks":{"list":{}},"extensions":{"a/b":{"n":1},"c/d":{}}}"#,
        r#"{"resources":{"subscribe":true},"logging":{},"extensions":{"a/b":{"n":2}},"vendor":1}"#,
        r#"{"prompts":{"listChanged":true},"resources":{"subscribe":false}}"#,
    ]
    .map(|text| (V2025_11_25, server(text)));
    for (version, growing, offered) in [
        (
            V2024_11_05,
            false,
            r#"{"tools":{},"resources":{"subscribe":true},"logging":{},"prompts":{"listChanged":true}}"#,
        ),
        (
            V2026_07_28,
            true,
            r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"completions":{},"extensions":{"a/b":{"n":1}},"logging":{}}"#,
        ),
    ] {
        let found = offered_together(&servers, growing, version, &Extensions::named(&["a/b"]));
        assert_eq!(found.as_raw().as_str(), offered, "{version}");
    }
    assert_eq!(
        offered_together(&[], true, V2025_11_25, &Extensions::named(&[])).as_raw().as_str(),
        r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true}}"#
    );
}

#[test]
fn one_server_is_offered_as_it_is() {
    let one = server(
        r#"{"vendor":[ 1 ],"tools":{"listChanged":false},"prompts":{"listChanged":true,"x":1.0},"completions":{},"tasks":{},"extensions":{"a/b":{},"c/d":{}}}"#,
    );
    let one = (V2025_11_25, one);
    let tools = r#""tools":{"listChanged":true},"prompts":{"listChanged":true,"x":1.0}"#;
    for (version, rest) in [
        (V2024_11_05, ""),
        (V2025_06_18, r#","completions":{}"#),
        (V2025_11_25, r#","completions":{},"extensions":{"a/b":{}}"#),
        (V2026_07_28, r#","completions":{},"extensions":{"a/b":{}}"#),
    ] {
        let offered = offered_alone(&one, version, &Extensions::named(&["a/b"]));
        assert_eq!(offered.as_raw().as_str(), format!(r#"{{"vendor":[ 1 ],{tools}{rest}}}"#), "{version}");
    }
    let odd = (V2026_07_28, server(r#"{"extensions":7}"#));
    assert_eq!(offered_alone(&odd, V2026_07_28, &Extensions::named(&[])).as_raw().as_str(), "{}");
}

/// Bridging §4.3 and §8: the extension of tasks is between stateless sides, one that nobody here knows between sides of
/// one era, and only where one server is shown as it is.
#[test]
fn extensions_reach_those_they_are_for() {
    const SAID: &str = r#"{"extensions":{"io.modelcontextprotocol/ui":{"a":1},"io.modelcontextprotocol/tasks":{},"x/y":{"z":[ ]},"odd":7}}"#;
    let ids = |raw: &RawJson| {
        let declared = raw.get("extensions").unwrap_or_else(RawJson::empty_object);
        let members = declared.members().unwrap();
        let mut ids: Vec<_> =
            members.texts().map(|(id, _)| id.rsplit('/').next().unwrap().to_owned()).collect();
        ids.sort();
        ids.join(" ")
    };
    for (others, client, server, passed) in [
        (false, V2026_07_28, V2026_07_28, "tasks ui"),
        (true, V2026_07_28, V2026_07_28, "tasks ui y"),
        (true, V2025_11_25, V2025_11_25, "ui y"),
        (false, V2025_11_25, V2025_11_25, "ui"),
        (true, V2025_11_25, V2026_07_28, "ui"),
        (true, V2026_07_28, V2025_11_25, "ui"),
        (true, V2026_07_28, V2025_06_18, ""),
        (true, V2025_06_18, V2026_07_28, "ui"),
    ] {
        let what = format!("{client} and {server}, others: {others}");
        let named = Extensions::named(&[UI]);
        let extensions = if others { named.and_others() } else { named };
        let profile = Profile::of(&self::client(SAID), client, &extensions);
        assert_eq!(ids(profile.declare(server).as_raw()), passed, "{what}");
        let profiled = profile.declare(server);
        let said = self::client(SAID);
        for id in profiled
            .get(&["extensions"])
            .iter()
            .flat_map(|all| all.members().unwrap().texts().map(|(id, _)| id.to_owned()).collect::<Vec<_>>())
        {
            assert_eq!(profiled.extension(&id), said.extension(&id), "{what}");
        }
        // What servers offer goes the same ways, to clients whose revision can name it.
        let offering = (server, self::server(SAID));
        let passed = if client < V2025_11_25 {
            ""
        } else if server == V2025_06_18 {
            "ui"
        } else {
            passed
        };
        let together = offered_together([&offering], false, client, &extensions);
        assert_eq!(ids(together.as_raw()), passed, "{what}");
        let mut alone = ids(offered_alone(&offering, client, &extensions).as_raw());
        // Settings that are none stay as the server wrote them.
        alone = alone.replace("odd ", "");
        assert_eq!(alone, passed, "{what}");
    }
}
