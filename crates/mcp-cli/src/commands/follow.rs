//! Showing an event stream, and going on with it.

use std::time::Duration;

use mcp_api_types::ItemList;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    args::{FollowArgs, GlobalArgs},
    client::{Answer, Client},
    exit::{Error, Exit},
    output::Output,
    text::{Line, Span},
};

const POLL: Duration = Duration::from_millis(500);
/// Events asked for in one poll. If all of them are new, there may be more, and everything is asked for.
const PAGE: usize = 100;

/// One of the event streams.
pub(crate) trait Stream: DeserializeOwned {
    /// Where the API has it.
    const PATH: &'static str;
    /// Its position in the order of events.
    fn seq(&self) -> u64;
    /// How it looks to people.
    fn line(&self) -> Line;
}

/// An event as it came and as it is understood.
struct Event<S> {
    json: Box<RawValue>,
    event: S,
}

pub(crate) async fn show<S: Stream>(
    filters: Vec<(&'static str, String)>,
    args: &FollowArgs,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let client = Client::new(global)?;
    let source = Source { client: &client, filters };
    let limit = args.limit.map(|limit| limit.to_string());
    let (answer, events) = output.wait("asking the gateway", source.events::<S>(limit)).await?;
    if global.json && !args.follow {
        output.json(&answer.text)?;
        return Ok(Exit::Ok);
    }
    print(&events, global, output)?;
    if !args.follow {
        return Ok(Exit::Ok);
    }
    let last = events.last().map_or(0, |event| event.event.seq());
    tokio::select! {
        followed = follow::<S>(&source, last, global, output) => followed,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Ok),
    }
}

/// Prints every event after `last`, once. A gateway that went away may come back, so that does not end it.
async fn follow<S: Stream>(
    source: &Source<'_>,
    mut last: u64,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let mut tick = tokio::time::interval(POLL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    let mut gone = false;
    loop {
        tick.tick().await;
        let mut events = match source.after::<S>(last).await {
            Ok(events) => events,
            Err(error) => {
                if !gone {
                    output.error(&error.to_string())?;
                    output.note(&[Span::faint("trying again")])?;
                }
                gone = true;
                continue;
            }
        };
        gone = false;
        if events.last().is_some_and(|newest| newest.event.seq() < last) {
            // A stream that ends before what was seen belongs to a gateway that has started anew: the next
            // poll shows all of it.
            last = 0;
            continue;
        }
        events.retain(|event| event.event.seq() > last);
        print(&events, global, output)?;
        last = events.last().map_or(last, |event| event.event.seq());
    }
}

fn print<S: Stream>(events: &[Event<S>], global: &GlobalArgs, output: &mut Output) -> Result<(), Error> {
    for Event { json, event } in events {
        if global.json {
            output.json(json.get())?;
        } else {
            output.line(&event.line())?;
        }
    }
    Ok(())
}

struct Source<'a> {
    client: &'a Client,
    filters: Vec<(&'static str, String)>,
}

impl Source<'_> {
    /// The newest events, with all that may be after `last` among them.
    async fn after<S: Stream>(&self, last: u64) -> Result<Vec<Event<S>>, Error> {
        let (_, page) = self.events::<S>(Some(PAGE.to_string())).await?;
        let all_new = page.len() >= PAGE && page.first().is_some_and(|oldest| oldest.event.seq() > last);
        if all_new { Ok(self.events::<S>(None).await?.1) } else { Ok(page) }
    }

    async fn events<S: Stream>(
        &self,
        limit: Option<String>,
    ) -> Result<(Answer<ItemList<Box<RawValue>>>, Vec<Event<S>>), Error> {
        let mut query = self.filters.clone();
        query.extend(limit.map(|limit| ("limit", limit)));
        let answer: Answer<ItemList<Box<RawValue>>> = self.client.get(&[S::PATH], &query).await?;
        let events = answer.body.items.iter().map(|json| {
            let event =
                serde_json::from_str::<S>(json.get()).map_err(|error| Error::Answer(error.to_string()))?;
            Ok(Event { json: json.clone(), event })
        });
        let events = events.collect::<Result<_, Error>>()?;
        Ok((answer, events))
    }
}
