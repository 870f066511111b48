//! Which era a server speaks: the state machine behind [`connect`](crate::connect()).
//!
//! It follows the hardened algorithms of wire reference §5.1 (stdio) and §5.2 (HTTP). It sends nothing
//! and waits for nothing: it is told what was [`Observed`] and says what comes [`Next`].

use std::fmt;
use std::time::Duration;

use mcp_protocol::discover::newest;
use mcp_protocol::result::{Envelope, ResultType};
use mcp_protocol::{Era, EraPolicy, ErrorCode, JsonKind, ProtocolVersion, RawJson, RpcError};
use mcp_transport::{TransportError, TransportErrorKind, TransportKind};

use crate::answer::Answer;
use crate::core::{hint, tried};
use crate::error::CallError;
use crate::profile::ServerProfile;

/// A request that finds out something about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `server/discover` with this version in its envelope.
    Discover(ProtocolVersion),
    /// `initialize` offering this version.
    Initialize(ProtocolVersion),
}

impl Probe {
    fn of(era: Era) -> Self {
        match era {
            Era::Stateless => Self::Discover(ProtocolVersion::LATEST_STATELESS),
            Era::Handshake => Self::Initialize(ProtocolVersion::LATEST_HANDSHAKE),
        }
    }

    fn era(self) -> Era {
        match self {
            Self::Discover(_) => Era::Stateless,
            Self::Initialize(_) => Era::Handshake,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover(version) => write!(f, "server/discover ({version})"),
            Self::Initialize(version) => write!(f, "initialize ({version})"),
        }
    }
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Observed {
    /// A probe has its outcome.
    Outcome(Probe, Result<Answer, CallError>),
    /// The first probe is still unanswered after the probe timeout.
    Silence(Duration),
    /// The time for the whole negotiation is over.
    Deadline(Duration),
}

/// What to do.
#[derive(Debug, PartialEq)]
#[must_use = "the negotiation goes on only if this is done"]
pub(crate) enum Next {
    /// Send this on the same connection, and go on listening for answers that are still out.
    Send(Probe),
    /// The server ended with `error`: open the transport again and send this first.
    Reopen { probe: Probe, error: CallError },
    /// Nothing; an answer is still out.
    Wait,
    /// Done. In the handshake era `notifications/initialized` remains to be sent.
    Settled(Box<ServerProfile>),
    /// No use.
    GiveUp(CallError),
}

/// The negotiation with one server.
#[derive(Debug)]
pub(crate) struct Negotiation {
    policy: EraPolicy,
    kind: TransportKind,
    discover: Progress,
    initialize: Progress,
    /// The probe that opened the current connection.
    opened_with: Era,
    latest: Era,
    reopened: bool,
    last_error: Option<CallError>,
    tried: Vec<String>,
}

/// How often a probe was sent, whether its answer is out, and whether the last was an HTTP status.
#[derive(Debug, Default)]
struct Progress {
    sent: u8,
    waiting: bool,
    refused: bool,
}

/// Each probe is sent at most this often: once, and once more with another version.
const MAX_SENT: u8 = 2;

impl Negotiation {
    /// Starts, and says what to send first.
    pub(crate) fn new(policy: EraPolicy, hint: Option<Era>, kind: TransportKind) -> (Self, Probe) {
        let first = match policy {
            EraPolicy::Only(era) => era,
            EraPolicy::Auto => hint.unwrap_or(Era::Stateless),
        };
        let mut negotiation = Self {
            policy,
            kind,
            discover: Progress::default(),
            initialize: Progress::default(),
            opened_with: first,
            latest: first,
            reopened: false,
            last_error: None,
            tried: Vec::new(),
        };
        let probe = Probe::of(first);
        negotiation.sending(probe);
        (negotiation, probe)
    }

    /// Whether the silence of the first probe leads anywhere.
    pub(crate) fn has_fallback(&self) -> bool {
        self.policy == EraPolicy::Auto
    }

