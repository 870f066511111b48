//! Which capabilities each side is told of. Source: bridging §4.

use std::collections::BTreeMap;

use ProtocolVersion::{V2025_06_18, V2025_11_25};
use mcp_protocol::capability::{ClientCapabilities, ServerCapabilities};
use mcp_protocol::elicitation::ElicitMode;
use mcp_protocol::task::EXTENSION as TASKS;
use mcp_protocol::{Era, JsonKind, Members, Method, ProtocolVersion, RawJson};

use super::{items, json};

/// Which extensions are passed on between clients and servers. Source: bridging §4.
///
/// That of tasks is always passed on where both sides are stateless, and nowhere else: tasks of the handshake era are
/// no extension.
#[derive(Debug, Clone, Copy)]
pub struct Extensions<'a> {
    named: &'a [&'a str],
    others: bool,
}

impl<'a> Extensions<'a> {
    /// Those that mean the same in every revision that can name them.
    #[must_use]
    pub const fn named(ids: &'a [&'a str]) -> Self {
        Self { named: ids, others: false }
    }

    /// All others as well, between a client and a server of the same era: what they mean is between the two.
    #[must_use]
    pub const fn and_others(self) -> Self {
        Self { others: true, ..self }
    }

    /// The one era that the other side has to be of, if there is such a condition; `None`: it is not passed on.
    fn beyond(&self, id: &str, side: ProtocolVersion) -> Option<Option<Era>> {
        match id {
            TASKS => (side.era() == Era::Stateless).then_some(Some(Era::Stateless)),
            _ if self.named.contains(&id) => Some(None),
            _ => self.others.then_some(Some(side.era())),
        }
    }

    /// Whether a client is told that a server has an extension.
    fn reach(&self, id: &str, server: ProtocolVersion, client: ProtocolVersion) -> bool {
        let condition = self.beyond(id, server).filter(|_| client >= V2025_11_25);
        condition.is_some_and(|era| era.is_none_or(|era| era == client.era()))
    }
}

/// What a client lets servers do, as far as we can pass it on: the part of its capabilities that is declared to
/// upstream servers.
///
/// Two clients with the same profile may share an upstream connection. The default is the profile of a client that
/// declared nothing: no server can ask it back, and none has a reason to show it other lists.
/// Source: bridging §3, §4.3.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Profile {
    flags: u8,
    /// Extensions by their id.
    extensions: BTreeMap<Box<str>, Extension>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Extension {
    /// JSON text. Compared as text.
    settings: Box<str>,
    /// The only era whose servers are told of it.
    era: Option<Era>,
}

const ROOTS: u8 = 1;
const ROOTS_CHANGES: u8 = 1 << 1;
const SAMPLING: u8 = 1 << 2;
const SAMPLING_TOOLS: u8 = 1 << 3;
const SAMPLING_CONTEXT: u8 = 1 << 4;
const FORMS: u8 = 1 << 5;
const PAGES: u8 = 1 << 6;

/// Flags and the members that declare them.
const PATHS: [(u8, &[&str]); 5] = [
    (ROOTS, &["roots"]),
    (ROOTS_CHANGES, &["roots", "listChanged"]),
    (SAMPLING, &["sampling"]),
    (SAMPLING_CONTEXT, &["sampling", "context"]),
    (SAMPLING_TOOLS, &["sampling", "tools"]),
];

impl Profile {
    /// The profile of a client of a revision.
    ///
    /// What the revision does not know does not count, whatever the client says.
    #[must_use]
    pub fn of(
        capabilities: &ClientCapabilities,
        client: ProtocolVersion,
        passed_on: &Extensions<'_>,
    ) -> Self {
        let known = capabilities.clip(client);
        let mut flags = PATHS.iter().filter(|(_, path)| known.has(path)).fold(0, |all, (flag, _)| all | flag);
        if known.elicits_forms() {
            flags |= FORMS;
        }
        if known.elicits_urls() {
            flags |= PAGES;
        }
        let declared = known.get(&["extensions"]).unwrap_or_else(RawJson::empty_object);
        let declared = declared.members().unwrap_or_default();
        let extensions = declared.texts().filter_map(|(id, settings)| {
            let era = passed_on.beyond(id, client)?;
            let is_object = json(settings).kind() == JsonKind::Object;
            is_object.then(|| (id.into(), Extension { settings: settings.into(), era }))
        });
        Self { flags, extensions: extensions.collect() }
    }

