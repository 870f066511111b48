//! What the tests share.

use std::sync::Arc;
use std::time::Duration;

use mcp_clients::{ClientChange, ClientEvents, ClientOptions, McpClient};
use mcp_protocol::{Era, EraPolicy};
use mcp_registry::{Clock, Definition};
use mcp_testkit::{Dice, ManualClock, ScriptedCluster};
use mcp_transport::{Endpoint, HttpEndpoint, StdioEndpoint};

/// Seed of the jitter.
pub(crate) const SEED: u64 = 1;

/// One client of the scripted server `p`.
pub(crate) struct World {
    pub(crate) client: McpClient,
    pub(crate) cluster: ScriptedCluster,
    pub(crate) clock: ManualClock,
    pub(crate) events: ClientEvents,
}

pub(crate) fn http(name: &str) -> Definition {
    let url = format!("https://{name}.example/mcp").parse().unwrap();
    let mut definition = Definition::new(name.parse().unwrap(), Endpoint::Http(HttpEndpoint::new(url)));
    definition.protocol = EraPolicy::Only(Era::Handshake);
    definition
}

/// A server that is a process: it can crash.
pub(crate) fn process(name: &str) -> Definition {
    let endpoint = Endpoint::Stdio(StdioEndpoint::new(name, [""; 0]));
    let mut definition = Definition::new(name.parse().unwrap(), endpoint);
    definition.protocol = EraPolicy::Only(Era::Handshake);
    definition
}

/// Options with a clock and dice of the tests.
pub(crate) fn options(clock: &ManualClock) -> ClientOptions {
    let mut options = ClientOptions::default();
    options.timer = Arc::new(clock.clone());
    options.random = Arc::new(Dice::new(SEED));
    options
}

impl World {
    pub(crate) fn new(definition: Definition) -> Self {
        Self::with(definition, |_| {})
    }

    pub(crate) fn with(definition: Definition, adjust: impl FnOnce(&mut ClientOptions)) -> Self {
        let (cluster, clock) = (ScriptedCluster::new(), ManualClock::new());
        let mut options = options(&clock);
        adjust(&mut options);
        let client = McpClient::new(definition, Arc::new(cluster.clone()), options);
        let events = client.events();
        Self { client, cluster, clock, events }
    }

    /// Does some work, moving the clock to whatever is waited for; says how long each wait was.
    pub(crate) async fn drive<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> (T, Vec<Duration>) {
        let work = tokio::spawn(work);
        let mut waits = Vec::new();
        loop {
            settle().await;
            if work.is_finished() {
                return (work.await.unwrap(), waits);
            }
            waits.extend(self.step());
        }
    }

    /// Moves the clock to what is waited for next; says how long that was.
    pub(crate) fn step(&self) -> Option<Duration> {
        let wait = self.clock.next_wake()?.since(self.clock.now());
        self.clock.advance(wait);
        Some(wait)
    }

    /// The changes of the state so far, as words, and what else was told.
    pub(crate) async fn told(&mut self) -> Vec<String> {
        settle().await;
        let mut told = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), self.events.next()).await {
            told.push(match event.change {
                ClientChange::State { from, to, .. } => format!("{}>{}", from.as_str(), to.as_str()),
                ClientChange::Unavailable { failure, attempts } => {
                    format!("unavailable({attempts}): {}", failure.text)
                }
                ClientChange::ReconnectScheduled { delay, attempt } => {
                    format!("again in {} s ({attempt})", delay.as_secs())
                }
                other => panic!("{other:?}"),
            });
        }
        told
    }
}

/// Lets background work run until it waits for the clock.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
