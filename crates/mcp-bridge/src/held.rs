//! Held calls: a server of the handshake era asks in the middle of a call, and the client is one of the stateless era,
//! which can only be asked by an answer. The call is kept open until the client comes back with what was asked for.
//! Source: bridging §6.3.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_client::{RequestHandler, ServerRequest};
use mcp_manager::Relayed;
use mcp_protocol::capability::ClientCapabilities;
use mcp_protocol::result::InputRequest;
use mcp_protocol::{ErrorCode, JsonKind, Method, ProtocolVersion, RawJson, RpcError};
use mcp_registry::{CorrelationId, InvocationError};
use mcp_server::Principal;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::call::Mouth;
use crate::convert::capabilities::{Profile, missing, needed_for};
use crate::convert::envelope::question_params;
use crate::convert::{elicitation, sampling};
use crate::route::Target;

/// Questions that come together are put together. Source: bridging §6.3.1.
const TOGETHER: Duration = Duration::from_millis(15);
/// Time for a call to end by itself that was given up.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most questions of one call that wait for an answer.
const MOST: usize = 16;

/// What a server asks during one call, until it is answered.
pub(crate) struct Questions {
    client: ProtocolVersion,
    profile: Profile,
    server_name: Option<Box<str>>,
    state: Mutex<Asked>,
    news: Notify,
}

#[derive(Default)]
struct Asked {
    next: u32,
    pending: BTreeMap<u32, Pending>,
    /// The client is not asked any more.
    over: bool,
}

struct Pending {
    request: InputRequest,
    reading: Option<elicitation::Reading>,
    server: ProtocolVersion,
    answer: oneshot::Sender<Result<RawJson, RpcError>>,
}

impl Questions {
    pub(crate) fn new(client: ProtocolVersion, profile: Profile, server_name: Option<Box<str>>) -> Arc<Self> {
        let (state, news) = (Mutex::default(), Notify::new());
        Arc::new(Self { client, profile, server_name, state, news })
    }

