//! Doing something with all servers at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use mcp_registry::{Answered, ErrorCategory, Failure, ServerName};

use super::{ClientRegistry, Entry};
use crate::error::of_request;

/// Servers that something is done with at the same time.
const AT_ONCE: usize = 64;

impl ClientRegistry {
    /// Connects all servers that are enabled; says of each whether it is connected.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect_all(&self) -> BTreeMap<ServerName, bool> {
        for_all(self.enabled(), async |entry| entry.client.connect().await.success()).await
    }

    /// Disconnects all servers.
    pub async fn disconnect_all(&self) {
        for_all(self.entries(), async |entry| entry.client.disconnect().await).await;
    }

    /// Pings all servers that are enabled; says of each whether it answered, within `policy.latency_threshold` if
    /// there is one, and records it. That a server without a connection does not answer is not held against it.
    pub async fn health_check_all(&self) -> BTreeMap<ServerName, bool> {
        for_all(self.enabled(), async |entry| self.check(&entry).await).await
    }

    async fn check(&self, entry: &Entry) -> bool {
        if !entry.client.is_connected() {
            return false;
        }
        let outcome = entry.client.check().await;
        let now = self.0.now();
        let mut registry = self.0.registry();
        match outcome {
            Ok(latency) => {
                let probe = Answered { latency, opened: false, error_rate: None };
                registry.probe_answered(now, &entry.key, probe).is_none()
            }
            Err(error) => {
                let failure = Failure::new(ErrorCategory::HealthCheck, of_request(&error).text);
                registry.record_failure(now, &entry.key, failure, None, false);
                false
            }
        }
    }
}

async fn for_all<T>(
    entries: Vec<Arc<Entry>>,
    work: impl AsyncFn(Arc<Entry>) -> T,
) -> BTreeMap<ServerName, T> {
    let work = &work;
    let each = entries.into_iter().map(|entry| async move {
        let name = entry.key.name.clone();
        (name, work(entry).await)
    });
    futures::stream::iter(each).buffer_unordered(AT_ONCE).collect().await
}
