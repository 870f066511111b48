//! What the gateway's MCP endpoints are to reach, and how far they are.

use std::fmt;

use super::{Point, Report};
use crate::answers::Shape;

/// Most processor time for a call, compared with the floor.
const CPU: f64 = 2.0;

/// Fewest calls a second, compared with the floor, of as many callers.
const RATE: f64 = 0.6;
const CALLERS: [usize; 2] = [16, 64];

/// Most time to open a session with many servers, compared with one.
const OPENING: f64 = 1.5;

/// A goal, and the measurement that is farthest from it.
struct Goal {
    what: String,
    worst: f64,
    at: String,
    is_met: bool,
}

/// What comes of a call: calls with progress are two messages for each of the others' one, and have a row of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    AnswerOnly,
    Progress,
}

impl Told {
    fn remark(self) -> &'static str {
        match self {
            Self::AnswerOnly => "",
            Self::Progress => ", with progress",
        }
    }
}

/// Writes the goals for which there are measurements, as a table.
pub(super) fn write(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let points = &report.points;
    let calls = [Told::AnswerOnly, Told::Progress].map(|told| [cpu(points, told), rate(points, told)]);
    let goals: Vec<_> = calls.into_iter().flatten().chain([opening(report)]).flatten().collect();
    if goals.is_empty() {
        return Ok(());
    }
    f.write_str("#### Goals\n\n| goal | farthest from it | where | met |\n|---|---:|---|---|\n")?;
    for Goal { what, worst, at, is_met } in goals {
        writeln!(f, "| {what} | {worst:.2} | {at} | {} |", if is_met { "yes" } else { "no" })?;
    }
    Ok(())
}

fn cpu(points: &[Point], told: Told) -> Option<Goal> {
    let of = |point: &Point| point.times_floor(points);
    let (worst, point) =
        endpoints(points, told).filter_map(|point| Some((of(point)?, point))).max_by(by_value)?;
    Some(Goal {
        what: format!("CPU per call at most {CPU} × the floor's{}", told.remark()),
        worst,
        at: place(point),
        is_met: worst <= CPU,
    })
}

fn rate(points: &[Point], told: Told) -> Option<Goal> {
    let of = |point: &Point| point.rate_of_floor(points);
    let (worst, point) = endpoints(points, told)
        .filter(|point| CALLERS.contains(&point.callers))
        .filter_map(|point| Some((of(point)?, point)))
        .min_by(by_value)?;
    let what = format!("calls/s at least {RATE} × the floor's, 16 and 64 callers{}", told.remark());
    Some(Goal { what, worst, at: place(point), is_met: worst >= RATE })
}

/// Compares opening a session with the most and with the fewest servers.
fn opening(report: &Report) -> Option<Goal> {
    let opened =
        || report.lists.iter().filter(|list| list.question == "`initialize`" && list.process == "gateway");
    let (few, many) = (opened().min_by_key(|list| list.servers)?, opened().max_by_key(|list| list.servers)?);
    let worst = many.p50_us / few.p50_us;
    let what = format!("opening a session takes at most {OPENING} × as long with {} servers", many.servers);
    let at = format!("{:.0} µs, and {:.0} µs with {}", many.p50_us, few.p50_us, few.servers);
    Some(Goal { what, worst, at, is_met: worst <= OPENING })
}

fn endpoints(points: &[Point], told: Told) -> impl Iterator<Item = &Point> {
    let has_progress = |point: &Point| point.answers == Shape::Progress.name();
    points.iter().filter(move |point| {
        point.kind_of_way.is_endpoint() && has_progress(point) == (told == Told::Progress)
    })
}

fn by_value(a: &(f64, &Point), b: &(f64, &Point)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0)
}

fn place(point: &Point) -> String {
    let Point { server, callers, size, answers, way, .. } = point;
    format!("{way}, {server}, {callers} callers, {size} B, {answers}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::point;
    use super::*;
    use crate::fleet::Way;

    #[test]
    fn the_worst_measurement_decides() {
        let points = [
            point(16, Way::Floor, 1000.0, Some(40.0)),
            point(16, Way::Server, 700.0, Some(60.0)),
            point(16, Way::All, 500.0, Some(90.0)),
            // Not an MCP endpoint.
            point(16, Way::Rest, 100.0, Some(400.0)),
            point(1, Way::Floor, 1000.0, Some(50.0)),
            // One caller is no measure of calls a second.
            point(1, Way::All, 400.0, Some(60.0)),
        ];
        let of = Told::AnswerOnly;
        let (cpu, rate) = (cpu(&points, of).unwrap(), rate(&points, of).unwrap());
        assert_eq!((cpu.worst, cpu.is_met), (2.25, false));
        assert_eq!((rate.worst, rate.is_met), (0.5, false));
        assert!(cpu.at.contains("`/mcp`, legacy, 16 callers"), "{}", cpu.at);
    }

    #[test]
    fn calls_with_progress_are_judged_by_themselves() {
        let with_progress = |point| Point { answers: Shape::Progress.name(), ..point };
        let points = [
            point(16, Way::Floor, 1000.0, Some(40.0)),
            point(16, Way::Server, 750.0, Some(60.0)),
            with_progress(point(16, Way::Floor, 1000.0, Some(40.0))),
            with_progress(point(16, Way::Server, 500.0, Some(90.0))),
        ];
        let of = |told| (cpu(&points, told).unwrap().worst, rate(&points, told).unwrap().worst);
        assert_eq!((of(Told::AnswerOnly), of(Told::Progress)), ((1.5, 0.75), (2.25, 0.5)));
    }

    #[test]
    fn without_a_floor_there_is_nothing_to_compare() {
        assert!(cpu(&[point(16, Way::All, 500.0, Some(90.0))], Told::AnswerOnly).is_none());
    }
}