    /// The part of it that a server of a revision can be told. Source: bridging §4.3.
    #[must_use]
    pub fn clip(&self, server: ProtocolVersion) -> Self {
        let mut clipped = self.clone();
        if server.era() == Era::Stateless {
            clipped.flags &= !ROOTS_CHANGES;
        }
        clipped.extensions.retain(|_, extension| extension.era.is_none_or(|era| era == server.era()));
        if server < V2025_11_25 {
            clipped.flags &= !(SAMPLING_TOOLS | SAMPLING_CONTEXT | PAGES);
            clipped.extensions.clear();
        }
        if server < V2025_06_18 {
            clipped.flags &= !FORMS;
        }
        clipped
    }

    /// The capabilities to declare to a server of a revision. Source: bridging §4.3.
    #[must_use]
    pub fn declare(&self, server: ProtocolVersion) -> ClientCapabilities {
        if self.is_empty() {
            return ClientCapabilities::default();
        }
        let told = self.clip(server);
        let mut members = Members::default();
        let mut object = |name, parts: &[(u8, &'static str, &'static str)]| {
            let mut inner = Members::default();
            for (_, part, value) in parts.iter().filter(|(flag, ..)| told.has(*flag)) {
                inner.set_json(part, json(value));
            }
            members.set_json(name, inner.encode());
        };
        if told.has(ROOTS) {
            object("roots", &[(ROOTS_CHANGES, "listChanged", "true")]);
        }
        if told.has(SAMPLING) {
            object("sampling", &[(SAMPLING_CONTEXT, "context", "{}"), (SAMPLING_TOOLS, "tools", "{}")]);
        }
        if server < V2025_11_25 && told.has(FORMS) {
            object("elicitation", &[]);
        } else if told.has(FORMS | PAGES) {
            object("elicitation", &[(FORMS, "form", "{}"), (PAGES, "url", "{}")]);
        }
        if !told.extensions.is_empty() {
            let mut settings = Members::default();
            for (id, extension) in &told.extensions {
                settings.set_json(id, json(&extension.settings));
            }
            members.set_json("extensions", settings.encode());
        }
        // Written by us, member by member: it is an object.
        ClientCapabilities::from_raw(members.encode()).unwrap_or_default()
    }

    /// Whether it is the profile of a client that declared nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a server may ask the client something. A connection with such a profile runs one call at a time
    /// that a question could belong to (bridging §6.3.2).
    #[must_use]
    pub fn can_be_asked(&self) -> bool {
        self.has(ROOTS | SAMPLING | FORMS | PAGES)
    }

    /// Whether the client tells its roots.
    #[must_use]
    pub fn has_roots(&self) -> bool {
        self.has(ROOTS)
    }

    /// Whether the client has a model answer.
    #[must_use]
    pub fn samples(&self) -> bool {
        self.has(SAMPLING)
    }

    /// Whether the model may be given tools.
    #[must_use]
    pub fn samples_with_tools(&self) -> bool {
        self.has(SAMPLING_TOOLS)
    }

    /// Whether the client fills in forms.
    #[must_use]
    pub fn elicits_forms(&self) -> bool {
        self.has(FORMS)
    }

    /// Whether the client opens pages for the person.
    #[must_use]
    pub fn elicits_urls(&self) -> bool {
        self.has(PAGES)
    }