    /// What was tried so far, each with its outcome.
    pub(crate) fn into_tried(self) -> Vec<String> {
        self.tried
    }

    /// What to do about `error`, with which this ended, if every probe that was sent was refused by an HTTP
    /// status.
    pub(crate) fn hint(&self, error: &CallError) -> Option<&'static str> {
        let refused = match (&self.discover, &self.initialize) {
            (Progress { refused: true, .. }, Progress { sent: 0, .. }) => hint::Refused::Discover,
            (Progress { sent: 0, .. }, Progress { refused: true, .. }) => hint::Refused::Initialize,
            (Progress { refused: true, .. }, Progress { refused: true, .. }) => hint::Refused::Both,
            _ => return None,
        };
        hint::of_status(status(error)?, refused)
    }

    /// Takes what happened. Not called any more after [`Next::Settled`] or [`Next::GiveUp`].
    pub(crate) fn on(&mut self, observed: Observed) -> Next {
        match observed {
            Observed::Outcome(probe, Ok(answer)) => {
                let progress = self.progress(probe.era());
                progress.waiting = false;
                progress.refused = false;
                match probe {
                    Probe::Discover(_) => self.on_discovered(probe, answer),
                    Probe::Initialize(_) => self.on_initialized(probe, answer),
                }
            }
            Observed::Outcome(probe, Err(error)) => {
                let progress = self.progress(probe.era());
                progress.waiting = false;
                progress.refused = status(&error).is_some();
                self.note(probe, &error);
                match &error {
                    CallError::Rpc { error: rpc, .. } => match probe {
                        Probe::Discover(offered) => self.on_discover_refused(offered, &rpc.clone(), error),
                        Probe::Initialize(offered) => self.on_initialize_refused(offered, rpc.clone(), error),
                    },
                    _ => self.on_failed(probe, error),
                }
            }
            Observed::Silence(limit) => {
                let probe = Probe::of(self.latest);
                self.note(probe, &format_args!("no answer within {limit:?}"));
                self.fall_back(self.latest, None)
            }
            Observed::Deadline(limit) => self.on_deadline(limit),
        }
    }

    fn on_discovered(&mut self, probe: Probe, answer: Answer) -> Next {
        let Some(versions) = discovered_versions(&answer.result) else {
            let error = CallError::unusable("not a server/discover result", answer.frame);
            self.note(probe, &error);
            return self.fall_back(Era::Stateless, Some(error));
        };
        if let Some(version) = newest(&versions, Era::Stateless) {
            self.note(probe, &format_args!("speaks {version}"));
            return Next::Settled(Box::new(ServerProfile::from_discover(version, &answer.result)));
        }
        let error = CallError::unusable(disjoint(&versions), answer.frame);
        self.note(probe, &error);
        self.initialize_with(&versions, error)
    }

    fn on_discover_refused(&mut self, offered: ProtocolVersion, rpc: &RpcError, error: CallError) -> Next {
        match rpc.code() {
            Some(ErrorCode::UNSUPPORTED_PROTOCOL_VERSION) => {
                let versions = supported(rpc).unwrap_or_default();
                // One that names nothing but what it has just refused may have had a reason of the moment.
                let newer = newest(&versions, Era::Stateless)
                    .filter(|newer| *newer != offered || newest(&versions, Era::Handshake).is_none());
                match newer {
                    Some(version) if self.discover.sent < MAX_SENT => self.send(Probe::Discover(version)),
                    _ => self.initialize_with(&versions, error),
                }
            }
            // A stateless server, or a proxy that drops its headers: a handshake would hide the fault.
            Some(ErrorCode::HEADER_MISMATCH | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY) => {
                Next::GiveUp(error)
            }
            _ => self.fall_back(Era::Stateless, Some(error)),
        }
    }

