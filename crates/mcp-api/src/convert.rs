//! From the manager's types to the bodies of the API.

use std::time::Duration;

use mcp_api_types as api;
use mcp_manager::{ConnectionReport, Freshness, Manager, ServerHealth, SessionState, Statistics};
use mcp_protocol::{Era, RawJson};
use mcp_registry::{
    Attempt, CapabilitySnapshot, ConnectionEvent, ConnectionState, ErrorCategory, FailureCode, HealthView,
    InvocationError, InvocationEvent, Phase, RegistryChange, RegistryEvent, ServerRecord, Stage, Status,
    Timestamp,
};
use mcp_transport::{Delivery, TransportKind};
use serde_json::value::RawValue;

/// The server object of contract §6.1.
pub(crate) fn server(manager: &Manager, record: &ServerRecord) -> api::Server {
    let name = record.name().as_str();
    // None without controls. Removed in the meantime: the record is still what it was.
    let session = manager.session_state(name).ok();
    let connection = manager.connection(name).unwrap_or_default();
    let now = manager.now();
    api::Server {
        name: name.to_owned(),
        url: record.definition.endpoint.url().map(ToString::to_string),
        status: status(record.status),
        last_error: record.last_error.as_deref().map(str::to_owned),
        last_error_category: record.last_error_category.map(category),
        retry_count: record.retry_count,
        last_checked_at: instant(record.last_checked_at()),
        next_retry_at: instant(record.next_retry_at),
        initialized: record.initialized,
        protocol_version: record.protocol_version.clone(),
        last_initialized_at: instant(record.last_initialized_at),
        initialization_expires_at: instant(record.initialization_expires_at),
        adapter_controls_available: manager.has_session_controls(record),
        capability_snapshot: record.capability_snapshot.as_deref().map(snapshot),
        adapter_session: session.map(adapter_session),
        transport: transport(record.definition.endpoint.kind()),
        connection_state: connection_state(record.connection_state),
        health_view: health_view(record.health_view()),
        consecutive_failures: record.consecutive_failures,
        response_time_ms: record.response_time.map(millis),
        era: match record.era {
            None => api::Era::Unknown,
            Some(Era::Handshake) => api::Era::Legacy,
            Some(Era::Stateless) => api::Era::Modern,
        },
        enabled: record.definition.enabled,
        stats: stats(&connection, now),
        group: record.definition.group.as_ref().map(ToString::to_string),
        priority: Some(record.definition.priority),
        tools: record.tools.as_ref().map(|tools| tools.keys().map(ToString::to_string).collect()),
        last_error_delivery: record.last_error_delivery.map(delivery),
        error_rate: manager.error_rate(name).ok().flatten(),
        restarts: record.restarts(),
        next_reconnect_at: instant(record.next_reconnect_at()),
        details: connection.details.into_iter().map(|(key, fact)| (key.to_owned(), fact)).collect(),
    }
}

/// The part of it that tells of its health.
pub(crate) fn health(record: &ServerRecord) -> api::ServerHealth {
    let health = ServerHealth::from(record);
    api::ServerHealth {
        server: record.name().to_string(),
        health_view: health_view(health.status),
        last_checked_at: instant(health.last_check),
        response_time_ms: health.response_time.map(millis),
        error_message: health.error_message.as_deref().map(str::to_owned),
        consecutive_failures: health.consecutive_failures,
    }
}

/// Sums over all servers.
pub(crate) fn statistics(sums: Statistics) -> api::RegistryStats {
    api::RegistryStats {
        total_servers: sums.total_servers as u64,
        connected_servers: sums.connected_servers as u64,
        disconnected_servers: sums.disconnected_servers as u64,
        error_servers: sums.error_servers as u64,
        critical_servers_down: sums.critical_servers_down as u64,
        total_requests: sums.total_requests,
        total_errors: sums.total_errors,
    }
}

fn health_view(view: HealthView) -> api::HealthView {
    match view {
        HealthView::Unknown => api::HealthView::Unknown,
        HealthView::Healthy => api::HealthView::Healthy,
        HealthView::Unhealthy => api::HealthView::Unhealthy,
    }
}

fn stats(connection: &ConnectionReport, now: Timestamp) -> Option<api::ConnectionStats> {
    let stats = connection.stats.as_ref()?;
    Some(api::ConnectionStats {
        connected_at: Some((now - stats.connected_for).to_string()),
        last_activity: Some((now - stats.idle_for).to_string()),
        requests_sent: stats.requests_sent,
        errors_count: stats.errors,
        average_latency: Some(stats.average_latency.as_secs_f64()),
    })
}

