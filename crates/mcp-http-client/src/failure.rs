//! Failures as transport errors, without URLs or secrets.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;
use mcp_transport::{Delivery, TransportError, TransportErrorKind};

use crate::address::Refused;
use crate::kept::NotConnected;

/// A request that got no answer head. `target` is where it went; `fresh` says that no answer has ever come from
/// there, so that none has come on its connection.
pub(crate) fn sending(error: &(dyn Error + 'static), target: &str, fresh: bool) -> TransportError {
    if let Some(refused) = find::<Refused>(error) {
        return unusable(format!("{target} cannot be used: {refused}"));
    }
    let cause = cause(error);
    if find(error).is_some_and(reqwest::Error::is_builder) {
        return unusable(format!("the request to {target} cannot be built: {cause}"));
    }
    let refused = refused_certificate(&cause);
    // What TLS complains of says why, and never whether the request was read before.
    let unconnected =
        find(error).is_some_and(legacy::Error::is_connect) || find::<NotConnected>(error).is_some();
    if unconnected || (fresh && refused.is_some()) {
        let reason = refused.or_else(|| find::<rustls::Error>(error).and_then(failed_handshake));
        return connect(format!("cannot connect to {target}: {}", reason.unwrap_or(cause)));
    }
    closed(format!("the connection to {target} broke before an answer came: {}", refused.unwrap_or(cause)))
}

/// A body that broke off.
pub(crate) fn reading(error: &(dyn Error + 'static), target: &str) -> TransportError {
    closed(format!("the connection to {target} broke within the answer: {}", cause(error)))
}

/// The connection is gone and the server may have executed the message.
#[must_use]
pub fn closed(text: impl Into<Box<str>>) -> TransportError {
    TransportError::new(TransportErrorKind::Closed(text.into()), Delivery::Unknown)
}

/// The server took the message and answered with something unusable.
#[must_use]
pub fn payload(text: impl Into<Box<str>>) -> TransportError {
    TransportError::new(TransportErrorKind::Payload(text.into()), Delivery::Unknown)
}

/// The endpoint cannot be used as configured; nothing was sent.
#[must_use]
pub fn unusable(text: impl Into<Box<str>>) -> TransportError {
    TransportError::new(TransportErrorKind::Endpoint(text.into()), Delivery::NotSent)
}

/// There is no connection; nothing was sent.
fn connect(text: String) -> TransportError {
    TransportError::new(TransportErrorKind::Connect(text.into()), Delivery::NotSent)
}

/// Why there is no TLS connection, if it is for a reason somebody can do something about.
fn failed_handshake(error: &rustls::Error) -> Option<String> {
    use rustls::{CertificateError as Certificate, Error as Tls};
    Some(match error {
        Tls::InvalidCertificate(problem) => {
            let problem = match problem {
                Certificate::Expired | Certificate::ExpiredContext { .. } => "has expired",
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                    "is not valid yet (are the clocks right?)"
                }
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                    "is for another host name"
                }
                Certificate::UnknownIssuer => "is of an unknown authority (see tls.ca_file)",
                Certificate::Revoked => "was revoked",
                other => return Some(format!("the server's certificate is unusable: {other}")),
            };
            format!("the server's certificate {problem}")
        }
        Tls::InvalidMessage(_) => "what answers does not speak TLS (is it plain http?)".into(),
        _ => return None,
    })
}

/// Whether the server did not want our certificate, told by the text of the alert: in HTTP/2 that is all that
/// is left of it.
///
/// With TLS 1.3 a server checks the certificate when we believe the handshake to be over, but before it reads
/// what we send: its refusal is one of the connection all the same, unless something was answered before.
fn refused_certificate(cause: &str) -> Option<String> {
    let alert = cause.strip_prefix("received fatal alert: ")?;
    Some(match alert {
        "CertificateRequired" => "the server asks for a client certificate (see tls.cert_file)".to_owned(),
        "AccessDenied"
        | "BadCertificate"
        | "CertificateExpired"
        | "CertificateRevoked"
        | "CertificateUnknown"
        | "UnknownCA"
        | "UnsupportedCertificate" => {
            format!("the server refused our certificate (see tls.cert_file): {alert}")
        }
        _ => return None,
    })
}

/// The first cause of this type. I/O errors do not name what they wrap as their source.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// The innermost cause: the layers around it only say that they failed, and `reqwest`'s names the URL.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if innermost.is::<reqwest::Error>() { "no further detail".to_owned() } else { innermost.to_string() }
}
