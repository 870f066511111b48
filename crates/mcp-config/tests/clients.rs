//! Documents of MCP clients work unchanged.

use mcp_config::{Config, Format};
use mcp_registry::Definition;
use mcp_transport::{Endpoint, HttpEndpoint, StdioEndpoint};
use secrecy::ExposeSecret;

fn env(name: &str) -> Option<String> {
    match name {
        "API_KEY" => Some("from-the-environment".into()),
        "HOME" => Some("/home/me".into()),
        _ => None,
    }
}

fn parse(text: &str) -> (Vec<Definition>, Vec<String>) {
    let config = Config::parse(text, Format::Json, "mcp.json", &env).expect("a valid document");
    (config.servers, config.warnings.iter().map(ToString::to_string).collect())
}

fn names(servers: &[Definition]) -> Vec<&str> {
    servers.iter().map(|server| server.name.as_str()).collect()
}

fn stdio(server: &Definition) -> &StdioEndpoint {
    match &server.endpoint {
        Endpoint::Stdio(endpoint) => endpoint,
        _ => panic!("{} is no program", server.name),
    }
}

fn http(server: &Definition) -> &HttpEndpoint {
    match &server.endpoint {
        Endpoint::Http(endpoint) => endpoint,
        _ => panic!("{} has no URL", server.name),
    }
}

fn header<'a>(server: &'a Definition, name: &str) -> &'a str {
    let header = http(server).headers.iter().find(|(key, _)| key == name);
    header.unwrap_or_else(|| panic!("no header {name}")).1.expose_secret()
}

#[test]
fn claude_desktop() {
    let (servers, warnings) = parse(
        r#"{
          "globalShortcut": "",
          "mcpServers": {
            "filesystem": {
              "command": "npx",
              "args": ["-y", "@modelcontextprotocol/server-filesystem", "/Users/me/Desktop"]
            },
            "GitHub Search": {
              "command": "docker",
              "args": ["run", "-i", "--rm", "-e", "TOKEN", "ghcr.io/github/github-mcp-server"],
              "env": {"TOKEN": "ghp_x"}
            }
          }
        }"#,
    );
    assert_eq!(names(&servers), ["filesystem", "GitHub-Search"]);
    assert_eq!(stdio(&servers[0]).command, "npx");
    assert_eq!(stdio(&servers[0]).args[2], "/Users/me/Desktop");
    assert_eq!(stdio(&servers[1]).env["TOKEN"].expose_secret(), "ghp_x");
    assert_eq!(
        warnings,
        [
            "mcp.json:2:11: ignored beside `mcpServers`: globalShortcut",
            "mcp.json:8:13: `mcpServers.\"GitHub Search\"`: goes by the name `GitHub-Search` here: \
             a server name holds letters, digits, '.', '_' and '-', a letter or digit first; \
             found ' ' at position 6",
        ]
    );
}

#[test]
fn claude_code() {
    let (servers, warnings) = parse(
        r#"{
          "mcpServers": {
            "local": {"type": "stdio", "command": "${HOME}/bin/server", "args": [], "env": {}},
            "remote": {
              "type": "http",
              "url": "${BASE:-https://api.example.com}/mcp",
              "headers": {"Authorization": "Bearer ${API_KEY}"}
            },
            "old": {"type": "sse", "url": "https://old.example.com/sse"},
            "odd": {"type": "ws", "url": "https://odd.example.com/"}
          }
        }"#,
    );
    assert_eq!(names(&servers), ["local", "remote", "old"]);
    assert_eq!(stdio(&servers[0]).command, "/home/me/bin/server");
    assert_eq!(http(&servers[1]).url.as_str(), "https://api.example.com/mcp");
    assert_eq!(header(&servers[1], "Authorization"), "Bearer from-the-environment");
    assert_eq!(
        warnings,
        ["mcp.json:10:29: `mcpServers.odd`: left out: its transport is not supported; \
          there is `stdio`, `http` and `sse`"]
    );
    let Endpoint::Sse(old) = &servers[2].endpoint else { panic!("an event stream") };
    assert_eq!(old.http.url.as_str(), "https://old.example.com/sse");
    assert_eq!(old.heartbeat, Some(std::time::Duration::from_secs(30)));
}

