//! Tokens: fetched once for all, renewed once, sent nowhere else. Source: contract §7.5, reliability S12, S18 and R14.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use http::Request;
use http::header::{AUTHORIZATION, HeaderValue};
use mcp_http_client::{ClientPool, HttpOptions};
use mcp_transport::{
    Auth, ClientAuthentication, ClientCredentials, Delivery, HttpEndpoint, TokenProvider, TransportErrorKind,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use url::Url;

use crate::peer::{Answer, Peer, client, get, send, text};

fn credentials(token_url: Url) -> ClientCredentials {
    ClientCredentials {
        token_url,
        client_id: "gate way".into(),
        client_secret: "hunter2:+".into(),
        scope: Some("tools:read tools:call".into()),
        resource: None,
        method: ClientAuthentication::Basic,
    }
}

fn endpoint_with(url: Url, credentials: ClientCredentials) -> HttpEndpoint {
    HttpEndpoint { auth: Some(Auth::ClientCredentials(Box::new(credentials))), ..HttpEndpoint::new(url) }
}

/// Answers with `token-1`, `token-2` and so on.
async fn issuer(extra: &'static str) -> Peer {
    let issued = AtomicUsize::new(0);
    Peer::start(move |_| {
        let n = issued.fetch_add(1, Ordering::Relaxed) + 1;
        text(200, &format!(r#"{{"access_token":"token-{n}","token_type":"bearer"{extra}}}"#))
    })
    .await
}

/// A server that accepts one token at a time; the first is `token-1`.
async fn guarded() -> (Peer, Arc<Mutex<String>>) {
    let accepted = Arc::new(Mutex::new("Bearer token-1".to_owned()));
    let peer = Peer::start({
        let accepted = accepted.clone();
        move |seen| match seen.header("authorization") == Some(&*accepted.lock().unwrap()) {
            true => text(200, "welcome"),
            false => text(401, "hunter2"),
        }
    })
    .await;
    (peer, accepted)
}

fn welcome() -> (u16, String) {
    (200, "welcome".to_owned())
}

#[tokio::test]
async fn a_token_is_asked_for_as_the_standard_has_it() {
    let server = Peer::start(|_| text(200, "welcome")).await;
    let tokens = issuer("").await;
    let resource = format!("http%3A%2F%2F127.0.0.1%3A{}%2Fmcp", server.address.port());
    let scope = "&scope=tools%3Aread+tools%3Acall";
    let basic = "grant_type=client_credentials";
    let post = "&client_id=gate+way&client_secret=hunter2%3A%2B";
    for (change, body, authorization) in [
        (None, format!("{basic}{scope}&resource={resource}"), true),
        (Some("post"), format!("{basic}{scope}&resource={resource}{post}"), false),
        (Some("no scope"), format!("{basic}&resource={resource}"), true),
        (Some("resource"), format!("{basic}{scope}&resource=urn%3Ax"), true),
    ] {
        let mut credentials = credentials(tokens.url("http", "127.0.0.1"));
        match change {
            Some("post") => credentials.method = ClientAuthentication::Post,
            Some("no scope") => credentials.scope = None,
            Some("resource") => credentials.resource = Some("urn:x".parse().unwrap()),
            _ => {}
        }
        let mut url = server.url("http", "127.0.0.1");
        url.set_query(Some("key=hunter2"));
        let endpoint = endpoint_with(url, credentials);
        assert_eq!(get(&client(&endpoint).unwrap(), &endpoint).await, Ok(welcome()));
        let seen = tokens.seen().remove(0);
        assert_eq!((&*seen.method, &*seen.body), ("POST", &*body));
        assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(seen.header("accept"), Some("application/json"));
        // gate+way:hunter2%3A%2B
        let expected = authorization.then_some("Basic Z2F0ZSt3YXk6aHVudGVyMiUzQSUyQg==");
        assert_eq!(seen.header("authorization"), expected, "{change:?}");
    }
}

#[tokio::test]
async fn j8_one_token_serves_all_and_is_renewed_once_when_refused() {
    let (server, accepted) = guarded().await;
    let tokens = issuer("").await;
    let endpoint =
        endpoint_with(server.url("http", "127.0.0.1"), credentials(tokens.url("http", "127.0.0.1")));
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    let client = pool.get(&endpoint).unwrap();
    let all = || async { join_all((0..20).map(|_| get(&client, &endpoint))).await };
    assert!(all().await.into_iter().all(|answer| answer == Ok(welcome())));
    assert_eq!((tokens.seen().len(), server.seen().len()), (1, 20));

    // R14: refused, renewed once for all of them, each sent once more.
    *accepted.lock().unwrap() = "Bearer token-2".to_owned();
    assert!(all().await.into_iter().all(|answer| answer == Ok(welcome())));
    let seen = server.seen();
    let refused = seen.iter().filter(|seen| seen.header("authorization") == Some("Bearer token-1")).count();
    assert_eq!((tokens.seen().len(), seen.len() - refused), (1, 20));

    // Whatever token there is, the server does not want it: one renewal and one more try each, no more.
    *accepted.lock().unwrap() = "nothing".to_owned();
    assert_eq!(get(&client, &endpoint).await.unwrap().0, 401);
    assert_eq!((tokens.seen().len(), server.seen().len()), (1, 2));

    // A token of the caller's own is not ours to renew.
    let mut request = Request::get(endpoint.url.as_str()).body(Bytes::new()).unwrap();
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer own"));
    assert_eq!(send(&client, request).await.unwrap().0, 401);
    assert_eq!((tokens.seen().len(), server.seen().len()), (0, 1));

    // Another endpoint with the same credentials shares the token, one with others does not.
    assert_eq!(pool.get(&endpoint).unwrap(), client);
    let mut other = credentials(tokens.url("http", "127.0.0.1"));
    other.client_secret = "another".into();
    assert!(pool.get(&endpoint_with(endpoint.url.clone(), other)).unwrap() != client);
    assert!(!format!("{pool:?} {client:?} {endpoint:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_token_goes_to_its_server_only() {
    let server = Peer::start(|_| text(200, "welcome")).await;
    let other = Peer::start(|_| text(401, "")).await;
    let tokens = issuer("").await;
    let endpoint =
        endpoint_with(server.url("http", "127.0.0.1"), credentials(tokens.url("http", "127.0.0.1")));
    let client = client(&endpoint).unwrap();
    assert_eq!(get(&client, &endpoint).await, Ok(welcome()));
    for url in [other.url("http", "127.0.0.1"), server.url("http", "localhost")] {
        assert!(get(&client, &HttpEndpoint::new(url)).await.is_ok());
    }
    let shown = |peer: &Peer| -> Vec<bool> {
        peer.seen().iter().map(|seen| seen.header("authorization").is_some()).collect()
    };
    assert_eq!((shown(&server), shown(&other)), (vec![true, false], vec![false]));

    // S12: what asks for the token somewhere else does not get the secret there.
    let elsewhere = format!("http://{}/", other.address);
    let redirecting = Peer::start(move |_| {
        let mut answer = text(307, "");
        answer.headers_mut().insert("location", elsewhere.parse().unwrap());
        answer
    })
    .await;
    let endpoint =
        endpoint_with(server.url("http", "127.0.0.1"), credentials(redirecting.url("http", "127.0.0.1")));
    let error = get(&crate::peer::client(&endpoint).unwrap(), &endpoint).await.unwrap_err().to_string();
    assert!(error.ends_with("answered with http status 307; check auth"), "{error}");
    assert!(other.seen().is_empty() && server.seen().is_empty());
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    for (life, refreshed) in [(r#","expires_in":100"#, 70), (r#","expires_in":"20""#, 10)] {
        let server = Peer::start(|_| text(200, "welcome")).await;
        let tokens = issuer(life).await;
        let endpoint =
            endpoint_with(server.url("http", "127.0.0.1"), credentials(tokens.url("http", "127.0.0.1")));
        let client = client(&endpoint).unwrap();
        let sent = || async {
            assert_eq!(get(&client, &endpoint).await, Ok(welcome()));
            server.seen().remove(0).header("authorization").unwrap().to_owned()
        };
        assert_eq!(sent().await, "Bearer token-1");
        after(refreshed - 5).await;
        assert_eq!(sent().await, "Bearer token-1", "{life}");
        after(5).await;
        assert_eq!(sent().await, "Bearer token-2", "{life}");
        // R50: the token store is down. What there is is used to its end, and then the reason told.
        drop(tokens);
        after(refreshed).await;
        assert_eq!(sent().await, "Bearer token-2", "{life}");
        after(100).await;
        let error = get(&client, &endpoint).await.unwrap_err();
        assert!(matches!(error.kind, TransportErrorKind::Connect(_)), "{error:?}");
        assert!(error.to_string().starts_with("cannot connect to http://127.0.0.1:"), "{error}");
        assert!(server.seen().is_empty());
    }
}

async fn after(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn refusals_and_nonsense_are_told_without_secrets() {
    let large = format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, "x".repeat(256 << 10));
    let long = format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, "x".repeat(20 << 10));
    let rows: Vec<(u16, &str, bool, &str)> = vec![
        (
            400,
            r#"{"error":"invalid_scope","error_description":"hunter2"}"#,
            false,
            "http status 400: invalid_scope; check auth",
        ),
        (401, r#"{"error":"invalid_client"}"#, false, "http status 401: invalid_client; check auth"),
        (400, r#"{"error":"<b>hunter2</b>"}"#, false, "http status 400; check auth"),
        (404, "<p>hunter2</p>", false, "http status 404; check auth"),
        (429, "", true, "http status 429"),
        (503, "<p>hunter2</p>", true, "http status 503"),
        (200, "<p>hunter2</p>", false, "something else than a token: no token answer in JSON"),
        (200, r#"{"token_type":"Bearer"}"#, false, "something else than a token: no token answer in JSON"),
        (
            200,
            r#"{"access_token":"hunter2","token_type":"mac"}"#,
            false,
            "something else than a token: its type is not Bearer",
        ),
        (200, r#"{"access_token":"","token_type":"Bearer"}"#, false, "a length, that no token has"),
        (
            200,
            r#"{"access_token":"hunter2\r\nX: y","token_type":"Bearer"}"#,
            false,
            "a length, that no token has",
        ),
        (200, &long, false, "a length, that no token has"),
        (200, &large, true, "sent no usable answer (http status 200)"),
    ];
    for (status, body, transient, ends) in rows {
        let server = Peer::start(|_| text(200, "never")).await;
        let body = body.to_owned();
        let tokens = Peer::start(move |_| text(status, &body)).await;
        let endpoint =
            endpoint_with(server.url("http", "127.0.0.1"), credentials(tokens.url("http", "127.0.0.1")));
        let client = client(&endpoint).unwrap();
        let outcomes = join_all((0..5).map(|_| get(&client, &endpoint))).await;
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert_eq!(error.delivery, Delivery::NotSent);
            assert_eq!(matches!(error.kind, TransportErrorKind::Connect(_)), transient, "{error:?}");
            let text = error.to_string();
            assert!(text.ends_with(ends) && !text.contains("hunter2"), "{text}");
        }
        assert_eq!((tokens.seen().len(), server.seen().len()), (1, 0), "{ends}: one failure is everybody's");
    }
}

#[tokio::test]
async fn a_token_that_does_not_come_is_not_waited_for_for_ever() {
    let server = Peer::start(|_| text(200, "never")).await;
    let tokens = Peer::start_slow(|_| futures::future::pending::<Answer>().boxed()).await;
    let endpoint =
        endpoint_with(server.url("http", "127.0.0.1"), credentials(tokens.url("http", "127.0.0.1")));
    let client = client(&endpoint).unwrap();
    let mut asking = Box::pin(get(&client, &endpoint));
    while tokens.seen().is_empty() {
        tokio::select! {
            outcome = &mut asking => panic!("no token came: {outcome:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    tokio::time::pause();
    let error = asking.await.unwrap_err();
    assert_eq!(error.to_string(), "no token came within 10s");
}

/// A token endpoint slower than the patience of each caller has its say all the same.
#[tokio::test]
async fn a_token_comes_although_who_asked_has_left() {
    let (server, _) = guarded().await;
    let told = Arc::new(Notify::new());
    let held = told.clone();
    let tokens = Peer::start_slow(move |_| {
        let held = held.clone();
        async move {
            held.notified().await;
            text(200, r#"{"access_token":"token-1","token_type":"Bearer"}"#)
        }
        .boxed()
    })
    .await;
    let endpoint =
        endpoint_with(server.url("http", "127.0.0.1"), credentials(tokens.url("http", "127.0.0.1")));
    let client = client(&endpoint).unwrap();
    for _ in 0..3 {
        let mut asking = Box::pin(get(&client, &endpoint));
        tokio::select! {
            outcome = &mut asking => panic!("no token came: {outcome:?}"),
            () = async { while tokens.connections() == 0 { tokio::task::yield_now().await } } => {}
        }
    }
    told.notify_one();
    assert_eq!(get(&client, &endpoint).await, Ok(welcome()));
    assert_eq!(tokens.seen().len(), 1);
}

/// However the request for a token ends, the one that needs it was not sent.
#[tokio::test]
async fn a_token_endpoint_that_breaks_off_is_a_failure_for_now() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap()).parse().unwrap();
    let breaking = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_buf(&mut Vec::new()).await.unwrap();
    });
    let (server, _) = guarded().await;
    let endpoint = endpoint_with(server.url("http", "127.0.0.1"), credentials(url));
    let error = get(&client(&endpoint).unwrap(), &endpoint).await.unwrap_err();
    breaking.await.unwrap();
    assert!(matches!(error.kind, TransportErrorKind::Connect(_)), "{error:?}");
    assert_eq!(error.delivery, Delivery::NotSent);
    assert!(error.to_string().contains("broke before an answer came"), "{error}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    for (token_url, reason) in [
        ("http://auth.example/token", "auth.token_url must be https, or http to a loopback address"),
        ("ftp://auth.example/token", "auth.token_url must be https, or http to a loopback address"),
        (
            "https://me:hunter2@auth.example/token",
            "auth.token_url holds credentials; use client_id and client_secret",
        ),
        (
            "https://169.254.169.254/token",
            "auth.token_url cannot be used: the address 169.254.169.254 is refused: link-local, where cloud metadata is",
        ),
    ] {
        let endpoint =
            endpoint_with("https://a.example/".parse().unwrap(), credentials(token_url.parse().unwrap()));
        assert_eq!(client(&endpoint).unwrap_err().to_string(), reason);
    }
    let mut endpoint = endpoint_with(
        "https://a.example/".parse().unwrap(),
        credentials("https://auth.example/token".parse().unwrap()),
    );
    assert!(client(&endpoint).is_ok());
    endpoint.headers.push(("authorization".into(), "Bearer hunter2".into()));
    let error = client(&endpoint).unwrap_err().to_string();
    assert_eq!(error, "auth and a header Authorization are both set; remove one");
}

/// S11: the secret goes nowhere where no message may go.
#[tokio::test]
async fn the_token_endpoint_is_within_the_allowed_networks() {
    let tokens = issuer("").await;
    let mut endpoint =
        endpoint_with("https://127.0.0.2/mcp".parse().unwrap(), credentials(tokens.url("http", "127.0.0.1")));
    let options = HttpOptions { networks: vec!["127.0.0.2/32".parse().unwrap()], ..HttpOptions::default() };
    let pool = ClientPool::new(options).unwrap();
    let error = pool.get(&endpoint).unwrap_err().to_string();
    assert_eq!(
        error,
        "auth.token_url cannot be used: the address 127.0.0.1 is refused: it is in none of the allowed networks"
    );
    // A name is checked once it was looked up.
    let server = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
    let url = format!("http://{}/mcp", server.local_addr().unwrap()).parse().unwrap();
    endpoint = endpoint_with(url, credentials(tokens.url("http", "localhost")));
    let error = get(&pool.get(&endpoint).unwrap(), &endpoint).await.unwrap_err();
    assert!(matches!(error.kind, TransportErrorKind::Endpoint(_)), "{error:?}");
    assert!(error.to_string().ends_with("it is in none of the allowed networks"), "{error}");
    assert_eq!(tokens.connections(), 0);
}

/// The seam for flows with a user in them.
#[tokio::test]
async fn a_provider_is_told_which_token_was_refused() {
    struct Provider(Mutex<Vec<Option<String>>>);
    impl TokenProvider for Provider {
        fn token(&self, rejected: Option<&SecretString>) -> BoxFuture<'_, Result<SecretString, String>> {
            let rejected = rejected.map(|token| token.expose_secret().to_owned());
            let mut asked = self.0.lock().unwrap();
            asked.push(rejected.clone());
            let answer = match rejected.as_deref() {
                None => Ok("token-0".into()),
                Some("token-0") if asked.len() == 2 => Ok("token-1".into()),
                Some(_) => Err("log in at the console".into()),
            };
            async { answer }.boxed()
        }
    }
    let (server, accepted) = guarded().await;
    let provider = Arc::new(Provider(Mutex::default()));
    let mut endpoint = HttpEndpoint::new(server.url("http", "127.0.0.1"));
    endpoint.auth = Some(Auth::Provider(provider.clone()));
    let client = client(&endpoint).unwrap();
    assert_eq!(get(&client, &endpoint).await, Ok(welcome()));
    assert_eq!(*provider.0.lock().unwrap(), [None, Some("token-0".to_owned())]);
    *accepted.lock().unwrap() = "nothing".to_owned();
    let error = get(&client, &endpoint).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no token: log in at the console");
    assert_eq!(error.delivery, Delivery::NotSent);
}
