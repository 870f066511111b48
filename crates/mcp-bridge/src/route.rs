//! Which server a request is for.

use std::sync::Arc;

use mcp_protocol::completion::Reference;
use mcp_protocol::{Era, ErrorCode, Method, RawJson, RpcError};
use mcp_registry::Selection;

use crate::catalog::ListKind;
use crate::client::{Turn, object};
use crate::directory::{Directory, Entry, Hidden, Owner};
use crate::names;
use crate::settings::{Scope, Settings, View};
use crate::watchman::Watchman;

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) selection: Arc<Selection>,
    /// The server or group, as clients know it.
    pub(crate) owner: Arc<Owner>,
    /// What the server calls the tool or prompt; `None`: the same as the client.
    pub(crate) name: Option<Arc<str>>,
    /// The tool as it is listed, if that is known.
    pub(crate) tool: Option<RawJson>,
}

impl Target {
    /// Whatever the owner has.
    pub(crate) fn of(owner: &Arc<Owner>) -> Self {
        Self { selection: owner.selection.clone(), owner: owner.clone(), name: None, tool: None }
    }

    /// A tool or prompt of the owner. Servers of a group that are known to lack the tool are not asked.
    fn named(owner: &Arc<Owner>, kind: ListKind, name: &Arc<str>) -> Self {
        let mut target = Self { name: Some(name.clone()), ..Self::of(owner) };
        if owner.is_group && kind == ListKind::Tools {
            target.selection =
                Arc::new(Selection { tool: Some(name.clone()), ..Selection::clone(&owner.selection) });
        }
        target
    }

    fn listed(entry: &Entry, kind: ListKind) -> Self {
        let tool = (kind == ListKind::Tools).then(|| entry.item.clone());
        // Of such a tool every server of a group would count as lacking it.
        let target = match entry.reserved {
            true => Self { name: Some(entry.name.clone()), ..Self::of(&entry.owner) },
            false => Self::named(&entry.owner, kind, &entry.name),
        };
        Self { tool, ..target }
    }
}

/// One server, whatever group it is in.
pub(crate) fn only(server: &str) -> Arc<Selection> {
    let preferred = vec![server.to_owned()];
    Arc::new(Selection { preferred, preferred_only: true, ..Selection::default() })
}

/// How to find the owner of what a request names.
pub(crate) struct Router<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) settings: &'a Settings,
    pub(crate) directory: &'a Directory,
    pub(crate) watchman: &'a Watchman,
}