#[test]
fn cursor() {
    let (servers, warnings) = parse(
        r#"{
          "mcpServers": {
            "db": {
              "command": "uvx",
              "args": ["mcp-server-sqlite", "--port", 5432],
              "env": {"API_KEY": "${env:API_KEY}", "VERBOSE": true},
              "envFile": ".env"
            },
            "linear": {"url": "https://mcp.linear.app", "headers": {"X-Key": "${env:API_KEY}"}}
          }
        }"#,
    );
    assert_eq!(stdio(&servers[0]).args, ["mcp-server-sqlite", "--port", "5432"]);
    assert_eq!(stdio(&servers[0]).env["API_KEY"].expose_secret(), "from-the-environment");
    assert_eq!(stdio(&servers[0]).env["VERBOSE"].expose_secret(), "true");
    assert_eq!(http(&servers[1]).url.as_str(), "https://mcp.linear.app/mcp");
    assert_eq!(header(&servers[1], "X-Key"), "from-the-environment");
    assert_eq!(warnings, ["mcp.json:7:15: `mcpServers.db.envFile`: ignored: it has no meaning here"]);
}

#[test]
fn vs_code() {
    let (servers, warnings) = parse(
        r#"{
          // asked for once, then stored by the editor
          "inputs": [{"type": "promptString", "id": "token", "password": true}],
          "servers": {
            "playwright": {"type": "stdio", "command": "npx", "args": ["-y", "@playwright/mcp@latest"]},
            "github": {"type": "http", "url": "https://api.githubcopilot.com/mcp/"}, /* remote */
            "perplexity": {
              "type": "stdio",
              "command": "npx",
              "env": {"KEY": "${input:token}"},
            },
          },
        }"#,
    );
    assert_eq!(names(&servers), ["playwright", "github"]);
    assert_eq!(stdio(&servers[0]).args, ["-y", "@playwright/mcp@latest"]);
    assert_eq!(http(&servers[1]).url.as_str(), "https://api.githubcopilot.com/mcp/");
    assert_eq!(
        warnings,
        [
            "mcp.json:3:11: ignored beside `servers`: inputs",
            "mcp.json:10:30: `servers.perplexity`: left out: it asks its client for a value, as `${input:…}` does; \
             write the value or `${NAME}` instead",
        ]
    );
}

#[test]
fn windsurf() {
    let (servers, warnings) = parse(
        r#"{
          "mcpServers": {
            "remote": {"serverUrl": "https://example.com/mcp", "headers": {"API-KEY": "x"}, "disabledTools": []},
            "local": {"command": "node", "args": ["server.js"], "disabled": true}
          }
        }"#,
    );
    assert_eq!(http(&servers[0]).url.as_str(), "https://example.com/mcp");
    assert_eq!(servers.iter().map(|server| server.enabled).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        warnings,
        ["mcp.json:3:93: `mcpServers.remote.disabledTools`: ignored: it has no meaning here"]
    );
}

#[test]
fn cline_roo_and_gemini() {
    let (servers, warnings) = parse(
        r#"{
          "mcpServers": {
            "cline": {"type": "streamableHttp", "url": "https://a.example/mcp", "autoApprove": ["x"], "timeout": 60},
            "roo": {"type": "streamable-http", "url": "https://b.example/mcp", "alwaysAllow": [], "disabled": false},
            "gemini": {"httpUrl": "https://c.example/http", "url": "https://c.example/sse", "trust": false},
            "mixed": {"command": "x", "headers": {}, "url": null, "cwd": "/tmp", "description": "d"}
          }
        }"#,
    );
    assert_eq!(names(&servers), ["cline", "roo", "gemini", "mixed"]);
    assert_eq!(http(&servers[2]).url.as_str(), "https://c.example/http");
    assert_eq!(stdio(&servers[3]).cwd.as_deref(), Some("/tmp".as_ref()));
    assert_eq!(servers[3].description.as_deref(), Some("d"));
    assert_eq!(
        warnings,
        [
            "mcp.json:3:81: `mcpServers.cline.autoApprove`: ignored: it has no meaning here",
            "mcp.json:3:103: `mcpServers.cline.timeout`: ignored: clients disagree on its unit; \
             `request_timeout` in `policy` applies",
            "mcp.json:4:80: `mcpServers.roo.alwaysAllow`: ignored: it has no meaning here",
            "mcp.json:5:61: `mcpServers.gemini.url`: ignored: it has no meaning here",
            "mcp.json:5:93: `mcpServers.gemini.trust`: ignored: it has no meaning here",
            "mcp.json:6:39: `mcpServers.mixed.headers`: ignored: it has no meaning here",
        ]
    );
}

