//! The keys that concern the MCP endpoint: what clients see of a server, sessions, views.

use std::time::Duration;

use mcp_config::{BridgeSettings, Config, Format, Registration, View};
use mcp_registry::{Glob, NameFilter, OnToolChange, Policy, Sharing};

fn env(_: &str) -> Option<String> {
    None
}

fn toml(text: &str) -> Config {
    Config::parse(text, Format::Toml, "f", &env).expect("a valid file")
}

#[track_caller]
fn check(table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        let errors = Config::parse(text, Format::Toml, "f", &env).map_err(|error| error.to_string());
        assert_eq!(errors.err().unwrap_or_default(), expected.join("\n"), "{text}");
    }
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}

/// The list as written, `None` where everything is let through.
fn allowed(filter: &NameFilter) -> Option<Vec<&str>> {
    filter.allow.as_ref().map(|globs| globs.iter().map(Glob::as_str).collect())
}

fn denied(filter: &NameFilter) -> Vec<&str> {
    filter.deny.iter().map(Glob::as_str).collect()
}

#[test]
fn what_clients_see_of_a_server() {
    let config = toml(
        r#"
        [servers.open]
        command = "x"
        [servers.picked]
        command = "x"
        sharing = "per_session"
        allow_tools = ["read_*", "list"]
        deny_tools = ["*_secret"]
        allow_prompts = []
        deny_prompts = ["?"]
        allow_resources = ["file:///srv/*"]
        deny_resources = ["*.key"]
        on_tool_change = "block"
        roots = ["file:///srv/data", "file:///"]
        [servers.shared]
        url = "https://a.example"
        sharing = "shared"
        on_tool_change = "allow"
        roots = []
        "#,
    );
    let [open, picked, shared] = &config.servers[..] else { panic!("three servers") };
    assert_eq!((open.sharing, open.on_tool_change), (None, OnToolChange::Notify));
    assert_eq!((&open.exposure, &open.roots), (&Default::default(), &None));
    assert!(open.exposure.tools.admits("anything"));

    assert_eq!((picked.sharing, picked.on_tool_change), (Some(Sharing::PerSession), OnToolChange::Block));
    let exposure = &picked.exposure;
    assert_eq!(allowed(&exposure.tools), Some(vec!["read_*", "list"]));
    assert_eq!(denied(&exposure.tools), ["*_secret"]);
    assert_eq!((allowed(&exposure.prompts), denied(&exposure.prompts)), (Some(vec![]), vec!["?"]));
    assert_eq!(allowed(&exposure.resources), Some(vec!["file:///srv/*"]));
    assert_eq!(denied(&exposure.resources), ["*.key"]);
    assert!(exposure.tools.admits("read_file") && !exposure.tools.admits("read_secret"));
    assert!(!exposure.prompts.admits("hello"), "an empty list lets nothing through");
    assert!(exposure.resources.admits("file:///srv/a/b") && !exposure.resources.admits("file:///srv/a.key"));
    assert_eq!(picked.roots, Some(vec!["file:///srv/data".to_owned(), "file:///".to_owned()]));

    assert_eq!((shared.sharing, shared.on_tool_change), (Some(Sharing::Shared), OnToolChange::Allow));
    assert_eq!(shared.roots, Some(Vec::new()), "it has roots: none");
}

