//! R27 to R29: how child processes start and end.

use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use mcp_client::Client;
use mcp_testkit::fault::Step;
use mcp_transport::{Delivery, Endpoint};

use crate::table::{Phase, Row, STDIO};
use crate::watch::{self, Stopwatch};
use crate::world::{AMPLE, LIMIT, World};

pub(crate) fn r27() -> Row {
    Row::new(
        "R27",
        "no_start",
        "The process exits at once, does not exist, or cannot be executed",
        "an error at once that says which; what trying again cannot mend is told from what it can; stderr is shown",
    )
    .on(STDIO, Phase::Connect, "missing", |w| cannot_start(w, "/nowhere/mcp-server", "does not exist"))
    .on(STDIO, Phase::Connect, "not_in_path", |w| cannot_start(w, "mcp-server-nobody-has", "not in PATH"))
    .on(STDIO, Phase::Connect, "a_directory", |w| cannot_start(w, "/tmp", "not executable"))
    .on(STDIO, Phase::Connect, "not_executable", |w| file(w, "", 0o644, "not executable"))
    .on(STDIO, Phase::Connect, "not_a_program", |w| file(w, "\x7fELF is not enough", 0o755, "no executable"))
    .on(STDIO, Phase::Connect, "without_its_interpreter", |w| file(w, "#!/nowhere/python\n", 0o755, "interpreter"))
    .on(STDIO, Phase::Connect, "missing_directory", missing_directory)
    .on(STDIO, Phase::Connect, "exits_well", |w| exits(w, 0, "exit status 0"))
    .on(STDIO, Phase::Connect, "exits_badly_with_last_words", |w| exits(w, 1, "cannot open the database"))
    .on(STDIO, Phase::Connect, "closes_stdout_and_stays", closes_stdout)
}

async fn cannot_start(w: Rc<World>, program: &str, says: &str) {
    w.reach(Endpoint::Stdio(w.command(program, &[])));
    w.connect_fails().await.failed(&["endpoint"], Delivery::NotSent).at_once().says(says);
}

async fn file(w: Rc<World>, content: &str, mode: u32, says: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    cannot_start(w, path.to_str().unwrap(), says).await;
}

async fn missing_directory(w: Rc<World>) {
    let mut endpoint = w.puppet();
    endpoint.cwd = Some("/nowhere/at/all".into());
    w.reach(Endpoint::Stdio(endpoint));
    w.connect_fails().await.failed(&["endpoint"], Delivery::NotSent).at_once().says("does not exist");
    assert_eq!(w.upstream.ledger().connections(), 0);
}

async fn exits(w: Rc<World>, status: u8, says: &str) {
    w.plan("connect", [Step::Stderr(b"cannot open the database\n".to_vec()), Step::Exit(status)]);
    let failed = w.connect_fails().await;
    // Whether the first message still got into the pipe is a matter of luck.
    let Err(error) = &failed.result else { unreachable!("it fails") };
    let delivery = error.delivery();
    assert_ne!(delivery, Delivery::Rejected, "nobody read it");
    failed.failed(&["exited", "closed"], delivery).shows(says);
    assert!(w.upstream.ledger().connections() <= 2, "started again once at most");
}

async fn closes_stdout(w: Rc<World>) {
    w.plan("connect", [Step::Close]);
    w.plan("eof", [Step::Hang]);
    let failed = w.connect_fails().await;
    let Err(error) = &failed.result else { unreachable!("it fails") };
    let delivery = error.delivery();
    failed.failed(&["closed", "exited"], delivery);
}

pub(crate) fn r28() -> Row {
    Row::new(
        "R28",
        "stubborn",
        "The process ignores that stdin is closed, and SIGTERM",
        "it is killed after the time it is given; several end at the same time; nothing is left",
    )
    .on(STDIO, Phase::Stopping, "ignores_eof", ignores_eof)
    .on(STDIO, Phase::Stopping, "ignores_sigterm", ignores_sigterm)
    .on(STDIO, Phase::Stopping, "in_a_call", ignores_in_call)
    .on(STDIO, Phase::Stopping, "when_the_client_is_dropped", dropped)
    .on(STDIO, Phase::Stopping, "several_at_once", several)
    .on(STDIO, Phase::Handshake, "after_a_failed_handshake", after_failed_handshake)
}

const DEAF_TO_SIGNALS: &str = "trap '' TERM; exec \"$@\"";

pub(super) async fn closes_within(client: &Client, time: Duration) {
    let watch = Stopwatch::start();
    client.close().await;
    watch.stop().at_most(time);
}

async fn ignores_eof(w: Rc<World>) {
    w.plan("eof", [Step::Hang]);
    let client = w.connect().await;
    w.works(&client).await;
    let patience = w.stdio.borrow().close_stdin;
    closes_within(&client, patience).await;
}

async fn ignores_sigterm(w: Rc<World>) {
    w.plan("eof", [Step::Hang]);
    w.wrap(DEAF_TO_SIGNALS);
    let client = w.connect().await;
    w.works(&client).await;
    let patience = w.stdio.borrow().close_stdin + w.stdio.borrow().terminate;
    let watch = Stopwatch::start();
    client.close().await;
    watch.stop().about(patience);
}

