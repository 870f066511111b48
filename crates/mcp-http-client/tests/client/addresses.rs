//! Addresses that may not be reached, decided when a connection is made. Source: reliability S11.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use mcp_http_client::{ClientPool, HttpOptions};
use mcp_transport::{Delivery, HttpEndpoint, TransportErrorKind};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::peer::{Peer, get, text};

/// Gives one list of addresses after the other, the last one for ever.
struct Script(Mutex<VecDeque<Vec<IpAddr>>>);

impl Script {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let list = |found: &&[&str]| found.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(list).collect())))
    }
}

impl Resolve for Script {
    fn resolve(&self, _: Name) -> Resolving {
        let mut answers = self.0.lock().unwrap();
        let found = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let found: Vec<_> = found.unwrap().into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        async move { Ok(Box::new(found.into_iter()) as Addrs) }.boxed()
    }
}

fn options(networks: &[&str]) -> HttpOptions {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    HttpOptions { networks, connect_timeout: Duration::from_secs(1), ..HttpOptions::default() }
}

#[tokio::test]
async fn a_name_that_moves_to_a_refused_address_is_not_followed() {
    let canary = Peer::start(|_| text(200, "never")).await;
    let mut endpoint = HttpEndpoint::new(canary.url("http", "rebinding.example"));
    endpoint.allow_insecure_http = true;
    // Nobody listens at the first address; the canary is at the second.
    let names = Script::new(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let pool = ClientPool::with_resolver(options(&["127.0.0.2/32"]), names).unwrap();
    let client = pool.get(&endpoint).unwrap();
    let first = get(&client, &endpoint).await.unwrap_err();
    assert!(matches!(first.kind, TransportErrorKind::Connect(_)), "{first:?}");
    for _ in 0..3 {
        let error = get(&client, &endpoint).await.unwrap_err();
        assert_eq!(error.delivery, Delivery::NotSent);
        assert!(matches!(error.kind, TransportErrorKind::Endpoint(_)), "{error:?}");
        let expected = format!(
            "http://rebinding.example:{} cannot be used: the address 127.0.0.1 is refused: \
             it is in none of the allowed networks",
            canary.address.port()
        );
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn of_several_addresses_the_allowed_one_is_used() {
    let peer = Peer::start(|_| text(200, "hello")).await;
    let mut endpoint = HttpEndpoint::new(peer.url("http", "several.example"));
    endpoint.allow_insecure_http = true;
    let names = Script::new(&[&["169.254.169.254", "127.0.0.1", "fe80::1"]]);
    let pool = ClientPool::with_resolver(options(&[]), names).unwrap();
    let client = pool.get(&endpoint).unwrap();
    assert_eq!(get(&client, &endpoint).await, Ok((200, "hello".to_owned())));

    let names = Script::new(&[&["169.254.169.254"]]);
    let client = ClientPool::with_resolver(options(&[]), names).unwrap().get(&endpoint).unwrap();
    let error = get(&client, &endpoint).await.unwrap_err().to_string();
    assert!(
        error.ends_with("the address 169.254.169.254 is refused: link-local, where cloud metadata is"),
        "{error}"
    );
}

/// R25: names that are not found, or not in time.
#[tokio::test]
async fn names_without_an_address_are_no_connection() {
    struct Never;
    impl Resolve for Never {
        fn resolve(&self, _: Name) -> Resolving {
            futures::future::pending().boxed()
        }
    }
    let mut endpoint = HttpEndpoint::new("http://name.invalid/".parse().unwrap());
    endpoint.allow_insecure_http = true;
    let none = ClientPool::with_resolver(options(&[]), Script::new(&[&[]])).unwrap();
    let slow = ClientPool::with_resolver(options(&[]), Arc::new(Never)).unwrap();
    for (pool, reason) in [(none, "the name has no address"), (slow, "timed out")] {
        let error = get(&pool.get(&endpoint).unwrap(), &endpoint).await.unwrap_err();
        assert!(matches!(error.kind, TransportErrorKind::Connect(_)), "{error:?}");
        assert_eq!(error.delivery, Delivery::NotSent);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot connect to http://name.invalid: ") && text.contains(reason),
            "{text}"
        );
    }
}

#[tokio::test]
async fn refused_literals_fail_before_anything_happens() {
    let pool = ClientPool::new(options(&["127.0.0.0/8"])).unwrap();
    for url in ["https://169.254.169.254/", "https://[::ffff:a9fe:a9fe]/", "https://10.0.0.1/"] {
        let error = pool.get(&HttpEndpoint::new(url.parse().unwrap())).unwrap_err();
        assert!(error.to_string().starts_with("the URL cannot be used: the address "), "{error}");
    }
    assert!(pool.is_empty());
    // A request to another URL than the endpoint's is no way around.
    let endpoint = HttpEndpoint::new("http://127.0.0.1:1/".parse().unwrap());
    let client = pool.get(&endpoint).unwrap();
    let elsewhere = HttpEndpoint::new("http://[fe80::1]/".parse().unwrap());
    let error = get(&client, &elsewhere).await.unwrap_err();
    assert!(error.to_string().ends_with("the address fe80::1 is refused: link-local"), "{error}");
}
