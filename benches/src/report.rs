//! The outcome of a run as tables or as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::calls::Wanted;
use crate::fleet::{Kind, Way};
use crate::machine;
use crate::run::Lane;

mod goals;

/// Everything a run has found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) points: Vec<Point>,
    pub(crate) lists: Vec<Listed>,
    pub(crate) starts: Vec<Start>,
    pub(crate) memory: Vec<Memory>,
}

/// What was measured of one way with one number of callers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    /// The upstream: `legacy`, `modern` or `stdio`.
    server: &'static str,
    callers: usize,
    /// Bytes of text in an answer.
    size: usize,
    /// How the upstream answers.
    answers: &'static str,
    way: &'static str,
    #[serde(skip)]
    kind_of_way: Way,
    calls: u64,
    /// Of all rounds together.
    calls_per_second: f64,
    /// Seconds each round took.
    rounds: Vec<f64>,
    p50_us: f64,
    p99_us: f64,
    /// Connections opened to the upstream during the calls; kept-alive ones would need none.
    connections: Option<u64>,
    /// Processor time of the process on the way for one call.
    cpu_us: Option<f64>,
    /// Processor time of each round, in seconds.
    cpu_rounds: Vec<f64>,
}

/// What was measured of one question about everything.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Listed {
    pub(crate) question: &'static str,
    pub(crate) process: &'static str,
    pub(crate) servers: usize,
    pub(crate) tools: Option<usize>,
    pub(crate) pages: Option<usize>,
    /// Of one answer.
    pub(crate) bytes: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Processor time of the process for one answer.
    pub(crate) cpu_us: Option<f64>,
}

/// How long a program takes to its first answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Start {
    way: &'static str,
    median_ms: f64,
    fastest_ms: f64,
    slowest_ms: f64,
}

/// How much memory a program holds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Memory {
    process: &'static str,
    when: String,
    bytes: u64,
}

impl Point {
    pub(crate) fn new(kind: Kind, wanted: Wanted, callers: usize, lane: &Lane) -> Self {
        let calls = lane.latencies.len();
        let seconds = |times: &[Duration]| times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
        let cpu_rounds = seconds(lane.cpu.as_deref().unwrap_or_default());
        let percentile = |p| lane.latencies.value_at_quantile(p) as f64 / 1_000.0;
        Self {
            server: kind.name(),
            callers,
            size: wanted.size,
            answers: wanted.shape.name(),
            way: lane.way.name(),
            kind_of_way: lane.way,
            calls,
            calls_per_second: calls as f64 / lane.elapsed.iter().sum::<Duration>().as_secs_f64(),
            rounds: seconds(&lane.elapsed),
            p50_us: percentile(0.5),
            p99_us: percentile(0.99),
            connections: lane.connections,
            cpu_us: lane.cpu.is_some().then(|| cpu_rounds.iter().sum::<f64>() * 1e6 / calls as f64),
            cpu_rounds,
        }
    }

    /// Whether the other one was measured beside this one.
    fn is_beside(&self, other: &Self) -> bool {
        let place = |point: &Self| (point.server, point.callers, point.size, point.answers);
        place(self) == place(other)
    }

    /// The same by way of the floor.
    fn floor<'a>(&self, points: &'a [Self]) -> Option<&'a Self> {
        self.by(Way::Floor, points)
    }

    fn by<'a>(&self, way: Way, points: &'a [Self]) -> Option<&'a Self> {
        points.iter().find(|point| point.kind_of_way == way && point.is_beside(self))
    }

    /// Calls a second, compared with those of the floor: the median of the rounds.
    fn rate_of_floor(&self, points: &[Self]) -> Option<f64> {
        median_ratio(&self.floor(points)?.rounds, &self.rounds)
    }

    /// Processor time of a call, compared with that of the floor: the median of the rounds.
    fn times_floor(&self, points: &[Self]) -> Option<f64> {
        median_ratio(&self.cpu_rounds, &self.floor(points)?.cpu_rounds)
    }

    /// Calls a second of the slowest and of the fastest round.
    fn rates(&self) -> (f64, f64) {
        let round = self.calls as f64 / self.rounds.len() as f64;
        let rates = self.rounds.iter().map(|seconds| round / seconds);
        (rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max))
    }
}

/// What is measured in the same round meets the same machine, and one round that something got in the way of does not
/// count for more than another.
fn median_ratio(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    let mut ratios: Vec<_> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let middle = ratios.len() / 2;
    Some(match ratios.len() % 2 {
        0 => (ratios.get(middle.checked_sub(1)?)? + ratios[middle]) / 2.0,
        _ => ratios[middle],
    })
}

impl Start {
    pub(crate) fn new(way: Way, median: Duration, fastest: Duration, slowest: Duration) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Self { way: way.name(), median_ms: ms(median), fastest_ms: ms(fastest), slowest_ms: ms(slowest) }
    }
}

impl Memory {
    pub(crate) fn new(process: &'static str, when: &str, bytes: u64) -> Self {
        Self { process, when: when.to_owned(), bytes }
    }
}

