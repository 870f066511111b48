//! The order of things: what is measured beside what.

use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use mcp_protocol::Era;

use crate::Failure;
use crate::calls::{Caller, Post};
use crate::gateway::{Gateway, server_name};
use crate::load;
use crate::program::profile_folder;
use crate::report::{self, Point};
use crate::upstream::Upstream;

/// Callers at once, and how many calls they make together.
const POINTS: [(usize, u64); 3] = [(1, 4_000), (16, 16_000), (64, 16_000)];

/// The calls of a point are made in so many slices, those of the other ways between them: what else the
/// machine does meets all of them alike.
const ROUNDS: usize = 5;

/// One call in so many goes ahead uncounted, until connections are open and caches warm.
const WARM_UP: u64 = 10;

/// How the gateway benchmark is run.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "gateway", about = "Tool calls through the whole gateway, beside direct ones")]
pub struct Options {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Make a tenth of the calls: for trying out, not for numbers.
    #[arg(long)]
    quick: bool,
    /// The gateway to measure [default: the one `cargo build --release` has built].
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    /// What Cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A way to reach the upstream, and what came of the calls made on it.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    callers: Vec<Caller>,
    /// In nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Of each round.
    pub(crate) elapsed: Vec<Duration>,
    /// Connections the upstream accepted meanwhile.
    pub(crate) connections: u64,
    /// Processor time of the gateway; `None` on direct ways, or where the system does not tell.
    pub(crate) gateway_cpu: Option<Duration>,
}

/// Starts the upstreams and the gateway, measures all points, and prints what was found.
///
/// # Errors
/// Anything that keeps the run from its end, one call with a wrong answer included.
pub async fn run(options: Options) -> Result<(), Failure> {
    let share = if options.quick { 10 } else { 1 };
    let program = match options.gateway {
        Some(program) => program,
        None => profile_folder()?.join(format!("mcp-gateway{}", std::env::consts::EXE_SUFFIX)),
    };
    let upstreams = [Upstream::start(Era::Handshake).await?, Upstream::start(Era::Stateless).await?];
    let gateway = Gateway::start(&program, &upstreams).await?;
    let mut points = Vec::new();
    for upstream in &upstreams {
        for (callers, calls) in POINTS {
            points.extend(measure(upstream, &gateway, callers, calls / share).await?);
        }
    }
    gateway.stop().await?;
    report::print(&points, options.json)
}

/// All ways with one number of callers.
async fn measure(
    upstream: &Upstream,
    gateway: &Gateway,
    callers: usize,
    calls: u64,
) -> Result<Vec<Point>, Failure> {
    let to_gateway = Post::to_gateway(gateway.address(), server_name(upstream.era()))?;
    let mut ways = [
        Way::new("raw HTTP", Caller::raw(&Post::to_upstream(upstream)?, callers).await?, true)?,
        Way::new("mcp-client", Caller::clients(upstream, callers).await?, true)?,
        Way::new("gateway", Caller::raw(&to_gateway, callers).await?, false)?,
    ];
    for way in &mut ways {
        load::run(&mut way.callers, calls / WARM_UP).await?;
    }
    let before = upstream.calls();
    for round in 0..ROUNDS {
        for turn in 0..ways.len() {
            // Each round begins with another one.
            let way = (round + turn) % ways.len();
            ways[way].measure(upstream, gateway, calls / ROUNDS as u64).await?;
        }
    }
    let (seen, made) = (upstream.calls() - before, calls * ways.len() as u64);
    if seen != made {
        return Err(format!("{made} calls were made, but {seen} reached the upstream").into());
    }
    let server = server_name(upstream.era());
    Ok(ways.iter().map(|way| Point::new(server, callers, way)).collect())
}

impl Way {
    fn new(name: &'static str, callers: Vec<Caller>, is_direct: bool) -> Result<Self, Failure> {
        let gateway_cpu = (!is_direct).then_some(Duration::ZERO);
        let latencies = load::latencies()?;
        Ok(Self { name, callers, latencies, elapsed: Vec::new(), connections: 0, gateway_cpu })
    }

    async fn measure(&mut self, upstream: &Upstream, gateway: &Gateway, calls: u64) -> Result<(), Failure> {
        let (connections, before) = (upstream.connections(), gateway.cpu());
        let slice = load::run(&mut self.callers, calls).await?;
        let used = gateway.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        self.gateway_cpu = self.gateway_cpu.zip(used).map(|(sum, used)| sum + used);
        self.connections += upstream.connections() - connections;
        self.latencies.add(slice.latencies)?;
        self.elapsed.push(slice.elapsed);
        Ok(())
    }
}