    /// Waits until something is asked.
    pub(crate) async fn asked(&self) {
        while self.state().pending.is_empty() {
            self.news.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, Asked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked at the moment.
    pub(crate) fn requests(&self) -> Vec<InputRequest> {
        self.state().pending.values().map(|pending| pending.request.clone()).collect()
    }

    /// What the client would have to declare and does not.
    fn undeclared(&self, declared: &ClientCapabilities) -> Option<ClientCapabilities> {
        let state = self.state();
        let requests = state.pending.values().map(|pending| &pending.request);
        requests
            .map(|request| needed_for(&request.method, request.params.as_ref()))
            .find_map(|needed| missing(&needed, declared))
    }

    /// Gives the answers to those who asked. An error leaves everything as it is.
    pub(crate) fn answer(&self, answers: &[(Box<str>, RawJson)]) -> Result<(), RpcError> {
        let mut state = self.state();
        let mut read = Vec::new();
        for (id, pending) in &state.pending {
            let Some((key, answer)) = answers.iter().find(|(key, _)| *key == pending.request.key) else {
                continue;
            };
            let invalid = |why: String| {
                RpcError::new(ErrorCode::INVALID_PARAMS, &format!("inputResponses.{key}: {why}"))
            };
            if answer.kind() != JsonKind::Object {
                return Err(invalid("must be an object".into()));
            }
            let answer = match (&pending.reading, &pending.request.method) {
                (Some(reading), _) => {
                    reading.to_server(answer).map_err(|error| invalid(error.to_string()))?
                }
                (None, Method::SamplingCreateMessage) => {
                    sampling::to_server(answer, pending.server).map_err(|error| invalid(error.to_string()))?
                }
                (None, _) if answer.get("roots").is_none() => return Err(invalid("roots is missing".into())),
                (None, _) => answer.clone(),
            };
            read.push((*id, answer));
        }
        for (id, answer) in read {
            if let Some(pending) = state.pending.remove(&id) {
                // Whoever asked may have given up, which is all the same.
                let _ = pending.answer.send(Ok(answer));
            }
        }
        Ok(())
    }

    /// Answers in the client's place, which did not come back in time. Source: bridging §6.3.1, rule 7.
    fn give_up(&self) {
        let mut state = self.state();
        state.over = true;
        for (_, pending) in std::mem::take(&mut state.pending) {
            let _ = pending.answer.send(unanswered(&pending.request.method));
        }
    }

    /// Puts a question the way the client has it.
    fn put(&self, request: &ServerRequest) -> Result<(Option<RawJson>, Option<elicitation::Reading>), Put> {
        let own = request.params.clone().map(question_params);
        let params = || own.clone().unwrap_or_else(RawJson::empty_object);
        match request.method {
            Method::ElicitationCreate => {
                let route = elicitation::Route {
                    server: request.version,
                    client: self.client,
                    server_name: self.server_name.as_deref(),
                };
                let question = elicitation::to_client(&params(), &route, || "".into());
                let question = question.map_err(|_| Put::Answer(elicitation::cancelled()))?;
                Ok((Some(question.params), Some(question.reading)))
            }
            Method::SamplingCreateMessage => {
                let route = sampling::Route {
                    server: request.version,
                    client: self.client,
                    profile: &self.profile,
                    aggregated: self.server_name.is_some(),
                };
                let asked = sampling::to_client(&params(), &route);
                let asked = asked.map_err(|error| {
                    Put::Refuse(RpcError::new(ErrorCode::INVALID_PARAMS, &error.to_string()))
                })?;
                Ok((Some(asked), None))
            }
            _ => Ok((own, None)),
        }
    }
}

/// What becomes of a question that cannot be put to the client.
enum Put {
    Answer(RawJson),
    Refuse(RpcError),
}

impl RequestHandler for Questions {
    fn handle(&self, request: ServerRequest) -> BoxFuture<'_, Result<RawJson, RpcError>> {
        async move {
            let (params, reading) = match self.put(&request) {
                Ok(put) => put,
                Err(Put::Answer(answer)) => return Ok(answer),
                Err(Put::Refuse(error)) => return Err(error),
            };
            let (sender, answer) = oneshot::channel();
            let id = {
                let mut state = self.state();
                if state.over {
                    return unanswered(&request.method);
                }
                if state.pending.len() >= MOST {
                    let text =
                        format!("{MOST} questions of this call wait for an answer, which is the limit");
                    return Err(RpcError::new(ErrorCode::INTERNAL_ERROR, &text));
                }
                state.next += 1;
                let id = state.next;
                let server = request.version;
                let request = InputRequest { key: format!("u{id}").into(), method: request.method, params };
                let pending = Pending { request, reading, server, answer: sender };
                state.pending.insert(id, pending);
                id
            };
            self.news.notify_one();
            // Dropped, the server has taken its question back.
            let _asked = StillAsked { questions: self, id };
            answer.await.unwrap_or_else(|_| Err(RpcError::new(ErrorCode::INTERNAL_ERROR, "the call is over")))
        }
        .boxed()
    }
}

/// The answer in the place of a client that gives none.
fn unanswered(question: &Method) -> Result<RawJson, RpcError> {
    let refused = |code| Err(RpcError::new(code, "the client did not answer in time"));
    match question {
        Method::SamplingCreateMessage => refused(ErrorCode::USER_REJECTED),
        Method::RootsList => refused(ErrorCode::INTERNAL_ERROR),
        _ => Ok(elicitation::cancelled()),
    }
}

struct StillAsked<'a> {
    questions: &'a Questions,
    id: u32,
}

impl Drop for StillAsked<'_> {
    fn drop(&mut self) {
        self.questions.state().pending.remove(&self.id);
    }
}

/// A call that is being passed on. After its end, whatever that is, no question of its server waits for an answer.
pub(crate) struct Passing {
    call: BoxFuture<'static, Result<Relayed, InvocationError>>,
    asking: Option<Asking>,
}

impl Passing {
    pub(crate) fn new(
        call: impl Future<Output = Result<Relayed, InvocationError>> + Send + 'static,
        questions: Arc<Questions>,
    ) -> Self {
        Self { call: call.boxed(), asking: Some(Asking(questions)) }
    }
}

