//! Which server a request is for.

use std::sync::Arc;

use mcp_protocol::completion::Reference;
use mcp_protocol::{ErrorCode, Method, RpcError};
use mcp_registry::{Selection, ServerName, ServerRecord};

use crate::client::Turn;
use crate::directory::{Directory, Shelf};
use crate::names;
use crate::settings::{Scope, Settings};
use crate::upstream::ListKind;

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) selection: Selection,
    /// The server or group, as clients know it.
    pub(crate) owner: ServerName,
    /// What the server calls the tool, prompt or resource; `None`: the same as the client.
    pub(crate) name: Option<Box<str>>,
    /// The schema of the tool's results, if it has one.
    pub(crate) output_schema: Option<mcp_protocol::RawJson>,
}

/// The servers of an owner: a group, or one server.
pub(crate) fn selection(owner: &ServerName, servers: &[Arc<ServerRecord>], tool: Option<&str>) -> Selection {
    let grouped = servers.iter().any(|record| record.definition.group.as_ref() == Some(owner));
    if grouped {
        Selection { group: Some(owner.to_string()), tool: tool.map(Into::into), ..Selection::default() }
    } else {
        Selection { preferred: vec![owner.to_string()], preferred_only: true, ..Selection::default() }
    }
}

/// One server, whatever group it is in.
pub(crate) fn only(server: &str) -> Selection {
    Selection { preferred: vec![server.to_owned()], preferred_only: true, ..Selection::default() }
}

/// How to find the owner of what a request names.
pub(crate) struct Router<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) settings: &'a Settings,
    pub(crate) table: &'a [Arc<ServerRecord>],
    pub(crate) shelf: &'a Shelf,
}