    /// The server named its versions and none of them is stateless for us.
    fn initialize_with(&mut self, versions: &[Box<str>], error: CallError) -> Next {
        match newest(versions, Era::Handshake) {
            Some(_) if self.initialize.waiting => self.wait(Some(error)),
            Some(version) if self.allows(Era::Handshake) && self.initialize.sent == 0 => {
                self.send(Probe::Initialize(version))
            }
            _ => Next::GiveUp(error),
        }
    }

    fn on_initialized(&mut self, probe: Probe, answer: Answer) -> Next {
        let named = match answer.result.kind() {
            JsonKind::Object => answer.result.get("protocolVersion").and_then(|v| v.to::<String>().ok()),
            _ => return self.give_up(probe, CallError::unusable("invalid initialize result", answer.frame)),
        };
        let Some(named) = named else {
            let reason = "the initialize result names no protocol version";
            return self.give_up(probe, CallError::unusable(reason, answer.frame));
        };
        match named.parse::<ProtocolVersion>() {
            Ok(version) if version.era() == Era::Handshake => {
                self.note(probe, &format_args!("speaks {version}"));
                Next::Settled(Box::new(ServerProfile::from_initialize(version, &answer.result)))
            }
            // No handshake exists in that revision, and we did not offer it (wire reference §2.1): the
            // answer only shows that the server knows the stateless era.
            Ok(version) => {
                let reason = format!("the server answered initialize with {version}, which has no handshake");
                let error = CallError::unusable(reason, answer.frame);
                self.note(probe, &error);
                self.fall_back(Era::Handshake, Some(error))
            }
            Err(_) => {
                let reason = format!("the server answered initialize with unknown version {named:?}");
                self.give_up(probe, CallError::unusable(reason, answer.frame))
            }
        }
    }

    fn on_initialize_refused(&mut self, offered: ProtocolVersion, rpc: RpcError, error: CallError) -> Next {
        let versions = supported(&rpc);
        let modern = match rpc.code() {
            Some(ErrorCode::UNSUPPORTED_PROTOCOL_VERSION) => true,
            Some(ErrorCode::INVALID_PARAMS) if versions.is_some() => false,
            _ => return self.fall_back(Era::Handshake, Some(error)),
        };
        let versions = versions.unwrap_or_default();
        let stateless = newest(&versions, Era::Stateless)
            .or_else(|| (modern && versions.is_empty()).then_some(ProtocolVersion::LATEST_STATELESS))
            .filter(|_| self.allows(Era::Stateless));
        if stateless.is_some() && self.discover.waiting {
            return self.wait(Some(error));
        }
        if let Some(version) = stateless
            && self.discover.sent < MAX_SENT
        {
            return self.send(Probe::Discover(version));
        }
        match newest(&versions, Era::Handshake).filter(|version| *version != offered) {
            Some(version) if self.initialize.sent < MAX_SENT => self.send(Probe::Initialize(version)),
            _ => Next::GiveUp(error),
        }
    }

    fn on_failed(&mut self, probe: Probe, error: CallError) -> Next {
        let CallError::Transport(transport) = &error else {
            return self.fall_back(probe.era(), Some(error));
        };
        match transport.kind {
            // A busy transport has used up the time for everything.
            TransportErrorKind::Connect(_)
            | TransportErrorKind::Endpoint(_)
            | TransportErrorKind::Busy { .. }
            | TransportErrorKind::Status { status: 401 | 403, .. } => Next::GiveUp(error),
            TransportErrorKind::Closed(_) | TransportErrorKind::Exited(_)
                if self.kind == TransportKind::Stdio =>
            {
                self.on_exit(error)
            }
            _ => self.fall_back(probe.era(), Some(error)),
        }
    }

