//! The order of things: what is measured beside what.

use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Failure;
use crate::answers::{MAX_TEXT, Shape};
use crate::calls::{Caller, Wanted};
use crate::fleet::{Fleet, Kind, Programs, Way};
use crate::report::{Point, Report};
use crate::{lists, load, report, starts, usage};

/// What is measured of each upstream: callers at once, how many calls they make together, bytes of text in an
/// answer, and how it comes.
const POINTS: [(usize, u64, usize, Shape); 9] = [
    (1, 8_000, 200, Shape::Json),
    (16, 64_000, 200, Shape::Json),
    (64, 64_000, 200, Shape::Json),
    (8, 8_000, MAX_TEXT, Shape::Json),
    (1, 8_000, 200, Shape::Stream),
    (16, 64_000, 200, Shape::Stream),
    (64, 64_000, 200, Shape::Stream),
    (8, 8_000, MAX_TEXT, Shape::Stream),
    (16, 64_000, 200, Shape::Progress),
];

/// One of them, of one upstream.
struct Asked {
    kind: Kind,
    callers: usize,
    calls: u64,
    wanted: Wanted,
}

impl Asked {
    /// In the words of the tables.
    fn title(&self) -> String {
        let Wanted { size, shape } = self.wanted;
        format!("{}, {} callers, {}, {}", self.kind.name(), self.callers, report::size(size), shape.name())
    }
}

fn all_points() -> impl Iterator<Item = Asked> {
    let of = |kind| {
        POINTS.into_iter().map(move |(callers, calls, size, shape)| Asked {
            kind,
            callers,
            calls,
            wanted: Wanted { size, shape },
        })
    };
    // Over stdio there are no event streams.
    let exists = |asked: &Asked| asked.kind != Kind::Stdio || asked.wanted.shape == Shape::Json;
    Kind::ALL.into_iter().flat_map(of).filter(exists)
}

/// The calls of a point are made in so many slices, or a multiple if that is asked for, those of the other ways
/// between them: what else the machine does meets all of them alike. Ways are compared round by round.
pub(crate) const ROUNDS: usize = 80;

/// One call in so many of so many rounds goes ahead uncounted, until connections are open and caches warm.
const WARM_UP: u64 = 10;

