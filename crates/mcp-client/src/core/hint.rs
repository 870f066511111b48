//! What to do about an HTTP status that ended a negotiation, for people.

/// Which probes were sent, all of them refused by an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Discover,
    Initialize,
    Both,
}

/// The hint for the status that decided; `None` where nobody but the server knows what is wrong.
pub(crate) fn of_status(status: u16, refused: Refused) -> Option<&'static str> {
    Some(match (status, refused) {
        (401, _) => "credentials are needed: set auth, or a header",
        (403, _) => "access is denied: check the credentials and what they allow",
        (300..=399, _) => "redirects are not followed: use the URL they lead to",
        // Both mean that the server is there but not now, whatever is asked for.
        (408 | 429, _) => return None,
        (400..=499, Refused::Discover) => "server/discover was refused: is this the URL of an MCP endpoint?",
        (400..=499, Refused::Initialize) => "initialize was refused: is this the URL of an MCP endpoint?",
        (400..=499, Refused::Both) => {
            "server/discover and initialize were both refused: is this the URL of an MCP endpoint?"
        }
        _ => return None,
    })
}
