//! Whole files: what they mean and where they are found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_config::{Config, ConfigError, Format, MAX_BYTES, locate};
use mcp_protocol::{Era, EraPolicy};
use mcp_registry::{AmbiguousFailover, Policy, ProbeKind, ResetRetryOn, RpcErrorPolicy};
use mcp_transport::{Auth, ClientAuthentication, Endpoint, OpenMethod, TlsSettings};
use secrecy::ExposeSecret;

fn nothing(_: &str) -> Option<String> {
    None
}

fn toml(text: &str) -> Config {
    Config::parse(text, Format::Toml, "f", &nothing).expect("a valid file")
}

/// The example of the product description.
const EXAMPLE: &str = r#"
[gateway]
listen = "127.0.0.1:8300"
# api_keys = ["${MCP_GATEWAY_KEY}"]      # required as soon as `listen` is not loopback

[servers.files]                           # stdio
command = "npx"
args = ["-y", "@modelcontextprotocol/server-filesystem", "/srv/data"]
env = { LOG_LEVEL = "warn" }

[servers.search-a]                        # Streamable HTTP
url = "https://search-a.example.com/mcp"
headers = { Authorization = "Bearer ${SEARCH_TOKEN}" }
group = "search"
priority = 80

[servers.search-b]
url = "https://search-b.example.com/mcp"
group = "search"
priority = 50

[policy]                                  # durations in milliseconds
unreachable_after = 3
"#;

#[test]
fn the_documented_example() {
    let env = |name: &str| (name == "SEARCH_TOKEN").then(|| "t0ken".to_owned());
    let config = Config::parse(EXAMPLE, Format::Toml, "mcp-gateway.toml", &env).unwrap();
    assert_eq!(config.gateway.listen.to_string(), "127.0.0.1:8300");
    assert!(config.gateway.api_keys.is_empty());
    assert_eq!(config.policy, Policy::default());
    assert!(config.warnings.is_empty());
    let summary: Vec<_> = config
        .servers
        .iter()
        .map(|server| {
            (server.name.as_str(), server.group.as_ref().map(|group| group.as_str()), server.priority)
        })
        .collect();
    assert_eq!(
        summary,
        [("files", None, 50), ("search-a", Some("search"), 80), ("search-b", Some("search"), 50)]
    );
    let Endpoint::Stdio(files) = &config.servers[0].endpoint else { panic!("a program") };
    assert_eq!((files.command.as_str(), files.args.len()), ("npx", 3));
    assert_eq!(files.env["LOG_LEVEL"].expose_secret(), "warn");
    let Endpoint::Http(search) = &config.servers[1].endpoint else { panic!("a URL") };
    assert_eq!(search.headers[0].1.expose_secret(), "Bearer t0ken");

    let error = Config::parse(EXAMPLE, Format::Toml, "mcp-gateway.toml", &nothing).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mcp-gateway.toml:13:29: environment variables not set: `SEARCH_TOKEN` (line 13); \
         set them, or write ${NAME:-default}"
    );
}

