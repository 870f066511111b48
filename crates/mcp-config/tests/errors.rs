//! Every error of a file, with its exact text and position.

use mcp_config::{Config, Format};

fn env(name: &str) -> Option<String> {
    (name == "SET").then(|| "value".into())
}

fn errors(text: &str, format: Format) -> String {
    match Config::parse(text, format, "f", &env) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(format: Format, table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(errors(text, format), expected.join("\n"), "{text}");
    }
}

#[test]
fn toml_syntax() {
    check(
        Format::Toml,
        &[
            ("[gateway\n", &["f:1:9: not valid TOML: unclosed table, expected `]`"]),
            (
                "[policy]\nmax_servers = \n",
                &["f:2:15: not valid TOML: string values must be quoted, expected literal string"],
            ),
            ("[policy]\nmax_servers = 1\nmax_servers = 2\n", &["f:3:1: not valid TOML: duplicate key"]),
            (
                "a = \"x\nb = 3 4\n",
                &[
                    "f:1:7: not valid TOML: invalid basic string, expected `\"`",
                    "f:2:5: not valid TOML: string values must be quoted, expected literal string",
                ],
            ),
            (
                "[policy]\nmax_servers = 99999999999999999999999999999999999999999999\n",
                &["f:2:15: not valid TOML: the number is too large"],
            ),
        ],
    );
}

#[test]
fn json_syntax() {
    check(
        Format::Json,
        &[
            ("", &["f:1:1: not valid JSON: EOF while parsing a value"]),
            ("[]", &["f:1:1: must be a JSON object"]),
            (
                "{\n  \"policy\": {\"max_servers\": 1,, }\n}",
                &["f:2:31: not valid JSON: key must be a string"],
            ),
            ("{\n  \"policy\": {,}\n}", &["f:2:14: not valid JSON: key must be a string"]),
            (
                "{\"policy\": {\"max_servers\": 1} // x\n",
                &["f:2:1: not valid JSON: EOF while parsing an object"],
            ),
            ("{\"a\": \"\\ud800\"}", &["f:1:14: not valid JSON: unexpected end of hex escape"]),
            (
                "{\"policy\": {},\n \"policy\": {}}",
                &["f:2:2: the key stands twice in its object; remove one"],
            ),
            ("{\"a\": 1e999}", &["f:1:11: not valid JSON: number out of range"]),
            ("{} {}", &["f:1:4: not valid JSON: trailing characters"]),
            ("{\"a\": \"unterminated", &["f:1:19: not valid JSON: EOF while parsing a string"]),
            (
                &format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40)),
                &["f:1:166: nested deeper than 32 levels"],
            ),
        ],
    );
}