#[test]
fn wrong_values_of_a_server() {
    let long = "x".repeat(1025);
    check(&[
        (
            "[servers.a]\ncommand = \"x\"\nsharing = \"session\"\non_tool_change = \"ask\"\nallow_tools = \"*\"\ndeny_tools = [\"\"]\nallow_prompts = [\"a\", 3]\ndeny_resource = []\n",
            &[
                "f:3:11: `servers.a.sharing`: must be one of `shared`, `per_session`",
                "f:4:18: `servers.a.on_tool_change`: must be one of `allow`, `notify`, `block`",
                "f:5:15: `servers.a.allow_tools`: must be a list, not a string",
                "f:6:15: `servers.a.deny_tools.0`: a pattern has 1 to 1024 bytes, this one has 0",
                "f:7:23: `servers.a.allow_prompts.1`: must be a string, not a whole number",
                "f:8:1: `servers.a.deny_resource`: unknown key; did you mean `deny_resources`?",
            ],
        ),
        (
            &format!("[servers.a]\ncommand = \"x\"\ndeny_prompts = [\"a\", \"{long}\"]\n"),
            &["f:3:22: `servers.a.deny_prompts.1`: a pattern has 1 to 1024 bytes, this one has 1025"],
        ),
        (
            &format!("[servers.a]\ncommand = \"x\"\nallow_resources = [{}]\n", "\"a\",".repeat(1001)),
            &["f:3:19: `servers.a.allow_resources`: holds more than 1000 patterns"],
        ),
        (
            "[servers.a]\ncommand = \"x\"\nroots = [\"/srv\", \"file:///srv\", \"file://host/srv\", \"https://x\", \"\"]\n",
            &[
                "f:3:10: `servers.a.roots.0`: must be the URI of a folder or file, such as `file:///srv/data`",
                "f:3:33: `servers.a.roots.2`: must be the URI of a folder or file, such as `file:///srv/data`",
                "f:3:52: `servers.a.roots.3`: must be the URI of a folder or file, such as `file:///srv/data`",
                "f:3:65: `servers.a.roots.4`: must be the URI of a folder or file, such as `file:///srv/data`",
            ],
        ),
        (
            &format!("[servers.a]\ncommand = \"x\"\nroots = [{}]\n", "\"file:///\",".repeat(101)),
            &["f:3:9: `servers.a.roots`: holds more than 100 roots"],
        ),
        (
            "[servers.a]\ncommand = \"x\"\nprotocol = \"modern\"\nroots = []\n",
            &[
                "f:4:9: `servers.a.roots`: is for servers of the handshake era, this one is `modern`: it asks within calls only",
            ],
        ),
        (
            "[servers.views]\ncommand = \"x\"\n[servers.a]\ncommand = \"x\"\ngroup = \"views\"\n[servers.b]\ncommand = \"x\"\ngroup = \"b_\"\n",
            &[
                "f:1:10: `servers.views`: the name `views` is reserved: the MCP endpoint has a path of that name",
                "f:5:9: `servers.a.group`: the name `views` is reserved: the MCP endpoint has a path of that name",
                "f:8:9: `servers.b.group`: a server name holds no \"__\" and does not end in '_'",
            ],
        ),
    ]);
}

