//! What clients carry for us: the state of calls that wait for them, and places in lists. Source: bridging §6.3, §6.4, §11.

use std::sync::Arc;

use mcp_protocol::result::{InputRequest, InputRequired, Retry};
use mcp_protocol::{ErrorCode, Members, Method, RawJson, RpcError};
use mcp_registry::{Selection, ServerName};
use mcp_server::Outcome;

use crate::Digest;
use crate::call::{Manner, Mouth, Passed, unreadable};
use crate::client::Turn;
use crate::convert::capabilities::{missing, needed_for};
use crate::convert::elicitation;
use crate::convert::error::{InternalError, reason};
use crate::endpoint::{Endpoint, bad_cursor};
use crate::held::{NotResumed, Passing, Questions, Step};
use crate::route::{Target, named_by, only};
use crate::seal::{Context, digest_of_params};
use crate::settings::Scope;

/// Longest state of a server that is carried (reliability §6).
const MAX_STATE: usize = 64 << 10;

/// What a cursor of a group stands for.
pub(crate) struct Place {
    /// Which server gave it.
    pub(crate) server: Box<str>,
    /// What it gave.
    pub(crate) cursor: Box<str>,
}

/// What a `requestState` of ours stands for.
enum State {
    /// A held call.
    Held(u128),
    /// The state of a stateless server, as the JSON it gave, if it gave any.
    Of { server: Box<str>, state: Option<RawJson> },
    /// A call that is simply made again.
    Again,
}

impl State {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Held(handle) => [&b"h"[..], &handle.to_be_bytes()].concat(),
            Self::Of { server, state } => {
                let state = state.as_ref().map(RawJson::as_str).unwrap_or_default();
                [b"o", server.as_bytes(), b"\n", state.as_bytes()].concat()
            }
            Self::Again => b"a".to_vec(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (b'h', handle) => Some(Self::Held(u128::from_be_bytes(handle.try_into().ok()?))),
            (b'o', rest) => {
                let (server, state) = std::str::from_utf8(rest).ok()?.split_once('\n')?;
                let state = if state.is_empty() { None } else { Some(serde_json::from_str(state).ok()?) };
                Some(Self::Of { server: server.into(), state })
            }
            (b'a', []) => Some(Self::Again),
            _ => None,
        }
    }
}

/// What a client is told whose state is not, or no longer, good for anything: the same in every case.
fn bad_state() -> RpcError {
    RpcError::new(
        ErrorCode::INVALID_PARAMS,
        "requestState is not valid here, or has expired: make the request anew, without it",
    )
}

impl Scope {
    /// Its name, for what is sealed.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::View(name) => format!("views/{name}"),
            Self::One(name) => name.to_string(),
        }
    }
}

impl Endpoint {
    fn seal(&self, turn: &Turn, state: &State) -> Result<Box<str>, RpcError> {
        let internal = |error: String| RpcError::new(ErrorCode::INTERNAL_ERROR, &error);
        let params = digest_of_params(turn.params.as_ref()).map_err(|error| internal(error.to_string()))?;
        let endpoint = self.scope.name();
        let context = Context {
            purpose: "state",
            principal: &turn.client.principal,
            endpoint: &endpoint,
            method: &turn.method,
            params,
        };
        let expires = self.bridge.manager.now() + self.bridge.settings().park_timeout;
        self.bridge
            .sealer
            .seal(&context, expires, &state.encode())
            .map_err(|error| internal(error.to_string()))
            .map(Into::into)
    }

    fn open(&self, turn: &Turn, sealed: &RawJson) -> Option<State> {
        let sealed: Box<str> = sealed.to().ok()?;
        let endpoint = self.scope.name();
        let context = Context {
            purpose: "state",
            principal: &turn.client.principal,
            endpoint: &endpoint,
            method: &turn.method,
            params: digest_of_params(turn.params.as_ref()).ok()?,
        };
        let opened = self.bridge.sealer.open(&context, self.bridge.manager.now(), &sealed).ok()?;
        State::decode(&opened)
    }

