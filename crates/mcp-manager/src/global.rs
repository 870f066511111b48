//! One manager for the whole process, for programs that have no place to keep one. Passing a [`Manager`]
//! around is the better way. Source: contract §8.2.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::manager::{Manager, Setup};
use crate::shutdown::ShutdownReport;

static GLOBAL: Mutex<Option<Manager>> = Mutex::new(None);

/// The manager of the process. The first call makes it of what `setup` returns and starts its monitor;
/// later ones get the same manager, until [`shutdown_global`].
///
/// # Panics
/// Outside of a tokio runtime, if it is the first call.
pub fn global(setup: impl FnOnce() -> Setup) -> Manager {
    let mut global = GLOBAL.lock().unwrap_or_else(PoisonError::into_inner);
    global
        .get_or_insert_with(|| {
            let manager = Manager::new(setup());
            manager.start_monitor();
            manager
        })
        .clone()
}

/// Shuts the manager of the process down ([`Manager::shutdown`]), if there is one. The next [`global`] makes
/// another.
pub async fn shutdown_global(grace: Duration) -> Option<ShutdownReport> {
    let manager = GLOBAL.lock().unwrap_or_else(PoisonError::into_inner).take();
    match manager {
        Some(manager) => Some(manager.shutdown(grace).await),
        None => None,
    }
}
