//! Health checks and the monitor. Source: contract §3.5, §7.6.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use mcp_registry::{
    Answered, Due, ErrorCategory, Failure, HealthView, ProbeKind, ServerName, ServerRecord, Status, Timestamp,
};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::failure;
use crate::handshake::{Cause, Need};
use crate::link::{Checking, Link};
use crate::manager::{Inner, Manager, UnknownServer};

/// Servers worked on at the same time when something is done to all of them, or to all that are due.
const CONCURRENT_CHECKS: usize = 16;

/// How a probe ended.
enum Probed {
    /// The server answered.
    Healthy,
    /// It answered the handshake that took the place of the probe.
    Opened,
    /// Nothing is to be recorded: the outcome was recorded already, or the probe never left.
    Recorded,
    /// It did not answer as it should.
    Failed(Failure),
}

/// What is known of a server's health (contract §8.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Healthy, unhealthy, or never checked.
    pub status: HealthView,
    /// When the latest result was recorded.
    pub last_check: Option<Timestamp>,
    /// Latency of the latest successful probe; `None` while the server is unhealthy.
    pub response_time: Option<Duration>,
    /// Text of the latest failure; `None` after a success.
    pub error_message: Option<Arc<str>>,
    /// Failed attempts and probes in a row.
    pub consecutive_failures: u32,
}

impl From<&ServerRecord> for ServerHealth {
    fn from(record: &ServerRecord) -> Self {
        let status = record.health_view();
        Self {
            status,
            last_check: record.last_checked_at(),
            response_time: record.response_time.filter(|_| status == HealthView::Healthy),
            error_message: record.last_error.clone(),
            consecutive_failures: record.consecutive_failures,
        }
    }
}

impl Manager {
    /// Probes a server, also within its retry window, and records the outcome.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn check_server_health(&self, name: &str) -> Result<ServerHealth, UnknownServer> {
        let link = self.link(name)?;
        self.0.check(&link).await;
        Ok(ServerHealth::from(&*self.server(name)?))
    }

    /// Probes every enabled server at the same time, also within retry windows; one entry per server.
    pub async fn check_all_servers_health(&self) -> BTreeMap<ServerName, ServerHealth> {
        let check = |manager: Self, name: String| async move {
            manager.check_server_health(&name).await?;
            manager.server(&name)
        };
        let records = self.for_all(check).await;
        records.iter().map(|record| (record.name().clone(), ServerHealth::from(&**record))).collect()
    }

    /// Whether the server's latest check went well; false for unknown names and before the first check.
    #[must_use]
    pub fn is_server_healthy(&self, name: &str) -> bool {
        self.table().get(name).is_some_and(|record| record.health_view() == HealthView::Healthy)
    }

    /// The share of a server's latest 20 calls and probes that failed through its own fault, 0 to 1; `None`
    /// while there were fewer. Source: contract §7.6.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub fn error_rate(&self, name: &str) -> Result<Option<f64>, UnknownServer> {
        Ok(self.link(name)?.outcomes.error_rate())
    }

    /// The names of the servers whose latest check went well, sorted.
    #[must_use]
    pub fn healthy_servers(&self) -> Vec<ServerName> {
        let table = self.table();
        let healthy = table.servers().iter().filter(|record| record.health_view() == HealthView::Healthy);
        healthy.map(|record| record.name().clone()).collect()
    }

    /// Probes a server unless its retry window is closed, and records the outcome.
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn health_check(&self, name: &str) -> Result<Arc<ServerRecord>, UnknownServer> {
        let link = self.link(name)?;
        if self.should_retry(name) {
            self.0.check(&link).await;
        }
        self.server(name)
    }

    /// Health check, then a handshake unless the server turned out unreachable (contract §3.1).
    ///
    /// # Errors
    /// [`UnknownServer`].
    pub async fn connect(&self, name: &str, force: bool) -> Result<Arc<ServerRecord>, UnknownServer> {
        let record = self.health_check(name).await?;
        if record.status == Status::Unreachable && !force {
            return Ok(record);
        }
        self.initialize(name, force).await
    }

    /// Every server's health check; results in name order.
    pub async fn health_check_all(&self) -> Vec<Arc<ServerRecord>> {
        self.for_all(|manager, name| async move { manager.health_check(&name).await }).await
    }

    /// Every server's handshake; results in name order, failed ones included.
    pub async fn initialize_all(&self, force: bool) -> Vec<Arc<ServerRecord>> {
        self.for_all(|manager, name| async move { manager.initialize(&name, force).await }).await
    }

    /// Every server's connect; results in name order, failed ones included.
    pub async fn connect_all(&self, force: bool) -> Vec<Arc<ServerRecord>> {
        self.for_all(|manager, name| async move { manager.connect(&name, force).await }).await
    }

    /// Runs `work` on every server, a bounded number at a time. Disabled servers are left alone, those
    /// removed meanwhile are left out.
    pub(crate) async fn for_all<F: Future<Output = Result<Arc<ServerRecord>, UnknownServer>>>(
        &self,
        work: impl Fn(Self, String) -> F,
    ) -> Vec<Arc<ServerRecord>> {
        let one = |record: Arc<ServerRecord>| {
            let work = record.definition.enabled.then(|| work(self.clone(), record.name().to_string()));
            async move {
                match work {
                    Some(work) => work.await,
                    None => Ok(record),
                }
            }
        };
        futures::stream::iter(self.table().servers().to_vec())
            .map(one)
            .buffered(CONCURRENT_CHECKS)
            .filter_map(|outcome| async { outcome.ok() })
            .collect()
            .await
    }

    /// Starts the background task that checks every server at once and then periodically, and brings
    /// crashed child processes back. It ends with the manager; starting it twice is starting it once.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start_monitor(&self) {
        if self.0.claim_monitor() {
            tokio::spawn(monitor(Arc::downgrade(&self.0), self.0.changed.clone(), self.0.closing.clone()));
        }
    }
}

