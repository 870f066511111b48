//! Many callers at once, and how long each call took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Failure;
use crate::calls::Caller;

/// What came of some calls.
pub(crate) struct Slice {
    /// From the first call's start to the last one's end.
    pub(crate) elapsed: Duration,
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
}

/// Makes `calls` calls, each caller the next one as soon as its last is answered.
pub(crate) async fn run(callers: &mut Vec<Caller>, calls: u64) -> Result<Slice, Failure> {
    let left = Arc::new(AtomicU64::new(calls));
    let mut running = JoinSet::new();
    let start = Instant::now();
    for caller in callers.drain(..) {
        running.spawn(work(caller, Arc::clone(&left)));
    }
    let mut latencies = latencies()?;
    while let Some(ended) = running.join_next().await {
        let (caller, own) = ended??;
        callers.push(caller);
        latencies.add(own)?;
    }
    Ok(Slice { elapsed: start.elapsed(), latencies })
}

/// From a microsecond to a minute, three digits.
pub(crate) fn latencies() -> Result<Histogram<u64>, Failure> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?)
}

/// One caller, until no calls are left.
async fn work(mut caller: Caller, left: Arc<AtomicU64>) -> Result<(Caller, Histogram<u64>), Failure> {
    let mut latencies = latencies()?;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let start = Instant::now();
        caller.call().await?;
        latencies.saturating_record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok((caller, latencies))
}