#[test]
fn every_key_of_a_server_takes_effect() {
    let config = toml(
        r#"
        [servers.web]
        transport = "http"
        url = "http://web.example"
        allow_insecure_http = true
        enabled = false
        description = "d"
        group = "g"
        priority = 1
        critical = true
        timeout_ms = 5
        max_retries = 0
        retry_delay_ms = 7
        health_path = "/up?x=1"
        probe = "mcp_ping"
        tools = ["a", "b"]
        trust_annotations = true
        forward_user_token = true
        discover_tools = true
        protocol = "modern"
        [servers.child]
        command = "x"
        inherit_env = ["PATH"]
        cwd = "/tmp"
        restart = false
        protocol = "legacy"
        probe = "http_get"
        "#,
    );
    let [web, child] = &config.servers[..] else { panic!("two servers") };
    assert!(
        !web.enabled && web.critical && web.trust_annotations && web.forward_user_token && web.discover_tools
    );
    assert_eq!(web.description.as_deref(), Some("d"));
    assert_eq!(web.group.as_ref().map(|group| group.as_str()), Some("g"));
    assert_eq!(web.priority, 1);
    assert_eq!(web.request_timeout, Duration::from_millis(5));
    assert_eq!((web.max_retries, web.retry_delay), (Some(0), Some(Duration::from_millis(7))));
    assert_eq!((&*web.health_path, web.probe), ("/up?x=1", ProbeKind::McpPing));
    assert_eq!(web.tools, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(web.protocol, EraPolicy::Only(Era::Stateless));
    let Endpoint::Http(http) = &web.endpoint else { panic!("a URL") };
    assert!(http.allow_insecure_http);
    assert_eq!(child.protocol, EraPolicy::Only(Era::Handshake));
    assert!(web.restart && !child.restart);
    assert_eq!(child.probe, ProbeKind::HttpGet);
    assert_eq!(child.health_path, "/health");
    let Endpoint::Stdio(stdio) = &child.endpoint else { panic!("a program") };
    assert_eq!(stdio.inherit_env, ["PATH"]);
    assert_eq!(stdio.cwd, Some(PathBuf::from("/tmp")));
}

#[test]
fn j8_every_key_of_servers_over_http_takes_effect() {
    let config = toml(
        r#"
        [gateway]
        outbound_allow = ["10.0.0.0/8", "fd00::1"]
        state_file = "state.json"
        [servers.fixed]
        url = "https://a.example"
        auth = { type = "bearer", token = "t0ken" }
        tls = { ca_file = "ca.pem", cert_file = "c.pem", key_file = "k.pem", danger_skip_verify = true }
        proxy = "http://proxy.example:3128"
        rate_limit = { requests = 5, per_ms = 100, burst = 7 }
        [servers.key]
        transport = "sse"
        url = "https://b.example"
        headers = { X-Other = "o" }
        auth = { type = "api_key", key = "k3y" }
        rate_limit = { requests = 3 }
        heartbeat_ms = 0
        open_method = "post"
        [servers.fetched]
        transport = "sse"
        url = "https://c.example/a/sse?x=1"
        auth = { type = "client_credentials", token_url = "http://127.0.0.1:9/t", client_id = "me", client_secret = "s3cret", scope = "a b", resource = "https://c.example/", method = "post" }
        heartbeat_ms = 7
        [servers.plain]
        transport = "sse"
        url = "https://d.example/sse"
        auth = { type = "api_key", key = "k3y", header = "X-Mine" }
        rate_limit = {}
        [policy]
        sse_heartbeat = 99
        "#,
    );
    let shown = format!("{config:?}");
    assert!(["t0ken", "k3y", "s3cret"].iter().all(|secret| !shown.contains(secret)), "{shown}");
    assert_eq!(config.gateway.state_file.as_deref(), Some("state.json".as_ref()));
    let ranges: Vec<_> = config.gateway.outbound_allow.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.0.0.0/8", "fd00::1/128"]);
    let ms = Duration::from_millis;
    let limits: Vec<_> = config
        .servers
        .iter()
        .map(|server| server.rate_limit.map(|limit| (limit.requests, limit.per, limit.burst)))
        .collect();
    assert_eq!(limits, [Some((5, ms(100), 7)), Some((3, ms(1000), 6)), None, Some((10, ms(1000), 20))]);
    let headers = |at: usize| -> Vec<_> {
        let headers = &config.servers[at].endpoint.http().unwrap().headers;
        headers.iter().map(|(name, value)| format!("{name}: {}", value.expose_secret())).collect()
    };
    assert_eq!(headers(0), ["Authorization: Bearer t0ken"]);
    assert_eq!(headers(1), ["X-Other: o", "X-API-Key: k3y"]);
    assert_eq!(headers(3), ["X-Mine: k3y"]);

    let fixed = config.servers[0].endpoint.http().unwrap();
    assert_eq!(fixed.url.as_str(), "https://a.example/mcp");
    assert_eq!(fixed.proxy.as_ref().map(|proxy| proxy.as_str()), Some("http://proxy.example:3128/"));
    let tls = TlsSettings {
        ca_file: Some("ca.pem".into()),
        cert_file: Some("c.pem".into()),
        key_file: Some("k.pem".into()),
        danger_skip_verify: true,
    };
    assert_eq!(fixed.tls, tls);
    let sse = |at: usize| match &config.servers[at].endpoint {
        Endpoint::Sse(sse) => sse,
        other => panic!("no event stream: {other:?}"),
    };
    assert_eq!((sse(1).heartbeat, sse(1).open_method), (None, OpenMethod::Post));
    assert_eq!(sse(1).http.url.as_str(), "https://b.example/", "as given");
    assert_eq!((sse(2).heartbeat, sse(2).open_method), (Some(ms(7)), OpenMethod::Get));
    assert_eq!(sse(3).heartbeat, Some(ms(99)), "the policy's");
    let Some(Auth::ClientCredentials(fetched)) = &sse(2).http.auth else { panic!("credentials") };
    assert_eq!((fetched.token_url.as_str(), &*fetched.client_id), ("http://127.0.0.1:9/t", "me"));
    assert_eq!((fetched.client_secret.expose_secret(), fetched.scope.as_deref()), ("s3cret", Some("a b")));
    assert_eq!(fetched.resource.as_ref().map(|resource| resource.as_str()), Some("https://c.example/"));
    assert_eq!(fetched.method, ClientAuthentication::Post);
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["f:8:99: `servers.fixed.tls.danger_skip_verify`: whoever is on the way to the server can read \
          and change everything; trust its certificate with `ca_file` instead"]
    );
}

