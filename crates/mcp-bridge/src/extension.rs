//! Methods of extensions that nobody here knows. Source: bridging §5, last row.

use mcp_protocol::{ErrorCode, Method, RpcError};
use mcp_server::Outcome;

use crate::call::{Manner, Mouth, Passed, no_answer, unreadable};
use crate::client::Turn;
use crate::endpoint::Endpoint;
use crate::route::{Target, only};

impl Endpoint {
    /// Passes on a request whose method no revision has: where one server is shown as it is, and speaks to clients of
    /// its own era, what such a request means is between the two. Its result stays as it is.
    pub(crate) async fn extend(&self, turn: &Turn) -> Outcome {
        let Some(target) = self.beyond(turn) else {
            let text = format!("unknown method {}", turn.method);
            return Err(RpcError::new(ErrorCode::METHOD_NOT_FOUND, &text));
        };
        let params = self.bridge.params(turn, &target)?;
        let sink = Mouth::new(turn.outlet.clone(), turn.ear.clone()).sink();
        let relay = self.bridge.relay(turn, &target, params, Manner { asker: None, sink: Some(sink) });
        let relayed = self.bridge.manager.relay(relay).await.map_err(|error| no_answer(&error))?;
        let asks = || unreadable(turn, &format!("{} cannot ask anything", turn.method));
        if let Ok(answer) = &relayed.outcome {
            return if answer.requires_input() {
                Err(asks())
            } else {
                Ok(turn.signed(answer.result.clone()))
            };
        }
        match self.bridge.conclude(&self.scope, turn, &target, Ok(relayed)) {
            Passed::Done(outcome) => outcome,
            Passed::Asks { .. } | Passed::AsksFirst(_) => Err(asks()),
        }
    }

    /// The server that understands a method we do not, perhaps.
    fn beyond(&self, turn: &Turn) -> Option<Target> {
        if !self.is_one() || !matches!(turn.method, Method::Other(_)) {
            return None;
        }
        let directory = turn.client.shelf.directory();
        let shown = directory.shown.first()?;
        let era = shown.catalog.profile.as_ref()?.era;
        (era == turn.client.version.era())
            .then(|| Target { selection: only(shown.server.as_str()), ..Target::of(&shown.owner) })
    }
}