impl Router<'_> {
    /// The target of a request that names a tool, prompt or resource.
    pub(crate) fn find(&self, turn: &Turn) -> Result<Vec<Target>, RpcError> {
        if let Scope::One(name) = self.scope {
            return self.one(name, turn).map(|target| vec![target]);
        }
        let directory = self.shelf.directory();
        match turn.method {
            Method::ToolsCall => self.named(&directory, ListKind::Tools, &required(turn, "name")?),
            Method::PromptsGet => self.named(&directory, ListKind::Prompts, &required(turn, "name")?),
            Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                self.resource(&directory, &required(turn, "uri")?)
            }
            _ => Err(RpcError::new(
                ErrorCode::METHOD_NOT_FOUND,
                &format!("{} is not offered for several servers as one", turn.method),
            )),
        }
    }

    /// The one server or group of the endpoint.
    pub(crate) fn one(&self, name: &str, turn: &Turn) -> Result<Target, RpcError> {
        let in_group: Vec<_> = self
            .table
            .iter()
            .filter(|record| record.definition.group.as_ref().is_some_and(|group| group.as_str() == name))
            .cloned()
            .collect();
        let alone = self.table.iter().find(|record| record.name().as_str() == name);
        let Some(first) = in_group.first().or(alone) else {
            return Err(RpcError::new(ErrorCode::INVALID_REQUEST, &format!("no server is named {name:?}")));
        };
        let called = match turn.method {
            Method::ToolsCall | Method::PromptsGet => turn.text("name"),
            Method::ResourcesRead | Method::ResourcesSubscribe => turn.text("uri"),
            _ => None,
        };
        if let Some(called) = &called {
            let exposure = &first.definition.exposure;
            let filter = match turn.method {
                Method::ToolsCall => &exposure.tools,
                Method::PromptsGet => &exposure.prompts,
                _ => &exposure.resources,
            };
            if !filter.admits(called) {
                return Err(unknown(&turn.method, called));
            }
        }
        let schema = (turn.method == Method::ToolsCall).then(|| {
            let directory = self.shelf.directory();
            let entry =
                directory.list(ListKind::Tools).iter().find(|entry| Some(&entry.name) == called.as_ref())?;
            entry.item.get("outputSchema")
        });
        let (owner, selection) = if in_group.is_empty() {
            (first.name().clone(), only(name))
        } else {
            let owner = first.definition.owner().clone();
            let tool = called.as_deref().filter(|_| turn.method == Method::ToolsCall);
            let selection = selection(&owner, &in_group, tool);
            (owner, selection)
        };
        Ok(Target { selection, owner, name: None, output_schema: schema.flatten() })
    }

    /// Those who may complete an argument, with the parameters rewritten for them.
    pub(crate) fn completion(&self, turn: &Turn) -> Result<Vec<Target>, RpcError> {
        if let Scope::One(name) = self.scope {
            return self.one(name, turn).map(|target| vec![target]);
        }
        let reference = turn.params.as_ref().and_then(|params| params.get("ref")?.to::<Reference>().ok());
        let directory = self.shelf.directory();
        match reference {
            Some(Reference::Prompt(prompt)) => self.named(&directory, ListKind::Prompts, &prompt.name),
            Some(Reference::Resource(resource)) => {
                match directory.list(ListKind::Templates).get(&resource.uri) {
                    Some(entry) => Ok(vec![Target {
                        selection: selection(&entry.owner, &self.owned(&entry.owner), None),
                        owner: entry.owner.clone(),
                        name: None,
                        output_schema: None,
                    }]),
                    None => self.resource(&directory, &resource.uri),
                }
            }
            _ => {
                let text =
                    "params.ref must be of the type ref/prompt, with a name, or ref/resource, with a uri";
                Err(RpcError::new(ErrorCode::INVALID_PARAMS, text))
            }
        }
    }

    fn owned(&self, owner: &ServerName) -> Vec<Arc<ServerRecord>> {
        self.table.iter().filter(|record| record.definition.owner() == owner).cloned().collect()
    }

    /// A tool or prompt by the name clients know it by.
    pub(crate) fn named(
        &self,
        directory: &Directory,
        kind: ListKind,
        exposed: &str,
    ) -> Result<Vec<Target>, RpcError> {
        let method = if kind == ListKind::Tools { Method::ToolsCall } else { Method::PromptsGet };
        if let Some(entry) = directory.list(kind).get(exposed) {
            let tool = (kind == ListKind::Tools).then_some(&*entry.name);
            let selection = selection(&entry.owner, &self.owned(&entry.owner), tool);
            let output_schema = tool.and_then(|_| {
                entry.item.as_str().contains("\"outputSchema\"").then(|| entry.item.get("outputSchema"))?
            });
            return Ok(vec![Target {
                selection,
                owner: entry.owner.clone(),
                name: Some(entry.name.clone()),
                output_schema,
            }]);
        }
        // A server whose lists are not known may have it all the same.
        let guess = self.settings.prefix.then(|| names::owner_of(exposed)).flatten();
        if let Some((owner, name)) = guess
            && let Some(owner) = directory.missing.iter().find(|missing| missing.as_str() == owner)
        {
            let servers = self.owned(owner);
            let admitted = servers.first().is_some_and(|record| {
                let exposure = &record.definition.exposure;
                if kind == ListKind::Tools {
                    exposure.tools.admits(name)
                } else {
                    exposure.prompts.admits(name)
                }
            });
            let in_view = match self.scope {
                Scope::View(view) => {
                    self.settings.views.iter().find(|known| known.name == **view).is_some_and(|view| {
                        if kind == ListKind::Tools {
                            view.exposure.tools.admits(exposed)
                        } else {
                            view.exposure.prompts.admits(exposed)
                        }
                    })
                }
                Scope::All | Scope::One(_) => true,
            };
            if admitted && in_view {
                return Ok(vec![Target {
                    selection: selection(owner, &servers, Some(name).filter(|_| kind == ListKind::Tools)),
                    owner: owner.clone(),
                    name: Some(name.into()),
                    output_schema: None,
                }]);
            }
        }
        Err(unknown(&method, exposed))
    }

    /// Those who may have a resource, the likeliest first: who lists it, whose template fits, and, if neither is
    /// known, everybody who has resources.
    pub(crate) fn resource(&self, directory: &Directory, uri: &str) -> Result<Vec<Target>, RpcError> {
        let listed = directory.list(ListKind::Resources).get(uri).map(|entry| entry.owner.clone());
        let fitting = || {
            let fits = |entry: &&crate::directory::Entry| template_fits(&entry.name, uri);
            directory.list(ListKind::Templates).iter().find(fits).map(|entry| entry.owner.clone())
        };
        let owners: Vec<ServerName> = match listed.or_else(fitting) {
            Some(owner) => vec![owner],
            None => directory
                .shown
                .iter()
                .filter(|shown| {
                    let profile = shown.catalog.profile.as_ref();
                    profile.and_then(|profile| profile.capabilities.as_ref()?.get("resources")).is_some()
                })
                .map(|shown| shown.owner.clone())
                .collect(),
        };
        let admitted = |owner: &ServerName| {
            let of_server = self
                .owned(owner)
                .first()
                .is_some_and(|record| record.definition.exposure.resources.admits(uri));
            let of_view = match self.scope {
                Scope::View(view) => self
                    .settings
                    .views
                    .iter()
                    .find(|known| known.name == **view)
                    .is_some_and(|view| view.exposure.resources.admits(uri)),
                Scope::All | Scope::One(_) => true,
            };
            of_server && of_view
        };
        let targets: Vec<_> = owners
            .into_iter()
            .filter(admitted)
            .map(|owner| Target {
                selection: selection(&owner, &self.owned(&owner), None),
                owner,
                name: None,
                output_schema: None,
            })
            .collect();
        if targets.is_empty() { Err(unknown(&Method::ResourcesRead, uri)) } else { Ok(targets) }
    }
}

/// What a client is told that asks for something nobody has; what is not to be seen does not exist.
pub(crate) fn unknown(method: &Method, name: &str) -> RpcError {
    let what = match method {
        Method::ToolsCall => "tool",
        Method::PromptsGet => "prompt",
        _ => {
            let data = crate::client::object([("uri", mcp_protocol::RawJson::string(name))]);
            return RpcError::with_data(
                ErrorCode::INVALID_PARAMS,
                &format!("Unknown resource: {name}"),
                &data,
            );
        }
    };
    RpcError::new(ErrorCode::INVALID_PARAMS, &format!("Unknown {what}: {name}"))
}

/// A text that a request must have.
pub(crate) fn required(turn: &Turn, member: &str) -> Result<Box<str>, RpcError> {
    turn.text(member)
        .ok_or_else(|| RpcError::new(ErrorCode::INVALID_PARAMS, &format!("params.{member} must be a string")))
}

/// Whether a URI may come of an RFC 6570 template: its literal parts stand in it in order, with something, or nothing,
/// between them. Source: wire reference §2.4.
pub(crate) fn template_fits(template: &str, uri: &str) -> bool {
    let mut rest = uri;
    let mut parts = template.split('{');
    let Some(start) = parts.next() else { return false };
    let Some(after) = rest.strip_prefix(start) else { return false };
    rest = after;
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