#[test]
fn what_the_gateway_refuses_is_a_warning() {
    let (servers, warnings) = parse(
        r#"{
          "mcpServers": {
            "a": {"command": "node", "env": {"NODE_OPTIONS": "--max-old-space-size=512"}},
            "b": {"command": "node", "env": {"NODE_OPTIONS": "-r x"}, "allow_env": ["NODE_OPTIONS"]},
            "c": {"url": "http://10.0.0.7/mcp"},
            "d": {"url": "http://10.0.0.7/mcp", "allow_insecure_http": true}
          }
        }"#,
    );
    assert_eq!(names(&servers), ["a", "b", "c", "d"]);
    assert!(stdio(&servers[0]).env.contains_key("NODE_OPTIONS"), "the transport says what it refuses");
    assert_eq!(stdio(&servers[1]).allow_env, ["NODE_OPTIONS"]);
    assert!(http(&servers[3]).allow_insecure_http);
    assert_eq!(
        warnings,
        [
            "mcp.json:3:62: `mcpServers.a.env.NODE_OPTIONS`: this variable makes programs load foreign code, \
             so the server is not started; leave it out, or name it in `allow_env` as well",
            "mcp.json:5:26: `mcpServers.c.url`: plain http to another machine is refused when connecting; \
             use https, or set `allow_insecure_http = true`",
        ]
    );
}

#[test]
fn our_sections_may_stand_beside_the_servers_of_a_client() {
    let text = r#"{"gateway": {"listen": "[::1]:1"}, "policy": {"request_timeout": 7}, "mcpServers": {"a": {"command": "x"}}}"#;
    let config = Config::parse(text, Format::Json, "f", &env).unwrap();
    assert_eq!(config.gateway.listen.to_string(), "[::1]:1");
    assert_eq!(config.servers[0].request_timeout, std::time::Duration::from_millis(7));
    assert!(config.warnings.is_empty());
}

#[test]
fn a_servers_table_of_ours_stays_strict() {
    for text in [
        r#"{"servers": {"a": {"command": "x", "envFile": "y"}}}"#,
        r#"{"gateway": {}, "servers": {"a": {"type": "stdio", "command": "x"}}}"#,
    ] {
        let error = Config::parse(text, Format::Json, "f", &env).unwrap_err().to_string();
        assert!(error.contains("unknown key"), "{error}");
    }
}

#[test]
fn what_no_client_would_accept_is_an_error() {
    for (text, expected) in [
        (r#"{"mcpServers": []}"#, "f:1:16: `mcpServers`: must be a table of servers"),
        (r#"{"mcpServers": {"a": 3}}"#, "f:1:22: `mcpServers.a`: must be a table, not a whole number"),
        (
            r#"{"mcpServers": {"a": {}}}"#,
            "f:1:17: `mcpServers.a`: needs a `command` (a program to start) or a `url`",
        ),
        (
            r#"{"mcpServers": {"a": {"command": "x", "args": "-y"}}}"#,
            "f:1:47: `mcpServers.a.args`: must be a list, not a string",
        ),
        (
            r#"{"mcpServers": {"a": {"command": "${GONE}"}}}"#,
            "f:1:34: environment variables not set: `GONE` (line 1); set them, or write ${NAME:-default}",
        ),
    ] {
        assert_eq!(Config::parse(text, Format::Json, "f", &env).unwrap_err().to_string(), expected, "{text}");
    }
}