#[test]
fn every_key_of_the_policy_takes_effect() {
    let config = toml(
        r#"
        [policy]
        max_backoff = 1
        unreachable_after = 2
        max_initialization_age = "none"
        adapter_session_stale_after = 0
        max_invocation_events = 0
        max_connection_events = 4
        max_registry_events = 5
        max_servers = 6
        call_attempts = 7
        call_wait = { multiplier = 8, min = 9, max = 10 }
        connect_attempts = 10
        connect_base_delay = 11
        connect_max_delay = 12
        connect_jitter_ratio = 1
        health_interval = 14
        degraded_health_interval = 13
        probe_timeout = 15
        ping_timeout = 16
        latency_threshold = 17
        error_rate_threshold = 0.5
        request_timeout = 18
        handshake_timeout = 19
        max_call_deadline = 20
        pool_max_connections = 21
        pool_max_idle = 0
        pool_idle_timeout = 23
        shutdown_drain_timeout = 24
        process_stop_timeout = 25
        sse_heartbeat = 0
        max_message_bytes = 27
        ambiguous_failover = "safe_only"
        rpc_error_policy = "always_degrade"
        reset_retry_on = "invoke_success"
        allow_stdio_registration = true
        [servers.a]
        command = "x"
        "#,
    );
    let ms = Duration::from_millis;
    let mut expected = Policy::default();
    expected.max_backoff = ms(1);
    expected.unreachable_after = 2;
    expected.max_initialization_age = None;
    expected.adapter_session_stale_after = Some(Duration::ZERO);
    expected.max_invocation_events = 1; // raised
    expected.max_connection_events = 4;
    expected.max_registry_events = 5;
    expected.max_servers = 6;
    expected.call_attempts = 7;
    expected.call_wait_multiplier = ms(8);
    expected.call_wait_min = ms(9);
    expected.call_wait_max = ms(10);
    expected.connect_attempts = 10;
    expected.connect_base_delay = ms(11);
    expected.connect_max_delay = ms(12);
    expected.connect_jitter_ratio = 1.0;
    expected.health_interval = ms(14);
    expected.degraded_health_interval = ms(13);
    expected.probe_timeout = ms(15);
    expected.ping_timeout = ms(16);
    expected.latency_threshold = Some(ms(17));
    expected.error_rate_threshold = Some(0.5);
    expected.request_timeout = ms(18);
    expected.handshake_timeout = ms(19);
    expected.max_call_deadline = ms(20);
    expected.pool_max_connections = 21;
    expected.pool_max_idle = 0;
    expected.pool_idle_timeout = ms(23);
    expected.shutdown_drain_timeout = ms(24);
    expected.process_stop_timeout = ms(25);
    expected.sse_heartbeat = Duration::ZERO;
    expected.max_message_bytes = 27;
    expected.ambiguous_failover = AmbiguousFailover::SafeOnly;
    expected.rpc_error_policy = RpcErrorPolicy::AlwaysDegrade;
    expected.reset_retry_on = ResetRetryOn::InvokeSuccess;
    expected.allow_stdio_registration = true;
    assert_eq!(config.policy, expected);
    assert_eq!(config.servers[0].request_timeout, ms(18), "the policy's limit is the servers' default");
}