#[test]
fn unknown_keys() {
    check(
        Format::Toml,
        &[
            ("[server.a]\ncommand = \"x\"\n", &["f:1:2: `server`: unknown key; did you mean `servers`?"]),
            (
                "[gatway]\n\n[polcy]\n",
                &[
                    "f:1:2: `gatway`: unknown key; did you mean `gateway`?",
                    "f:3:2: `polcy`: unknown key; did you mean `policy`?",
                ],
            ),
            (
                "colour = 1\n",
                &["f:1:1: `colour`: unknown key; the nearest known ones are `policy`, `servers`, `views`"],
            ),
            (
                "[gateway]\nlisten = \"127.0.0.1:1\"\nallow_stdio_registration = true\n",
                &["f:3:1: `gateway.allow_stdio_registration`: unknown key; it belongs in `policy`"],
            ),
            (
                "[policy]\nunreachable-after = 3\nrate_limit = 3\nsharing = 3\n",
                &[
                    "f:2:1: `policy.unreachable-after`: unknown key; did you mean `unreachable_after`?",
                    "f:3:1: `policy.rate_limit`: unknown key; it belongs to a server",
                    "f:4:1: `policy.sharing`: unknown key; it belongs to a server",
                ],
            ),
            (
                "[policy.call_wait]\nmini = 3\n",
                &["f:2:1: `policy.call_wait.mini`: unknown key; did you mean `min`?"],
            ),
            (
                "[servers.a]\ncomand = \"x\"\nargz = []\ntype = \"stdio\"\ntimeout = 3\npool = 1\ndisabled = true\nretry_delay = 1\nfoo = 1\n",
                &[
                    "f:2:1: `servers.a.comand`: unknown key; did you mean `command`?",
                    "f:3:1: `servers.a.argz`: unknown key; did you mean `args`?",
                    "f:4:1: `servers.a.type`: unknown key; did you mean `transport`?",
                    "f:5:1: `servers.a.timeout`: unknown key; did you mean `timeout_ms`?",
                    "f:6:1: `servers.a.pool`: not available in this version; leave it out",
                    "f:7:1: `servers.a.disabled`: unknown key; did you mean `enabled`?",
                    "f:8:1: `servers.a.retry_delay`: unknown key; did you mean `retry_delay_ms`?",
                    "f:9:1: `servers.a.foo`: unknown key; the nearest known ones are `tools`, `roots`, `url`",
                ],
            ),
            (
                "[servers.\"a\\u001b[31m\"]\ncommand = \"x\"\n\"b\\nad key\" = 1\n",
                &[
                    "f:1:10: `servers.\"a\\u{1b}[31m\"`: a server name holds letters, digits, '.', '_' and '-', a letter or digit first; found '\\u{1b}' at position 1",
                    "f:3:1: `servers.\"a\\u{1b}[31m\".\"b\\nad key\"`: unknown key; the nearest known ones are `enabled`, `headers`, `priority`",
                ],
            ),
            (
                "servers.a.command = \"x\"\nservers.a.commmand = \"x\"\n",
                &["f:2:11: `servers.a.commmand`: unknown key; did you mean `command`?"],
            ),
            ("mcpServers = {}\n", &["f:1:1: `mcpServers`: unknown key; did you mean `servers`?"]),
        ],
    );
    check(
        Format::Json,
        &[(
            "{\n  \"servers\": {\n    \"a\": {\"comand\": \"x\", \"args\": [], \"Priority\": 3}\n  },\n  \"polici\": {}\n}",
            &[
                "f:3:11: `servers.a.comand`: unknown key; did you mean `command`?",
                "f:3:38: `servers.a.Priority`: unknown key; did you mean `priority`?",
                "f:5:3: `polici`: unknown key; did you mean `policy`?",
            ],
        )],
    );
}