/// What a server said of itself.
pub(crate) fn snapshot(snapshot: &CapabilitySnapshot) -> api::CapabilitySnapshot {
    api::CapabilitySnapshot {
        protocol_version: snapshot.protocol_version.clone(),
        server_info: snapshot.server_info.as_ref().and_then(raw),
        capabilities: snapshot.capabilities.as_ref().and_then(raw),
        captured_at: snapshot.captured_at.to_string(),
    }
}

/// What a server sent, as it sent it.
pub(crate) fn raw(json: &RawJson) -> Option<Box<RawValue>> {
    RawValue::from_string(json.as_str().to_owned()).ok()
}

fn adapter_session(session: SessionState) -> api::AdapterSession {
    api::AdapterSession {
        active: session.active,
        initialized: session.initialized,
        last_activity_at: instant(session.last_activity_at),
        freshness: freshness(session.freshness),
    }
}

/// The same as an entry of the session list.
pub(crate) fn adapter_session_item(server: &str, session: SessionState) -> api::AdapterSessionItem {
    api::AdapterSessionItem {
        server: server.to_owned(),
        active: session.active,
        initialized: session.initialized,
        last_activity_at: instant(session.last_activity_at),
        freshness: freshness(session.freshness),
    }
}

fn freshness(freshness: Freshness) -> api::Freshness {
    match freshness {
        Freshness::Unknown => api::Freshness::Unknown,
        Freshness::ActiveRecent => api::Freshness::ActiveRecent,
        Freshness::Stale => api::Freshness::Stale,
    }
}

/// The failure body of contract §4.6.
pub(crate) fn invocation_error(error: InvocationError) -> api::InvocationError {
    api::InvocationError {
        message: error.message,
        method: error.method.as_str().to_owned(),
        code: failure_code(error.code),
        attempts: error.attempts.iter().map(attempt).collect(),
    }
}

pub(crate) fn failure_code(code: FailureCode) -> api::FailureCode {
    match code {
        FailureCode::NoCandidates => api::FailureCode::NoCandidates,
        FailureCode::NoServerOffersTool => api::FailureCode::NoServerOffersTool,
        FailureCode::AllCandidatesFailed => api::FailureCode::AllCandidatesFailed,
        FailureCode::AmbiguousNotRetried => api::FailureCode::AmbiguousNotRetried,
        FailureCode::CallerError => api::FailureCode::CallerError,
        FailureCode::DeadlineExceeded => api::FailureCode::DeadlineExceeded,
        FailureCode::ShuttingDown => api::FailureCode::ShuttingDown,
    }
}

/// One entry of the trace (contract §4.4).
pub(crate) fn attempt(attempt: &Attempt) -> api::Attempt {
    api::Attempt {
        server: attempt.server.to_string(),
        stage: match attempt.stage {
            Stage::Initialize => api::Stage::Initialize,
            Stage::Invoke => api::Stage::Invoke,
        },
        success: attempt.failure.is_none(),
        error: attempt.failure.as_ref().map(|failure| failure.text.to_string()),
        error_category: attempt.failure.as_ref().map(|failure| category(failure.category)),
        attempt: attempt.attempt,
        duration_ms: Some(millis(attempt.duration)),
        delivery: attempt.delivery.map(delivery),
    }
}

pub(crate) fn delivery(delivery: Delivery) -> api::Delivery {
    match delivery {
        Delivery::NotSent => api::Delivery::NotSent,
        Delivery::Rejected => api::Delivery::Rejected,
        Delivery::Unknown => api::Delivery::Unknown,
    }
}

/// An event of contract §5.1.
pub(crate) fn connection_event(event: ConnectionEvent) -> api::ConnectionEvent {
    api::ConnectionEvent {
        server: event.server.to_string(),
        from_status: status(event.from_status),
        to_status: status(event.to_status),
        reason: event.reason.to_string(),
        timestamp: event.timestamp.to_string(),
        correlation_id: event.correlation_id.as_deref().map(str::to_owned),
        seq: event.seq,
    }
}

/// An event of contract §5.2.
pub(crate) fn invocation_event(event: InvocationEvent) -> api::InvocationEvent {
    api::InvocationEvent {
        server: event.server.to_string(),
        method: event.method.as_str().to_owned(),
        request_id: event.request_id.to_string(),
        phase: match event.phase {
            Phase::InitializeStart => api::Phase::InitializeStart,
            Phase::InitializeSuccess => api::Phase::InitializeSuccess,
            Phase::InitializeFailure => api::Phase::InitializeFailure,
            Phase::InvokeStart => api::Phase::InvokeStart,
            Phase::InvokeSuccess => api::Phase::InvokeSuccess,
            Phase::InvokeFailure => api::Phase::InvokeFailure,
        },
        timestamp: event.timestamp.to_string(),
        error: event.failure.as_ref().map(|failure| failure.text.to_string()),
        error_category: event.failure.as_ref().map(|failure| category(failure.category)),
        duration_ms: event.duration.map(millis),
        delivery: event.delivery.map(delivery),
        attempt: event.attempt,
        seq: event.seq,
    }
}

