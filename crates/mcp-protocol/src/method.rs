//! The methods of MCP: who sends them, in which revisions, and whether they may be repeated.

use std::fmt;

use crate::version::ProtocolVersion;
use ProtocolVersion::{V2024_11_05, V2025_06_18, V2025_11_25, V2026_07_28};

/// Who may send a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The client only.
    ToServer,
    /// The server only.
    ToClient,
    /// Either side.
    Both,
}

/// Whether a request whose outcome is unknown may be sent again. Source: contract §2.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrySafety {
    /// A read: repeating it changes nothing.
    Safe,
    /// It depends on the tool and on what the caller says.
    ByTool,
    /// It may have effects; repeating it is not ours to decide.
    Unsafe,
}

/// What is known of one method.
struct Entry {
    method: Method,
    name: &'static str,
    notification: bool,
    direction: Direction,
    first: ProtocolVersion,
    last: ProtocolVersion,
    safety: RetrySafety,
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal $kind:ident $direction:ident $first:ident ..= $last:ident $safety:ident;)*) => {
        /// The `method` of a request or notification.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Method {
            $($(#[doc = $doc])* $variant,)*
            /// A method of an extension, or one this build does not know.
            Other(Box<str>),
        }

        const TABLE: &[Entry] = &[$(Entry {
            method: Method::$variant,
            name: $name,
            notification: methods!(@kind $kind),
            direction: Direction::$direction,
            first: $first,
            last: $last,
            safety: RetrySafety::$safety,
        },)*];

        impl Method {
            fn entry(&self) -> Option<&'static Entry> {
                let position = match self {
                    $(Self::$variant => Position::$variant,)*
                    Self::Other(_) => return None,
                };
                TABLE.get(position as usize)
            }
        }

        impl From<&str> for Method {
            fn from(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }

        /// Index into [`TABLE`].
        enum Position { $($variant,)* }
    };
    (@kind Request) => { false };
    (@kind Notification) => { true };
}

methods! {
    /// `initialize`
    Initialize "initialize" Request ToServer V2024_11_05..=V2025_11_25 Safe;
    /// `ping`
    Ping "ping" Request Both V2024_11_05..=V2025_11_25 Safe;
    /// `server/discover`
    ServerDiscover "server/discover" Request ToServer V2026_07_28..=V2026_07_28 Safe;
    /// `tools/list`
    ToolsList "tools/list" Request ToServer V2024_11_05..=V2026_07_28 Safe;
    /// `tools/call`
    ToolsCall "tools/call" Request ToServer V2024_11_05..=V2026_07_28 ByTool;
    /// `resources/list`
    ResourcesList "resources/list" Request ToServer V2024_11_05..=V2026_07_28 Safe;
    /// `resources/templates/list`
    ResourceTemplatesList "resources/templates/list" Request ToServer V2024_11_05..=V2026_07_28 Safe;
    /// `resources/read`
    ResourcesRead "resources/read" Request ToServer V2024_11_05..=V2026_07_28 Safe;
    /// `resources/subscribe`
    ResourcesSubscribe "resources/subscribe" Request ToServer V2024_11_05..=V2025_11_25 Safe;
    /// `resources/unsubscribe`
    ResourcesUnsubscribe "resources/unsubscribe" Request ToServer V2024_11_05..=V2025_11_25 Safe;
    /// `prompts/list`
    PromptsList "prompts/list" Request ToServer V2024_11_05..=V2026_07_28 Safe;
    /// `prompts/get`
    PromptsGet "prompts/get" Request ToServer V2024_11_05..=V2026_07_28 Safe;
    /// `completion/complete`
    CompletionComplete "completion/complete" Request ToServer V2024_11_05..=V2026_07_28 Safe;
    /// `logging/setLevel`
    LoggingSetLevel "logging/setLevel" Request ToServer V2024_11_05..=V2025_11_25 Safe;
    /// `subscriptions/listen`
    SubscriptionsListen "subscriptions/listen" Request ToServer V2026_07_28..=V2026_07_28 Safe;
    /// `roots/list`; from 2026-07-28 only inside `input_required` results.
    RootsList "roots/list" Request ToClient V2024_11_05..=V2025_11_25 Safe;
    /// `sampling/createMessage`; from 2026-07-28 only inside `input_required` results.
    SamplingCreateMessage "sampling/createMessage" Request ToClient V2024_11_05..=V2025_11_25 Unsafe;
    /// `elicitation/create`; from 2026-07-28 only inside `input_required` results.
    ElicitationCreate "elicitation/create" Request ToClient V2025_06_18..=V2025_11_25 Unsafe;
    /// `tasks/get`: core in 2025-11-25, extension `io.modelcontextprotocol/tasks` in 2026-07-28.
    TasksGet "tasks/get" Request Both V2025_11_25..=V2026_07_28 Safe;
    /// `tasks/result`
    TasksResult "tasks/result" Request Both V2025_11_25..=V2025_11_25 Safe;
    /// `tasks/list`
    TasksList "tasks/list" Request Both V2025_11_25..=V2025_11_25 Safe;
    /// `tasks/cancel`: core in 2025-11-25, extension in 2026-07-28.
    TasksCancel "tasks/cancel" Request Both V2025_11_25..=V2026_07_28 Safe;
    /// `tasks/update`: extension in 2026-07-28.
    TasksUpdate "tasks/update" Request ToServer V2026_07_28..=V2026_07_28 Unsafe;

    /// `notifications/initialized`
    Initialized "notifications/initialized" Notification ToServer V2024_11_05..=V2025_11_25 Safe;
    /// `notifications/cancelled`; in 2026-07-28 only on stdio, and from the server only for a listen request.
    Cancelled "notifications/cancelled" Notification Both V2024_11_05..=V2026_07_28 Safe;
    /// `notifications/progress`; in 2026-07-28 from the server only.
    Progress "notifications/progress" Notification Both V2024_11_05..=V2026_07_28 Safe;
    /// `notifications/message`
    LogMessage "notifications/message" Notification ToClient V2024_11_05..=V2026_07_28 Safe;
    /// `notifications/tools/list_changed`
    ToolsListChanged "notifications/tools/list_changed" Notification ToClient V2024_11_05..=V2026_07_28 Safe;
    /// `notifications/prompts/list_changed`
    PromptsListChanged "notifications/prompts/list_changed" Notification ToClient V2024_11_05..=V2026_07_28 Safe;
    /// `notifications/resources/list_changed`
    ResourcesListChanged "notifications/resources/list_changed" Notification ToClient V2024_11_05..=V2026_07_28 Safe;
    /// `notifications/resources/updated`
    ResourcesUpdated "notifications/resources/updated" Notification ToClient V2024_11_05..=V2026_07_28 Safe;
    /// `notifications/roots/list_changed`
    RootsListChanged "notifications/roots/list_changed" Notification ToServer V2024_11_05..=V2025_11_25 Safe;
    /// `notifications/elicitation/complete`
    ElicitationComplete "notifications/elicitation/complete" Notification ToClient V2025_11_25..=V2025_11_25 Safe;
    /// `notifications/tasks/status`
    TasksStatus "notifications/tasks/status" Notification Both V2025_11_25..=V2025_11_25 Safe;
    /// `notifications/subscriptions/acknowledged`
    SubscriptionsAcknowledged "notifications/subscriptions/acknowledged" Notification ToClient V2026_07_28..=V2026_07_28 Safe;
    /// `notifications/tasks`: extension in 2026-07-28.
    Tasks "notifications/tasks" Notification ToClient V2026_07_28..=V2026_07_28 Safe;
}

