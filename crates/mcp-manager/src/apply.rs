//! Taking over a changed configuration without touching what did not change.

use std::collections::BTreeSet;

use mcp_registry::{Definition, RegistryFull, ServerName};

use crate::manager::Manager;

/// What became of the servers of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// New ones.
    pub added: Vec<ServerName>,
    /// Those whose definition changed: calls on the old session may finish, and the server starts anew, unless the
    /// change does [not concern](Definition::carries_over) it.
    pub changed: Vec<ServerName>,
    /// Those that are gone; calls on them may finish.
    pub removed: Vec<ServerName>,
    /// Those nothing happened to.
    pub unchanged: Vec<ServerName>,
}

impl Manager {
    /// Makes the servers named in `before` those that `desired` defines. Others, for example those
    /// registered over the REST API, stay, unless `desired` names them. Connects nothing.
    ///
    /// # Errors
    /// [`RegistryFull`] if there would be too many; then nothing has changed.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn apply(&self, before: &[ServerName], desired: Vec<Definition>) -> Result<Applied, RegistryFull> {
        let mut applied = Applied::default();
        let wanted: BTreeSet<_> = desired.iter().map(|definition| definition.name.clone()).collect();
        let table = self.table();
        let (gone, _): (Vec<_>, Vec<_>) = before.iter().cloned().partition(|name| !wanted.contains(name));
        let kept = table.servers().iter().filter(|record| !gone.contains(record.name()));
        let total = kept.map(|record| record.name()).chain(&wanted).collect::<BTreeSet<_>>().len();
        let limit = self.policy().max_servers;
        if total > limit {
            return Err(RegistryFull { limit });
        }
        for name in gone {
            for session in self.remove(name.as_str()) {
                self.0.end_session(session);
            }
            applied.removed.push(name);
        }
        for definition in desired {
            let name = definition.name.clone();
            match table.get(name.as_str()) {
                Some(record) if *record.definition == definition => applied.unchanged.push(name),
                found => {
                    self.register(definition)?;
                    if found.is_some() { applied.changed.push(name) } else { applied.added.push(name) }
                }
            }
        }
        Ok(applied)
    }
}