impl Inner {
    async fn check(self: &Arc<Self>, link: &Arc<Link>) {
        let started = self.now();
        let probed = self.probe(link).await;
        // A clock too coarse to tell is no reason to say that it took no time.
        let latency = self.now().since(started).max(Duration::from_micros(1));
        let failure = match probed {
            Probed::Recorded => return,
            Probed::Healthy | Probed::Opened => {
                link.outcomes.note(false);
                let (opened, error_rate) = (matches!(probed, Probed::Opened), link.outcomes.error_rate());
                let answered = Answered { latency, opened, error_rate };
                self.record(|registry, now| registry.probe_answered(now, &link.key, answered))
            }
            Probed::Failed(failure) => {
                link.outcomes.note(true);
                let recorded = failure.clone();
                self.record(|registry, now| registry.record_failure(now, &link.key, recorded, None, false));
                Some(failure)
            }
        };
        if let Some(failure) = failure {
            tracing::warn!(server = %link.key.name, error = %failure.text, "health check failed");
        }
    }

    async fn probe(self: &Arc<Self>, link: &Arc<Link>) -> Probed {
        let definition = &link.definition();
        let plain = match definition.probe {
            ProbeKind::HttpGet => true,
            ProbeKind::Auto => !link.lacks_health_path(),
            ProbeKind::McpPing | ProbeKind::McpDiscover => false,
        };
        if plain {
            let asked = self.connector.health(&definition.endpoint, &definition.health_path);
            let outcome = tokio::time::timeout(self.policy.probe_timeout, asked).await;
            let missing = matches!(outcome, Ok(Some(Ok(404 | 405 | 406 | 501))) | Ok(None));
            match outcome {
                _ if missing && definition.probe == ProbeKind::Auto => link.remember_no_health_path(),
                Ok(Some(Ok(200..=299))) => return Probed::Healthy,
                Ok(Some(Ok(status))) => return unhealthy(format!("http {status}")),
                Ok(Some(Err(error))) if failure::is_our_queue_of(&error) => return Probed::Recorded,
                Ok(Some(Err(error))) => return unhealthy(error.to_string()),
                Ok(None) => return unhealthy("the server has no URL to probe".into()),
                Err(_) => return unhealthy(format!("no answer within {:?}", self.policy.probe_timeout)),
            }
        }
        self.probe_by_protocol(link).await
    }