    /// The process ended. Some servers end on any first message other than `initialize`: one more start
    /// with the other message first tells (wire reference §5.1 item 6).
    fn on_exit(&mut self, error: CallError) -> Next {
        self.discover.waiting = false;
        self.initialize.waiting = false;
        let other = other(self.opened_with);
        let worth_it = match other {
            // It may have failed only because of the probe before it.
            Era::Handshake => true,
            Era::Stateless => self.discover.sent == 0,
        };
        if self.reopened || !worth_it || !self.allows(other) {
            return Next::GiveUp(error);
        }
        self.reopened = true;
        self.opened_with = other;
        self.last_error = Some(error.clone());
        let probe = Probe::of(other);
        self.sending(probe);
        Next::Reopen { probe, error }
    }

    fn on_deadline(&mut self, limit: Duration) -> Next {
        let timeout = CallError::timeout(limit);
        for era in [Era::Stateless, Era::Handshake] {
            if self.progress(era).waiting {
                self.note(Probe::of(era), &timeout);
            }
        }
        // An error that came after the probe that is still out says more than that nothing came.
        let latest_is_out = self.progress(self.latest).waiting;
        Next::GiveUp(self.last_error.take().filter(|_| !latest_is_out).unwrap_or(timeout))
    }

    /// `from` did not work out: the other era, if it may be used and was not tried before.
    fn fall_back(&mut self, from: Era, error: Option<CallError>) -> Next {
        let to = other(from);
        let out = self.progress(to).waiting || self.progress(from).waiting;
        if self.allows(to) && self.progress(to).sent == 0 {
            self.last_error = error;
            return self.send(Probe::of(to));
        }
        match error {
            Some(error) if !out => Next::GiveUp(error),
            error => self.wait(error),
        }
    }

    fn give_up(&mut self, probe: Probe, error: CallError) -> Next {
        self.note(probe, &error);
        Next::GiveUp(error)
    }

    fn wait(&mut self, error: Option<CallError>) -> Next {
        if error.is_some() {
            self.last_error = error;
        }
        Next::Wait
    }

    fn send(&mut self, probe: Probe) -> Next {
        self.sending(probe);
        Next::Send(probe)
    }

    fn sending(&mut self, probe: Probe) {
        let progress = self.progress(probe.era());
        progress.sent += 1;
        progress.waiting = true;
        self.latest = probe.era();
    }

    fn progress(&mut self, era: Era) -> &mut Progress {
        match era {
            Era::Stateless => &mut self.discover,
            Era::Handshake => &mut self.initialize,
        }
    }

    fn allows(&self, era: Era) -> bool {
        match self.policy {
            EraPolicy::Auto => true,
            EraPolicy::Only(only) => only == era,
        }
    }

    fn note(&mut self, probe: Probe, outcome: &dyn fmt::Display) {
        self.tried.push(tried::entry(&probe, outcome));
    }
}

/// The HTTP status, if the error is nothing more than that.
fn status(error: &CallError) -> Option<u16> {
    match error {
        CallError::Transport(TransportError {
            kind: TransportErrorKind::Status { status, .. } | TransportErrorKind::Redirect { status, .. },
            ..
        }) => Some(*status),
        _ => None,
    }
}

fn other(era: Era) -> Era {
    match era {
        Era::Stateless => Era::Handshake,
        Era::Handshake => Era::Stateless,
    }
}

/// `supportedVersions`; `None` if this is no result of `server/discover`.
fn discovered_versions(result: &RawJson) -> Option<Vec<Box<str>>> {
    let envelope = Envelope::read(result).ok()?;
    (envelope.result_type == ResultType::Complete).then(|| result.get("supportedVersions")?.to().ok())?
}

/// `data.supported` of an error.
fn supported(error: &RpcError) -> Option<Vec<Box<str>>> {
    error.data()?.get("supported")?.to().ok()
}

fn disjoint(versions: &[Box<str>]) -> String {
    /// Enough to tell what is going on.
    const SHOWN: usize = 8;
    let shown: Vec<String> =
        versions.iter().take(SHOWN).map(|text| text.chars().take(32).collect()).collect();
    format!("no protocol version in common: the server offers [{}]", shown.join(", "))
}

#[cfg(test)]
mod tests;