    /// A result that asks the client for something.
    fn input_required(&self, turn: &Turn, requests: Vec<InputRequest>, state: &State) -> Outcome {
        let state = RawJson::string(&self.seal(turn, state)?);
        let result = InputRequired { requests, state: Some(state) }.encode();
        self.named(turn, result)
    }

    fn named(&self, turn: &Turn, result: RawJson) -> Outcome {
        let named = mcp_protocol::meta::set(
            &result,
            mcp_protocol::meta::SERVER_INFO,
            self.bridge.server_info.clone(),
        );
        Ok(turn.signed(named.unwrap_or(result)))
    }

    /// A stateless server has to know more first: its result with its state sealed, since it cannot tell our clients
    /// apart. Source: bridging §6.4.
    pub(crate) fn asks(&self, turn: &Turn, server: &ServerName, result: RawJson) -> Outcome {
        let asked = InputRequired::read(&result).map_err(|error| unreadable(turn, &error.to_string()))?;
        if asked.state.as_ref().is_some_and(|state| state.as_bytes().len() > MAX_STATE) {
            return Err(unreadable(turn, &format!("its requestState is longer than {MAX_STATE} bytes")));
        }
        for request in &asked.requests {
            let needed = needed_for(&request.method, request.params.as_ref());
            if missing(&needed, &turn.client.capabilities).is_some() {
                return Err(unreadable(
                    turn,
                    &format!("it asks for {}, which the client has not declared", request.method),
                ));
            }
        }
        let sealed =
            self.seal(turn, &State::Of { server: server.as_str().into(), state: asked.state.clone() })?;
        let mut members = result.members().map_err(|error| unreadable(turn, &error.to_string()))?;
        members.set_json("requestState", RawJson::string(&sealed));
        let requests = result.get("inputRequests").filter(|_| !self.is_one());
        let requests = requests.and_then(|requests| with_names(server, &requests));
        if let Some(requests) = requests {
            members.set_json("inputRequests", requests);
        }
        Ok(turn.signed(members.encode()))
    }

    /// A server has given up until the client has done something; the call is then made again. Source: bridging §6.3.3.
    pub(crate) fn asks_first(&self, turn: &Turn, requests: Vec<InputRequest>) -> Outcome {
        self.input_required(turn, requests, &State::Again)
    }

    /// What a client that can be asked gets of a request that was passed on.
    pub(crate) fn outcome(&self, turn: &Turn, passed: Passed) -> Outcome {
        match passed {
            Passed::Done(outcome) => outcome,
            Passed::Asks { server, result } => self.asks(turn, &server, result),
            Passed::AsksFirst(requests) => self.asks_first(turn, requests),
        }
    }

    /// Keeps a call whose server has asked something, and asks the client.
    pub(crate) fn park(
        &self,
        turn: &Turn,
        target: Target,
        passing: Passing,
        questions: Arc<Questions>,
        mouth: Mouth,
        requests: Vec<InputRequest>,
    ) -> Outcome {
        let settings = self.bridge.settings();
        if self.bridge.parking.of(&turn.client.principal) >= settings.max_parked
            || self.bridge.closing.is_cancelled()
        {
            let text = format!(
                "the server asks something, and {} calls wait for answers of this client already, which is the limit",
                settings.max_parked
            );
            let mut failed = InternalError::new(reason::UPSTREAM_BUSY, &text);
            failed.request_id = Some(&turn.request_id);
            return Err(failed.to_error());
        }
        let handle = self.bridge.new_handle();
        // Sealed first: a call that nobody can come back to is not kept.
        let answer = self.input_required(turn, requests, &State::Held(handle))?;
        self.bridge.parking.park(
            handle,
            turn.client.principal.clone(),
            target,
            turn.request_id.clone(),
            passing,
            questions,
            mouth,
            settings.park_timeout,
        );
        Ok(answer)
    }

