//! How long calls wait.

use std::sync::Arc;
use std::time::Duration;

use mcp_client::{ConnectOptions, Outgoing, Patience, RateLimit};
use mcp_protocol::{Era, Method};
use mcp_transport::{Delivery, TransportKind};
use tokio::time::Instant;

use crate::wire::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with_progress() -> Outgoing {
    let mut request = Outgoing::new(Method::ToolsCall, None);
    request.progress = true;
    request
}

#[tokio::test(start_paused = true)]
async fn progress_extends_the_limit_but_never_the_total() {
    // Progress every 4 s, the answer after `ends`; a limit of 5 s and a total of 18 s.
    for (ends, progress, taken, outcome) in [
        (4, false, 4, "ok"),
        (6, false, 5, "timed out after 5s"),
        (17, true, 17, "ok"),
        (30, true, 18, "timed out after 18s"),
    ] {
        let server = Server::new(TransportKind::Stdio, stdio(Era::Handshake, |_, _| {}));
        let client = server.connect(&ConnectOptions::default()).await.unwrap();
        let mut told = client.notifications();
        let wire = server.wire();
        let start = Instant::now();
        let play = tokio::spawn({
            let wire = wire.clone();
            async move {
                let sent = wire.wait_for(|out| method(out) == Some(&Method::ToolsCall)).await;
                let token = mcp_protocol::meta::get(&params_json(&sent), "progressToken").unwrap();
                let token = token.as_str();
                let mut step = 0;
                while start.elapsed() + seconds(4) < seconds(ends) {
                    tokio::time::sleep(seconds(4)).await;
                    step += 1;
                    if progress {
                        let params = format!(r#"{{"progressToken":{token},"progress":{step}}}"#);
                        wire.push(format!(
                            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#
                        ));
                    }
                }
                tokio::time::sleep_until(start + seconds(ends)).await;
                wire.push(result(&sent, "{}"));
            }
        });
        let patience = Patience { idle: seconds(5), total: seconds(18) };
        let got = client.call_with(with_progress(), patience).await;
        let got = got.map_or_else(|error| error.to_string(), |_| "ok".to_owned());
        assert_eq!((got.as_str(), start.elapsed()), (outcome, seconds(taken)), "{ends} {progress}");
        if progress {
            assert_eq!(told.recv().await.unwrap().method, Method::Progress, "subscribers see it");
        }
        if outcome != "ok" {
            let cancelled = wire.wait_for(|out| method(out) == Some(&Method::Cancelled)).await;
            assert!(params(&cancelled).contains("timed out"), "{}", params(&cancelled));
        }
        play.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_an_answer_has_to_come_within_the_limit() {
    let server = Server::new(TransportKind::Http, http(Era::Stateless, |_| no_head()));
    let client = server.connect(&ConnectOptions::default()).await.unwrap();
    let start = Instant::now();
    let patience = Patience { idle: seconds(5), total: seconds(18) };
    let error = client.call_with(with_progress(), patience).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), start.elapsed()), ("timed out after 5s", seconds(5)));
    assert_eq!(client.stats().errors, 1);
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_turn_but_pings_do_not() {
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, |out| own([result(out, r#"{"resultType":"complete"}"#)])),
    );
    let limit = RateLimit::new(1, seconds(10), 1);
    let options = ConnectOptions { rate_limit: Some(limit), ..ConnectOptions::default() };
    let client = Arc::new(server.connect(&options).await.unwrap());
    let start = Instant::now();
    let call = || client.call(Outgoing::new(Method::ToolsCall, None), seconds(30));
    call().await.unwrap();
    let sent = client.stats().requests_sent;
    let error = client.call(Outgoing::new(Method::ToolsCall, None), seconds(3)).await.unwrap_err();
    assert_eq!((error.delivery(), client.stats().requests_sent), (Delivery::NotSent, sent));
    client.ping(seconds(1)).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(start.elapsed(), Duration::ZERO);
    call().await.unwrap();
    assert_eq!(start.elapsed(), seconds(10));
    // A second connection to the same server shares the limit.
    let server = Server::new(
        TransportKind::Http,
        http(Era::Stateless, |out| own([result(out, r#"{"resultType":"complete"}"#)])),
    );
    let other = server.connect(&options).await.unwrap();
    other.call(Outgoing::new(Method::ToolsCall, None), seconds(30)).await.unwrap();
    assert_eq!(start.elapsed(), seconds(20));
}
