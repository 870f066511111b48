//! The plain HTTP health path of a server.

use bytes::Bytes;
use http::Request;
use mcp_transport::{HttpEndpoint, TransportError};
use url::Url;

use crate::client::Lane;
use crate::endpoint::to_uri;
use crate::headers::Headers;
use crate::pool::ClientPool;

impl ClientPool {
    /// Asks the health path of a server with one GET: the status is the answer, and the body is not read. `own`
    /// is the path servers have their endpoint at, such as `/mcp`; the health path stands beside it.
    /// Source: contract §3.5.
    ///
    /// # Errors
    /// Those of [`get`](Self::get), [`HttpClient::place`](crate::HttpClient::place) and
    /// [`Place::send`](crate::Place::send).
    pub async fn health(
        &self,
        endpoint: &HttpEndpoint,
        own: &str,
        path: &str,
    ) -> Result<u16, TransportError> {
        let client = self.get(endpoint)?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = to_uri(&health_url(&endpoint.url, own, path))?;
        *request.headers_mut() = Headers::new(&endpoint.headers)?.base();
        let answer = client.place(Lane::Control, None).await?.send(request).await?;
        let status = answer.status().as_u16();
        answer.release();
        Ok(status)
    }
}

/// The endpoint without a trailing `/` and without its own path, plus the path.
fn health_url(endpoint: &Url, own: &str, path: &str) -> Url {
    let base = endpoint.path().trim_end_matches('/');
    let base = base.strip_suffix(own).unwrap_or(base);
    let mut url = endpoint.clone();
    url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_path_stands_beside_the_endpoint() {
        for (endpoint, own, path, expected) in [
            ("https://a.example/mcp", "/mcp", "/health", "https://a.example/health"),
            ("https://a.example/mcp/", "/mcp", "/health", "https://a.example/health"),
            ("https://a.example", "/mcp", "health", "https://a.example/health"),
            ("https://a.example/x/mcp?key=1#f", "/mcp", "/up", "https://a.example/x/up"),
            ("https://a.example/tools", "/mcp", "/health", "https://a.example/tools/health"),
            ("https://a.example/x/sse", "/sse", "/health", "https://a.example/x/health"),
            ("https://a.example/mcp", "/sse", "/health", "https://a.example/mcp/health"),
        ] {
            assert_eq!(health_url(&endpoint.parse().unwrap(), own, path).as_str(), expected);
        }
    }
}