#[test]
fn the_same_keys_over_the_rest_api() {
    let body = r#"{"name": "a", "url": "https://a.example", "sharing": "shared", "allow_tools": ["x*"], "roots": null}"#;
    let definition = Registration::from_json(body).unwrap().into_definition(&Policy::default()).unwrap();
    assert_eq!((definition.sharing, &definition.roots), (Some(Sharing::Shared), &None));
    assert_eq!(allowed(&definition.exposure.tools), Some(vec!["x*"]));

    let wrong = Registration::from_json(r#"{"name": "views", "url": "https://a.example"}"#).unwrap_err();
    assert_eq!(
        wrong[0].to_string(),
        "`name`: the name `views` is reserved: the MCP endpoint has a path of that name"
    );
    let body = body.replace("x*", "").replace("shared", "none");
    let wrong = Registration::from_json(&body).unwrap().into_definition(&Policy::default()).unwrap_err();
    let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert_eq!(
        wrong,
        [
            "`sharing`: must be one of `shared`, `per_session`",
            "`allow_tools.0`: a pattern has 1 to 1024 bytes, this one has 0"
        ]
    );
}

#[test]
fn every_key_of_the_endpoint_takes_effect() {
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let BridgeSettings {
        prefix,
        max_sessions,
        session_idle_timeout,
        park_timeout,
        max_parked,
        page_size,
        list_wait,
        ..
    } = toml("").gateway.bridge;
    assert!(prefix);
    assert_eq!((max_sessions, max_parked, page_size), (20_000, 64, 1000));
    assert_eq!((session_idle_timeout, park_timeout), (minutes(30), minutes(10)));
    assert_eq!(list_wait, Duration::from_secs(1));

    let config = toml(
        "[gateway]\nprefix = false\nmax_sessions = 1\nsession_idle_timeout = 2\npark_timeout = 3\nmax_parked = 0\npage_size = 4\nlist_wait = 0\n",
    );
    let BridgeSettings {
        prefix,
        max_sessions,
        session_idle_timeout,
        park_timeout,
        max_parked,
        page_size,
        list_wait,
        ..
    } = config.gateway.bridge;
    assert!(!prefix);
    assert_eq!((max_sessions, max_parked, page_size), (1, 0, 4));
    assert_eq!((session_idle_timeout, park_timeout), (Duration::from_millis(2), Duration::from_millis(3)));
    assert_eq!(list_wait, Duration::ZERO);
    assert_ne!(config.gateway, toml("").gateway, "a change that needs a restart is noticed");
}

#[test]
fn wrong_values_of_the_endpoint() {
    check(&[
        (
            "[gateway]\nprefix = 1\nmax_sessions = -1\nmax_park = 3\n",
            &[
                "f:2:10: `gateway.prefix`: must be true or false, not a whole number",
                "f:3:16: `gateway.max_sessions`: must be a whole number, 0 or more, not a negative number",
                "f:4:1: `gateway.max_park`: unknown key; did you mean `max_parked`?",
            ],
        ),
        (
            "[gateway]\nmax_sessions = 0\nsession_idle_timeout = 0\npark_timeout = 0\nmax_parked = 65536\npage_size = 0\nlist_wait = 2592000001\n",
            &[
                "f:2:16: `gateway.max_sessions`: must be 1 to 1000000",
                "f:3:24: `gateway.session_idle_timeout`: must be 1 to 2592000000 milliseconds",
                "f:4:16: `gateway.park_timeout`: must be 1 to 2592000000 milliseconds",
                "f:5:14: `gateway.max_parked`: must be 0 to 65535",
                "f:6:13: `gateway.page_size`: must be 1 to 100000",
                "f:7:13: `gateway.list_wait`: must be 0 to 2592000000 milliseconds",
            ],
        ),
        (
            "[gateway]\nsharing = \"shared\"\n",
            &["f:2:1: `gateway.sharing`: unknown key; it belongs to a server"],
        ),
    ]);
}

#[test]
fn names_stay_as_they_are_only_if_they_have_one_owner() {
    let gateway = "[gateway]\nprefix = false\n";
    let server = |name: &str, more: &str| format!("[servers.{name}]\ncommand = \"x\"\n{more}\n");
    for servers in [
        String::new(),
        server("a", ""),
        server("a", "group = \"g\"") + &server("b", "group = \"g\""),
        server("a", "") + &server("b", "enabled = false"),
    ] {
        assert!(!toml(&format!("{gateway}{servers}")).gateway.bridge.prefix);
        toml(&format!("[gateway]\nprefix = true\n{servers}{}", server("c", "")));
    }
    let error = "f:2:10: `gateway.prefix`: `false` is for a single server or group, there are ";
    let advice = "leave it out, or disable the others";
    let mut many = gateway.to_owned();
    for index in 0..9 {
        many += &server(&format!("s{index}"), "");
    }
    check(&[
        (
            &(gateway.to_owned() + &server("b", "") + &server("a", "group = \"g\"")),
            &[&format!("{error}2: `b`, `g`; {advice}")],
        ),
        (&many, &[&format!("{error}9: `s0`, `s1`, `s2`, `s3`, `s4`, `s5`, `s6`, `s7`, …; {advice}")]),
    ]);
}

const SERVERS: &str =
    "[servers.files]\ncommand = \"x\"\n[servers.search-a]\ncommand = \"x\"\ngroup = \"search\"\n";

#[test]
fn views_of_the_aggregate() {
    let config = toml(&format!(
        "{SERVERS}\n[views.reading]\ndescription = \"only looks\"\nservers = [\"files\", \"sea*\"]\ntools = [\"files__read_*\"]\nprompts = []\nresources = [\"file:*\"]\n[views.connect]\n"
    ));
    assert!(warnings(&config).is_empty());
    let [View { name, description, servers, exposure, .. }, all] = &config.views[..] else {
        panic!("two views")
    };
    assert_eq!((name.as_str(), description.as_deref()), ("reading", Some("only looks")));
    assert_eq!(allowed(servers), Some(vec!["files", "sea*"]));
    assert!(servers.admits("search") && !servers.admits("mail"));
    assert!(exposure.tools.admits("files__read_file") && !exposure.tools.admits("files__write"));
    assert!(!exposure.prompts.admits("search__hello"));
    assert!(exposure.resources.admits("file:///a") && !exposure.resources.admits("https://a"));
    assert_eq!((all.name.as_str(), &all.description), ("connect", &None));
    assert!(all.servers.admits("files") && all.exposure.tools.admits("x"));
}

#[test]
fn wrong_views() {
    check(&[
        ("views = 3\n", &["f:1:9: `views`: must be a table of views"]),
        ("[view.a]\n", &["f:1:2: `view`: unknown key; did you mean `views`?"]),
        ("[views]\na = \"files\"\n", &["f:2:5: `views.a`: must be a table, not a string"]),
        (
            "[views.a]\nserver = [\"files\"]\ndeny_tools = []\ntools = \"x\"\nprompts = [\"x\", true]\n",
            &[
                "f:2:1: `views.a.server`: unknown key; did you mean `servers`?",
                "f:3:1: `views.a.deny_tools`: unknown key; the nearest known ones are `tools`, `description`, `servers`",
                "f:4:9: `views.a.tools`: must be a list, not a string",
                "f:5:17: `views.a.prompts.1`: must be a string, not true or false",
            ],
        ),
        (
            "[views.a]\nservers = []\n[views.b]\nservers = [\"x\", \"\"]\ntools = [\"\"]\n",
            &[
                "f:2:11: `views.a.servers`: is empty; leave it out to have all servers in the view",
                "f:4:17: `views.b.servers.1`: a pattern has 1 to 1024 bytes, this one has 0",
                "f:5:10: `views.b.tools.0`: a pattern has 1 to 1024 bytes, this one has 0",
            ],
        ),
        (
            "[views.a__b]\n[views.\"a b\"]\ntools = 3\n",
            &[
                "f:1:8: `views.a__b`: a server name holds no \"__\" and does not end in '_'",
                "f:2:8: `views.\"a b\"`: a server name holds letters, digits, '.', '_' and '-', a letter or digit first; found ' ' at position 1",
                "f:3:9: `views.\"a b\".tools`: must be a list, not a whole number",
            ],
        ),
        (
            &(0..1001).map(|index| format!("[views.v{index}]\n")).collect::<String>(),
            &["f:1001:8: more than 1000 views"],
        ),
    ]);
}

#[test]
fn a_pattern_without_a_server_is_worth_a_warning() {
    let config = toml(&format!(
        "{SERVERS}[views.a]\nservers = [\"files\", \"fiels\", \"search-?\", \"*\"]\n[views.b]\nservers = [\"mail*\"]\n"
    ));
    assert_eq!(
        warnings(&config),
        [
            "f:7:21: `views.a.servers.1`: fits no server or group of this file",
            "f:7:30: `views.a.servers.2`: fits no server or group; `search-a` goes by the name of its group, `search`",
            "f:9:12: `views.b.servers.0`: fits no server or group of this file",
        ]
    );
}

#[test]
fn views_may_stand_beside_the_servers_of_a_client() {
    let text = r#"{"views": {"v": {"servers": ["views*"]}}, "mcpServers": {"views": {"command": "x"}}}"#;
    let config = Config::parse(text, Format::Json, "f", &env).unwrap();
    assert_eq!(config.views.len(), 1);
    let name = config.servers[0].name.as_str();
    assert!(name.starts_with("views-"), "{name}");
    let warnings = warnings(&config);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].ends_with("is reserved: the MCP endpoint has a path of that name"), "{warnings:?}");
}
