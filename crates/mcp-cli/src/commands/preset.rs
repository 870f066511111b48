//! `config preset`: example configurations to start from.

use mcp_config::{PRESETS, Preset, preset};
use serde::Serialize;

use crate::{
    args::GlobalArgs,
    exit::{Error, Exit},
    output::Output,
    table::Table,
    text::{Span, Style},
};

/// What `--json` prints of a preset.
#[derive(Serialize)]
struct Shown {
    name: &'static str,
    about: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'static str>,
}

pub(crate) fn run(name: Option<&str>, global: &GlobalArgs, output: &mut Output) -> Result<Exit, Error> {
    match name {
        Some(name) => print(find(name)?, global, output)?,
        None => list(global, output)?,
    }
    Ok(Exit::Ok)
}

fn find(name: &str) -> Result<&'static Preset, Error> {
    preset(name).ok_or_else(|| {
        let known: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        Error::Usage(format!("there is no example {name:?}; there are: {}", known.join(", ")))
    })
}

fn print(preset: &Preset, global: &GlobalArgs, output: &mut Output) -> Result<(), Error> {
    if global.json {
        let Preset { name, about, text } = *preset;
        output.json(&json(&Shown { name, about, text: Some(text) })?)?;
    } else {
        output.raw(preset.text)?;
    }
    Ok(())
}

fn list(global: &GlobalArgs, output: &mut Output) -> Result<(), Error> {
    if global.json {
        let shown: Vec<_> =
            PRESETS.iter().map(|&Preset { name, about, .. }| Shown { name, about, text: None }).collect();
        output.json(&json(&shown)?)?;
    } else {
        let mut table = Table::new(["NAME", "WHAT IT HOLDS"]);
        for preset in &PRESETS {
            table.row([Span::new(Style::Strong, preset.name), Span::plain(preset.about)]);
        }
        output.table(&table)?;
    }
    Ok(())
}

fn json(shown: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(shown).map_err(|error| Error::Config(error.to_string()))
}

#[cfg(test)]
mod tests {
    use mcp_config::{Config, Format};

    use super::*;
    use crate::output::{Look, tests::kept};

    fn shown(name: Option<&str>, json: bool) -> String {
        let global = GlobalArgs { url: String::new(), api_key: None, json, no_color: true };
        let (mut output, out, err) = kept(Look::default());
        run(name, &global, &mut output).unwrap();
        assert_eq!(err.text(), "");
        out.text()
    }

    #[test]
    fn a_preset_is_printed_as_a_file() {
        let config =
            Config::parse(&shown(Some("restaurants"), false), Format::Toml, "stdout", &|_| None).unwrap();
        assert_eq!(config.servers.len(), 2);
        let json: serde_json::Value = serde_json::from_str(&shown(Some("restaurants"), true)).unwrap();
        assert_eq!(json["text"], shown(Some("restaurants"), false));
    }

    #[test]
    fn without_a_name_they_are_listed() {
        assert_eq!(
            shown(None, false),
            "NAME         WHAT IT HOLDS\n\
             restaurants  two servers of a restaurant guide: search and reasoning\n"
        );
        assert_eq!(
            shown(None, true),
            concat!(
                r#"[{"name":"restaurants","about":"two servers of a restaurant guide: search and reasoning"}]"#,
                "\n"
            )
        );
    }

    #[test]
    fn an_unknown_name_says_which_there_are() {
        let error = find("restaurant").unwrap_err();
        assert!(matches!(error, Error::Usage(_)));
        assert_eq!(error.to_string(), "there is no example \"restaurant\"; there are: restaurants");
    }
}