    /// A client comes back with what it was asked for.
    pub(crate) async fn resume(self, mut turn: Turn, sealed: RawJson) -> Outcome {
        let Some(state) = self.open(&turn, &sealed) else { return Err(bad_state()) };
        let retry = turn.params.as_ref().map(Retry::read).transpose();
        let retry = retry.map_err(|error| RpcError::new(ErrorCode::INVALID_PARAMS, &error.to_string()))?;
        let answers = retry.map(|retry| retry.responses).unwrap_or_default();
        match state {
            State::Held(handle) => {
                // It is one request to whoever looks for it.
                let Some(request_id) = self.bridge.parking.request_id(handle) else {
                    return Err(bad_state());
                };
                turn.outlet.trace(request_id.clone());
                turn.request_id = request_id;
                let (outlet, ear) = (turn.outlet.clone(), turn.ear.clone());
                let timeout = self.bridge.settings().park_timeout;
                let resumed = self.bridge.parking.resume(
                    handle,
                    &answers,
                    &turn.client.capabilities,
                    |mouth| mouth.turn_to(outlet, ear),
                    timeout,
                );
                let (held, step) = match resumed.await {
                    Ok(resumed) => resumed,
                    Err(NotResumed::Unknown) => return Err(bad_state()),
                    Err(NotResumed::Invalid(error)) => return Err(error),
                };
                match step {
                    Step::Asks(requests) => self.input_required(&turn, requests, &State::Held(handle)),
                    Step::Ended(relayed) => {
                        let passed = self.bridge.conclude(&self.scope, &turn, &held.target, relayed);
                        self.outcome(&turn, passed)
                    }
                }
            }
            State::Of { server, state } => {
                let targets = self.targets(&turn)?;
                let Some(mut target) = targets.into_iter().next() else { return Err(bad_state()) };
                // Whoever asked has to be answered: nobody else can read the state. It may not be asked any more, though.
                let called =
                    |(kind, member)| Some((kind, target.name.clone().or_else(|| turn.text(member))?));
                let is_let = named_by(&turn.method)
                    .and_then(called)
                    .is_some_and(|(kind, called)| target.owner.lets(&server, kind, &called));
                let Selection { preferred, preferred_only, .. } = &*target.selection;
                let is_left = !preferred_only || preferred.iter().any(|left| **left == *server);
                if !is_let || !is_left {
                    return Err(bad_state());
                }
                target.selection = only(&server);
                let params = self.bridge.params(&turn, &target)?;
                let params = params.map(|params| with_state(&params, state)).transpose();
                let params =
                    params.map_err(|error| RpcError::new(ErrorCode::INVALID_PARAMS, &error.to_string()))?;
                let sink = Mouth::new(turn.outlet.clone(), turn.ear.clone()).sink();
                let manner = Manner { asker: None, sink: Some(sink) };
                let relay = self.bridge.relay(&turn, &target, params, manner);
                let relayed = self.bridge.manager.relay(relay).await;
                let passed = self.bridge.conclude(&self.scope, &turn, &target, relayed);
                self.outcome(&turn, passed)
            }
            State::Again => {
                let Some(params) = &turn.params else { return Err(bad_state()) };
                let mut members = params.members().map_err(|_| bad_state())?;
                members.remove("requestState");
                members.remove("inputResponses");
                let params = members.encode();
                drop(members);
                turn.params = Some(params);
                self.begin_anew(turn).await
            }
        }
    }

    /// The cursor of a page of an aggregated list, as it is now.
    pub(crate) fn cursor(&self, turn: &Turn, edition: u64, page: usize) -> Result<Box<str>, RpcError> {
        self.seal_cursor(turn, &[edition.to_be_bytes(), (page as u64).to_be_bytes()].concat())
    }

    fn seal_cursor(&self, turn: &Turn, place: &[u8]) -> Result<Box<str>, RpcError> {
        let expires = self.bridge.manager.now() + std::time::Duration::from_secs(3600);
        let endpoint = self.scope.name();
        let sealed = self.bridge.sealer.seal(&cursor_context(turn, &endpoint), expires, place);
        sealed.map(Into::into).map_err(|error| RpcError::new(ErrorCode::INTERNAL_ERROR, &error.to_string()))
    }

