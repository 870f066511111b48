//! Files that mean harm or nothing: no panic, no endless work, and no value given away.

use mcp_config::{Config, ConfigError, Format, MAX_BYTES};
use proptest::prelude::*;

fn nothing(_: &str) -> Option<String> {
    None
}

/// A secret in every place that takes a value: none shows, whatever is wrong with it.
#[test]
fn values_show_nowhere() {
    const CANARY: &str = "c4nary-5f1e2d3c4b5a69788f3c1e0a9d7b";
    let env = |_: &str| Some(CANARY.to_owned());
    let mut valid = 0;
    for value in [CANARY.to_owned(), "${X}".to_owned(), format!("{CANARY} é"), format!("{CANARY}\\n")] {
        for place in [
            "[gateway]\nlisten = \"VALUE\"",
            "[gateway]\napi_keys = \"VALUE\"",
            "[gateway]\napi_keys = [\"VALUE\"]",
            "[gateway]\napi_keys = [\"VALUE\", 3]",
            "[policy]\nmax_backoff = \"VALUE\"",
            "[policy]\nmax_initialization_age = \"VALUE\"",
            "[policy]\nambiguous_failover = \"VALUE\"",
            "[policy]\ncall_wait = \"VALUE\"",
            "servers = \"VALUE\"",
            "[servers]\na = \"VALUE\"",
            "[servers.a]\ntransport = \"VALUE\"\nurl = \"https://x\"",
            "[servers.a]\nprotocol = \"VALUE\"\nurl = \"https://x\"",
            "[servers.a]\nprobe = \"VALUE\"\nurl = \"https://x\"",
            "[servers.a]\npriority = \"VALUE\"\nurl = \"https://x\"",
            "[servers.a]\nhealth_path = \"VALUE\"\nurl = \"https://x\"",
            "[servers.a]\nenabled = \"VALUE\"\nurl = \"https://x\"",
            "[servers.a]\ngroup = \"VALUE \"\nurl = \"https://x\"",
            "[servers.a]\nsharing = \"VALUE\"\nurl = \"https://x\"",
            "[servers.a]\nroots = [\"VALUE\"]\nurl = \"https://x\"",
            "[servers.a]\nurl = \"VALUE\"",
            "[views]\na = \"VALUE\"",
            "[servers.a]\nurl = \"https://me:VALUE@x\"",
            "[servers.a]\nurl = \"https://x\"\nheaders = \"VALUE\"",
            "[servers.a]\nurl = \"https://x\"\nheaders = { A = \"VALUE\" }",
            "[servers.a]\nurl = \"https://x\"\nheaders = { A = [\"VALUE\"] }",
            "[servers.a]\nurl = \"https://x\"\nauth = \"VALUE\"",
            "[servers.a]\nurl = \"https://x\"\nauth = { type = \"VALUE\" }",
            "[servers.a]\nurl = \"https://x\"\nauth = { type = \"bearer\", token = \"VALUE\" }",
            "[servers.a]\nurl = \"https://x\"\nauth = { type = \"api_key\", key = \"VALUE\" }",
            "[servers.a]\nurl = \"https://x\"\nauth = { type = \"client_credentials\", token_url = \"https://t\", client_id = \"x\", client_secret = \"VALUE\" }",
            "[servers.a]\nurl = \"https://x\"\nauth = { type = \"client_credentials\", token_url = \"https://x:VALUE@t\" }",
            "[servers.a]\nurl = \"https://x\"\nproxy = \"http://me:VALUE@p\"",
            "[servers.a]\ntransport = \"sse\"\nurl = \"https://x\"\nopen_method = \"VALUE\"",
            "[servers.a]\ncommand = \"x\"\nenv = \"VALUE\"",
            "[servers.a]\ncommand = \"x\"\nenv = { A = \"VALUE\" }",
            "[servers.a]\ncommand = \"x\"\nargs = \"VALUE\"",
        ] {
            let text = place.replace("VALUE", &value);
            let shown = match Config::parse(&text, Format::Toml, "f", &env) {
                Ok(config) => {
                    valid += 1;
                    format!("{config:?}")
                }
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains("c4nary"), "{text}\n{shown}");
        }
    }
    assert!(valid >= 6, "the canary was also in valid places: {valid}");
}

