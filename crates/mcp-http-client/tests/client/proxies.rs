//! Proxies: only the one that is configured.

use http::Version;
use mcp_http_client::{ClientPool, HttpOptions};
use mcp_transport::HttpEndpoint;

use crate::peer::{Peer, client, get, text};

#[tokio::test]
async fn a_configured_proxy_is_used_and_told() {
    let proxy = Peer::start(|_| text(200, "by proxy")).await;
    let mut endpoint = HttpEndpoint::new("http://127.0.0.1:9/mcp".parse().unwrap());
    let mut url = proxy.url("http", "127.0.0.1");
    url.set_path("");
    url.set_username("me").unwrap();
    url.set_password(Some("hunter2")).unwrap();
    endpoint.proxy = Some(url);
    let client = client(&endpoint).unwrap();
    assert_eq!(get(&client, &endpoint).await, Ok((200, "by proxy".to_owned())));
    let seen = proxy.seen();
    assert_eq!((&*seen[0].target, seen[0].version), ("http://127.0.0.1:9/mcp", Version::HTTP_11));
    assert_eq!(seen[0].header("proxy-authorization"), Some("Basic bWU6aHVudGVyMg=="));
    let origin = format!("http://{}", proxy.address);
    assert_eq!(client.remarks(), [("proxy", origin.clone())]);
    assert!(!format!("{client:?} {endpoint:?}").contains("hunter2"));

    // Nobody listens any more: the error names the proxy, without its password.
    drop(proxy);
    let pool = ClientPool::new(HttpOptions::default()).unwrap();
    let error = get(&pool.get(&endpoint).unwrap(), &endpoint).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot connect to http://127.0.0.1:9 through {origin}: ")),
        "{error}"
    );
}