async fn ignores_in_call(w: Rc<World>) {
    w.plan("eof", [Step::Hang]);
    w.plan("a", [Step::Execute, Step::Hang]);
    w.wrap(DEAF_TO_SIGNALS);
    let client = w.connect().await;
    let closing = async {
        w.upstream.ledger().came("a", 1).await;
        let patience = w.stdio.borrow().close_stdin + w.stdio.borrow().terminate;
        closes_within(&client, patience).await;
    };
    let (ended, ()) = tokio::join!(w.call(&client, "a", AMPLE), closing);
    ended.failed(&["closed"], Delivery::Unknown).at_once();
}

async fn dropped(w: Rc<World>) {
    w.plan("eof", [Step::Hang]);
    w.wrap(DEAF_TO_SIGNALS);
    let client = w.connect().await;
    w.forget_clients();
    drop(client);
    w.nothing_runs().await;
}

async fn several(w: Rc<World>) {
    w.plan("eof", [Step::Hang]);
    w.wrap(DEAF_TO_SIGNALS);
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(w.connect().await);
    }
    let patience = w.stdio.borrow().close_stdin + w.stdio.borrow().terminate;
    let watch = Stopwatch::start();
    join_all(clients.iter().map(Client::close)).await;
    watch.stop().at_most(patience);
}

async fn after_failed_handshake(w: Rc<World>) {
    w.plan("eof", [Step::Hang]);
    w.plan("server/discover", [Step::Hang]);
    w.plan("initialize", [Step::Hang]);
    w.wrap(DEAF_TO_SIGNALS);
    {
        let mut options = w.options.borrow_mut();
        (options.probe_timeout, options.handshake_timeout) = (LIMIT / 2, LIMIT);
    }
    w.connect_fails().await.timed_out(LIMIT);
    w.nothing_runs().await;
}

pub(crate) fn r29() -> Row {
    Row::new(
        "R29",
        "families",
        "The process is a wrapper, forks twice, or leaves behind children that hold its pipes",
        "all of them end with the connection; a death is noticed although somebody holds stdout",
    )
    .on(STDIO, Phase::Stopping, "a_wrapper_that_waits", |w| stopped_family(w, "\"$@\"; exit $?"))
    .on(STDIO, Phase::Stopping, "a_wrapper_in_a_wrapper", |w| {
        stopped_family(w, "sh -c '\"$@\"; exit $?' sh \"$@\"; exit $?")
    })
    .on(STDIO, Phase::Stopping, "a_grandchild_that_sleeps", |w| stopped_family(w, "sleep 60 & exec \"$@\""))
    .on(STDIO, Phase::Stopping, "a_grandchild_without_our_pipes", |w| {
        stopped_family(w, "sleep 60 </dev/null >/dev/null 2>&1 & exec \"$@\"")
    })
    .on(STDIO, Phase::Stopping, "a_double_fork", |w| {
        stopped_family(w, "(sleep 60 </dev/null >/dev/null 2>&1 &) ; exec \"$@\"")
    })
    .on(STDIO, Phase::Stopping, "a_grandchild_deaf_to_signals", |w| {
        stopped_family(w, "sh -c \"trap '' TERM; sleep 60\" & exec \"$@\"")
    })
    .on(STDIO, Phase::Idle, "dies_with_a_grandchild_on_stdout", death_with_heir)
    .on(STDIO, Phase::Request, "dies_with_a_grandchild_on_stdout", death_in_call_with_heir)
    .on(STDIO, Phase::Idle, "a_wrapper_whose_server_dies", wrapped_death)
}

async fn stopped_family(w: Rc<World>, script: &str) {
    w.wrap(script);
    let client = w.connect().await;
    w.works(&client).await;
    let options = w.stdio.borrow().clone();
    // An init that is slow to reap what is left keeps us waiting for the last of these.
    closes_within(&client, options.close_stdin + options.terminate + options.reap).await;
    w.nothing_runs().await;
}

async fn death_with_heir(w: Rc<World>) {
    w.wrap("sleep 60 & exec \"$@\"");
    let client = w.connect().await;
    let watch = Stopwatch::start();
    w.upstream.order(Step::Exit(3));
    let reason = client.closed().await;
    watch.stop().at_once();
    assert!(reason.to_string().contains("exit status 3") || watch::is_crowded(), "{reason}");
    w.nothing_runs().await;
}

async fn death_in_call_with_heir(w: Rc<World>) {
    w.wrap("sleep 60 & exec \"$@\"");
    w.plan("a", [Step::Execute, Step::Exit(3)]);
    let client = w.connect().await;
    let ended = w.call(&client, "a", AMPLE).await;
    ended.failed(&["exited", "closed"], Delivery::Unknown).at_once().shows("exit status 3");
    w.nothing_runs().await;
}

async fn wrapped_death(w: Rc<World>) {
    w.wrap("\"$@\"; exit $?");
    let client = w.connect().await;
    let watch = Stopwatch::start();
    w.upstream.order(Step::Exit(3));
    let reason = client.closed().await;
    watch.stop().at_once();
    assert!(reason.to_string().contains("exit status 3") || watch::is_crowded(), "{reason}");
}
