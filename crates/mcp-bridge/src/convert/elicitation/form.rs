//! Forms for clients of 2025-06-18, whose schema is poorer. Source: bridging §10.3; schema 2025-06-18,
//! `PrimitiveSchemaDefinition`.

use std::collections::HashSet;

use mcp_protocol::{InvalidJson, JsonKind, Members, RawJson};

use super::{InvalidAnswer, Unaskable};
use crate::convert::{array, items, json};

/// A field with several choices that became one switch for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MultiSelect {
    field: Box<str>,
    /// Name of the switch and the value it stands for, a JSON string.
    switches: Vec<(Box<str>, RawJson)>,
    required: bool,
    min: u64,
    max: u64,
}

/// A property of a form: its name and schema.
type Field = (Box<str>, RawJson);

/// One choice of a field.
struct Choice {
    value: RawJson,
    title: Option<Box<str>>,
}

/// The keywords that text has in 2025-06-18; a choice from a list has those of [`CHOICE`].
const TEXT: &[&str] = &["type", "title", "description", "minLength", "maxLength", "format"];
const NUMBER: &[&str] = &["type", "title", "description", "minimum", "maximum"];
const SWITCH: &[&str] = &["type", "title", "description", "default"];
const CHOICE: &[&str] = &["type", "title", "description", "enum", "enumNames"];

/// A schema that a client of 2025-06-18 understands, and the fields that have to be put together again.
pub(super) fn to_2025_06_18(schema: &RawJson) -> Result<(RawJson, Vec<MultiSelect>), Unaskable> {
    let properties = schema.get("properties").unwrap_or_else(RawJson::empty_object);
    let fields = properties.members()?;
    let required: Vec<Box<str>> = match schema.get("required") {
        Some(required) => required.to()?,
        None => Vec::new(),
    };
    let mut taken: HashSet<Box<str>> = fields.texts().map(|(name, _)| name.into()).collect();
    let mut selects = Vec::new();
    let mut converted = Vec::new();
    for (name, text) in fields.texts() {
        let field = json(text);
        match field.get("type").and_then(|kind| kind.to::<Box<str>>().ok()).as_deref() {
            Some("array") => {
                let is_required = required.iter().any(|required| **required == *name);
                let (select, switches) = expand(name, &field, is_required, &mut taken)?;
                converted.extend(switches);
                selects.push(select);
            }
            Some("string") => converted.push((name.into(), string(&field)?)),
            Some("number" | "integer") => converted.push((name.into(), keep(&field, NUMBER)?)),
            Some("boolean") => converted.push((name.into(), keep(&field, SWITCH)?)),
            _ => return Err(Unaskable::Field { field: name.into() }),
        }
    }
    let mut properties = Members::default();
    for (name, field) in &converted {
        properties.set_json(name, field.clone());
    }
    let mut members = schema.members()?;
    members.retain(|name| matches!(name, "type" | "properties" | "required"));
    members.set_json("properties", properties.encode());
    if !selects.is_empty() && members.get_text("required").is_some() {
        // Every switch may be off; how many have to be on is checked in the answer.
        let is_select = |name: &str| selects.iter().any(|select| *select.field == *name);
        let left: Vec<_> = required.iter().filter(|name| !is_select(name)).collect();
        members.set_json("required", RawJson::encode(&left)?);
    }
    let schema = members.encode();
    Ok((schema, selects))
}

/// Text, or one choice from a list.
fn string(field: &RawJson) -> Result<RawJson, Unaskable> {
    let Some(listed) = field.get("oneOf") else {
        return Ok(keep(field, if field.get("enum").is_some() { CHOICE } else { TEXT })?);
    };
    let choices = titled(&listed)?;
    // People know the default by its title.
    let default = field.get("default").map(|default| default.to::<Box<str>>().unwrap_or_default());
    let chosen = choices.iter().find(|choice| choice.value.to::<Box<str>>().ok() == default);
    let described = keep_telling(field, &["type", "title", "description"], chosen.map(Choice::shown))?;
    let mut members = described.members()?;
    members.set_json("enum", array(choices.iter().map(|choice| choice.value.as_str())));
    let names: Vec<_> = choices.iter().map(Choice::shown).collect();
    members.set_json("enumNames", RawJson::encode(&names)?);
    Ok(members.encode())
}

/// The field with the keywords that are known alone. A default that is lost is told in words.
fn keep(field: &RawJson, keywords: &[&str]) -> Result<RawJson, InvalidJson> {
    let default = field.get("default").filter(|_| !keywords.contains(&"default"));
    let text = default.map(|default| default.to().unwrap_or_else(|_| default.as_str().into()));
    keep_telling(field, keywords, text)
}

fn keep_telling(
    field: &RawJson,
    keywords: &[&str],
    default: Option<Box<str>>,
) -> Result<RawJson, InvalidJson> {
    let mut members = field.members()?;
    let before = members.len();
    members.retain(|name| keywords.contains(&name));
    if let Some(default) = default {
        members.set_json("description", described(field, &format!("default: {default}")));
    } else if members.len() == before {
        return Ok(field.clone());
    }
    Ok(members.encode())
}