/// An event of contract §5.3.
pub(crate) fn registry_event(event: RegistryEvent) -> api::RegistryEvent {
    let (kind, detail) = match event.change {
        RegistryChange::Registered => (api::RegistryEventKind::ServerRegistered, None),
        RegistryChange::Redefined => (api::RegistryEventKind::ServerRedefined, None),
        RegistryChange::Unregistered => (api::RegistryEventKind::ServerUnregistered, None),
        RegistryChange::StateChanged { from, to } => (
            api::RegistryEventKind::StateChanged,
            Some(api::RegistryDetail::State { from: connection_state(from), to: connection_state(to) }),
        ),
        RegistryChange::Unavailable { reason } => (
            api::RegistryEventKind::ServerUnavailable,
            Some(api::RegistryDetail::Reason { reason: reason.to_string() }),
        ),
        RegistryChange::ToolsRefreshed { count } => {
            (api::RegistryEventKind::ToolsRefreshed, Some(api::RegistryDetail::Tools { count: count as u64 }))
        }
        RegistryChange::ToolChanged { tool, digest, withheld } => (
            api::RegistryEventKind::ToolChanged,
            Some(api::RegistryDetail::Tool { tool: tool.to_string(), digest: digest.to_string(), withheld }),
        ),
        RegistryChange::ReconnectScheduled { delay, attempt } => {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            (
                api::RegistryEventKind::ReconnectScheduled,
                Some(api::RegistryDetail::Reconnect { delay_ms, attempt }),
            )
        }
    };
    api::RegistryEvent {
        kind,
        server: event.server.to_string(),
        timestamp: event.timestamp.to_string(),
        seq: event.seq,
        detail,
    }
}

/// Milliseconds to three decimals; unrounded, some would end in the noise of a binary fraction.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn instant(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

pub(crate) fn status(status: Status) -> api::Status {
    match status {
        Status::Healthy => api::Status::Healthy,
        Status::Degraded => api::Status::Degraded,
        Status::Unreachable => api::Status::Unreachable,
    }
}

fn connection_state(state: ConnectionState) -> api::ConnectionState {
    match state {
        ConnectionState::Initializing => api::ConnectionState::Initializing,
        ConnectionState::Connected => api::ConnectionState::Connected,
        ConnectionState::Disconnected => api::ConnectionState::Disconnected,
        ConnectionState::Error => api::ConnectionState::Error,
        ConnectionState::Reconnecting => api::ConnectionState::Reconnecting,
    }
}

fn transport(kind: TransportKind) -> api::TransportKind {
    match kind {
        TransportKind::Stdio => api::TransportKind::Stdio,
        TransportKind::Sse => api::TransportKind::Sse,
        _ => api::TransportKind::Http,
    }
}

pub(crate) fn category(category: ErrorCategory) -> api::ErrorCategory {
    match category {
        ErrorCategory::NetworkTimeout => api::ErrorCategory::NetworkTimeout,
        ErrorCategory::HttpStatus => api::ErrorCategory::HttpStatus,
        ErrorCategory::InvalidPayload => api::ErrorCategory::InvalidPayload,
        ErrorCategory::RpcError => api::ErrorCategory::RpcError,
        ErrorCategory::TransportError => api::ErrorCategory::TransportError,
        ErrorCategory::HealthCheck => api::ErrorCategory::HealthCheck,
        ErrorCategory::InitializeError => api::ErrorCategory::InitializeError,
        ErrorCategory::Unknown => api::ErrorCategory::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_three_decimals_at_most() {
        for (nanos, text) in [
            (0, "0.0"),
            (499, "0.0"),
            (4_000, "0.004"),
            (4_499, "0.004"),
            (1_005_500, "1.006"),
            (2_300_000, "2.3"),
            (4_035_000, "4.035"),
            (30_000_100_000, "30000.1"),
            (86_400_000_001_001, "86400000.001"),
        ] {
            let shown = serde_json::to_string(&millis(Duration::from_nanos(nanos))).unwrap();
            assert_eq!(shown, text, "{nanos} ns");
        }
    }
}