    /// Any of the flags.
    fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// What of the capabilities a server needs a client does not declare; `None` if it declares them all, so that it was
/// us who kept them back. Source: bridging §9, the rows of `-32021`.
#[must_use]
pub fn missing(required: &ClientCapabilities, declared: &ClientCapabilities) -> Option<ClientCapabilities> {
    let mut missing = ClientCapabilities::default();
    let Ok(members) = required.as_raw().members() else { return None };
    for (name, text) in members.texts() {
        let inner = json(text);
        match name {
            "elicitation" => {
                if required.elicits_forms() && !declared.elicits_forms() {
                    missing = missing.with(&["elicitation", "form"], RawJson::empty_object());
                }
                if required.elicits_urls() && !declared.elicits_urls() {
                    missing = missing.with(&["elicitation", "url"], RawJson::empty_object());
                }
            }
            _ if !declared.has(&[name]) => missing = missing.with(&[name], inner),
            _ => {
                let Ok(parts) = inner.members() else { continue };
                for (part, value) in parts.texts() {
                    if required.has(&[name, part]) && !declared.has(&[name, part]) {
                        missing = missing.with(&[name, part], json(value));
                    }
                }
            }
        }
    }
    (missing != ClientCapabilities::default()).then_some(missing)
}

/// What a client has to declare to be asked a question. With [`missing`]: whether a server may ask it, and what to
/// tell a client that cannot be asked any more. Source: bridging §6.2, §6.3.1 rule 4; wire reference §3.5.
#[must_use]
pub fn needed_for(question: &Method, params: Option<&RawJson>) -> ClientCapabilities {
    let member = |name: &str| params.and_then(|params| params.get(name));
    let path: &[&str] = match question {
        Method::ElicitationCreate => match member("mode").and_then(|mode| mode.to().ok()) {
            Some(ElicitMode::Url) => &["elicitation", "url"],
            _ => &["elicitation", "form"],
        },
        Method::SamplingCreateMessage => match member("tools").as_ref().and_then(items) {
            Some(tools) if !tools.is_empty() => &["sampling", "tools"],
            _ => &["sampling"],
        },
        Method::RootsList => &["roots"],
        _ => return ClientCapabilities::default(),
    };
    ClientCapabilities::default().with(path, RawJson::empty_object())
}

/// The capabilities of many servers together, each with its revision, toward a client of a revision: what any of them
/// has.
///
/// `growing`: servers may come and go, so that tools, prompts and resources are offered, and changes of their lists
/// announced, whoever is there at the moment. Source: bridging §4.1, §4.2.
#[must_use]
pub fn offered_together<'a>(
    servers: impl IntoIterator<Item = &'a (ProtocolVersion, ServerCapabilities)>,
    growing: bool,
    client: ProtocolVersion,
    extensions: &Extensions<'_>,
) -> ServerCapabilities {
    let mut offered = ServerCapabilities::default();
    if growing {
        for list in LISTS {
            offered = offered.with(&[list, "listChanged"], json("true"));
        }
    }
    for (version, server) in servers {
        for name in LISTS.into_iter().chain(["logging", "completions"]) {
            if server.has(&[name]) && !offered.has(&[name]) {
                offered = offered.with(&[name], RawJson::empty_object());
            }
        }
        for path in FEATURES {
            if server.has(path) && !offered.has(path) {
                offered = offered.with(path, json("true"));
            }
        }
        let declared = server.get(&["extensions"]).unwrap_or_else(RawJson::empty_object);
        for (id, settings) in declared.members().unwrap_or_default().texts() {
            let settings = json(settings);
            if settings.kind() == JsonKind::Object
                && extensions.reach(id, *version, client)
                && offered.extension(id).is_none()
            {
                offered = offered.with(&["extensions", id], settings);
            }
        }
    }
    offered.clip(client)
}

/// The capabilities of one server that is shown as it is: what the client's revision knows, and whatever no revision
/// knows. Lists it offers may change even if it never says so: it may come back with other ones. Tasks of the handshake
/// era are left out.
#[must_use]
pub fn offered_alone(
    (version, server): &(ProtocolVersion, ServerCapabilities),
    client: ProtocolVersion,
    extensions: &Extensions<'_>,
) -> ServerCapabilities {
    let mut offered = server.clip(client).without(&["tasks"]);
    for list in LISTS {
        let changes = [list, "listChanged"];
        if offered.has(&[list]) && !offered.has(&changes) {
            offered = offered.with(&changes, json("true"));
        }
    }
    let Some(declared) = offered.get(&["extensions"]) else { return offered };
    if declared.kind() != JsonKind::Object {
        return offered.without(&["extensions"]);
    }
    let Ok(mut kept) = declared.members() else { return offered.without(&["extensions"]) };
    kept.retain(|id| extensions.reach(id, *version, client));
    match kept.len() {
        0 => offered.without(&["extensions"]),
        _ => offered.with(&["extensions"], kept.encode()),
    }
}

const LISTS: [&str; 3] = ["tools", "prompts", "resources"];

const FEATURES: [&[&str]; 4] = [
    &["tools", "listChanged"],
    &["prompts", "listChanged"],
    &["resources", "listChanged"],
    &["resources", "subscribe"],
];

#[cfg(test)]
mod tests;
