//! The outcome of a run as a table or as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::Failure;
use crate::run::Way;

/// What was measured of one way with one number of callers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    /// The upstream: `legacy` or `modern`.
    server: &'static str,
    callers: usize,
    way: &'static str,
    calls: u64,
    /// Of all rounds together.
    calls_per_second: f64,
    /// Of the slowest and of the fastest round.
    rounds_per_second: (f64, f64),
    p50_us: f64,
    p99_us: f64,
    /// Connections opened to the upstream during the calls; kept-alive ones would need none.
    connections: u64,
    /// Processor time of the gateway for one call.
    gateway_cpu_us: Option<f64>,
}

impl Point {
    pub(crate) fn new(server: &'static str, callers: usize, way: &Way) -> Self {
        let calls = way.latencies.len();
        let round = calls as f64 / way.elapsed.len() as f64;
        let rates = way.elapsed.iter().map(|elapsed| round / elapsed.as_secs_f64());
        let percentile = |p| way.latencies.value_at_quantile(p) as f64 / 1_000.0;
        Self {
            server,
            callers,
            way: way.name,
            calls,
            calls_per_second: calls as f64 / way.elapsed.iter().sum::<Duration>().as_secs_f64(),
            rounds_per_second: (rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max)),
            p50_us: percentile(0.5),
            p99_us: percentile(0.99),
            connections: way.connections,
            gateway_cpu_us: way.gateway_cpu.map(|used| used.as_secs_f64() * 1e6 / calls as f64),
        }
    }
}

/// Prints what was measured.
pub(crate) fn print(points: &[Point], json: bool) -> Result<(), Failure> {
    let text = if json { serde_json::to_string_pretty(points)? } else { table(points) };
    println!("{text}");
    Ok(())
}

/// A Markdown table. The first way of each server and number of callers is what the others are compared with.
fn table(points: &[Point]) -> String {
    let mut table = String::from(
        "| server | callers | way | calls | calls/s | of raw | slowest and fastest round | p50 µs | p99 µs | opened | gateway CPU µs/call |\n\
         |---|---:|---|---:|---:|---:|---|---:|---:|---:|---:|\n",
    );
    let mut raw: Option<&Point> = None;
    for point in points {
        let Point { server, callers, way, calls, calls_per_second, p50_us, p99_us, connections, .. } = point;
        let base = match raw {
            Some(base) if (base.server, base.callers) == (*server, *callers) => base,
            _ => raw.insert(point),
        };
        let share = 100.0 * calls_per_second / base.calls_per_second;
        let (slowest, fastest) = point.rounds_per_second;
        let cpu = point.gateway_cpu_us.map_or_else(|| "–".to_owned(), |us| format!("{us:.0}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {server} | {callers} | {way} | {calls} | {calls_per_second:.0} | {share:.0} % | \
             {slowest:.0}–{fastest:.0} | {p50_us:.0} | {p99_us:.0} | {connections} | {cpu} |",
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(callers: usize, way: &'static str, calls_per_second: f64, gateway_cpu_us: Option<f64>) -> Point {
        Point {
            server: "legacy",
            callers,
            way,
            calls: 100,
            calls_per_second,
            rounds_per_second: (calls_per_second - 1.0, calls_per_second + 1.0),
            p50_us: 10.4,
            p99_us: 20.6,
            connections: 3,
            gateway_cpu_us,
        }
    }

    #[test]
    fn ways_are_compared_with_the_first_one_of_as_many_callers() {
        let points = [
            point(1, "raw HTTP", 1000.0, None),
            point(1, "gateway", 250.0, Some(80.2)),
            point(16, "raw HTTP", 500.0, None),
        ];
        let table = table(&points);
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| legacy | 1 | raw HTTP | 100 | 1000 | 100 % | 999–1001 | 10 | 21 | 3 | – |",
                "| legacy | 1 | gateway | 100 | 250 | 25 % | 249–251 | 10 | 21 | 3 | 80 |",
                "| legacy | 16 | raw HTTP | 100 | 500 | 100 % | 499–501 | 10 | 21 | 3 | – |",
            ]
        );
    }
}