impl Router<'_> {
    /// The targets of a request, to be asked in this order.
    pub(crate) fn find(&self, turn: &Turn) -> Result<Vec<Target>, RpcError> {
        let mut targets = self.targets(turn)?;
        if turn.method == Method::ToolsCall {
            for target in targets.iter_mut().filter(|target| !target.owner.guarded.is_empty()) {
                let called = target.name.clone().or_else(|| turn.text("name")).unwrap_or_default();
                let selection = Arc::make_mut(&mut target.selection);
                self.watchman.restrict(selection, &target.owner.guarded, &called)?;
            }
        }
        if let Some((kind, member)) = named_by(&turn.method) {
            for target in &mut targets {
                let called = target.name.clone().or_else(|| turn.text(member)).unwrap_or_default();
                if !target.owner.restrict(&mut target.selection, kind, &called) {
                    return Err(unknown(kind, &called));
                }
            }
        }
        Ok(targets)
    }

    fn targets(&self, turn: &Turn) -> Result<Vec<Target>, RpcError> {
        if let Scope::One(name) = self.scope {
            return self.one(name, turn).map(|target| vec![target]);
        }
        match turn.method {
            Method::ToolsCall => {
                self.named(ListKind::Tools, &required(turn, "name")?).map(|target| vec![target])
            }
            Method::PromptsGet => {
                self.named(ListKind::Prompts, &required(turn, "name")?).map(|target| vec![target])
            }
            Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                self.known_resource(turn, &required(turn, "uri")?)
            }
            Method::CompletionComplete => self.completion(turn),
            _ => Err(RpcError::new(
                ErrorCode::METHOD_NOT_FOUND,
                &format!("{} is not offered for several servers as one", turn.method),
            )),
        }
    }

    /// The one server or group of the endpoint.
    fn one(&self, name: &str, turn: &Turn) -> Result<Target, RpcError> {
        let Some(owner) = self.directory.only() else {
            let text = format!("the server {name:?} is disabled, or was removed");
            return Err(RpcError::new(ErrorCode::INTERNAL_ERROR, &text));
        };
        let referred = || match reference(turn)? {
            Reference::Prompt(prompt) => Some((ListKind::Prompts, prompt.name.into())),
            Reference::Resource(resource) => Some((ListKind::Templates, resource.uri.into())),
            _ => None,
        };
        let named = || named_by(&turn.method).and_then(|(kind, member)| Some((kind, turn.text(member)?)));
        let named = if turn.method == Method::CompletionComplete { referred() } else { named() };
        // What has no name is the server's to judge.
        let Some((kind, called)) = named else { return Ok(Target::of(owner)) };
        if !owner.admits(kind, &called) {
            return Err(match kind {
                ListKind::Resources | ListKind::Templates => unknown_resource(turn, &called),
                _ => unknown(kind, &called),
            });
        }
        if named_by(&turn.method).is_none_or(|(kind, _)| kind == ListKind::Resources) {
            return Ok(Target::of(owner));
        }
        let target = match self.directory.list(kind).get(&called) {
            Some(entry) => Target::listed(entry, kind),
            None => Target::named(owner, kind, &called),
        };
        Ok(Target { name: None, ..target })
    }

    /// A tool or prompt by the name clients know it by.
    fn named(&self, kind: ListKind, exposed: &str) -> Result<Target, RpcError> {
        if let Some(entry) = self.directory.list(kind).get(exposed) {
            return Ok(Target::listed(entry, kind));
        }
        if kind == ListKind::Tools
            && let Some((Hidden { entry, server, .. }, verdict)) = self.directory.withheld(exposed)
        {
            let record = entry.owner.guarded.iter().find(|record| record.name() == server);
            // The directory may be a moment behind an approval.
            if !record.is_some_and(|record| self.watchman.offers(record, &entry.name, verdict)) {
                return Err(self.watchman.withheld(server, &entry.name).into());
            }
            return Ok(Target::listed(entry, kind));
        }
        // A server whose lists are not known may have it all the same.
        let guess = self.settings.prefix.then(|| names::owner_of(exposed)).flatten();
        if let Some((owner, name)) = guess
            && let Some(owner) = self.directory.missing.iter().find(|missing| missing.name.as_str() == owner)
            && owner.admits(kind, name)
            && self.view().is_none_or(|view| kind.filter(&view.exposure).admits(exposed))
        {
            return Ok(Target::named(owner, kind, &name.into()));
        }
        Err(unknown(kind, exposed))
    }

    fn known_resource(&self, turn: &Turn, uri: &str) -> Result<Vec<Target>, RpcError> {
        let targets = self.resource(uri);
        if targets.is_empty() { Err(unknown_resource(turn, uri)) } else { Ok(targets) }
    }

    /// Those who may have a resource: who lists it, or whose template fits, or, if nobody is known to, everybody
    /// who has resources.
    pub(crate) fn resource(&self, uri: &str) -> Vec<Target> {
        if let Scope::One(_) = self.scope {
            let owner = self.directory.only().filter(|owner| owner.admits(ListKind::Resources, uri));
            return owner.map(Target::of).into_iter().collect();
        }
        let listed = self.directory.list(ListKind::Resources).get(uri);
        let fitting = || {
            let fits = |entry: &&Entry| template_fits(&entry.name, uri);
            self.directory.list(ListKind::Templates).iter().find(fits)
        };
        let in_view = self.view().is_none_or(|view| view.exposure.resources.admits(uri));
        let owners: Vec<_> = match listed.or_else(fitting) {
            Some(entry) => vec![&entry.owner],
            None => {
                let having = self.directory.shown.iter().filter(|shown| {
                    let profile = shown.catalog.profile.as_ref();
                    profile.is_some_and(|profile| {
                        profile.capabilities.as_ref().is_some_and(|all| all.get("resources").is_some())
                    })
                });
                having.map(|shown| &shown.owner).collect()
            }
        };
        let admitted = owners.into_iter().filter(|owner| in_view && owner.admits(ListKind::Resources, uri));
        admitted.map(Target::of).collect()
    }

    /// Those who may complete an argument.
    fn completion(&self, turn: &Turn) -> Result<Vec<Target>, RpcError> {
        match reference(turn) {
            Some(Reference::Prompt(prompt)) => {
                self.named(ListKind::Prompts, &prompt.name).map(|target| vec![target])
            }
            Some(Reference::Resource(resource)) => {
                match self.directory.list(ListKind::Templates).get(&resource.uri) {
                    Some(entry) => Ok(vec![Target::of(&entry.owner)]),
                    None => self.known_resource(turn, &resource.uri),
                }
            }
            _ => {
                let text =
                    "params.ref must be of the type ref/prompt, with a name, or ref/resource, with a uri";
                Err(RpcError::new(ErrorCode::INVALID_PARAMS, text))
            }
        }
    }

    fn view(&self) -> Option<&View> {
        match self.scope {
            Scope::View(name) => self.settings.views.iter().find(|view| view.name == **name),
            Scope::All | Scope::One(_) => None,
        }
    }
}

