//! Everything that runs while calls are measured: upstreams, a floor proxy before each, and one gateway before all.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;
use mcp_protocol::Era;

use crate::Failure;
use crate::answers::TOOL;
use crate::calls::{Caller, Door, Wanted};
use crate::program::profile_folder;
use crate::running::Running;
use crate::upstream::Upstream;

/// A way to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// A bare HTTP client at the upstream itself
    Raw,
    /// mcp-client at the upstream itself
    Client,
    /// The floor proxy
    Floor,
    /// The gateway's endpoint for one server
    Server,
    /// The gateway's endpoint for all servers
    All,
    /// The gateway's REST API
    Rest,
}

/// An upstream that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP, 2025-11-25, with sessions.
    Legacy,
    /// HTTP, 2026-07-28, stateless.
    Modern,
    /// A process of its own on stdio, 2025-11-25.
    Stdio,
}

/// The programs that are measured, and how to start them.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) gateway: PathBuf,
    pub(crate) floor: PathBuf,
    pub(crate) stdio: PathBuf,
}

pub(crate) struct Fleet {
    pub(crate) legacy: Upstream,
    pub(crate) modern: Upstream,
    /// In the order of [`Kind::ALL`].
    pub(crate) floors: Vec<Running>,
    /// If any way leads through it.
    pub(crate) gateway: Option<Running>,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw HTTP",
            Self::Client => "mcp-client",
            Self::Floor => "floor",
            Self::Server => "`/mcp/{server}`",
            Self::All => "`/mcp`",
            Self::Rest => "REST",
        }
    }

    /// Whether the gateway is on it.
    pub(crate) fn is_gateway(self) -> bool {
        matches!(self, Self::Server | Self::All | Self::Rest)
    }

    /// Whether it is one of the gateway's MCP endpoints.
    pub(crate) fn is_endpoint(self) -> bool {
        matches!(self, Self::Server | Self::All)
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Legacy, Self::Modern, Self::Stdio];

    /// As the gateway's configuration calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
            Self::Stdio => "stdio",
        }
    }

    /// What it speaks, and its callers as well.
    pub(crate) fn era(self) -> Era {
        match self {
            Self::Legacy | Self::Stdio => Era::Handshake,
            Self::Modern => Era::Stateless,
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Programs {
    /// Those that Cargo has built, or another gateway.
    pub(crate) fn find(gateway: Option<PathBuf>) -> Result<Self, Failure> {
        let folder = profile_folder()?;
        let built = |name: &str| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        Ok(Self {
            gateway: gateway.unwrap_or_else(|| built("mcp-gateway")),
            floor: built("mcp-bench-floor"),
            stdio: built("mcp-bench-stdio"),
        })
    }

    pub(crate) async fn floor(&self, upstream: &Upstream) -> Result<Running, Failure> {
        Running::floor(&self.floor, &["--url", &format!("http://{}/mcp", upstream.address())]).await
    }
}

impl Fleet {
    /// Starts everything, and waits until it is ready.
    pub(crate) async fn start(programs: &Programs, ways: &[Way]) -> Result<Self, Failure> {
        let legacy = Upstream::start(Era::Handshake, 0).await?;
        let modern = Upstream::start(Era::Stateless, 0).await?;
        let stdio = programs.stdio.to_str().ok_or("the path of the programs is not UTF-8")?;
        let mut floors = Vec::new();
        if ways.contains(&Way::Floor) {
            floors.push(programs.floor(&legacy).await?);
            floors.push(programs.floor(&modern).await?);
            floors.push(Running::floor(&programs.floor, &["--", stdio]).await?);
        }
        for floor in &mut floors {
            floor.listening().await?;
        }
        let mut gateway = None;
        if ways.iter().any(|way| way.is_gateway()) {
            let mut configuration =
                servers(&[(Kind::Legacy.name(), &legacy), (Kind::Modern.name(), &modern)])?;
            writeln!(
                configuration,
                "[servers.{}]\ncommand = {stdio:?}\nprotocol = \"legacy\"",
                Kind::Stdio.name()
            )?;
            let running = gateway.insert(Running::gateway(&programs.gateway, &configuration).await?);
            running.ready().await?;
        }
        Ok(Self { legacy, modern, floors, gateway })
    }

    /// The upstream, if it is one in this process.
    pub(crate) fn upstream(&self, kind: Kind) -> Option<&Upstream> {
        match kind {
            Kind::Legacy => Some(&self.legacy),
            Kind::Modern => Some(&self.modern),
            Kind::Stdio => None,
        }
    }

    /// The process on the way; `None` if there is none.
    pub(crate) fn process(&self, way: Way, kind: Kind) -> Option<&Running> {
        match way {
            Way::Raw | Way::Client => None,
            Way::Floor => self.floors.get(kind.index()),
            Way::Server | Way::All | Way::Rest => self.gateway.as_ref(),
        }
    }

    /// Callers who go this way; `None` if it does not lead there.
    pub(crate) async fn callers(
        &self,
        way: Way,
        kind: Kind,
        wanted: Wanted,
        count: usize,
    ) -> Result<Option<Vec<Caller>>, Failure> {
        let process = self.process(way, kind).map(Running::address);
        Ok(Some(match (way, self.upstream(kind), process) {
            (Way::Raw, Some(upstream), _) => {
                Caller::raw(&door(way, kind, upstream.address()), wanted, count).await?
            }
            (Way::Client, Some(upstream), _) => Caller::clients(upstream, wanted, count).await?,
            (Way::Floor | Way::Server | Way::All, _, Some(address)) => {
                Caller::raw(&door(way, kind, address), wanted, count).await?
            }
            (Way::Rest, _, Some(gateway)) => Caller::rest(gateway, kind.name(), wanted, count).await?,
            _ => return Ok(None),
        }))
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        for running in self.floors.into_iter().chain(self.gateway) {
            running.stop().await?;
        }
        Ok(())
    }
}

/// The MCP endpoint of a way, and how the tool is called there.
pub(crate) fn door(way: Way, kind: Kind, address: std::net::SocketAddr) -> Door {
    let name = kind.name();
    let (path, tool) = match way {
        Way::Floor => ("/mcp".to_owned(), format!("floor__{TOOL}")),
        Way::Server => (format!("/mcp/{name}"), TOOL.to_owned()),
        Way::All => ("/mcp".to_owned(), format!("{name}__{TOOL}")),
        Way::Raw | Way::Client | Way::Rest => ("/mcp".to_owned(), TOOL.to_owned()),
    };
    Door { address, path, tool, era: kind.era() }
}

/// The part of a configuration file with servers over HTTP, each named, and each at a path of its own.
pub(crate) fn servers(upstreams: &[(&str, &Upstream)]) -> Result<String, Failure> {
    let mut text = String::new();
    for (name, upstream) in upstreams {
        let protocol = match upstream.era() {
            Era::Handshake => "legacy",
            Era::Stateless => "modern",
        };
        writeln!(text, "[servers.{name}]\nurl = \"http://{}/mcp/{name}\"", upstream.address())?;
        writeln!(text, "protocol = \"{protocol}\"")?;
    }
    Ok(text)
}