#[test]
fn json_takes_the_same_keys() {
    let text = r#"{
        "gateway": {"api_keys": ["8f3c1e0a9d7b46528f1e2d3c4b5a6978"], "listen": "0.0.0.0:0"},
        "policy": {"max_initialization_age": null, "sse_heartbeat": null},
        "servers": {"z": {"command": "x"}, "a": {"url": "http://[::1]:9"}}
    }"#;
    let config = Config::parse(text, Format::Json, "f", &nothing).unwrap();
    assert_eq!(config.gateway.api_keys.len(), 1);
    assert_eq!(config.policy.max_initialization_age, None);
    let names: Vec<_> = config.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["z", "a"], "the order of the file");
    assert!(config.warnings.is_empty());
}

#[test]
fn a_timeout_that_leaves_no_time_for_failover_is_warned_about() {
    const REASON: &str = "reaches `policy.max_call_deadline` (500 ms): a call that hangs here leaves no time for \
                          another server";
    for (policy, timeout, expected) in [
        ("max_call_deadline = 500", "timeout_ms = 499", None),
        ("max_call_deadline = 500", "timeout_ms = 500", Some("f:6:14")),
        ("max_call_deadline = 500", "", Some("f:4:10")),
        ("max_call_deadline = 500\nrequest_timeout = 400", "", None),
        ("", "", None),
    ] {
        let text = format!("[policy]\n{policy}\n\n[servers.a]\ncommand = \"x\"\n{timeout}\n");
        let config = Config::parse(&text, Format::Toml, "f", &nothing).unwrap();
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        let expected: Vec<_> =
            expected.iter().map(|at| format!("{at}: `servers.a.timeout_ms`: {REASON}")).collect();
        assert_eq!(warnings, expected, "{policy} {timeout}");
    }
}

#[test]
fn only_a_url_without_a_path_gets_one() {
    for (url, expected) in [
        ("https://a.example", "https://a.example/mcp"),
        ("https://a.example:8443", "https://a.example:8443/mcp"),
        ("https://a.example?x=1", "https://a.example/mcp?x=1"),
        ("https://a.example/", "https://a.example/"),
        ("https://a.example/v1/", "https://a.example/v1/"),
        ("HTTPS://A.example/mcp?k=v", "https://a.example/mcp?k=v"),
    ] {
        let config = toml(&format!("[servers.a]\nurl = \"{url}\""));
        assert_eq!(config.servers[0].endpoint.url().unwrap().as_str(), expected);
    }
}

#[test]
fn variables_that_load_code_pass_if_allowed() {
    let config = toml(
        "[servers.a]\ncommand = \"x\"\nenv = { NODE_OPTIONS = \"-r y\" }\ninherit_env = [\"LD_LIBRARY_PATH\"]\n\
         allow_env = [\"NODE_OPTIONS\", \"LD_LIBRARY_PATH\"]\n",
    );
    let Endpoint::Stdio(stdio) = &config.servers[0].endpoint else { panic!("a program") };
    assert_eq!(stdio.allow_env, ["NODE_OPTIONS", "LD_LIBRARY_PATH"]);
    assert!(config.warnings.is_empty());
}