/// The description of a field with a remark.
fn described(field: &RawJson, remark: &str) -> RawJson {
    let text = field.get("description").and_then(|text| text.to::<Box<str>>().ok());
    RawJson::string(&match text {
        Some(text) if !text.is_empty() => format!("{text} ({remark})"),
        _ => format!("({remark})"),
    })
}

/// One switch for each choice.
fn expand(
    name: &str,
    field: &RawJson,
    required: bool,
    taken: &mut HashSet<Box<str>>,
) -> Result<(MultiSelect, Vec<Field>), Unaskable> {
    let unknown = || Unaskable::Field { field: name.into() };
    let listed = field.get("items").ok_or_else(unknown)?;
    let choices = match (listed.get("anyOf"), listed.get("enum")) {
        (Some(titled_choices), _) => titled(&titled_choices)?,
        (None, Some(values)) => items(&values)
            .ok_or_else(unknown)?
            .into_iter()
            .map(|value| Choice { value: json(value.get()), title: None })
            .collect(),
        (None, None) => return Err(unknown()),
    };
    let on: Vec<Box<str>> = field.get("default").and_then(|on| on.to().ok()).unwrap_or_default();
    let title: Box<str> = field.get("title").and_then(|title| title.to().ok()).unwrap_or_else(|| name.into());
    let (min, max) = (bound(field, "minItems"), bound(field, "maxItems"));
    let remark = match (min, max) {
        (None, None) => None,
        (Some(min), None) => Some(format!("choose at least {min}")),
        (None, Some(max)) => Some(format!("choose at most {max}")),
        (Some(min), Some(max)) => Some(format!("choose {min} to {max}")),
    };
    let mut switches = Vec::new();
    let mut shown = Vec::new();
    for (at, choice) in choices.into_iter().enumerate() {
        let mut switch: Box<str> = format!("{name}.{at}").into();
        while !taken.insert(switch.clone()) {
            switch = format!("{switch}_").into();
        }
        let mut members = Members::default();
        members.set_json("type", RawJson::string("boolean"));
        members.set_json("title", RawJson::string(&format!("{title}: {}", choice.shown())));
        match &remark {
            Some(remark) => members.set_json("description", described(field, remark)),
            None => {
                if let Some(description) = field.get("description") {
                    members.set_json("description", description);
                }
            }
        }
        if choice.value.to().is_ok_and(|value: Box<str>| on.contains(&value)) {
            members.set_json("default", json("true"));
        }
        shown.push((switch.clone(), members.encode()));
        switches.push((switch, choice.value));
    }
    let select = MultiSelect {
        field: name.into(),
        switches,
        required,
        min: min.unwrap_or(0),
        max: max.unwrap_or(u64::MAX),
    };
    Ok((select, shown))
}

fn bound(field: &RawJson, name: &str) -> Option<u64> {
    field.get(name)?.to().ok()
}

/// The choices of a list `[{const, title}]`.
fn titled(listed: &RawJson) -> Result<Vec<Choice>, InvalidJson> {
    let choices: Vec<RawJson> = listed.to()?;
    let choice = |choice: RawJson| {
        // What is missing is read as `null`, which is no string.
        let value = choice.get("const").unwrap_or_else(|| json("null"));
        value.to::<Box<str>>()?;
        Ok(Choice { title: choice.get("title").and_then(|title| title.to().ok()), value })
    };
    choices.into_iter().map(choice).collect()
}

impl Choice {
    fn shown(&self) -> Box<str> {
        self.title.clone().or_else(|| self.value.to().ok()).unwrap_or_default()
    }
}

/// The content the server expects: switches that are on become lists again.
pub(super) fn collect(selects: &[MultiSelect], content: Option<&RawJson>) -> Result<RawJson, InvalidAnswer> {
    let empty = RawJson::empty_object();
    let content = content.unwrap_or(&empty);
    if content.kind() != JsonKind::Object {
        return Err(InvalidJson::NotAnObject { found: content.kind() }.into());
    }
    let mut members = content.members()?;
    for select in selects {
        let is_on = |(switch, _): &&(Box<str>, RawJson)| members.get_text(switch) == Some("true");
        let chosen: Vec<_> = select.switches.iter().filter(is_on).map(|(_, value)| value.as_str()).collect();
        members.retain(|name| select.switches.iter().all(|(switch, _)| **switch != *name));
        // A field that may be left out, and was.
        if chosen.is_empty() && !select.required {
            continue;
        }
        let count = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
        if !(select.min..=select.max).contains(&count) {
            return Err(InvalidAnswer::Count {
                field: select.field.clone(),
                min: select.min,
                max: select.max,
                chosen: chosen.len(),
            });
        }
        members.set_json(&select.field, array(chosen));
    }
    Ok(members.encode())
}
