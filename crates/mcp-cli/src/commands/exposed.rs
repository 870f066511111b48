//! `prompts`, `resources` and `tools --exposed`: what clients of the gateway see of all servers as one.

use mcp_api_types::{ExposedEntry, ExposedKind, ExposedList, Hiding};
use serde::Deserialize;

use crate::{
    args::{GlobalArgs, ShownArgs},
    client::{Answer, Client},
    exit::{Error, Exit},
    output::Output,
    table::Table,
    text::{Span, Style},
};

/// What the table shows of an entry.
#[derive(Default, Deserialize)]
#[serde(default)]
struct About {
    title: Option<String>,
    description: Option<String>,
}

pub(crate) async fn prompts(
    args: &ShownArgs,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    show("PROMPT", &[ExposedKind::Prompt], args, global, output).await
}

pub(crate) async fn resources(
    args: &ShownArgs,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    show("URI", &[ExposedKind::Resource, ExposedKind::Template], args, global, output).await
}

/// The kinds of entries under this title.
pub(crate) async fn show(
    title: &'static str,
    kinds: &[ExposedKind],
    args: &ShownArgs,
    global: &GlobalArgs,
    output: &mut Output,
) -> Result<Exit, Error> {
    let client = Client::new(global)?;
    let mut query: Vec<_> = args.view.iter().map(|view| ("view", view.clone())).collect();
    if let [kind] = kinds {
        query.push(("kind", kind.as_str().to_owned()));
    }
    let asked = client.get(&["exposed"], &query);
    let answer: Answer<ExposedList> = output.wait("asking the gateway", asked).await?;
    let mut list = answer.body;
    list.items.retain(|entry| {
        let wanted = |name: &String| *name == entry.owner || entry.servers.contains(name);
        kinds.contains(&entry.kind) && (args.server.is_empty() || args.server.iter().any(wanted))
    });
    if global.json {
        // Only what was asked for.
        let text = serde_json::to_string(&list).map_err(|error| Error::Answer(error.to_string()))?;
        output.json(&text)?;
        return Ok(Exit::Ok);
    }
    if list.items.is_empty() {
        let text = match &args.server[..] {
            [] => "the servers are not known to have any".to_owned(),
            named => format!("no server or group is shown that has any and is called {}", named.join(" or ")),
        };
        output.note(&[Span::faint(text)])?;
    } else {
        output.table(&table(title, &list.items))?;
    }
    if !list.missing.is_empty() {
        let text = format!("not known, or out of reach: {}", list.missing.join(", "));
        output.note(&[Span::new(Style::Doubtful, text)])?;
    }
    Ok(Exit::Ok)
}

fn table(title: &'static str, entries: &[ExposedEntry]) -> Table {
    let mut table = Table::new([title, "SERVER", "NAME THERE", "HIDDEN", "DESCRIPTION"]);
    for entry in entries {
        let about: About = serde_json::from_str(entry.definition.get()).unwrap_or_default();
        let about = about.description.or(about.title).unwrap_or_default();
        let (style, hidden) = match (&entry.hidden, &entry.taken_by) {
            (None, _) => (Style::Strong, String::new()),
            (Some(Hiding::Taken), Some(by)) => (Style::Faint, format!("taken by {by}")),
            (Some(hiding), _) => (Style::Faint, crate::render::word(hiding)),
        };
        // A server that stands alone is its own owner.
        let server = match &entry.servers[..] {
            [server] if *server == entry.owner => server.clone(),
            servers => format!("{} ({})", entry.owner, servers.join(", ")),
        };
        table.row([
            Span::new(style, &entry.exposed),
            Span::plain(server),
            Span::plain(if entry.name == entry.exposed { "" } else { &entry.name }),
            Span::new(Style::Doubtful, hidden),
            Span::plain(about.trim().lines().next().unwrap_or_default()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::text;

    #[test]
    fn the_table_shows_whose_a_name_is_and_why_it_is_hidden() {
        let entry = |more: &str| {
            let text = format!(
                r#"{{"kind":"tool","shortened":false,"taken_by":null,"hidden":null,"definition":{{"title":"T"}},{more}}}"#
            );
            // The later one of two keys counts in a map, not in a structure.
            let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            serde_json::from_value::<ExposedEntry>(map.into()).unwrap()
        };
        let entries = [
            entry(r#""exposed":"a__t","owner":"a","servers":["a"],"name":"t""#),
            entry(r#""exposed":"g__t","owner":"g","servers":["b","c"],"name":"t","hidden":"withheld""#),
            entry(r#""exposed":"u","owner":"d","servers":["d"],"name":"u","hidden":"taken","taken_by":"a""#),
        ];
        assert_eq!(
            text(&table("TOOL", &entries).lines(None)),
            "TOOL  SERVER    NAME THERE  HIDDEN      DESCRIPTION\n\
             a__t  a         t                       T\n\
             g__t  g (b, c)  t           withheld    T\n\
             u     d                     taken by a  T\n"
        );
    }
}
