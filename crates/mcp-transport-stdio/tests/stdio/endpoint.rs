//! Endpoints that cannot be started, and why.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::peer::{quick, run, script, start};
use mcp_transport::{Connector, Delivery, Endpoint, HttpEndpoint, StdioEndpoint, TransportErrorKind};
use mcp_transport_stdio::{StdioConnector, StdioOptions};

fn refusal(endpoint: &StdioEndpoint) -> String {
    let error = StdioConnector::default().open(endpoint).unwrap_err();
    assert_eq!(error.delivery, Delivery::NotSent);
    match error.kind {
        TransportErrorKind::Endpoint(text) => text.into(),
        other => panic!("{other:?}"),
    }
}

fn file(directory: &Path, name: &str, text: &str, mode: u32) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn other_kinds_of_endpoint_are_refused() {
    let endpoint = Endpoint::Http(HttpEndpoint::new("http://127.0.0.1:1/mcp".parse().unwrap()));
    let Err(error) = StdioConnector::new(StdioOptions::default()).connect(&endpoint).await else { panic!() };
    assert_eq!(error.to_string(), "the stdio transport cannot reach an endpoint of kind http");
    assert_eq!(error.delivery, Delivery::NotSent);
}

#[tokio::test]
async fn j7_every_reason_has_a_text_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let at = |name: &str| here.join(name).display().to_string();
    let plain = file(here, "plain", "text", 0o644);
    let alien = file(here, "alien", "\x7fELF nonsense", 0o755);
    let orphan = file(here, "orphan", "#!/no/such/interpreter\n", 0o755);
    let command = |name: &str| StdioEndpoint::new(name, [""; 0]);
    let in_directory = |name: &str, cwd: &str| {
        let mut endpoint = command(name);
        endpoint.cwd = Some(cwd.into());
        endpoint
    };
    let with_env = |name: &str, value: &str| {
        let mut endpoint = command("cat");
        endpoint.env.insert(name.into(), value.into());
        endpoint
    };

    let table = [
        (command(""), "command is empty; it must name a program".to_owned()),
        (command("a\nb"), "command \"a\\nb\" holds a NUL or a line end".to_owned()),
        (command("a\0b"), "command \"a\\0b\" holds a NUL or a line end".to_owned()),
        (StdioEndpoint::new("cat", ["a", "b\0"]), "args[1] holds a NUL".to_owned()),
        (
            command("no-such-program-xyz"),
            "program no-such-program-xyz is not in PATH; install it, or give its full path".to_owned(),
        ),
        (
            with_env_path("cat", ""),
            "program cat cannot be looked up: PATH is not set; give its full path".to_owned(),
        ),
        (with_env_path("plain", here.to_str().unwrap()), format!("program {plain} is not executable")),
        (command(&at("missing")), format!("program {} does not exist", at("missing"))),
        (command(&plain), format!("program {plain} is not executable")),
        (command(here.to_str().unwrap()), format!("program {} is not executable", here.display())),
        (
            command(&orphan),
            format!("program {orphan:?} cannot be started: the interpreter or loader it needs is missing"),
        ),
        (command(&alien), format!("program {alien:?} is no executable of this system")),
        (in_directory("cat", &at("gone")), format!("working directory {} does not exist", at("gone"))),
        (in_directory("cat", &plain), format!("working directory {plain} is not a directory")),
        (
            with_env("LD_PRELOAD", "evil.so"),
            "env names LD_PRELOAD, which makes programs load foreign code; remove it, or name it in \
             allow_env as well"
                .to_owned(),
        ),
        (with_env("A", "b\0"), "the value of A in env holds a NUL".to_owned()),
    ];
    for (endpoint, expected) in table {
        assert_eq!(refusal(&endpoint), expected);
    }
}

fn with_env_path(program: &str, path: &str) -> StdioEndpoint {
    let mut endpoint = StdioEndpoint::new(program, [""; 0]);
    endpoint.env.insert("PATH".into(), path.into());
    endpoint
}

#[tokio::test]
async fn a_relative_program_is_found_from_the_working_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("bin")).unwrap();
    std::os::unix::fs::symlink("/bin/sh", directory.path().join("bin/shell")).unwrap();
    let mut endpoint = StdioEndpoint::new("bin/shell", ["-c", "pwd >&2"]);
    endpoint.cwd = Some(directory.path().into());
    let mut server = start(&endpoint, quick());
    server.rest().await;
    let expected = directory.path().canonicalize().unwrap();
    assert_eq!(server.transport.stderr_lines(1), [expected.to_str().unwrap()]);
}

#[tokio::test]
async fn j7_the_process_sees_only_allowed_variables() {
    // Cargo sets this one for tests; it is a stand-in for any secret in our own environment.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let mut endpoint = script("env >&2");
    endpoint.env.insert("ADDED".into(), "value of it".into());
    let mut server = start(&endpoint, quick());
    server.rest().await;
    let names = |lines: Vec<String>| -> Vec<String> {
        lines.iter().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
    };
    let seen = names(server.transport.stderr_lines(1000));
    assert!(seen.contains(&"PATH".to_owned()) && seen.contains(&"ADDED".to_owned()), "{seen:?}");
    assert!(!seen.iter().any(|name| name.starts_with("CARGO")), "{seen:?}");

    endpoint.inherit_env.push("CARGO_MANIFEST_DIR".into());
    let mut server = start(&endpoint, quick());
    server.rest().await;
    let seen = names(server.transport.stderr_lines(1000));
    assert!(seen.contains(&"CARGO_MANIFEST_DIR".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn j14_arguments_are_no_shell_text() {
    let mut server =
        start(&StdioEndpoint::new("sh", ["-c", "echo \"$1\" >&2", "sh", "$(id); `id` *"]), quick());
    server.rest().await;
    assert_eq!(server.transport.stderr_lines(1), ["$(id); `id` *"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_we_opened_is_inherited_but_the_three_pipes() {
    // What this process was itself given without the close-on-exec flag (0o2000000) is passed on.
    let flags = |entry: &std::fs::DirEntry| {
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", entry.file_name().display())).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        i64::from_str_radix(flags.trim(), 8).ok()
    };
    let ours = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    let given: Vec<String> = ours
        .filter(|entry| flags(entry).is_some_and(|flags| flags & 0o2_000_000 == 0))
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();

    let mut other = run("read line");
    let mut server = run("ls /proc/self/fd >&2");
    server.rest().await;
    let mut seen = server.transport.stderr_lines(100);
    // 3 is the directory that `ls` itself has open.
    seen.retain(|fd| !["0", "1", "2", "3"].contains(&fd.as_str()) && !given.contains(fd));
    assert_eq!(seen, [""; 0]);
    other.close().await;
    assert_eq!(other.rest().await, (vec![], None));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn signals_are_as_at_the_start_of_a_program_and_the_group_is_its_own() {
    let mut server = run("grep -E '^Sig(Blk|Ign)' /proc/self/status >&2; cut -d ' ' -f 5 /proc/$$/stat >&2");
    server.rest().await;
    let lines = server.transport.stderr_lines(3);
    // A tab is shown escaped.
    let mask = |name: &str| {
        let mask = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\\t"));
        u64::from_str_radix(mask.unwrap(), 16).unwrap()
    };
    let pipe = 1 << (rustix::process::Signal::PIPE.as_raw() - 1);
    assert_eq!((mask("SigBlk"), mask("SigIgn") & pipe), (0, 0), "{lines:?}");
    assert_eq!(lines[2], server.transport.pid().to_string());
}
