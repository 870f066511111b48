//! What is tried with a server, and what came of it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use mcp_client::{Answer, CallError, CallEvent, Client, Interest, Notifications, Outgoing};
use mcp_protocol::{ErrorCode, Method, RawJson};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::wait;

/// For one request; only a hang takes this long.
const LIMIT: Duration = Duration::from_secs(10);

/// For a notification that is due.
const MOMENT: Duration = Duration::from_millis(500);

/// A request, and a text that its result must have in it.
#[derive(Debug, Clone)]
pub(super) struct Try {
    method: Method,
    params: Value,
    expected: &'static str,
}

impl Try {
    pub(super) fn call(tool: &str, arguments: impl Serialize, expected: &'static str) -> Self {
        let params = json!({ "name": tool, "arguments": serde_json::to_value(arguments).unwrap() });
        Self { method: Method::ToolsCall, params, expected }
    }

    pub(super) fn read(uri: &str, expected: &'static str) -> Self {
        Self { method: Method::ResourcesRead, params: json!({ "uri": uri }), expected }
    }

    pub(super) fn get(prompt: &str, arguments: impl Serialize, expected: &'static str) -> Self {
        let params = json!({ "name": prompt, "arguments": serde_json::to_value(arguments).unwrap() });
        Self { method: Method::PromptsGet, params, expected }
    }

    /// The same as JSON for a client of others, which sees tools and prompts with this prefix.
    pub(super) fn plan(&self, prefix: &str) -> Value {
        let mut params = self.params.clone();
        if let Some(Value::String(name)) = params.get_mut("name") {
            name.insert_str(0, prefix);
        }
        json!({ "method": self.method.as_str(), "params": params })
    }

    /// The tool or prompt that is asked for.
    pub(super) fn name(&self) -> Option<&str> {
        self.params["name"].as_str()
    }

    fn request(&self) -> Outgoing {
        Outgoing::new(self.method.clone(), Some(RawJson::encode(&self.params).unwrap()))
    }

    /// The same with progress asked for.
    fn with_progress(&self) -> Outgoing {
        let mut request = self.request();
        request.progress = true;
        request
    }

    fn judge(&self, answer: &Answer) -> Result<(), String> {
        self.judge_text(answer.result.as_str())
    }

    /// Judges a result in JSON without white space.
    pub(super) fn judge_text(&self, result: &str) -> Result<(), String> {
        if result.contains(self.expected) { Ok(()) } else { Err(format!("answered {result}")) }
    }
}

