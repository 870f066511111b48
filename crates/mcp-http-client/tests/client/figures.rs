//! What a pool says of its clients. Source: contract §8.1.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, poll_immediate};
use mcp_http_client::{ClientPool, HttpOptions, Lane};
use tokio::sync::Notify;

use crate::peer::{Peer, get, text};

#[tokio::test]
async fn j8_exchanges_and_connections_are_counted() {
    let (told, arrived) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let peer = Peer::start_slow({
        let (told, arrived) = (told.clone(), arrived.clone());
        move |_| {
            let (told, arrived) = (told.clone(), arrived.clone());
            async move {
                arrived.notify_one();
                told.notified().await;
                text(200, "hello")
            }
            .boxed()
        }
    })
    .await;
    let options = HttpOptions { pool_max_connections: 2, ..HttpOptions::default() };
    let pool = ClientPool::new(options).unwrap();
    let endpoint = peer.endpoint();
    let client = pool.get(&endpoint).unwrap();
    let mut calls = Box::pin(join_all((0..3).map(|_| get(&client, &endpoint))));
    let stream = client.place(Lane::Stream, None).await.unwrap();
    let control = client.place(Lane::Control, None).await.unwrap();
    for _ in 0..2 {
        tokio::select! {
            _ = &mut calls => panic!("nothing was answered"),
            () = arrived.notified() => {}
        }
    }
    let stats = pool.stats();
    let origin = format!("http://{}", peer.address);
    assert_eq!(stats, [(origin, client.stats())]);
    let shown = "2 of 2 calls, 1 of 16 others, 1 of 256 streams, 1 waiting; \
                 2 connections opened, 0 answers";
    assert_eq!(stats[0].1.to_string(), shown);
    assert_eq!((stats[0].1.control_limit, stats[0].1.streams_limit), (16, 256));

    drop((stream, control));
    // The third follows on one of the two connections.
    for _ in 0..2 {
        told.notify_one();
        assert!(poll_immediate(&mut calls).await.is_none());
    }
    tokio::select! {
        _ = &mut calls => panic!("the third was not answered"),
        () = arrived.notified() => {}
    }
    told.notify_one();
    assert!(calls.await.iter().all(Result::is_ok));
    let stats = client.stats();
    assert_eq!((stats.calls, stats.control, stats.streams, stats.waiting), (0, 0, 0, 0));
    assert_eq!(stats.answers, 3);
    // A connection is open before the other side has taken it.
    let the_same = async {
        while peer.connections() != client.stats().opened as usize {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), the_same).await.unwrap();
}

/// R05: the system asks a silent peer within 10 s whether it is still there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn connections_have_a_keepalive_timer() {
    let peer = Peer::start(|_| text(200, "hello")).await;
    let endpoint = peer.endpoint();
    let client = ClientPool::new(HttpOptions::default()).unwrap().get(&endpoint).unwrap();
    get(&client, &endpoint).await.unwrap();
    let port = format!(":{:04X}", peer.address.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let timers: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[2].ends_with(&port))
        .map(|fields| fields[5].to_owned())
        .collect();
    // Kind and time left, in hundredths of a second; kind 2 is the keepalive timer.
    let [timer] = &timers[..] else { panic!("one connection: {timers:?}") };
    let (kind, left) = timer.split_once(':').unwrap();
    let left = u64::from_str_radix(left, 16).unwrap();
    assert!(kind == "02" && left <= 1000, "{timer}");
}
