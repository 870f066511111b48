//! Arguments of a tool, and settings of a server, from the command line.

use serde_json::value::RawValue;

/// Reads arguments as one JSON object, or as `key=value` words.
///
/// A single word that starts with `{` is the object. Else every word is `key=value`; the value is JSON if it
/// parses as JSON, else a string: `count=3`, `name=Ada`, `tags=["a"]`, `code='"007"'` for a string that looks like
/// a number. Numbers keep every digit.
///
/// # Errors
///
/// What is wrong with which word.
pub(crate) fn parse(words: &[String]) -> Result<Box<RawValue>, String> {
    read(words, |value| match serde_json::from_str::<&RawValue>(value) {
        Ok(json) => json.get().to_owned(),
        Err(_) => quoted(value),
    })
}

/// The same for arguments that are texts, whatever they look like: those of prompts.
///
/// # Errors
///
/// What is wrong with which word.
pub(crate) fn texts(words: &[String]) -> Result<Box<RawValue>, String> {
    read(words, quoted)
}

fn read(words: &[String], value: impl Fn(&str) -> String) -> Result<Box<RawValue>, String> {
    let text = match words {
        [object] if object.trim_start().starts_with('{') => object.clone(),
        words => from_pairs(words, value)?,
    };
    RawValue::from_string(text).map_err(|error| format!("the arguments are not valid JSON: {error}"))
}

fn from_pairs(words: &[String], json: impl Fn(&str) -> String) -> Result<String, String> {
    let mut keys: Vec<&str> = Vec::new();
    let mut object = String::from("{");
    for word in words {
        let Some((key, value)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("{word:?} is neither key=value nor a JSON object"));
        };
        if keys.contains(&key) {
            return Err(format!("the key {key:?} is given twice"));
        }
        if !keys.is_empty() {
            object.push(',');
        }
        keys.push(key);
        object.push_str(&quoted(key));
        object.push(':');
        object.push_str(&json(value));
    }
    object.push('}');
    Ok(object)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn words_become_an_object() {
        for (given, json) in [
            (&[][..], r#"{}"#),
            (&["a=1"], r#"{"a":1}"#),
            (&["a=1.0", "b=-2e3"], r#"{"a":1.0,"b":-2e3}"#),
            (&["id=12345678901234567890123"], r#"{"id":12345678901234567890123}"#),
            (&["a=true", "b=null"], r#"{"a":true,"b":null}"#),
            (&["name=Ada Lovelace"], r#"{"name":"Ada Lovelace"}"#),
            (&["a="], r#"{"a":""}"#),
            (&["code=\"007\""], r#"{"code":"007"}"#),
            (&["code=007"], r#"{"code":"007"}"#),
            (&["a=NaN", "b=True"], r#"{"a":"NaN","b":"True"}"#),
            (&["list=[1, 2]", "deep={\"x\": {}}"], r#"{"list":[1, 2],"deep":{"x": {}}}"#),
            (&["url=http://h/?a=b"], r#"{"url":"http://h/?a=b"}"#),
            (&["say=\"unfinished"], r#"{"say":"\"unfinished"}"#),
            (&["q\"k=a\nb"], r#"{"q\"k":"a\nb"}"#),
            (&["{\"a\": 1.0}"], r#"{"a": 1.0}"#),
            (&["  {} "], "{}"),
        ] {
            let parsed = parse(&words(given)).map(|raw| raw.get().trim().to_owned());
            assert_eq!(parsed.as_deref(), Ok(json), "{given:?}");
        }
    }

    #[test]
    fn wrong_words_are_named() {
        for (given, names) in [
            (&["a"][..], "\"a\" is neither"),
            (&["=1"], "\"=1\" is neither"),
            (&["a=1", "a=2"], "\"a\" is given twice"),
            (&["{\"a\": }"], "not valid JSON"),
            (&["{} {}"], "not valid JSON"),
            (&["{}", "a=1"], "\"{}\" is neither"),
            (&["[1]"], "\"[1]\" is neither"),
        ] {
            let error = parse(&words(given)).unwrap_err();
            assert!(error.contains(names), "{given:?}: {error}");
        }
    }
}