    async fn probe_by_protocol(self: &Arc<Self>, link: &Arc<Link>) -> Probed {
        let Some(session) = link.session() else { return self.probe_by_handshake(link).await };
        session.touch(self.now());
        let error = match self.counted(session.client().ping(self.policy.ping_timeout)).await {
            Ok(()) => return Probed::Healthy,
            Err(error) => error,
        };
        if failure::is_our_queue(&error) {
            return Probed::Recorded;
        }
        if failure::is_forgotten_session(&error) {
            // That is no fault: the server is asked on a new session.
            self.give_up_session(link, &session);
            return self.probe_by_handshake(link).await;
        }
        let failure = failure::of_error(&error);
        let recorded = Failure::new(ErrorCategory::HealthCheck, failure.text);
        if !failure.category.ends_session() {
            return Probed::Failed(recorded);
        }
        if session.take_blame() {
            link.outcomes.note(true);
            tracing::warn!(server = %link.key.name, error = %recorded.text, "health check failed");
            self.fail_session(link, &session, recorded, None);
        }
        Probed::Recorded
    }

    /// Where there is no session to ping, whether the server answers a handshake is the question. One that
    /// takes longer than a probe may goes on, and records its own outcome.
    async fn probe_by_handshake(self: &Arc<Self>, link: &Arc<Link>) -> Probed {
        let ready = self.ready(link, Need::Any, Cause::Itself);
        match tokio::time::timeout(self.policy.probe_timeout, ready).await {
            Ok(Ok(())) => Probed::Opened,
            Ok(Err(_)) | Err(_) => Probed::Recorded,
        }
    }
}

fn unhealthy(text: String) -> Probed {
    Probed::Failed(Failure::new(ErrorCategory::HealthCheck, text))
}

impl Inner {
    /// Checks a server soon, in the background, because a call on it took longer than its caller waited.
    pub(crate) fn suspect(self: &Arc<Self>, link: &Arc<Link>) {
        if let Some(checking) = link.begin_check() {
            let (inner, link) = (self.clone(), link.clone());
            self.in_background(async move {
                inner.check(&link).await;
                drop(checking);
            });
        }
    }

    /// Runs work that ends with the manager, wherever it is then.
    fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        tokio::spawn(async move { closing.run_until_cancelled_owned(work).await });
    }
}

/// Waits for deadlines and hands out what is due. Holds no strong reference while waiting.
async fn monitor(manager: Weak<Inner>, changed: Arc<Notify>, closing: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONCURRENT_CHECKS));
    loop {
        let Some(inner) = manager.upgrade().filter(|_| !closing.is_cancelled()) else { return };
        for work in inner.record(|registry, now| registry.due(now)) {
            let (Due::Check(key) | Due::Reconnect(key)) = &work;
            let link = Manager(inner.clone()).link(key.name.as_str()).ok().filter(|link| link.key == *key);
            let Some(link) = link else { continue };
            // A server whose last check still runs is not checked again: the tasks are as many as servers.
            match (link.begin_check(), &work) {
                (Some(checking), _) => {
                    inner.in_background(perform(manager.clone(), link, work, checking, slots.clone()));
                }
                (None, Due::Reconnect(_)) => inner.reconnect_later(&link),
                (None, Due::Check(_)) => {}
            }
        }
        let sleep = inner.next_deadline().map(|at| inner.timer.sleep_until(at));
        drop(inner);
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = changed.notified() => {}
            () = async { sleep.unwrap_or_else(|| Box::pin(pending())).await } => {}
        }
    }
}

async fn perform(
    manager: Weak<Inner>,
    link: Arc<Link>,
    work: Due,
    checking: Checking,
    slots: Arc<Semaphore>,
) {
    let Ok(_slot) = slots.acquire().await else { return };
    let Some(inner) = manager.upgrade().filter(|inner| !inner.closing.is_cancelled()) else { return };
    match work {
        Due::Check(key) => {
            if inner.current(&key).is_some_and(|record| record.should_retry(inner.now())) {
                inner.check(&link).await;
            }
        }
        Due::Reconnect(_) => inner.reconnect_in_background(&link).await,
    }
    drop(checking);
}