#[test]
fn wrong_types() {
    check(
        Format::Toml,
        &[
            (
                "gateway = 3\npolicy = []\nservers = \"x\"\n",
                &[
                    "f:1:11: `gateway`: must be a table, not a whole number",
                    "f:2:10: `policy`: must be a table, not a list",
                    "f:3:11: `servers`: must be a table of servers",
                ],
            ),
            (
                "[servers]\na = 3\nb = [\"x\"]\n",
                &[
                    "f:2:5: `servers.a`: must be a table, not a whole number",
                    "f:3:5: `servers.b`: must be a table, not a list",
                ],
            ),
            (
                "[servers.a]\ncommand = 1\nargs = \"-y\"\nenv = { A = 1, B = \"x\", C = true }\nenabled = \"yes\"\npriority = -1\ntimeout_ms = 1.5\ntools = [\"x\", 3]\ndescription = 2026-01-01\n",
                &[
                    "f:2:11: `servers.a.command`: must be a string, not a whole number",
                    "f:3:8: `servers.a.args`: must be a list, not a string",
                    "f:4:13: `servers.a.env.A`: must be a string, not a whole number",
                    "f:4:29: `servers.a.env.C`: must be a string, not true or false",
                    "f:5:11: `servers.a.enabled`: must be true or false, not a string",
                    "f:6:12: `servers.a.priority`: must be a whole number, 0 or more, not a negative number",
                    "f:7:14: `servers.a.timeout_ms`: must be a whole number, 0 or more, not a number with a fraction",
                    "f:8:15: `servers.a.tools.1`: must be a string, not a whole number",
                    "f:9:15: `servers.a.description`: must be a string, not a date",
                ],
            ),
            (
                "[gateway]\nlisten = 8300\napi_keys = \"key\"\n",
                &[
                    "f:2:10: `gateway.listen`: must be a string, not a whole number",
                    "f:3:12: `gateway.api_keys`: must be a list, not a string",
                ],
            ),
            (
                "[policy]\nmax_initialization_age = \"never\"\nadapter_session_stale_after = -1\nconnect_jitter_ratio = \"x\"\ncall_wait = 3\n",
                &[
                    "f:2:26: `policy.max_initialization_age`: must be a whole number, 0 or more, or \"none\", not another string",
                    "f:3:31: `policy.adapter_session_stale_after`: must be a whole number, 0 or more, or \"none\", not a negative number",
                    "f:4:24: `policy.connect_jitter_ratio`: must be a number, not a string",
                    "f:5:13: `policy.call_wait`: must be a table, not a whole number",
                ],
            ),
        ],
    );
    check(
        Format::Json,
        &[
            (
                "{\"policy\": {\"max_servers\": 340282366920938463463374607431768211456}}",
                &[
                    "f:1:28: `policy.max_servers`: must be a whole number, 0 or more, not a number with a fraction",
                ],
            ),
            (
                "{\"policy\": {\"max_servers\": 36893488147419103232}}",
                &["f:1:28: `policy.max_servers`: the number is too large"],
            ),
        ],
    );
}

#[test]
fn reserved_names_of_servers() {
    for name in mcp_config::RESERVED_NAMES {
        let expected = format!(
            "f:1:10: `servers.{name}`: the name `{name}` is reserved: the REST API has a path of that name"
        );
        assert_eq!(errors(&format!("[servers.{name}]\ncommand = \"x\"\n"), Format::Toml), expected);
    }
}