    /// Which page of an aggregated list is asked for.
    pub(crate) fn page_at(&self, turn: &Turn, edition: u64, pages: usize) -> Result<usize, RpcError> {
        let Some(bytes) = self.open_cursor(turn)? else { return Ok(0) };
        let page = bytes.strip_prefix(&edition.to_be_bytes()).and_then(|page| page.try_into().ok());
        let page = page.and_then(|page| usize::try_from(u64::from_be_bytes(page)).ok());
        page.filter(|page| *page < pages).ok_or_else(bad_cursor)
    }

    fn open_cursor(&self, turn: &Turn) -> Result<Option<Vec<u8>>, RpcError> {
        let cursor = mcp_protocol::list::cursor_of(turn.params.as_ref()).map_err(|_| bad_cursor())?;
        let Some(cursor) = cursor else { return Ok(None) };
        let (endpoint, now) = (self.scope.name(), self.bridge.manager.now());
        let opened = self.bridge.sealer.open(&cursor_context(turn, &endpoint), now, &cursor);
        opened.map(Some).map_err(|_| bad_cursor())
    }

    /// The cursor of a server of a group, which is of no use to the others.
    pub(crate) fn cursor_at(
        &self,
        turn: &Turn,
        server: &ServerName,
        cursor: &str,
    ) -> Result<Box<str>, RpcError> {
        self.seal_cursor(turn, [server.as_str(), "\n", cursor].concat().as_bytes())
    }

    /// Which server of a group gave the cursor, and what it was.
    pub(crate) fn place_at(&self, turn: &Turn) -> Result<Option<Place>, RpcError> {
        let Some(bytes) = self.open_cursor(turn)? else { return Ok(None) };
        let place = std::str::from_utf8(&bytes).ok().and_then(|place| place.split_once('\n'));
        let place = place.map(|(server, cursor)| Place { server: server.into(), cursor: cursor.into() });
        place.map(Some).ok_or_else(bad_cursor)
    }
}

/// The questions with the name of the server in front: the client sees only us. Source: bridging §1, rule 7.
pub(crate) fn with_names(server: &ServerName, requests: &RawJson) -> Option<RawJson> {
    let texts: Vec<(String, RawJson)> = requests
        .members()
        .ok()?
        .texts()
        .filter_map(|(key, text)| Some((key.to_owned(), serde_json::from_str(text).ok()?)))
        .collect();
    let mut named = requests.members().ok()?;
    let mut changed = false;
    for (key, request) in &texts {
        let elicits = request
            .get("method")
            .and_then(|method| method.to::<Box<str>>().ok())
            .is_some_and(|method| &*method == Method::ElicitationCreate.as_str());
        let Some(params) = request.get("params").filter(|_| elicits) else { continue };
        let latest = mcp_protocol::ProtocolVersion::LATEST_STATELESS;
        let route = elicitation::Route { server: latest, client: latest, server_name: Some(server.as_str()) };
        let Ok(question) = elicitation::to_client(&params, &route, || "".into()) else { continue };
        let Ok(mut members) = request.members() else { continue };
        members.set_json("params", question.params);
        named.set_json(key, members.encode());
        changed = true;
    }
    changed.then(|| named.encode())
}

/// What cursors are sealed for: the parameters have the cursor itself.
fn no_params() -> Digest {
    Digest::of([].into_iter())
}

fn cursor_context<'a>(turn: &'a Turn, endpoint: &'a str) -> Context<'a> {
    Context {
        purpose: "cursor",
        principal: &turn.client.principal,
        endpoint,
        method: &turn.method,
        params: no_params(),
    }
}

/// The parameters with a server's own state, or without any.
fn with_state(params: &RawJson, state: Option<RawJson>) -> Result<RawJson, mcp_protocol::InvalidJson> {
    let mut members: Members<'_> = params.members()?;
    match state {
        Some(state) => members.set_json("requestState", state),
        None => {
            members.remove("requestState");
        }
    }
    Ok(members.encode())
}