#[test]
fn a_secret_among_the_arguments_is_worth_a_warning() {
    let text = "[servers.a]\ncommand = \"x\"\nargs = [\"${HOME}\", \"--key=${API_KEY:-none}\", \"KEY\"]\n";
    let config = Config::parse(text, Format::Toml, "f", &|_| Some("v".into())).unwrap();
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["f:3:20: `servers.a.args.1`: shows a secret in the list of processes; \
          pass it in `env` if the program can"]
    );
}

#[test]
fn files_are_looked_for_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str| {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), "").unwrap();
    };
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let home = |name: &str| (name == "HOME").then(|| text("home"));
    let xdg = |name: &str| match name {
        "XDG_CONFIG_HOME" => Some(text("xdg")),
        other => home(other),
    };
    let named = |name: &str| match name {
        "MCP_GATEWAY_CONFIG" => Some("named.json".to_owned()),
        other => xdg(other),
    };
    let relative = |name: &str| if name == "XDG_CONFIG_HOME" { Some("xdg".into()) } else { home(name) };
    let empty = |name: &str| if name == "MCP_GATEWAY_CONFIG" { Some(String::new()) } else { home(name) };
    let work = path("work");

    assert_eq!(locate(None, &work, &nothing), None);
    assert_eq!(locate(None, &work, &xdg), None);
    write("home/.config/mcp-gateway/config.toml");
    assert_eq!(locate(None, &work, &xdg), None, "the variable replaces ~/.config");
    assert_eq!(locate(None, &work, &relative), Some(path("home/.config/mcp-gateway/config.toml")));
    assert_eq!(locate(None, &work, &empty), Some(path("home/.config/mcp-gateway/config.toml")));
    write("xdg/mcp-gateway/config.toml");
    assert_eq!(locate(None, &work, &xdg), Some(path("xdg/mcp-gateway/config.toml")));
    write("work/mcp-gateway.toml");
    assert_eq!(locate(None, &work, &xdg), Some(path("work/mcp-gateway.toml")));
    assert_eq!(locate(None, &work, &named), Some(PathBuf::from("named.json")));
    assert_eq!(locate(Some(Path::new("x")), &work, &named), Some(PathBuf::from("x")));
}

#[test]
fn files_are_loaded_by_extension_or_content() {
    let dir = tempfile::tempdir().unwrap();
    let toml = "[servers.a]\ncommand = \"x\"\n";
    let json = "\u{feff} {\"mcpServers\": {\"a\": {\"command\": \"x\"}}}";
    for (name, text) in [("a.toml", toml), ("a.conf", toml), ("a.json", json), ("a.jsonc", json), ("a", json)]
    {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path, &nothing).unwrap();
        assert_eq!(config.servers.len(), 1, "{name}");
        assert_eq!(config.source, Some(path), "{name}");
    }
}

#[test]
fn unreadable_files_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    let error = Config::load(&path, &nothing).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
    assert_eq!(error.to_string(), format!("cannot read the configuration file {}", path.display()));

    std::fs::write(&path, b"[gateway]\nlisten = \"\xff\"").unwrap();
    let error = Config::load(&path, &nothing).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}:2:11: not UTF-8; save the file in that encoding", path.display())
    );

    std::fs::write(&path, "#".repeat(MAX_BYTES)).unwrap();
    Config::load(&path, &nothing).unwrap();
    std::fs::write(&path, "#".repeat(MAX_BYTES + 1)).unwrap();
    let error = Config::load(&path, &nothing).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: larger than 1048576 bytes", path.display()));
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let env = |_: &str| Some("value".to_owned());
    let page = include_str!("../../../docs/configuration.md");
    let examples: Vec<_> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4, "{}", examples.len());
    for example in examples {
        let config = Config::parse(example, Format::Toml, "f", &env);
        assert!(config.is_ok(), "{example}\n{}", config.unwrap_err());
    }
}