#[test]
fn values_of_servers() {
    check(
        Format::Toml,
        &[
            (
                "[servers.a__b]\ncommand = \"x\"\n\n[servers.\"a b\"]\ncommand = \"x\"\n\n[servers.\"\"]\ncommand = \"x\"\n",
                &[
                    "f:1:10: `servers.a__b`: a server name holds no \"__\" and does not end in '_'",
                    "f:4:10: `servers.\"a b\"`: a server name holds letters, digits, '.', '_' and '-', a letter or digit first; found ' ' at position 1",
                    "f:7:10: `servers.\"\"`: a server name has 1 to 64 characters, this one has 0",
                ],
            ),
            (
                "[servers.a]\n\n[servers.b]\ncommand = \"x\"\nurl = \"https://x\"\n",
                &[
                    "f:1:10: `servers.a`: needs a `command` (a program to start) or a `url`",
                    "f:3:10: `servers.b`: has both `command` and `url`; keep one",
                ],
            ),
            (
                "[servers.a]\ntransport = \"SSE\"\nurl = \"https://x\"\n\n[servers.b]\ntransport = \"ws\"\nurl = \"https://x\"\n",
                &[
                    "f:2:13: `servers.a.transport`: unknown transport; supported: `stdio`, `http`, `sse`",
                    "f:6:13: `servers.b.transport`: unknown transport; supported: `stdio`, `http`, `sse`",
                ],
            ),
            (
                "[servers.a]\ntransport = \"sse\"\nurl = \"https://x\"\nprotocol = \"modern\"\n",
                &["f:4:12: `servers.a.protocol`: `modern` does not exist over `sse`; leave it out"],
            ),
            (
                "[servers.a]\ntransport = \"stdio\"\nurl = \"https://x\"\n\n[servers.b]\ntransport = \"http\"\n\n[servers.c]\ntransport = \"stdio\"\n",
                &[
                    "f:3:7: `servers.a.url`: is for servers of transport `http` or `sse`, this one is `stdio`",
                    "f:5:10: `servers.b`: `url` is missing",
                    "f:8:10: `servers.c`: `command` is missing",
                ],
            ),
            (
                "[servers.a]\nurl = \"https://x\"\nargs = []\nenv = {}\ncwd = \"/\"\nrestart = true\n[servers.b]\ncommand = \"x\"\nheaders = {}\nallow_insecure_http = true\n",
                &[
                    "f:3:8: `servers.a.args`: is for servers of transport `stdio`, this one is `http`",
                    "f:4:7: `servers.a.env`: is for servers of transport `stdio`, this one is `http`",
                    "f:5:7: `servers.a.cwd`: is for servers of transport `stdio`, this one is `http`",
                    "f:6:11: `servers.a.restart`: is for servers of transport `stdio`, this one is `http`",
                    "f:9:11: `servers.b.headers`: is for servers of transport `http` or `sse`, this one is `stdio`",
                    "f:10:23: `servers.b.allow_insecure_http`: is for servers of transport `http` or `sse`, this one is `stdio`",
                ],
            ),
            (
                "[servers.a]\ncommand = \"\"\nargs = [\"x\", \"a\\nb\"]\nenv = { \"A=B\" = \"x\", C = \"a\\u0000\" }\ninherit_env = [\"\"]\ncwd = \"\"\n",
                &[
                    "f:2:11: `servers.a.command`: must not be empty",
                    "f:3:14: `servers.a.args.1`: must not hold a NUL character or a line break",
                    "f:4:17: `servers.a.env.\"A=B\"`: is no name of an environment variable",
                    "f:4:26: `servers.a.env.C`: must not hold a NUL character",
                    "f:5:16: `servers.a.inherit_env.0`: is no name of an environment variable",
                    "f:6:7: `servers.a.cwd`: must not be empty",
                ],
            ),
            (
                "[servers.a]\nurl = \"https://me:pw@x/\"\n[servers.b]\nurl = \"x/mcp\"\n[servers.c]\nurl = \"ftp://x\"\n[servers.d]\nurl = \"https://x#f\"\n[servers.e]\nurl = \"http://\"\n",
                &[
                    "f:2:7: `servers.a.url`: must not hold a user name or password; send them in `headers`",
                    "f:4:7: `servers.b.url`: must be an absolute `http` or `https` URL",
                    "f:6:7: `servers.c.url`: must be an absolute `http` or `https` URL",
                    "f:8:7: `servers.d.url`: must not have a fragment (`#…`): it is never sent",
                    "f:10:7: `servers.e.url`: must be an absolute `http` or `https` URL",
                ],
            ),
            (
                "[servers.a]\nurl = \"https://x\"\nheaders = { \"a b\" = \"x\", X = \"1\", x = \"2\", Y = \"é\", Z = \"a\\r\\nb\" }\n",
                &[
                    "f:3:21: `servers.a.headers.\"a b\"`: is no name of an HTTP header",
                    "f:3:39: `servers.a.headers.x`: stands twice; case does not matter here",
                    "f:3:48: `servers.a.headers.Y`: must hold visible ASCII characters only",
                    "f:3:57: `servers.a.headers.Z`: must hold visible ASCII characters only",
                ],
            ),
            (
                "[servers.a]\ncommand = \"x\"\nauth = {}\ntls = {}\nproxy = \"\"\nrate_limit = {}\nheartbeat_ms = 1\nopen_method = \"get\"\n[servers.b]\nurl = \"https://x\"\nheartbeat_ms = 1\nopen_method = \"get\"\n",
                &[
                    "f:3:8: `servers.a.auth`: is for servers of transport `http` or `sse`, this one is `stdio`",
                    "f:4:7: `servers.a.tls`: is for servers of transport `http` or `sse`, this one is `stdio`",
                    "f:5:9: `servers.a.proxy`: is for servers of transport `http` or `sse`, this one is `stdio`",
                    "f:6:14: `servers.a.rate_limit`: is for servers of transport `http` or `sse`, this one is `stdio`",
                    "f:7:16: `servers.a.heartbeat_ms`: is for servers of transport `sse`, this one is `stdio`",
                    "f:8:15: `servers.a.open_method`: is for servers of transport `sse`, this one is `stdio`",
                    "f:11:16: `servers.b.heartbeat_ms`: is for servers of transport `sse`, this one is `http`",
                    "f:12:15: `servers.b.open_method`: is for servers of transport `sse`, this one is `http`",
                ],
            ),
            (
                "[servers.a]\ntransport = \"sse\"\nurl = \"http://10.0.0.7/sse\"\nheartbeat_ms = 9999999999\nopen_method = \"put\"\nproxy = \"socks5://x\"\nrate_limit = { requests = 0, per_ms = 0, burst = 1000001 }\ntls = { ca_file = \"\", cert_file = \"c\" }\n[servers.b]\nurl = \"https://x\"\nproxy = \"http://me:pw@p\"\n",
                &[
                    "f:3:7: `servers.a.url`: plain http to another machine is refused when connecting; use https, or set `allow_insecure_http = true`",
                    "f:4:16: `servers.a.heartbeat_ms`: must be 0 to 2592000000 milliseconds",
                    "f:5:15: `servers.a.open_method`: must be one of `get`, `post`",
                    "f:6:9: `servers.a.proxy`: must be an absolute `http` or `https` URL",
                    "f:7:27: `servers.a.rate_limit.requests`: must be 1 to 1000000",
                    "f:7:39: `servers.a.rate_limit.per_ms`: must be 1 to 2592000000 milliseconds",
                    "f:7:50: `servers.a.rate_limit.burst`: must be 1 to 1000000",
                    "f:8:7: `servers.a.tls`: `cert_file` and `key_file` belong together; one is missing",
                    "f:8:19: `servers.a.tls.ca_file`: must not be empty",
                    "f:11:9: `servers.b.proxy`: must not hold a user name or password: a proxy that asks for them is not supported",
                ],
            ),
            (
                "[servers.a]\ncommand = \"x\"\npriority = 101\ntimeout_ms = 0\nmax_retries = 10\nretry_delay_ms = 2592000001\nhealth_path = \"health\"\nprobe = \"tcp\"\nprotocol = \"new\"\ntools = [\"\"]\ngroup = \"a_\"\n",
                &[
                    "f:3:12: `servers.a.priority`: must be 1 to 100",
                    "f:4:14: `servers.a.timeout_ms`: must be 1 to 2592000000 milliseconds",
                    "f:5:15: `servers.a.max_retries`: must be 0 to 9",
                    "f:6:18: `servers.a.retry_delay_ms`: must be 0 to 2592000000 milliseconds",
                    "f:7:15: `servers.a.health_path`: must be a URL path: a `/` first, no spaces, no `#`",
                    "f:8:9: `servers.a.probe`: must be one of `auto`, `http_get`, `mcp_ping`, `mcp_discover`",
                    "f:9:12: `servers.a.protocol`: must be one of `auto`, `legacy`, `modern`",
                    "f:10:10: `servers.a.tools.0`: must not be empty",
                    "f:11:9: `servers.a.group`: a server name holds no \"__\" and does not end in '_'",
                ],
            ),
            (
                "[servers.a]\ncommand = \"x\"\nenv = { NODE_OPTIONS = \"x\" }\ninherit_env = [\"A\", \"LD_PRELOAD\", \"BASH_ENV\"]\nallow_env = [\"BASH_ENV\", \"\"]\n[servers.b]\nurl = \"http://10.0.0.7/mcp\"\nheaders = { hOST = \"x\" }\n[servers.c]\nurl = \"http://localhost\"\n",
                &[
                    "f:3:24: `servers.a.env.NODE_OPTIONS`: this variable makes programs load foreign code, so the server is not started; leave it out, or name it in `allow_env` as well",
                    "f:4:21: `servers.a.inherit_env.1`: this variable makes programs load foreign code, so the server is not started; leave it out, or name it in `allow_env` as well",
                    "f:5:26: `servers.a.allow_env.1`: is no name of an environment variable",
                    "f:7:7: `servers.b.url`: plain http to another machine is refused when connecting; use https, or set `allow_insecure_http = true`",
                    "f:8:20: `servers.b.headers.hOST`: must not be set: it is derived from the URL and the request",
                ],
            ),
            (
                "[servers.a]\ncomand = \"x\"\npriority = 0\n[servers.b]\ncommand = \"x\"\nenv = { NODE_OPTIONS = \"x\", \"A=B\" = \"\" }\nallow_env = \"NODE_OPTIONS\"\nprobe = \"tcp\"\n",
                &[
                    "f:2:1: `servers.a.comand`: unknown key; did you mean `command`?",
                    "f:3:12: `servers.a.priority`: must be 1 to 100",
                    "f:6:37: `servers.b.env.\"A=B\"`: is no name of an environment variable",
                    "f:7:13: `servers.b.allow_env`: must be a list, not a string",
                    "f:8:9: `servers.b.probe`: must be one of `auto`, `http_get`, `mcp_ping`, `mcp_discover`",
                ],
            ),
            (
                "[servers.a]\ncommand = \"x\"\ngroup = \"b\"\n\n[servers.b]\ncommand = \"x\"\ngroup = \"b\"\n",
                &[
                    "f:3:9: `servers.a.group`: must not be the name of a server: servers and groups share one set of names",
                    "f:7:9: `servers.b.group`: must not be the name of a server: servers and groups share one set of names",
                ],
            ),
            (
                "[policy]\nmax_servers = 1\n\n[servers.a]\ncommand = \"x\"\n\n[servers.b]\ncommand = \"x\"\n",
                &["f:7:10: more than 1 servers; raise `max_servers` in `policy`"],
            ),
        ],
    );
}

