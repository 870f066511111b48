//! A client of a server that is a process. Started with `serve`, this program is that server.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::ExitCode;
use std::time::Duration;

use mcp_clients::{
    ClientChange, ClientError, ClientFactory, ClientOptions, ClientRegistry, ConnectionState, McpClient,
};
use mcp_demo_server::{DemoOptions, StdioEnd, serve_stdio};
use serde_json::json;
use tokio::time::timeout;

/// How long anything here may take. Only a hang takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    let first = std::env::args().nth(1);
    match first.as_deref() {
        Some("serve") => serve().await,
        // Test runners ask for the names of tests in this way; there are none to choose from.
        Some("--list") => ExitCode::SUCCESS,
        _ => {
            timeout(PATIENCE, a_process_is_started_called_started_again_after_a_crash_and_ended())
                .await
                .unwrap();
            ExitCode::SUCCESS
        }
    }
}

async fn serve() -> ExitCode {
    let options = DemoOptions { allow_crash: true, ..DemoOptions::default() };
    match serve_stdio(options, tokio::io::stdin(), tokio::io::stdout()).await {
        Ok(StdioEnd::Eof) => ExitCode::SUCCESS,
        Ok(StdioEnd::Crash { status }) => ExitCode::from(status),
        Err(_) => ExitCode::FAILURE,
    }
}

async fn a_process_is_started_called_started_again_after_a_crash_and_ended() {
    let options = ClientOptions::default();
    let factory = ClientFactory::new(options.clone()).unwrap();
    let registry = ClientRegistry::new(&options);
    let program = std::env::current_exe().unwrap();
    let client = factory.create("stdio", json!({"command": program, "args": ["serve"]})).unwrap();
    registry.register("demo".parse().unwrap(), client.clone()).unwrap();
    let state = || registry.get_server("demo").unwrap().record.connection_state;
    let mut events = client.events();

    let connected = client.connect().await;
    assert!(connected.success(), "{connected:?}");
    assert_eq!(state(), ConnectionState::Connected);
    let first = connected.metadata.pid.unwrap();
    assert_works(&client).await;
    let refreshed = registry.refresh_tools_and_resources("demo").await.unwrap();
    assert!(refreshed.tools.unwrap() > 5 && refreshed.resources > 4 && refreshed.unreadable.is_empty());

    let error = client.call_tool("crash", &json!({"status": 3})).await.unwrap_err();
    let ClientError::Process { text, .. } = &error else { panic!("{error:?}") };
    assert!(text.contains('3'), "{text}");
    loop {
        if let ClientChange::ReconnectScheduled { attempt, .. } = events.next().await.unwrap().change {
            assert_eq!(attempt, 1);
            break;
        }
    }
    assert_eq!(state(), ConnectionState::Error);
    while !client.is_connected() {
        events.next().await.unwrap();
    }
    let again = client.connect().await;
    let second = again.metadata.pid.unwrap();
    assert_ne!(first, second);
    assert_works(&client).await;

    registry.unregister("demo").await.unwrap();
    assert_eq!(client.connection_state(), ConnectionState::Disconnected);
    if cfg!(target_os = "linux") {
        for pid in [first, second] {
            let left = std::path::Path::new("/proc").join(pid.to_string());
            assert!(!left.exists(), "process {pid} is still there");
        }
    }
}

async fn assert_works(client: &McpClient) {
    let echoed = client.call_tool("echo", &json!({"message": "hello"})).await.unwrap();
    assert_eq!(echoed.content[0].as_text(), Some("hello"));
    assert!(client.ping().await);
    assert!(!client.read_resource("demo://text").await.unwrap().is_empty());
}
