//! How long a program takes from its start to its first answer, and how much memory it holds.

use std::time::Duration;

use mcp_protocol::Era;

use crate::Failure;
use crate::answers::Shape;
use crate::calls::{Caller, Wanted};
use crate::fleet::{Fleet, Kind, Programs, Way, door, servers};
use crate::report::{Memory, Report, Start};
use crate::running::Running;
use crate::upstream::Upstream;

/// Starts of each program; the one in the middle counts.
const STARTS: usize = 5;

/// Starts the floor and the gateway in front of one server, again and again, and calls until there is an answer.
pub(crate) async fn measure(programs: &Programs, ways: &[Way], report: &mut Report) -> Result<(), Failure> {
    let upstream = Upstream::start(Era::Stateless, 0).await?;
    // Of the gateway one way is enough.
    let through = [Way::Server, Way::All, Way::Rest].into_iter().find(|way| ways.contains(way));
    for way in ways.iter().copied().filter(|way| *way == Way::Floor).chain(through) {
        let mut times = Vec::new();
        let mut memory = None;
        for _ in 0..STARTS {
            let mut running = match way {
                Way::Floor => programs.floor(&upstream).await?,
                _ => {
                    Running::gateway(&programs.gateway, &servers(&[(Kind::Modern.name(), &upstream)])?)
                        .await?
                }
            };
            times.push(running.until(async |address| answers(way, address).await.map(|()| true)).await?);
            memory = running.memory();
            running.stop().await?;
        }
        times.sort();
        report.starts.push(Start::new(way, times[STARTS / 2], times[0], times[STARTS - 1]));
        report
            .memory
            .extend(memory.map(|bytes| Memory::new(way_process(way), "after its first answer", bytes)));
    }
    Ok(())
}

/// Takes note of the memory that is held after all calls.
pub(crate) fn remember(fleet: &Fleet, report: &mut Report) {
    let floors = fleet.floors.iter().zip(Kind::ALL).map(|(floor, kind)| {
        floor
            .memory()
            .map(|bytes| Memory::new("floor", &format!("after all calls to {}", kind.name()), bytes))
    });
    let gateway = fleet.gateway.iter().map(|gateway| {
        gateway.memory().map(|bytes| Memory::new("gateway", "after all calls to all three", bytes))
    });
    report.memory.extend(floors.chain(gateway).flatten());
}

fn way_process(way: Way) -> &'static str {
    if way.is_gateway() { "gateway" } else { "floor" }
}

async fn answers(way: Way, address: std::net::SocketAddr) -> Result<(), Failure> {
    let wanted = Wanted { size: 200, shape: Shape::Json };
    let callers = match way {
        Way::Rest => Caller::rest(address, Kind::Modern.name(), wanted, 1).await?,
        _ => Caller::raw(&door(way, Kind::Modern, address), wanted, 1).await?,
    };
    for mut caller in callers {
        tokio::time::timeout(Duration::from_secs(5), caller.call()).await??;
    }
    Ok(())
}
