//! What the binary says about itself. What it does is tested end to end in the package `mcp-tests`, for which
//! Cargo builds the binary along with this test when the whole workspace is tested.

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mcp-gateway")).args(args).output().expect("it starts")
}

#[test]
fn version_and_help_go_to_stdout() {
    let version = run(&["--version"]);
    let expected = format!("mcp-gateway {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.status.code(), version.stdout), (Some(0), expected.into_bytes()));

    let help = run(&["--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert_eq!(help.status.code(), Some(0));
    let commands =
        ["serve", "demo-server", "call", "tools", "servers", "status", "events", "invocations", "config"];
    for command in commands {
        assert!(text.lines().any(|line| line.trim_start().starts_with(command)), "no {command} in {text}");
    }
}

#[test]
fn what_is_no_command_is_told_on_stderr() {
    for args in [&[][..], &["frobnicate"], &["serve", "--listen", "nowhere"]] {
        let wrong = run(args);
        assert_eq!((wrong.status.code(), wrong.stdout.is_empty()), (Some(2), true), "{args:?}: {wrong:?}");
        assert!(!wrong.stderr.is_empty(), "{args:?}");
    }
}
