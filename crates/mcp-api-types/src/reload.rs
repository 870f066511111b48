//! Reading the configuration file again.

use serde::{Deserialize, Serialize};

/// The answer of `POST /reload`: what became of the servers of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// New servers.
    pub added: Vec<String>,
    /// Servers whose definition changed.
    pub changed: Vec<String>,
    /// Servers that are no longer in the file.
    pub removed: Vec<String>,
    /// Servers nothing happened to.
    pub unchanged: Vec<String>,
    /// What the file says that is odd, or takes effect only at the next start.
    pub warnings: Vec<String>,
}