/// Large files that ask for the most work. A quadratic step would make this test take minutes.
#[test]
fn hostile_files_end_in_a_short_list_of_errors() {
    let many = |prefix: &str, piece: &dyn Fn(usize) -> String, suffix: &str| {
        let mut text = prefix.to_owned();
        for index in 0.. {
            let piece = piece(index);
            if text.len() + piece.len() + suffix.len() > MAX_BYTES / 8 {
                break;
            }
            text.push_str(&piece);
        }
        text + suffix
    };
    for (format, text) in [
        (Format::Toml, many("", &|_| "=\n".into(), "")),
        (Format::Toml, many("", &|index| format!("k{index}=1\n"), "")),
        (Format::Toml, many("", &|_| "a.".into(), "b=1")),
        (Format::Toml, many("a=", &|_| "[".into(), "")),
        (Format::Toml, many("[servers.a]\n", &|index| format!("k{index}=1\n"), "")),
        (Format::Toml, many("[servers.a]\ncommand=\"", &|index| format!("${{V{index}}}"), "\"")),
        (Format::Toml, many("[servers.a]\ncommand=\"x\"\nargs=[", &|_| "\"\\n\",".into(), "]")),
        (
            Format::Toml,
            many(
                "[servers.a]\ncommand=\"x\"\n[servers.a.env]\n",
                &|index| format!("\"={index}\"=\"\"\n"),
                "",
            ),
        ),
        (
            Format::Toml,
            many(
                "[servers.a]\nurl=\"https://x\"\n[servers.a.headers]\n",
                &|index| format!("\"a {index}\"=\"\"\n"),
                "",
            ),
        ),
        (Format::Toml, many("", &|index| format!("servers.s{index}=1\n"), "")),
        (Format::Toml, many("", &|index| format!("views.v{index}={{servers=[\"*a*a\"]}}\n"), "")),
        (Format::Toml, many("[views.a]\nservers=[", &|_| "\"*\",".into(), "]")),
        (Format::Json, many("", &|_| "[".into(), "")),
        (Format::Json, many("", &|_| "/".into(), "")),
        (Format::Json, many("", &|_| "{\"a\":".into(), "")),
        (Format::Json, many(&"[".repeat(30), &|_| "[],".into(), &"]".repeat(30))),
        (Format::Json, many("{\"mcpServers\":{", &|index| format!("\" {index}\":1,"), "}}")),
        (Format::Json, many("{", &|index| format!("\"{index}\":1,"), "}")),
    ] {
        let error = Config::parse(&text, format, "f", &nothing).unwrap_err().to_string();
        let lines = error.lines().count();
        assert!((1..=51).contains(&lines) && error.len() < 20_000, "{lines} lines: {:.200}", error);
    }
}

/// Pieces that make documents likelier to get past the parser than random characters do.
fn document() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "[servers.a]\n",
        "[policy]\n",
        "[gateway]\n",
        "listen = ",
        "api_keys = ",
        "command = ",
        "url = ",
        "args = ",
        "\"x\"",
        "\"${A}\"",
        "\"${\"",
        "\"https://x\"",
        "[",
        "]",
        "{",
        "}",
        "\n",
        ",",
        "=",
        ":",
        "3",
        "-1",
        "1.5",
        "null",
        "true",
        "1979-05-27",
        "\"servers\":",
        "\"mcpServers\":",
        "\"a\":",
        "\"command\":",
        "\"type\":",
        "\"stdio\"",
        "\"env\":",
        "//",
        "/*",
        "*/",
        "\"",
        "\\",
        "é",
        "\u{feff}",
        "\0",
        "'",
        "'''",
        "call_wait = ",
        "priority = ",
    ]);
    prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![document(), any::<String>()]) {
        for format in [Format::Toml, Format::Json] {
            if let Err(ConfigError::Invalid(diagnostics)) = Config::parse(&text, format, "f", &nothing) {
                prop_assert!(!diagnostics.is_empty());
                let lines = text.split('\n').count();
                for position in diagnostics.iter().filter_map(|diagnostic| diagnostic.position) {
                    prop_assert!((1..=lines).contains(&position.line) && position.column >= 1);
                }
            }
        }
    }
}