/// What a request names, and by which of its parameters.
pub(crate) fn named_by(method: &Method) -> Option<(ListKind, &'static str)> {
    match method {
        Method::ToolsCall => Some((ListKind::Tools, "name")),
        Method::PromptsGet => Some((ListKind::Prompts, "name")),
        Method::ResourcesRead | Method::ResourcesSubscribe => Some((ListKind::Resources, "uri")),
        _ => None,
    }
}

/// What an argument is completed for.
fn reference(turn: &Turn) -> Option<Reference> {
    turn.params.as_ref().and_then(|params| params.get("ref")?.to().ok())
}

/// What a client is told that asks for a tool or prompt nobody has; what is not to be seen does not exist.
fn unknown(kind: ListKind, name: &str) -> RpcError {
    let what = if kind == ListKind::Tools { "tool" } else { "prompt" };
    RpcError::new(ErrorCode::INVALID_PARAMS, &format!("Unknown {what}: {name}"))
}

/// The same for a resource. Which code says so depends on the era (wire reference §1.3).
pub(crate) fn unknown_resource(turn: &Turn, uri: &str) -> RpcError {
    let code = match turn.client.version.era() {
        Era::Handshake => ErrorCode::RESOURCE_NOT_FOUND,
        Era::Stateless => ErrorCode::INVALID_PARAMS,
    };
    let data = object([("uri", RawJson::string(uri))]);
    RpcError::with_data(code, &format!("Unknown resource: {uri}"), &data)
}

/// A text that a request must have.
pub(crate) fn required(turn: &Turn, member: &str) -> Result<Arc<str>, RpcError> {
    turn.text(member)
        .ok_or_else(|| RpcError::new(ErrorCode::INVALID_PARAMS, &format!("params.{member} must be a string")))
}

/// Whether a URI may come of an RFC 6570 template: its literal parts stand in it in order, with something, or nothing,
/// between them. Source: wire reference §2.4.
pub(crate) fn template_fits(template: &str, uri: &str) -> bool {
    let mut parts = template.split('{');
    let Some(mut rest) = parts.next().and_then(|start| uri.strip_prefix(start)) else { return false };
    let mut open = false;
    for part in parts {
        let literal = part.split_once('}').map_or("", |(_, literal)| literal);
        open = literal.is_empty();
        match rest.find(literal) {
            Some(at) => rest = &rest[at + literal.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::template_fits;

    #[test]
    fn templates_fit_what_they_may_make() {
        for (template, uri, fits) in [
            ("file:///{path}", "file:///a/b", true),
            ("file:///{path}", "http://a", false),
            ("db://{table}/rows/{id}", "db://users/rows/7", true),
            ("db://{table}/rows/{id}", "db://users/cols/7", false),
            ("note://{id}.md", "note://7.md", true),
            ("note://{id}.md", "note://7.md.bak", false),
            ("fixed://x", "fixed://x", true),
            ("fixed://x", "fixed://xy", false),
        ] {
            assert_eq!(template_fits(template, uri), fits, "{template} {uri}");
        }
    }
}
