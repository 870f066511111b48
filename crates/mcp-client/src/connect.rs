//! Opening a connection: drives the negotiation over a transport.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mcp_protocol::{Era, EraPolicy, Method, ProtocolVersion};
use mcp_transport::{
    Connector, Delivery, Endpoint, Header, SseEndpoint, TransportError, TransportErrorKind, TransportKind,
};

use crate::answer::Answer;
use crate::client::{Client, send_notification};
use crate::core::negotiate::{Negotiation, Next, Observed, Probe};
use crate::core::tried;
use crate::deadline::Deadline;
use crate::envelope::{Envelope, Sender, mirror};
use crate::error::{CallError, ConnectError};
use crate::exchange::{Cancel, Event, Exchange, Prepared};
use crate::handler::Host;
use crate::interest::Interest;
use crate::link::{Connection, Rules};
use crate::options::ConnectOptions;
use crate::profile::ServerProfile;

/// Longest wait for the server's own stream at the end of a handshake. Some servers do not begin to answer before
/// they have something to say.
const LISTENING_LIMIT: Duration = Duration::from_millis(500);

/// Connects to a server and finds out which era it speaks, stateless first unless told otherwise. Takes no
/// longer than [`handshake_timeout`](ConnectOptions::handshake_timeout).
///
/// A Streamable HTTP endpoint that refuses both eras is tried as one of the two-endpoint transport of
/// 2024-11-05, if the connector supports that (wire reference §5.2 step 3).
///
/// # Errors
/// [`ConnectError`], with everything that was tried. The transport is then closed in the background, as long
/// as the runtime lives; when it ends the transport is dropped, which must end a process as well.
pub async fn connect(
    connector: &dyn Connector,
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> Result<Client, ConnectError> {
    let deadline = Deadline::after(options.handshake_timeout);
    let error = match connect_to(connector, endpoint, options, deadline).await {
        Err(error) => error,
        connected => return connected,
    };
    let Some(fallback) = two_endpoints(connector, endpoint, options, &error) else { return Err(error) };
    tracing::debug!(%error, "trying the two-endpoint transport");
    match connect_to(connector, &fallback, options, deadline).await {
        // What went wrong first is what the endpoint was configured for.
        Err(second) => {
            let tried = error.tried.into_iter().chain(second.tried).collect();
            Err(ConnectError { tried, ..error })
        }
        connected => connected,
    }
}

/// The same URL as an endpoint of the older transport, if the refusal allows for that.
fn two_endpoints(
    connector: &dyn Connector,
    endpoint: &Endpoint,
    options: &ConnectOptions,
    error: &ConnectError,
) -> Option<Endpoint> {
    let Endpoint::Http(http) = endpoint else { return None };
    let refused = match &error.error {
        CallError::Transport(TransportError { kind: TransportErrorKind::Status { status, .. }, .. }) => {
            matches!(status, 400 | 404 | 405 | 406 | 415)
        }
        _ => false,
    };
    let fallback = Endpoint::Sse(SseEndpoint::new(http.clone()));
    let possible = refused && options.policy != EraPolicy::Only(Era::Stateless);
    (possible && connector.supports(&fallback)).then_some(fallback)
}

async fn connect_to(
    connector: &dyn Connector,
    endpoint: &Endpoint,
    options: &ConnectOptions,
    deadline: Deadline,
) -> Result<Client, ConnectError> {
    let kind = endpoint.kind();
    let envelope = Envelope::new(options).map_err(not_even_tried)?;
    let policy = match (kind, options.policy) {
        (TransportKind::Sse, EraPolicy::Only(Era::Stateless)) => {
            return Err(not_even_tried(CallError::malformed("the sse transport has no stateless era")));
        }
        (TransportKind::Sse, _) => EraPolicy::Only(Era::Handshake),
        (_, policy) => policy,
    };
    let rules = Rules {
        host: Host {
            handler: options.handler.clone(),
            capabilities: envelope.capabilities().clone(),
            limit: options.handler_timeout,
        },
        recover_session: options.recover_session,
    };
    let (negotiation, mut first) = Negotiation::new(policy, options.hint, kind);
    let silence = negotiation.has_fallback().then_some(options.probe_timeout);
    let mut attempt = Attempt::new(negotiation, &envelope, &options.headers, silence, deadline);
    loop {
        let connection = match open(connector, endpoint, &options.headers, &rules, deadline).await {
            Ok(connection) => connection,
            Err(error) => return Err(attempt.failed_to_open(kind, error)),
        };
        match attempt.run(&connection, first).await {
            Verdict::Settled(profile) => {
                tracing::debug!(transport = %kind, version = %profile.version, era = %profile.era, "connected");
                let attended = profile.era == Era::Handshake && connection.link().recovers;
                let client = Client::new(connection, envelope, profile, options.rate_limit.clone());
                if attended {
                    client.attend_to_changes();
                }
                return Ok(client);
            }
            Verdict::Reopen { probe, error } => {
                tracing::warn!(transport = %kind, %error, next = %probe, "the server ended, starting it again");
                // Two processes of one server could get in each other's way.
                if let Err(error) = deadline.bound(close(&connection)).await {
                    return Err(attempt.failed(error, None));
                }
                first = probe;
            }
            // A process may take seconds to end: dropping the connection closes it without waiting.
            Verdict::Failed { error, profile } => {
                let details = connection.link().transport.details();
                return Err(ConnectError { details, ..attempt.failed(error, profile) });
            }
        }
    }
}

async fn open(
    connector: &dyn Connector,
    endpoint: &Endpoint,
    headers: &[Header],
    rules: &Rules,
    Deadline { at, limit, .. }: Deadline,
) -> Result<Arc<Connection>, CallError> {
    match tokio::time::timeout_at(at, connector.connect_with(endpoint, headers)).await {
        Ok(Ok(transport)) => Ok(Connection::new(transport, endpoint.kind(), rules.clone())),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(TransportError::new(TransportErrorKind::Timeout { limit }, Delivery::NotSent).into()),
    }
}

async fn close(connection: &Connection) -> Result<(), CallError> {
    connection.link().shut();
    connection.link().transport.close().await;
    Ok(())
}

fn not_even_tried(error: CallError) -> ConnectError {
    ConnectError { error, profile: None, hint: None, tried: Vec::new(), details: Vec::new() }
}

/// How an attempt on one connection ended.
pub(crate) enum Verdict {
    /// The era and version are known, and the server knows that they are.
    Settled(Arc<ServerProfile>),
    /// The server ended with `error` and should be started again with this first.
    Reopen { probe: Probe, error: CallError },
    /// No connection.
    Failed { error: CallError, profile: Option<Arc<ServerProfile>> },
}

/// A negotiation with its clocks.
pub(crate) struct Attempt<'a> {
    negotiation: Negotiation,
    envelope: &'a Envelope,
    /// Sent with every message of the negotiation.
    headers: &'a [Header],
    /// How long the first probe may be silent; `None` once that is decided.
    silence: Option<Duration>,
    /// When everything has to be over, on whatever connection.
    deadline: Deadline,
}

