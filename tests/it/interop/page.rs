//! A page to fetch.

use std::net::Ipv4Addr;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

/// Serves a page on a loopback port as long as the test runs, and gives its URL. Nothing forbids robots.
pub(super) async fn serve(text: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/page.txt", listener.local_addr().unwrap());
    let router = Router::new().route("/page.txt", get(async move || text));
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}
