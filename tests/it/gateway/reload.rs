//! A changed configuration file, in the three ways it is noticed.

use mcp_api_types::{ExposedList, ReloadReport, ServerList};
use reqwest::Method;
use rustix::process::Signal;

use super::configuration::{Configuration, demo};
use super::running::{Gateway, answer};
use crate::wait::until;

/// A file with these servers, each a demo server of that name.
fn file(names: &[&str]) -> Configuration {
    let server = |file: Configuration, name: &&str| file.stdio(name, &demo(&["--name", name]), "");
    names.iter().fold(Configuration::new(""), server)
}

async fn names(gateway: &Gateway) -> Vec<String> {
    gateway.get::<ServerList>("/servers").await.items.into_iter().map(|server| server.name).collect()
}

async fn names_become(gateway: &Gateway, wanted: &[&str]) {
    until("the new servers", async || (names(gateway).await == wanted).then_some(())).await;
}

#[tokio::test]
async fn a_changed_file_touches_only_what_changed_and_a_wrong_one_nothing() {
    let gateway = Gateway::configured(&file(&["kept", "gone"])).await;
    let write = |text: &str| gateway.home().write("mcp-gateway.toml", text);
    gateway.all_healthy().await;
    let pid = gateway.server("kept").await.details["pid"].clone();

    write(file(&["kept", "new"]).text());
    gateway.logged("why=\"the file changed\"").await;
    names_become(&gateway, &["kept", "new"]).await;
    gateway.all_healthy().await;

    // A wrong file is reported with its mistakes and changes nothing.
    write("[servers.kept]\ncomand = \"x\"\n");
    gateway.logged("configuration not applied").await;
    let (status, body) = answer(gateway.request(Method::POST, "/api/v1/mcp/reload")).await;
    assert_eq!(status, 422, "{body}");
    assert!(body.contains("2:1: `servers.kept.comand`: unknown key; did you mean `command`?"), "{body}");
    assert_eq!(names(&gateway).await, ["kept", "new"]);

    write(file(&["kept", "third"]).text());
    gateway.signal(Signal::HUP);
    names_become(&gateway, &["kept", "third"]).await;

    let (status, body) = answer(gateway.request(Method::POST, "/api/v1/mcp/reload")).await;
    assert_eq!(status, 200, "{body}");
    let report: ReloadReport = serde_json::from_str(&body).unwrap();
    assert_eq!(report.unchanged, ["kept", "third"]);
    assert_eq!(report.warnings, [""; 0]);
    assert_eq!((report.added.len(), report.changed.len(), report.removed.len()), (0, 0, 0));

    // What needs a restart is said.
    let sections = "[gateway]\nallowed_hosts = [\"gateway.test\"]\n[policy]\nunreachable_after = 7\n";
    write(&format!("{}{sections}", file(&["kept", "third"]).text()));
    let (status, body) = answer(gateway.request(Method::POST, "/api/v1/mcp/reload")).await;
    assert_eq!(status, 200, "{body}");
    let report: ReloadReport = serde_json::from_str(&body).unwrap();
    let later = |section| format!("changes of [{section}] take effect at the next start");
    assert_eq!(report.warnings, [later("policy"), later("gateway")]);

    assert_eq!(gateway.server("kept").await.details["pid"], pid, "its process was never touched");
    gateway.stop().await;
}

#[tokio::test]
async fn names_stay_as_they_are_until_the_next_start() {
    let gateway = Gateway::configured(&file(&["kept"])).await;
    gateway.all_healthy().await;
    gateway
        .home()
        .write("mcp-gateway.toml", &format!("[gateway]\nprefix = false\n{}", file(&["kept"]).text()));
    gateway.logged("changes of [gateway] take effect at the next start").await;
    gateway.logged("configuration read again").await;
    let seen: ExposedList = gateway.get("/exposed?kind=tool").await;
    assert!(seen.items.iter().any(|tool| tool.exposed == "kept__echo"), "{:?}", seen.items);
    gateway.stop().await;
}
