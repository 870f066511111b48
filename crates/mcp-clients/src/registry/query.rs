//! Looking servers up.

use std::cmp::Reverse;
use std::sync::{Arc, PoisonError};

use mcp_registry::{ConnectionState, Registry};

use super::{ClientRegistry, Entry, RegisteredServer};

/// Numbers over all servers of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RegistryStatistics {
    /// Registered servers.
    pub total_servers: usize,
    /// Those in the state `connected`.
    pub connected_servers: usize,
    /// Those in the state `disconnected`.
    pub disconnected_servers: usize,
    /// Those in the state `error`.
    pub error_servers: usize,
    /// Critical servers that are not connected.
    pub critical_servers_down: usize,
    /// Requests sent on the present connections.
    pub total_requests: u64,
    /// Errors on the present connections.
    pub total_errors: u64,
}

impl Entry {
    fn server(&self, registry: &Registry) -> Option<RegisteredServer> {
        Some(RegisteredServer {
            record: registry.get(self.key.name.as_str())?.clone(),
            client: self.client.clone(),
            resources: self.contents.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }
}

impl ClientRegistry {
    /// The server of a name.
    #[must_use]
    pub fn get_server(&self, name: &str) -> Option<RegisteredServer> {
        let entries = self.0.entries();
        entries.get(name)?.server(&self.0.registry())
    }

    /// All servers, by name.
    #[must_use]
    pub fn get_all_servers(&self) -> Vec<RegisteredServer> {
        let (entries, registry) = (self.0.entries(), self.0.registry());
        entries.values().filter_map(|entry| entry.server(&registry)).collect()
    }

    /// Those whose state is `connected`, by name.
    #[must_use]
    pub fn get_connected_servers(&self) -> Vec<RegisteredServer> {
        let mut servers = self.get_all_servers();
        servers.retain(|server| server.record.connection_state == ConnectionState::Connected);
        servers
    }

    /// All servers, the highest priority first, those of the same priority by name.
    #[must_use]
    pub fn servers_by_priority(&self) -> Vec<RegisteredServer> {
        let mut servers = self.get_all_servers();
        // Stable: names stay in order.
        servers.sort_by_key(|server| Reverse(server.record.definition.priority));
        servers
    }

    /// The servers marked as critical, by name.
    #[must_use]
    pub fn critical_servers(&self) -> Vec<RegisteredServer> {
        let mut servers = self.get_all_servers();
        servers.retain(|server| server.record.definition.critical);
        servers
    }

    /// Numbers over all servers.
    #[must_use]
    pub fn statistics(&self) -> RegistryStatistics {
        let mut numbers = RegistryStatistics::default();
        for server in self.get_all_servers() {
            let state = server.record.connection_state;
            numbers.total_servers += 1;
            match state {
                ConnectionState::Connected => numbers.connected_servers += 1,
                ConnectionState::Disconnected => numbers.disconnected_servers += 1,
                ConnectionState::Error => numbers.error_servers += 1,
                ConnectionState::Initializing | ConnectionState::Reconnecting => {}
            }
            if server.record.definition.critical && state != ConnectionState::Connected {
                numbers.critical_servers_down += 1;
            }
            if let Some(stats) = server.client.get_stats() {
                numbers.total_requests += stats.requests_sent;
                numbers.total_errors += stats.errors_count;
            }
        }
        numbers
    }

    /// The entries of enabled servers.
    pub(super) fn enabled(&self) -> Vec<Arc<Entry>> {
        let entries = self.0.entries();
        entries.values().filter(|entry| entry.client.definition().enabled).cloned().collect()
    }

    /// All entries.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        self.0.entries().values().cloned().collect()
    }
}