/// How the gateway benchmark is run.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "gateway", about = "Tool calls through the gateway, beside direct ones and the floor proxy")]
pub struct Options {
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Make a tenth of the calls: for trying out, not for numbers.
    #[arg(long)]
    quick: bool,
    /// Measure only the points whose title holds this text, and no lists. A title is "modern, 16 callers, 200 B, JSON".
    #[arg(long, value_name = "TEXT")]
    points: Option<String>,
    /// Make so many times as many calls at each point, in so many times as many rounds.
    #[arg(long, value_name = "FACTOR", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    times: u64,
    /// The ways to measure, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = WAYS)]
    ways: Vec<Way>,
    /// The gateway to measure [default: the one `cargo build --release` has built].
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    /// What Cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// In the order of the tables.
const WAYS: [Way; 6] = [Way::Raw, Way::Client, Way::Floor, Way::Server, Way::All, Way::Rest];

/// A way to the upstream of a point, and what came of the calls made on it.
pub(crate) struct Lane {
    pub(crate) way: Way,
    callers: Vec<Caller>,
    /// The process on the way.
    process: Option<u32>,
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Of each round.
    pub(crate) elapsed: Vec<Duration>,
    /// Connections the upstream accepted meanwhile; `None` if it is not one of this process.
    pub(crate) connections: Option<u64>,
    /// Processor time of the process on the way, in each round; `None` without one, or where the system does not tell.
    pub(crate) cpu: Option<Vec<Duration>>,
}

/// Starts everything, measures all points, and prints what was found.
///
/// # Errors
/// Anything that keeps the run from its end, one call with a wrong answer included.
pub async fn run(options: Options) -> Result<(), Failure> {
    let share = if options.quick { 10 } else { 1 };
    let text = options.points.as_deref().unwrap_or_default();
    let points: Vec<_> = all_points().filter(|point| point.title().contains(text)).collect();
    if points.is_empty() {
        let titles: Vec<_> = all_points().map(|point| point.title()).collect();
        return Err(format!("no point has {text:?} in its title; there are\n{}", titles.join("\n")).into());
    }
    let programs = Programs::find(options.gateway)?;
    let rounds = ROUNDS * usize::try_from(options.times)?;
    let ways: Vec<_> = WAYS.into_iter().filter(|way| options.ways.contains(way)).collect();
    let mut report = Report::default();
    eprintln!("starts");
    starts::measure(&programs, &ways, &mut report).await?;
    let fleet = Fleet::start(&programs, &ways).await?;
    for point in &points {
        eprintln!("{}", point.title());
        report
            .points
            .extend(measure(&fleet, &ways, point, point.calls / share / ROUNDS as u64, rounds).await?);
    }
    if options.points.is_none() {
        starts::remember(&fleet, &mut report);
    }
    fleet.stop().await?;
    if options.points.is_none() {
        eprintln!("lists and sessions");
        lists::measure(&programs, &ways, share, &mut report).await?;
    }
    println!("{}", if options.json { serde_json::to_string_pretty(&report)? } else { report.to_string() });
    Ok(())
}

/// All ways at one point, whose callers make `slice` calls in each round.
async fn measure(
    fleet: &Fleet,
    ways: &[Way],
    asked: &Asked,
    slice: u64,
    rounds: usize,
) -> Result<Vec<Point>, Failure> {
    let Asked { kind, callers, wanted, .. } = *asked;
    let mut lanes = Vec::new();
    for &way in ways {
        // These two are beside the point but for the plainest calls.
        let is_aside = matches!(way, Way::Client | Way::Rest);
        if is_aside && (wanted.shape != Shape::Json || wanted.size > 200) {
            continue;
        }
        let opened = fleet.callers(way, kind, wanted, callers).await;
        if let Some(callers) = opened.map_err(|error| said_by(way, kind, error))? {
            lanes.push(Lane::new(way, callers, fleet.process(way, kind).map(|process| process.id()))?);
        }
    }
    for lane in &mut lanes {
        load::run(&mut lane.callers, slice * ROUNDS as u64 / WARM_UP)
            .await
            .map_err(|error| said_by(lane.way, kind, error))?;
    }
    let seen = || fleet.upstream(kind).map(|upstream| (upstream.calls(), upstream.connections()));
    let before = seen();
    for round in 0..rounds {
        for turn in 0..lanes.len() {
            // Each round begins with another one.
            let lane = (round + turn) % lanes.len();
            let lane = &mut lanes[lane];
            let connections = seen();
            lane.measure(slice).await.map_err(|error| said_by(lane.way, kind, error))?;
            let opened = seen().zip(connections).map(|((_, after), (_, before))| after - before);
            lane.connections = lane.connections.zip(opened).map(|(sum, opened)| sum + opened);
        }
    }
    let made = slice * (rounds * lanes.len()) as u64;
    if let Some(((after, _), (before, _))) =
        seen().zip(before).filter(|((after, _), (before, _))| after - before != made)
    {
        return Err(format!("{made} calls were made, but {} reached the upstream", after - before).into());
    }
    let points = lanes.iter().map(|lane| Point::new(kind, wanted, callers, lane)).collect();
    for caller in lanes.into_iter().flat_map(|lane| lane.callers) {
        caller.end().await?;
    }
    Ok(points)
}

fn said_by(way: Way, kind: Kind, error: Failure) -> Failure {
    format!("{} to {}: {error}", way.name(), kind.name()).into()
}

impl Lane {
    fn new(way: Way, callers: Vec<Caller>, process: Option<u32>) -> Result<Self, Failure> {
        Ok(Self {
            way,
            callers,
            process,
            latencies: load::latencies()?,
            elapsed: Vec::new(),
            connections: Some(0),
            cpu: process.map(|_| Vec::new()),
        })
    }

    async fn measure(&mut self, calls: u64) -> Result<(), Failure> {
        let before = self.process.and_then(usage::cpu);
        let slice = load::run(&mut self.callers, calls).await?;
        let used =
            self.process.and_then(usage::cpu).zip(before).map(|(after, before)| after.saturating_sub(before));
        self.cpu = self.cpu.take().zip(used).map(|(mut rounds, used)| {
            rounds.push(used);
            rounds
        });
        self.latencies.add(slice.latencies)?;
        self.elapsed.push(slice.elapsed);
        Ok(())
    }
}