#[test]
fn credentials_of_servers() {
    let server = |auth: &str| {
        format!("[servers.a]\nurl = \"https://x\"\nheaders = {{ authorization = \"x\" }}\nauth = {auth}\n")
    };
    for (auth, expected) in [
        ("3", &["f:4:8: `servers.a.auth`: must be a table, not a whole number"][..]),
        ("{}", &["f:4:8: `servers.a.auth`: `type` is missing: `bearer`, `api_key` or `client_credentials`"]),
        (
            "{ type = \"basic\" }",
            &["f:4:17: `servers.a.auth.type`: must be one of `bearer`, `api_key`, `client_credentials`"],
        ),
        ("{ type = \"bearer\" }", &["f:4:8: `servers.a.auth`: `token` is missing"]),
        (
            "{ type = \"bearer\", token = \"Bearer x\" }",
            &[
                "f:4:8: `servers.a.auth`: `headers` sets `Authorization` already; keep one",
                "f:4:35: `servers.a.auth.token`: must hold visible ASCII characters only, no spaces: the token without `Bearer`",
            ],
        ),
        (
            "{ type = \"api_key\", key = \"\", header = \"a b\", token = \"x\" }",
            &[
                "f:4:34: `servers.a.auth.key`: must not be empty",
                "f:4:47: `servers.a.auth.header`: is no name of an HTTP header",
                "f:4:62: `servers.a.auth.token`: is for type `bearer`, this one is `api_key`",
            ],
        ),
        (
            "{ type = \"api_key\", key = \"é\", header = \"Host\" }",
            &[
                "f:4:34: `servers.a.auth.key`: must hold visible ASCII characters only",
                "f:4:48: `servers.a.auth.header`: must not be set: it is derived from the URL and the request",
            ],
        ),
        (
            "{ type = \"client_credentials\", key = \"x\" }",
            &[
                "f:4:8: `servers.a.auth`: `headers` sets `Authorization` already; keep one",
                "f:4:8: `servers.a.auth`: `token_url` is missing",
                "f:4:8: `servers.a.auth`: `client_id` is missing",
                "f:4:8: `servers.a.auth`: `client_secret` is missing",
                "f:4:45: `servers.a.auth.key`: is for type `api_key`, this one is `client_credentials`",
            ],
        ),
        (
            "{ type = \"client_credentials\", token_url = \"http://t\", client_id = \"\", client_secret = \"\", scope = \"a\\\"\", resource = \"https://x#f\", method = \"jwt\" }",
            &[
                "f:4:8: `servers.a.auth`: `headers` sets `Authorization` already; keep one",
                "f:4:51: `servers.a.auth.token_url`: must be https, or http to this machine: the client secret is sent there",
                "f:4:75: `servers.a.auth.client_id`: must not be empty",
                "f:4:95: `servers.a.auth.client_secret`: must not be empty",
                "f:4:107: `servers.a.auth.scope`: must be words of visible ASCII, one space apart",
                "f:4:125: `servers.a.auth.resource`: must not have a fragment (`#…`): it is never sent",
                "f:4:149: `servers.a.auth.method`: must be one of `basic`, `post`",
            ],
        ),
        (
            "{ type = \"client_credentials\", token_url = \"https://me@t\", client_id = \"x\", client_secret = \"x\", resource = \"https://me@x\" }",
            &[
                "f:4:8: `servers.a.auth`: `headers` sets `Authorization` already; keep one",
                "f:4:51: `servers.a.auth.token_url`: must not hold a user name or password; say `client_id` and `client_secret`",
                "f:4:116: `servers.a.auth.resource`: must not hold a user name or password: it names the server that is asked for",
            ],
        ),
    ] {
        assert_eq!(errors(&server(auth), Format::Toml), expected.join("\n"), "{auth}");
    }
}

