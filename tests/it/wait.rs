//! Waiting for what another process does.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long anything here may take. Only a hang takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something, and gives it back.
///
/// # Panics
/// If it finds nothing within [`PATIENCE`]; `what` is part of the message.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("still waiting after {PATIENCE:?} for {what}"))
}
