//! What is registered at run time survives in a file, without secrets.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;

use mcp_config::{Registration, StateFile};
use mcp_registry::{Definition, Kept, Policy, Store};
use tempfile::TempDir;

fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.allow_stdio_registration = true;
    policy
}

fn definition(body: &str) -> Definition {
    Registration::from_json(body).unwrap().into_definition(&policy()).unwrap()
}

/// As they come back from a file.
fn kept_in_a_file(definitions: &[Definition]) -> (Vec<Kept>, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.json");
    let store = StateFile::new(path.clone(), policy());
    assert_eq!(store.load().unwrap(), [], "there is no file yet");
    let kept: Vec<_> = definitions.iter().map(Kept::from).collect();
    store.save(&kept).unwrap();
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["state.json"], "nothing else is left");
    assert_eq!(store.load().unwrap(), kept);
    (kept, fs::read_to_string(path).unwrap())
}

#[test]
fn j12_every_setting_of_a_server_comes_back() {
    let bodies = [
        r#"{"name": "plain", "url": "https://plain.example"}"#,
        r#"{"name": "command", "command": "npx"}"#,
        r#"{"name": "stdio", "command": "server", "args": ["-v", "x y"], "inherit_env": ["TERM"],
            "allow_env": ["LD_LIBRARY_PATH"], "cwd": "/srv", "enabled": false, "description": "d", "group": "g",
            "priority": 7, "critical": true, "timeout_ms": 1234, "max_retries": 2, "retry_delay_ms": 5,
            "tools": ["a", "b"], "trust_annotations": true, "discover_tools": false, "protocol": "legacy",
            "restart": false, "sharing": "per_session", "allow_tools": ["r*"], "deny_tools": ["x", "y"],
            "allow_prompts": [], "deny_prompts": ["?"], "allow_resources": ["file:*"], "deny_resources": ["*.key"],
            "on_tool_change": "block", "roots": ["file:///srv"]}"#,
        r#"{"name": "http", "url": "https://h.example/x?y=1", "health_path": "/up", "probe": "http_get",
            "forward_user_token": true, "protocol": "modern", "sharing": "shared", "on_tool_change": "allow",
            "proxy": "http://proxy.example:3128",
            "tls": {"ca_file": "/ca.pem", "cert_file": "/c.pem", "key_file": "/k.pem", "danger_skip_verify": true},
            "rate_limit": {"requests": 3, "per_ms": 2000, "burst": 4}}"#,
        r#"{"name": "open", "url": "http://h.example/mcp", "allow_insecure_http": true, "tools": []}"#,
        r#"{"name": "sse", "transport": "sse", "url": "https://h.example/sse", "heartbeat_ms": 0,
            "open_method": "post"}"#,
        r#"{"name": "sse-2", "transport": "sse", "url": "https://h.example/sse", "heartbeat_ms": 500}"#,
        r#"{"name": "sse-3", "transport": "sse", "url": "https://h.example/sse", "probe": "mcp_ping"}"#,
        r#"{"name": "sse-4", "transport": "sse", "url": "https://h.example/sse", "open_method": "get",
            "allow_insecure_http": true, "probe": "mcp_discover", "proxy": "https://proxy.example",
            "tls": {"ca_file": "/ca.pem"}, "rate_limit": {"requests": 1}}"#,
    ];
    let definitions = bodies.map(definition);
    let (kept, text) = kept_in_a_file(&definitions);
    for (kept, definition) in kept.iter().zip(&definitions) {
        assert_eq!((&kept.definition, kept.left_out.len()), (definition, 0));
    }
    assert!(!text.contains("timeout_ms\": 30000"), "what the policy gives to all servers is left to it");
}

#[test]
fn j12_secrets_are_left_out_and_named() {
    let bodies = [
        r#"{"name": "env", "command": "server", "env": {"TOKEN": "hunter2", "TZ": "UTC"}}"#,
        r#"{"name": "headers", "url": "https://a.example", "headers": {"X-API-Key": "hunter2"}}"#,
        r#"{"name": "bearer", "url": "https://a.example", "auth": {"type": "bearer", "token": "hunter2"}}"#,
        r#"{"name": "key", "url": "https://a.example", "auth": {"type": "api_key", "key": "hunter2",
            "header": "X-Key"}}"#,
        r#"{"name": "oauth", "url": "https://a.example", "auth": {"type": "client_credentials",
            "token_url": "https://b.example/token", "client_id": "id", "client_secret": "hunter2"}}"#,
    ];
    let (kept, text) = kept_in_a_file(&bodies.map(definition));
    assert!(!text.contains("hunter2"), "{text}");
    let left_out: Vec<_> = kept.iter().map(|kept| kept.left_out.join(" ")).collect();
    assert_eq!(
        left_out,
        ["env.TOKEN env.TZ", "headers.X-API-Key", "headers.Authorization", "headers.X-Key", "auth"]
    );
}

#[cfg(unix)]
#[test]
fn j12_the_file_is_for_its_owner_and_replaced_as_a_whole() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.json");
    fs::write(&path, "{}").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::File::open(&path).unwrap();
    StateFile::new(path.clone(), policy()).save(&[]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::io::read_to_string(before).unwrap(), "{}", "whoever was reading reads on");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"version\": 1,\n  \"servers\": []\n}\n");
}

#[test]
fn j12_what_cannot_be_written_leaves_what_was_there() {
    let folder = TempDir::new().unwrap();
    // A folder stands where the file should be.
    let path = folder.path().join("state.json");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("x"), "").unwrap();
    let error = StateFile::new(path.clone(), policy()).save(&[]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write the state file {}: ", path.display())), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written is left");
    let missing = folder.path().join("no/such/state.json");
    assert!(StateFile::new(missing, policy()).save(&[]).is_err());
}

#[test]
fn j12_a_file_that_cannot_be_used_is_refused_with_advice() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.json");
    let one = |entry: &str| format!(r#"{{"version": 1, "servers": [{entry}]}}"#);
    for (text, told) in [
        ("{".to_owned(), "move it away to start without what is kept in it"),
        (r#"{"version": 2, "servers": []}"#.to_owned(), "it has version 2, this gateway reads 1"),
        (one(r#"{"name": "a b", "config": {"command": "x"}}"#), "server \"a b\": "),
        (one(r#"{"name": "a", "config": {}}"#), "server \"a\": needs a `command`"),
        (one(r#"{"name": "a", "config": {"command": "x", "priority": 0}}"#), "`priority`: must be 1 to 100"),
    ] {
        fs::write(&path, text).unwrap();
        let error = StateFile::new(path.clone(), policy()).load().unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read the state file {}: ", path.display())), "{error}");
        assert!(error.contains(told), "{error}");
    }
    // What may not be registered any more does not come back by way of the file.
    fs::write(&path, one(r#"{"name": "a", "config": {"command": "x"}}"#)).unwrap();
    assert_eq!(StateFile::new(path.clone(), policy()).load().unwrap().len(), 1);
    let error = StateFile::new(path, Policy::default()).load().unwrap_err().to_string();
    assert!(error.contains("`policy.allow_stdio_registration`"), "{error}");
}