impl Method {
    /// Every method the revisions define.
    pub fn known() -> impl Iterator<Item = &'static Self> {
        TABLE.iter().map(|entry| &entry.method)
    }

    /// The method as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match (self, self.entry()) {
            (Self::Other(name), _) => name,
            (_, Some(entry)) => entry.name,
            (_, None) => "", // every other variant has an entry
        }
    }

    /// Whether the revision defines the method. Unknown methods belong to no revision.
    #[must_use]
    pub fn exists_in(&self, version: ProtocolVersion) -> bool {
        self.entry().is_some_and(|entry| (entry.first..=entry.last).contains(&version))
    }

    /// Who may send it; `None` for unknown methods.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.entry().map(|entry| entry.direction)
    }

    /// Whether it is a notification; unknown methods count by their `notifications/` prefix.
    #[must_use]
    pub fn is_notification(&self) -> bool {
        self.entry().map_or_else(|| self.as_str().starts_with("notifications/"), |entry| entry.notification)
    }

    /// Whether a request with an unknown outcome may be repeated. Unknown methods are unsafe.
    #[must_use]
    pub fn retry_safety(&self) -> RetrySafety {
        self.entry().map_or(RetrySafety::Unsafe, |entry| entry.safety)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_table_agree() {
        for method in Method::known() {
            assert_eq!(&Method::from(method.as_str()), method);
            assert_eq!(method.is_notification(), method.as_str().starts_with("notifications/"));
        }
        let other = Method::from("vendor/thing");
        assert_eq!(other.as_str(), "vendor/thing");
        assert_eq!(other.retry_safety(), RetrySafety::Unsafe);
        assert!(!other.exists_in(V2026_07_28));
    }

    #[test]
    fn eras_differ_in_their_methods() {
        for (method, handshake, stateless) in [
            (Method::Initialize, true, false),
            (Method::Ping, true, false),
            (Method::ToolsCall, true, true),
            (Method::ServerDiscover, false, true),
            (Method::SubscriptionsListen, false, true),
            (Method::LoggingSetLevel, true, false),
        ] {
            assert_eq!(method.exists_in(V2025_11_25), handshake, "{method}");
            assert_eq!(method.exists_in(V2026_07_28), stateless, "{method}");
        }
    }
}
