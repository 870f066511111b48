//! How many requests a server gets.

use mcp_registry::RateLimit;
use serde::Deserialize;

use crate::checks::Checks;

/// The keys of `rate_limit` as written. Source: contract §7.5.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimitSpec {
    /// Requests in each period (10).
    pub requests: Option<u64>,
    /// The period in milliseconds (1000).
    pub per_ms: Option<u64>,
    /// Most requests at once (twice `requests`).
    pub burst: Option<u64>,
}

/// Most requests in a period, and at once.
const MOST: u64 = 1_000_000;

impl RateLimitSpec {
    /// The limit; `None` if something is wrong with it.
    pub(super) fn check(&self, checks: &mut Checks) -> Option<RateLimit> {
        let default = RateLimit::default();
        let requests = checks.within(["rate_limit", "requests"], self.requests, 1..=MOST);
        let per = checks.millis(["rate_limit", "per_ms"], self.per_ms, 1);
        let burst = checks.within(["rate_limit", "burst"], self.burst, 1..=MOST);
        let requests = requests.unwrap_or(default.requests);
        Some(RateLimit {
            requests,
            per: per.unwrap_or(default.per),
            burst: burst.unwrap_or_else(|| requests.saturating_mul(2)),
        })
    }
}
