//! What is not there, and what is not there that way.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::Value;

use crate::support::World;

/// The status, the `Allow` and `Content-Type` headers, and the body.
async fn ask(world: &World, method: &str, path: &str) -> (u16, String, String, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let (head, body) = world.exchange(request).await;
    let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (allow, content_type) = (header(header::ALLOW), header(header::CONTENT_TYPE));
    (head.status.as_u16(), allow.unwrap_or_default(), content_type.unwrap_or_default(), body)
}

#[tokio::test]
async fn a_wrong_method_is_405_with_the_right_ones() {
    let world = World::new(&["a"], |_| {});
    for (method, path, allowed) in [
        ("PATCH", "/api/v1/mcp/servers", "GET,HEAD,POST"),
        ("OPTIONS", "/api/v1/mcp/servers", "GET,HEAD,POST"),
        ("PATCH", "/api/v1/mcp/servers/a", "GET,HEAD,PUT,DELETE"),
        ("GET", "/api/v1/mcp/servers/a/connect", "POST"),
        ("GET", "/api/v1/mcp/servers/connect", "POST"),
        ("DELETE", "/api/v1/mcp/servers/connect", "POST"),
        ("GET", "/api/v1/mcp/invoke/tool", "POST"),
        ("POST", "/api/v1/mcp/events", "GET,HEAD"),
        ("POST", "/api/v1/health", "GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
        ("DELETE", "/readyz", "GET,HEAD"),
    ] {
        let (status, allow, content_type, body) = ask(&world, method, path).await;
        assert_eq!((status, &*allow), (405, allowed), "{method} {path}");
        assert_eq!(content_type, "application/json", "{method} {path}");
        assert_eq!(body["detail"], "this path does not take that method", "{method} {path}");
    }
}

#[tokio::test]
async fn other_paths_are_404_also_by_a_slash_too_many() {
    let world = World::new(&["a"], |_| {});
    for path in [
        "/",
        "/healthz/",
        "/api/v1/health/",
        "/api/v1/mcp",
        "/api/v1/mcp/",
        "/api/v1/mcp/servers/",
        "/api/v1/mcp/servers/a/",
        "/api/v1/mcp/servers/a/connect/",
        "//api/v1/mcp/servers",
        "/api/v1/mcp/nothing",
    ] {
        for method in ["GET", "POST", "PATCH"] {
            let (status, allow, content_type, body) = ask(&world, method, path).await;
            assert_eq!((status, &*allow, &*content_type), (404, "", "application/json"), "{method} {path}");
            assert_eq!(body["detail"], "there is nothing at this path", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let world = World::new(&["a"], |_| {});
    for (path, status, allow) in [
        ("/healthz", 200, ""),
        // What probes append is not for us.
        ("/healthz?ts=1", 200, ""),
        ("/readyz?x", 503, ""),
        ("/api/v1/health?x=1", 200, ""),
        ("/api/v1/mcp/servers", 200, ""),
        ("/api/v1/mcp/servers/a", 200, ""),
        ("/api/v1/mcp/servers/x", 404, ""),
        ("/api/v1/mcp/nothing", 404, ""),
        ("/api/v1/mcp/events?limit=0", 422, ""),
        ("/api/v1/mcp/servers/a/connect", 405, "POST"),
    ] {
        let expected = (status, allow.to_owned(), "application/json".to_owned(), Value::Null);
        assert_eq!(ask(&world, "HEAD", path).await, expected, "{path}");
    }
}