/// What a server has to try; `None` where it has nothing of the kind. Its lists are asked for anyway, if it
/// declares to have them.
#[derive(Debug, Clone, Default)]
pub(super) struct Features {
    /// A tool that succeeds.
    pub(super) call: Option<Try>,
    /// A tool that fails, which is a result as well.
    pub(super) fail: Option<Try>,
    pub(super) read: Option<Try>,
    pub(super) prompt: Option<Try>,
    /// A tool that reports progress three times.
    pub(super) progress: Option<Try>,
    /// A tool that reports progress and takes long, and one that tells how often the first was cancelled.
    pub(super) cancel: Option<(Try, Option<&'static str>)>,
    /// A resource, and a tool that changes it.
    pub(super) subscribe: Option<(&'static str, Try)>,
    /// Tools that ask the client.
    pub(super) elicit: Option<Try>,
    pub(super) sample: Option<Try>,
    pub(super) roots: Option<Try>,
}

/// The columns of the table after those that name the row.
pub(super) const COLUMNS: [&str; 14] = [
    "tools",
    "prompts",
    "resources",
    "templates",
    "call",
    "error",
    "read",
    "prompt",
    "progress",
    "cancel",
    "subscribe",
    "elicit",
    "sample",
    "roots",
];

/// What came of trying something.
#[derive(Debug)]
pub(super) enum Cell {
    Works,
    /// Done without an error, but nobody tells whether it had an effect.
    Sent,
    NotOffered,
    Failed(String),
}

impl Cell {
    /// What is to be said of both: a failure, if there is one, else the most that is known to work.
    pub(super) fn join(&mut self, other: Self) {
        let rank = |cell: &Self| match cell {
            Self::Failed(_) => 0,
            Self::Works => 1,
            Self::Sent => 2,
            Self::NotOffered => 3,
        };
        match (self, other) {
            (Self::Failed(why), Self::Failed(other)) => {
                why.push_str("; ");
                why.push_str(&other);
            }
            (this, other) if rank(&other) < rank(this) => *this = other,
            _ => {}
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("ok"),
            Self::Sent => f.write_str("sent"),
            Self::NotOffered => f.write_str("–"),
            Self::Failed(_) => f.write_str("FAILED"),
        }
    }
}

impl From<Result<Self, String>> for Cell {
    fn from(result: Result<Self, String>) -> Self {
        result.unwrap_or_else(Self::Failed)
    }
}

/// Tries everything, in the order of [`COLUMNS`].
pub(super) async fn try_all(client: &Client, features: &Features) -> [Cell; COLUMNS.len()] {
    let Features { call, fail, read, prompt, progress, cancel, subscribe, elicit, sample, roots } = features;
    [
        list(client, "tools", Method::ToolsList).await,
        list(client, "prompts", Method::PromptsList).await,
        list(client, "resources", Method::ResourcesList).await,
        list(client, "resources", Method::ResourceTemplatesList).await,
        ask(client, call.as_ref()).await,
        ask(client, fail.as_ref()).await,
        ask(client, read.as_ref()).await,
        ask(client, prompt.as_ref()).await,
        offered(progress.as_ref(), async |slow| count_progress(client, slow).await).await,
        offered(cancel.as_ref(), async |(slow, counter)| give_up(client, slow, *counter).await).await,
        offered(subscribe.as_ref(), async |(uri, change)| watch(client, uri, change).await).await,
        ask(client, elicit.as_ref()).await,
        ask(client, sample.as_ref()).await,
        ask(client, roots.as_ref()).await,
    ]
}

async fn offered<T>(what: Option<T>, try_it: impl AsyncFnOnce(T) -> Result<Cell, String>) -> Cell {
    match what {
        None => Cell::NotOffered,
        Some(what) => match timeout(LIMIT, try_it(what)).await {
            Ok(result) => result.into(),
            Err(_) => Cell::Failed(format!("nothing came of it within {LIMIT:?}")),
        },
    }
}

async fn list(client: &Client, capability: &str, method: Method) -> Cell {
    let profile = client.profile();
    let declared = profile.capabilities.as_ref().and_then(|capabilities| capabilities.get(capability));
    offered(declared, async |_| match client.list(method, LIMIT).await {
        Ok(_) => Ok(Cell::Works),
        // Resources come without templates, too, and no capability says so.
        Err(CallError::Rpc { error, .. }) if error.code() == Some(ErrorCode::METHOD_NOT_FOUND) => {
            Ok(Cell::NotOffered)
        }
        Err(error) => Err(error.to_string()),
    })
    .await
}

async fn ask(client: &Client, what: Option<&Try>) -> Cell {
    offered(what, async |what| {
        let answer = client.call(what.request(), LIMIT).await.map_err(|error| error.to_string())?;
        what.judge(&answer).map(|()| Cell::Works)
    })
    .await
}

/// Three reports, one after the other, before the answer.
async fn count_progress(client: &Client, slow: &Try) -> Result<Cell, String> {
    let mut call = client.start(slow.with_progress()).await.map_err(|error| error.to_string())?;
    let mut reports = Vec::new();
    while let Some(event) = call.next().await {
        match event.map_err(|error| error.to_string())? {
            CallEvent::Notification(notification) if notification.method == Method::Progress => {
                let progress =
                    notification.params.and_then(|params| params.get("progress")?.to::<f64>().ok());
                reports.extend(progress);
            }
            CallEvent::Done(answer) => {
                slow.judge(&answer)?;
                let rising = reports.is_sorted_by(|a, b| a < b) && reports.len() == 3;
                return if rising { Ok(Cell::Works) } else { Err(format!("progress was {reports:?}")) };
            }
            _ => {}
        }
    }
    Err("the call ended without an answer".to_owned())
}

/// Gives a call up that has shown that it runs. Afterwards the connection still works, and the server knows.
async fn give_up(client: &Client, slow: &Try, counter: Option<&str>) -> Result<Cell, String> {
    let counted = async || match counter {
        None => Ok(None),
        Some(tool) => {
            let counter = Try::call(tool, json!({}), "");
            let answer = client.call(counter.request(), LIMIT).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(Some(answer.result))
        }
    };
    let before = counted().await?;
    let mut call = client.start(slow.with_progress()).await.map_err(|error| error.to_string())?;
    let event = call.next().await.ok_or("the call ended at once")?;
    if let CallEvent::Done(answer) = event.map_err(|error| error.to_string())? {
        return Err(format!("the call did not wait: {}", answer.result.as_str()));
    }
    drop(call);
    if counter.is_none() {
        client.ping(LIMIT).await.map_err(|error| error.to_string())?;
        return Ok(Cell::Sent);
    }
    wait::until("the server to notice", async || {
        counted().await.map(|now| (now != before).then_some(())).transpose()
    })
    .await?;
    Ok(Cell::Works)
}

/// A change of a resource that was subscribed to is told.
async fn watch(client: &Client, uri: &str, change: &Try) -> Result<Cell, String> {
    let mut notifications = client.notifications();
    let interest = Interest { uris: BTreeSet::from([uri.to_owned()]), ..Interest::default() };
    let subscription = client.subscribe(interest, LIMIT).await.map_err(|error| error.to_string())?;
    if !subscription.accepted().uris.contains(uri) {
        return Err("the server does not agree".to_owned());
    }
    let told = async |notifications: &mut Notifications| loop {
        let Some(notification) = notifications.recv().await else { return Err("the connection ended") };
        let of = || notification.params.as_ref()?.get("uri")?.to::<String>().ok();
        if notification.method == Method::ResourcesUpdated && of().as_deref() == Some(uri) {
            return Ok(Cell::Works);
        }
    };
    // Servers agree before they listen to changes themselves: one that comes at once may be lost.
    loop {
        let answer = client.call(change.request(), LIMIT).await.map_err(|error| error.to_string())?;
        change.judge(&answer)?;
        if let Ok(result) = timeout(MOMENT, told(&mut notifications)).await {
            return result.map_err(str::to_owned);
        }
    }
}