#[test]
fn values_of_gateway_and_policy() {
    check(
        Format::Toml,
        &[
            (
                "[gateway]\nlisten = \":8300\"\n",
                &[
                    "f:2:10: `gateway.listen`: must be host:port, for example \"127.0.0.1:8300\", or \"0.0.0.0:8300\" for every interface",
                ],
            ),
            (
                "[gateway]\nlisten = \"0.0.0.0:8300\"\n",
                &[
                    "f:2:10: `gateway.listen`: can be reached from other machines, which needs `api_keys`; set them, or listen on 127.0.0.1",
                ],
            ),
            (
                "[gateway]\nlisten = \"[::]:8300\"\napi_keys = []\n",
                &[
                    "f:2:10: `gateway.listen`: can be reached from other machines, which needs `api_keys`; set them, or listen on 127.0.0.1",
                ],
            ),
            (
                "[gateway]\napi_keys = [\"short\", \"change-me-change-me-change-me-change\"]\n",
                &[
                    "f:2:13: `gateway.api_keys.0`: is shorter than 32 bytes; make one with `openssl rand -hex 32`",
                    "f:2:22: `gateway.api_keys.1`: is a placeholder; make a key with `openssl rand -hex 32`",
                ],
            ),
            (
                "[gateway]\noutbound_allow = [\"10.0.0.0/8\", \"10.0.0.0/33\", \"example.com\", \"::1\"]\n",
                &[
                    "f:2:33: `gateway.outbound_allow.1`: must be an IP address, or a range of them such as `10.0.0.0/8`",
                    "f:2:48: `gateway.outbound_allow.2`: must be an IP address, or a range of them such as `10.0.0.0/8`",
                ],
            ),
            (
                "[gateway]\noutbound_allow = []\nproxy = \"http://p\"\n",
                &["f:3:1: `gateway.proxy`: unknown key; it belongs to a server"],
            ),
            (
                "[gateway]\noutbound_allow = []\nstate_file = \"..\"\n",
                &[
                    "f:2:18: `gateway.outbound_allow`: is empty; leave it out to allow any address",
                    "f:3:14: `gateway.state_file`: must be the path of a file",
                ],
            ),
            (
                "[policy]\nunreachable_after = 0\nmax_servers = 0\ncall_attempts = 11\nconnect_attempts = 0\nconnect_jitter_ratio = 1.5\nhealth_interval = 0\nprobe_timeout = 0\nping_timeout = 0\nerror_rate_threshold = nan\nrequest_timeout = 0\nhandshake_timeout = 0\nmax_call_deadline = 0\npool_max_connections = 0\npool_idle_timeout = 0\nmax_message_bytes = 0\nambiguous_failover = \"never\"\nrpc_error_policy = \"x\"\nreset_retry_on = \"x\"\nmax_backoff = 9999999999\n",
                &[
                    "f:2:21: `policy.unreachable_after`: must be 1 to 4294967295",
                    "f:3:15: `policy.max_servers`: must be 1 to 1000000",
                    "f:4:17: `policy.call_attempts`: must be 1 to 10",
                    "f:5:20: `policy.connect_attempts`: must be 1 to 10",
                    "f:6:24: `policy.connect_jitter_ratio`: must be 0 to 1",
                    "f:7:19: `policy.health_interval`: must be 1 to 2592000000 milliseconds",
                    "f:8:17: `policy.probe_timeout`: must be 1 to 2592000000 milliseconds",
                    "f:9:16: `policy.ping_timeout`: must be 1 to 2592000000 milliseconds",
                    "f:10:24: `policy.error_rate_threshold`: must be 0 to 1",
                    "f:11:19: `policy.request_timeout`: must be 1 to 2592000000 milliseconds",
                    "f:12:21: `policy.handshake_timeout`: must be 1 to 2592000000 milliseconds",
                    "f:13:21: `policy.max_call_deadline`: must be 1 to 2592000000 milliseconds",
                    "f:14:24: `policy.pool_max_connections`: must be 1 to 65535",
                    "f:15:21: `policy.pool_idle_timeout`: must be 1 to 2592000000 milliseconds",
                    "f:16:21: `policy.max_message_bytes`: must be 1 to 1073741824",
                    "f:17:22: `policy.ambiguous_failover`: must be one of `always`, `unless_unsafe`, `safe_only`",
                    "f:18:20: `policy.rpc_error_policy`: must be one of `classify`, `always_degrade`",
                    "f:19:18: `policy.reset_retry_on`: must be one of `handshake`, `invoke_success`",
                    "f:20:15: `policy.max_backoff`: must be 0 to 2592000000 milliseconds",
                ],
            ),
            (
                "[policy]\ndegraded_health_interval = 30000\n",
                &["f:2:28: `policy.degraded_health_interval`: must be shorter than `health_interval`"],
            ),
            (
                "[policy]\nhealth_interval = 5000\n",
                &["f:2:19: `policy.health_interval`: must be longer than `degraded_health_interval`"],
            ),
            (
                "[policy]\ncall_wait = { min = 5, max = 4, multiplier = 99999999999 }\n",
                &[
                    "f:2:13: `policy.call_wait`: `min` must not be longer than `max`",
                    "f:2:46: `policy.call_wait.multiplier`: must be 0 to 2592000000 milliseconds",
                ],
            ),
        ],
    );
}

#[test]
fn variables() {
    check(
        Format::Toml,
        &[
            (
                "[servers.a]\ncommand = \"${NO}\"\nargs = [\"${SET}\", \"${OTHER} ${NO}\"]\npriority = 900\ncomand = \"x\"\n",
                &[
                    "f:2:11: environment variables not set: `NO` (line 2), `OTHER` (line 3); set them, or write ${NAME:-default}",
                    "f:5:1: `servers.a.comand`: unknown key; did you mean `command`?",
                ],
            ),
            (
                "[servers.a]\ncommand = \"x\"\nargs = [\"${SET\", \"${}\", \"${input:x}\"]\n",
                &[
                    "f:3:9: a `${` without a variable name and `}`; write `$${` for a literal `${`",
                    "f:3:18: a `${` without a variable name and `}`; write `$${` for a literal `${`",
                    "f:3:25: a `${` without a variable name and `}`; write `$${` for a literal `${`",
                ],
            ),
        ],
    );
}