type Outcome = (Probe, Result<Answer, CallError>);

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        negotiation: Negotiation,
        envelope: &'a Envelope,
        headers: &'a [Header],
        silence: Option<Duration>,
        deadline: Deadline,
    ) -> Self {
        Self { negotiation, envelope, headers, silence, deadline }
    }

    /// Negotiates on a connection, beginning with `first`.
    pub(crate) async fn run(&mut self, connection: &Arc<Connection>, first: Probe) -> Verdict {
        // Both probes may be out at once: whichever answers first decides.
        let mut probes: FuturesUnordered<BoxFuture<'static, Outcome>> = FuturesUnordered::new();
        probes.push(send(connection.clone(), self.request(connection, first)));
        let mut silence =
            self.silence.take().map(Deadline::after).filter(|silence| silence.at < self.deadline.at);
        loop {
            let observed = tokio::select! {
                biased;
                Some((probe, outcome)) = probes.next() => Observed::Outcome(probe, outcome),
                () = tokio::time::sleep_until(silence.unwrap_or(self.deadline).at) => match silence {
                    Some(silence) => Observed::Silence(silence.limit),
                    None => Observed::Deadline(self.deadline.limit),
                },
            };
            // Whatever it was, the first probe is not what is waited for alone any more.
            silence = None;
            if let Observed::Outcome(probe, Err(error)) = &observed {
                tracing::debug!(%probe, %error, "probe failed");
            }
            match self.negotiation.on(observed) {
                Next::Send(probe) => {
                    probes.push(send(connection.clone(), self.request(connection, probe)));
                }
                Next::Wait => {}
                Next::Reopen { probe, error } => return Verdict::Reopen { probe, error },
                Next::Settled(profile) => return self.settle(connection, (*profile).into()).await,
                Next::GiveUp(error) => return Verdict::Failed { error, profile: None },
            }
        }
    }

    /// The error of a failed attempt.
    pub(crate) fn failed(self, error: CallError, profile: Option<Arc<ServerProfile>>) -> ConnectError {
        // Whoever completed the handshake has the right address.
        let hint = self.negotiation.hint(&error).filter(|_| profile.is_none());
        let tried = self.negotiation.into_tried();
        tracing::debug!(%error, ?tried, "no connection");
        ConnectError { error, profile, hint, tried, details: Vec::new() }
    }

    fn failed_to_open(self, kind: TransportKind, error: CallError) -> ConnectError {
        let opening = tried::entry(&format_args!("open {kind}"), &error);
        let mut failed = self.failed(error, None);
        failed.tried.push(opening);
        failed
    }

    /// Completes the handshake, where there is one.
    async fn settle(&self, connection: &Arc<Connection>, profile: Arc<ServerProfile>) -> Verdict {
        let link = connection.link();
        if profile.era == Era::Handshake {
            let (version, headers) = (profile.version, self.headers.to_vec());
            let sending = send_notification(link, Method::Initialized, None, version, headers, self.deadline);
            if let Err(error) = sending.await {
                return Verdict::Failed { error, profile: Some(profile) };
            }
        }
        let lists = match profile.era {
            Era::Handshake => Interest::declared(&profile),
            Era::Stateless => Interest::default(),
        };
        link.agree(profile.version, lists);
        // What the server says on account of the first call must not come before it can be heard.
        let limit = Deadline::after(LISTENING_LIMIT).at.min(self.deadline.at);
        if tokio::time::timeout_at(limit, link.transport.listening()).await.is_err() {
            tracing::debug!("the server's own stream is not open yet");
        }
        Verdict::Settled(profile)
    }

    fn request(&self, connection: &Connection, probe: Probe) -> (Probe, Result<Prepared, CallError>) {
        let link = connection.link();
        let (method, params, version) = match probe {
            Probe::Discover(version) => {
                let method = Method::ServerDiscover;
                let params = self.envelope.wrap(&method, None, Some(version), Sender::default());
                (method, params.map(|(params, _)| params), Some(version))
            }
            // Neither version header nor any other of the stateless era (wire reference §5.2 step 2).
            Probe::Initialize(version) => {
                (Method::Initialize, self.envelope.initialize(version).map(Some), None::<ProtocolVersion>)
            }
        };
        let mirrored = if version.is_some() && link.kind == TransportKind::Http {
            mirror(&method, None)
        } else {
            Vec::new()
        };
        let prepared = params.map(|params| Prepared {
            id: link.next_id(),
            method,
            params,
            version,
            headers: self.headers.to_vec(),
            mirrored,
            // `initialize` must not be cancelled, and a probe that was outrun needs not be.
            cancel: Cancel::Silently,
            events: false,
            probe: true,
            asker: None,
            level: None,
            result_types: None,
            deadline: Some(self.deadline),
        });
        (probe, prepared)
    }
}

fn send(
    connection: Arc<Connection>,
    (probe, prepared): (Probe, Result<Prepared, CallError>),
) -> BoxFuture<'static, Outcome> {
    Box::pin(async move {
        let outcome = async {
            let mut exchange = Exchange::open(connection, prepared?).await?;
            loop {
                if let Event::Done(answer) = exchange.next().await? {
                    return Ok(answer);
                }
            }
        };
        (probe, outcome.await)
    })
}
