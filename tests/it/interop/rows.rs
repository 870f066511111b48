//! The rows of servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mcp_client::{Client, ConnectOptions, connect};
use mcp_protocol::{Era, EraPolicy};
use mcp_tests::host::Host;
use mcp_transport::{Connector, Endpoint, HttpEndpoint, SseEndpoint};
use mcp_transport_http::{HttpConnector, HttpOptions};
use mcp_transport_sse::SseConnector;
use mcp_transport_stdio::StdioConnector;

use super::features::{Features, try_all};
use super::table::{Found, SERVERS};
use crate::process::HttpServer;
use crate::wait;

/// To find out which era a server speaks. Those that start slowly must not be taken for silent ones.
const PROBE: Duration = Duration::from_secs(15);

/// A server that speaks one era, which is found out.
pub(super) const ONE_ERA: &[EraPolicy] = &[EraPolicy::Auto];
/// A server that speaks both: the newer one is found out, the older one is asked for.
pub(super) const BOTH_ERAS: &[EraPolicy] = &[EraPolicy::Auto, EraPolicy::Only(Era::Handshake)];

/// What is found out about one server.
#[derive(Debug)]
pub(super) struct Rows(Found);

impl Rows {
    /// `server` is its name with the version.
    pub(super) fn of(server: &'static str) -> Self {
        Self(Found::by(&SERVERS, server))
    }

    #[track_caller]
    pub(super) fn done(self) {
        self.0.done();
    }

    pub(super) async fn stdio(
        &mut self,
        endpoint: mcp_transport::StdioEndpoint,
        eras: &[EraPolicy],
        features: impl Fn(Era) -> Features,
    ) {
        let endpoint = Endpoint::Stdio(endpoint);
        self.add("stdio", &StdioConnector::default(), &endpoint, eras, features).await;
    }

    pub(super) async fn http(
        &mut self,
        server: &HttpServer,
        eras: &[EraPolicy],
        features: impl Fn(Era) -> Features,
    ) {
        let connector = HttpConnector::new(HttpOptions::default()).unwrap();
        let endpoint = Endpoint::Http(HttpEndpoint::new(server.url()));
        self.add("Streamable HTTP", &connector, &endpoint, eras, features).await;
    }

    pub(super) async fn sse(&mut self, server: &HttpServer, features: impl Fn(Era) -> Features) {
        let connector = SseConnector::new(HttpOptions::default()).unwrap();
        let endpoint = Endpoint::Sse(SseEndpoint::new(HttpEndpoint::new(server.url())));
        self.add("SSE", &connector, &endpoint, ONE_ERA, features).await;
    }

    async fn add(
        &mut self,
        transport: &str,
        connector: &dyn Connector,
        endpoint: &Endpoint,
        eras: &[EraPolicy],
        features: impl Fn(Era) -> Features,
    ) {
        for policy in eras {
            let options = ConnectOptions {
                capabilities: Host::capabilities().unwrap(),
                handler: Some(Arc::new(Host)),
                policy: *policy,
                probe_timeout: PROBE,
                handshake_timeout: 2 * PROBE,
                ..ConnectOptions::default()
            };
            let client = connect(connector, endpoint, &options).await;
            let client = client.unwrap_or_else(|error| {
                panic!("{} over {transport}: {error}, tried {:?}", self.0.subject, error.tried)
            });
            let profile = client.profile();
            let cells = try_all(&client, &features(profile.era)).await;
            close(client).await;
            self.0.line(transport, &profile.protocol_version, &cells);
        }
    }
}

/// Closes the connection; a child process must be gone then.
async fn close(client: Client) {
    let details = client.details();
    let pid = details.iter().find(|(name, _)| *name == "pid").map(|(_, pid)| pid.clone());
    client.close().await;
    if cfg!(target_os = "linux")
        && let Some(pid) = pid
    {
        let process = Path::new("/proc").join(pid);
        wait::until("the server's process to be gone", async || (!process.exists()).then_some(())).await;
    }
}