impl Future for Passing {
    type Output = Result<Relayed, InvocationError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.call.as_mut().poll(cx));
        self.asking = None;
        Poll::Ready(outcome)
    }
}

/// While it lives, there is a call to ask about.
struct Asking(Arc<Questions>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// What came of a call, or of a look at one.
pub(crate) enum Step {
    /// It is over.
    Ended(Result<Relayed, InvocationError>),
    /// The client has to answer first.
    Asks(Vec<InputRequest>),
}

/// One call that outlives the request it came with.
pub(crate) struct Held {
    pub(crate) handle: u128,
    pub(crate) principal: Principal,
    pub(crate) target: Target,
    pub(crate) request_id: CorrelationId,
    questions: Arc<Questions>,
    mouth: Mouth,
    phase: Mutex<Phase>,
    /// Rung for whoever goes on with the call, and for the request that waits for it.
    keeper: Notify,
    client: Notify,
}

struct Phase {
    /// A request of the client waits for it.
    attended: bool,
    /// Nobody can take it up any more.
    given_up: bool,
    ended: Option<Result<Relayed, InvocationError>>,
    /// When it is given up, while nobody attends.
    expires: Instant,
}

/// The held calls of all clients.
pub(crate) struct Parking {
    held: Mutex<HashMap<u128, Arc<Held>>>,
}

/// Why a call cannot be taken up again.
pub(crate) enum NotResumed {
    /// There is none, or not for this client.
    Unknown,
    /// The answers are wrong; the call goes on waiting.
    Invalid(RpcError),
}

impl Parking {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u128, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under which id a held call is found in traces.
    pub(crate) fn request_id(&self, handle: u128) -> Option<CorrelationId> {
        self.held().get(&handle).map(|held| held.request_id.clone())
    }

    /// How many calls are held.
    pub(crate) fn len(&self) -> usize {
        self.held().len()
    }

    /// How many calls are held for a principal.
    pub(crate) fn of(&self, principal: &Principal) -> usize {
        self.held().values().filter(|held| held.principal == *principal).count()
    }

    /// Waits for the end of a call, or for the first question in it.
    pub(crate) async fn first(passing: &mut Passing, questions: &Questions) -> Step {
        tokio::select! {
            biased;
            outcome = &mut *passing => return Step::Ended(outcome),
            () = questions.asked() => {}
        }
        tokio::select! {
            biased;
            outcome = &mut *passing => Step::Ended(outcome),
            () = tokio::time::sleep(TOGETHER) => Step::Asks(questions.requests()),
        }
    }

    /// Keeps a call for the client to come back to.
    #[expect(clippy::too_many_arguments, reason = "all of it is what a held call is")]
    pub(crate) fn park(
        self: &Arc<Self>,
        handle: u128,
        principal: Principal,
        target: Target,
        request_id: CorrelationId,
        passing: Passing,
        questions: Arc<Questions>,
        mouth: Mouth,
        timeout: Duration,
    ) {
        mouth.hold();
        let phase =
            Phase { attended: false, given_up: false, ended: None, expires: Instant::now() + timeout };
        let held = Arc::new(Held {
            handle,
            principal,
            target,
            request_id,
            questions,
            mouth,
            phase: Mutex::new(phase),
            keeper: Notify::new(),
            client: Notify::new(),
        });
        self.held().insert(handle, held.clone());
        tokio::spawn(keep(Arc::downgrade(self), held, passing));
    }

    /// Takes a call up again: gives the answers, and waits for what comes of them. Dropping the future, as a client
    /// does that leaves, cancels the call.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        handle: u128,
        answers: &[(Box<str>, RawJson)],
        declared: &ClientCapabilities,
        turn_to: impl FnOnce(&Mouth),
        timeout: Duration,
    ) -> Result<(Arc<Held>, Step), NotResumed> {
        let held = self.held().get(&handle).cloned().ok_or(NotResumed::Unknown)?;
        {
            let mut phase = held.phase();
            if phase.given_up {
                return Err(NotResumed::Unknown);
            }
            if phase.attended {
                // A request sent twice: only one of them can have the answer.
                return Err(NotResumed::Unknown);
            }
            if phase.ended.is_none() {
                if let Some(missing) = held.questions.undeclared(declared) {
                    return Err(NotResumed::Invalid(RpcError::missing_capability(&missing)));
                }
                held.questions.answer(answers).map_err(NotResumed::Invalid)?;
            }
            phase.attended = true;
        }
        turn_to(&held.mouth);
        let attending = Attending { parking: self, held: &held, done: false };
        let step = attending.wait(timeout).await;
        Ok((held.clone(), step))
    }

    fn forget(&self, held: &Held) {
        self.held().remove(&held.handle);
        held.keeper.notify_one();
    }

    /// Gives every call up that waits for its client: the end is near. The others end like any call.
    pub(crate) fn close(&self) {
        let all: Vec<_> = self.held().values().cloned().collect();
        for held in all.into_iter().filter(|held| held.give_up_if(|_| true)) {
            self.forget(&held);
        }
    }
}