/// Markdown, as it stands in `docs/benchmarks.md`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(machine) = machine::description() {
            writeln!(f, "{machine}.")?;
        }
        // One wrong answer would have ended the run.
        let calls: u64 = self.points.iter().map(|point| point.calls).sum();
        writeln!(f, "{calls} calls, 0 wrong answers.\n")?;
        goals::write(f, self)?;
        write_points(f, &self.points)?;
        if !self.lists.is_empty() {
            write_lists(f, &self.lists)?;
        }
        f.write_str("\n#### Starts and memory\n\n| way | start to first answer | fastest and slowest |\n|---|---:|---|\n")?;
        for Start { way, median_ms, fastest_ms, slowest_ms } in &self.starts {
            writeln!(f, "| {way} | {median_ms:.1} ms | {fastest_ms:.1}–{slowest_ms:.1} ms |")?;
        }
        f.write_str("\n| process | when | resident |\n|---|---|---:|\n")?;
        for Memory { process, when, bytes } in &self.memory {
            writeln!(f, "| {process} | {when} | {:.1} MB |", *bytes as f64 / 1e6)?;
        }
        Ok(())
    }
}

fn write_points(f: &mut fmt::Formatter<'_>, points: &[Point]) -> fmt::Result {
    f.write_str(
        "\n#### Calls\n\n\
         | server | answers | callers | way | calls | calls/s | of raw | of floor | slowest and fastest round | p50 µs \
         | p99 µs | opened | CPU µs/call | CPU of floor | × floor |\n\
         |---|---|---:|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|\n",
    )?;
    for point in points {
        let Point { server, answers, callers, way, calls, calls_per_second, p50_us, p99_us, .. } = point;
        let of_raw = point.by(Way::Raw, points).and_then(|raw| median_ratio(&raw.rounds, &point.rounds));
        let of_floor = point.rate_of_floor(points);
        let (slowest, fastest) = point.rates();
        let size = size(point.size);
        let floor = point.floor(points).filter(|_| point.cpu_us.is_some()).and_then(|floor| floor.cpu_us);
        writeln!(
            f,
            "| {server} | {size}, {answers} | {callers} | {way} | {calls} | {calls_per_second:.0} | {} | {} \
             | {slowest:.0}–{fastest:.0} | {p50_us:.0} | {p99_us:.0} | {} | {} | {} | {} |",
            cell(of_raw, |share| format!("{:.0} %", share * 100.0)),
            cell(of_floor, |share| format!("{share:.2}")),
            cell(point.connections, |opened| opened.to_string()),
            cell(point.cpu_us, |us| format!("{us:.0}")),
            cell(floor, |us| format!("{us:.0}")),
            cell(point.times_floor(points), |times| format!("{times:.2}")),
        )?;
    }
    Ok(())
}

/// A number of bytes, as it stands in titles and tables.
pub(crate) fn size(bytes: usize) -> String {
    if bytes < 1_000 { format!("{bytes} B") } else { format!("{} kB", bytes / 1_000) }
}

fn write_lists(f: &mut fmt::Formatter<'_>, lists: &[Listed]) -> fmt::Result {
    f.write_str(
        "\n#### Lists and sessions\n\n\
         | question | process | servers | tools | pages | bytes of an answer | p50 µs | p99 µs | CPU µs |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|\n",
    )?;
    for Listed { question, process, servers, tools, pages, bytes, p50_us, p99_us, cpu_us } in lists {
        writeln!(
            f,
            "| {question} | {process} | {servers} | {} | {} | {bytes} | {p50_us:.0} | {p99_us:.0} | {} |",
            cell(*tools, |tools| tools.to_string()),
            cell(*pages, |pages| pages.to_string()),
            cell(*cpu_us, |us| format!("{us:.0}")),
        )?;
    }
    Ok(())
}

/// What there is, or a dash.
fn cell<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn point(callers: usize, way: Way, calls_per_second: f64, cpu_us: Option<f64>) -> Point {
        Point {
            server: "legacy",
            callers,
            size: 200,
            answers: "JSON",
            way: way.name(),
            kind_of_way: way,
            calls: 100,
            calls_per_second,
            rounds: [30.0, 50.0, 20.0].map(|calls| calls / calls_per_second).to_vec(),
            p50_us: 10.4,
            p99_us: 20.6,
            connections: Some(3),
            cpu_us,
            cpu_rounds: cpu_us.into_iter().flat_map(|us| [us, us * 9.0, us * 2.0]).collect(),
        }
    }

    #[test]
    fn ways_are_compared_round_by_round() {
        assert_eq!(median_ratio(&[2.0, 90.0, 6.0], &[1.0, 1.0, 2.0]), Some(3.0));
        assert_eq!(median_ratio(&[2.0, 90.0, 6.0, 4.0], &[1.0, 1.0, 2.0, 1.0]), Some(3.5));
        assert_eq!(median_ratio(&[], &[]), None);
    }

    #[test]
    fn ways_are_compared_with_raw_http_and_the_floor_of_as_many_callers() {
        let points = vec![
            point(1, Way::Raw, 1000.0, None),
            point(1, Way::Floor, 500.0, Some(40.0)),
            point(1, Way::All, 250.0, Some(60.0)),
            point(16, Way::All, 500.0, Some(60.0)),
        ];
        let text = Report { points, ..Report::default() }.to_string();
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| legacy")).collect();
        assert_eq!(
            rows,
            [
                "| legacy | 200 B, JSON | 1 | raw HTTP | 100 | 1000 | 100 % | 2.00 | 667–1667 | 10 | 21 | 3 | – | – | – |",
                "| legacy | 200 B, JSON | 1 | floor | 100 | 500 | 50 % | 1.00 | 333–833 | 10 | 21 | 3 | 40 | 40 | 1.00 |",
                "| legacy | 200 B, JSON | 1 | `/mcp` | 100 | 250 | 25 % | 0.50 | 167–417 | 10 | 21 | 3 | 60 | 40 | 1.50 |",
                "| legacy | 200 B, JSON | 16 | `/mcp` | 100 | 500 | – | – | 333–833 | 10 | 21 | 3 | 60 | – | – |",
            ]
        );
    }
}