impl Held {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it up, unless a request of the client waits for it; says whether it did.
    fn give_up_if(&self, due: impl FnOnce(&Phase) -> bool) -> bool {
        let mut phase = self.phase();
        phase.given_up |= !phase.attended && due(&phase);
        if phase.given_up {
            self.questions.give_up();
        }
        phase.given_up
    }
}

/// A request of the client that waits for a held call.
struct Attending<'a> {
    parking: &'a Parking,
    held: &'a Held,
    done: bool,
}

impl Attending<'_> {
    async fn wait(mut self, timeout: Duration) -> Step {
        loop {
            let ended = self.held.phase().ended.take();
            if let Some(outcome) = ended {
                self.done = true;
                self.parking.forget(self.held);
                return Step::Ended(outcome);
            }
            let asked = !self.held.questions.state().pending.is_empty();
            if asked {
                // Time for siblings, or for the end.
                tokio::time::sleep(TOGETHER).await;
                let mut phase = self.held.phase();
                let requests = self.held.questions.requests();
                if phase.ended.is_none() && !requests.is_empty() {
                    phase.attended = false;
                    phase.expires = Instant::now() + timeout;
                    self.held.mouth.hold();
                    self.done = true;
                    drop(phase);
                    self.held.keeper.notify_one();
                    return Step::Asks(requests);
                }
                continue;
            }
            tokio::select! {
                () = self.held.client.notified() => {}
                () = self.held.questions.asked() => {}
            }
        }
    }
}

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        if !self.done {
            // The client has left, which cancels the call (bridging §6.3.1, rule 5).
            self.held.questions.give_up();
            self.parking.forget(self.held);
        }
    }
}

/// Goes on with a held call until its end, or until it is given up.
async fn keep(parking: Weak<Parking>, held: Arc<Held>, mut passing: Passing) {
    loop {
        let known = parking.upgrade().is_some_and(|parking| parking.held().contains_key(&held.handle));
        if !known {
            // Time for the answers that were given in the client's place; dropping the call cancels it.
            let _ = tokio::time::timeout(FAREWELL, passing).await;
            return;
        }
        let (attended, expires) = {
            let phase = held.phase();
            (phase.attended, phase.expires)
        };
        tokio::select! {
            biased;
            outcome = &mut passing => {
                held.phase().ended = Some(outcome);
                held.client.notify_one();
                break;
            }
            () = held.keeper.notified() => {}
            () = tokio::time::sleep_until(expires), if !attended => {
                // It may have been taken up again meanwhile.
                if !held.give_up_if(|phase| Instant::now() >= phase.expires) {
                    continue;
                }
                tracing::info!(request_id = %held.request_id, "a held call is given up: its client did not come back");
                if let Some(parking) = parking.upgrade() {
                    parking.forget(&held);
                }
            }
        }
    }
    // Its outcome is kept for as long as the client may still come for it.
    loop {
        let (attended, expires) = {
            let phase = held.phase();
            (phase.attended, phase.expires)
        };
        if attended {
            return;
        }
        tokio::time::sleep_until(expires).await;
        if held.give_up_if(|phase| Instant::now() >= phase.expires) {
            if let Some(parking) = parking.upgrade() {
                parking.forget(&held);
            }
            return;
        }
    }
}
