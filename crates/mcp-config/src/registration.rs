//! The bodies of `POST /servers` and `PUT /servers/{name}`.

use mcp_registry::{Definition, Policy, ServerName};

use crate::from_json;
use crate::invalid::InvalidField;
use crate::name::server_name;
use crate::read;
use crate::server::ServerSpec;
use crate::tree::Value;

/// A server to register: its name and the keys a file would have for it.
#[derive(Debug, Clone)]
pub struct Registration {
    name: ServerName,
    spec: ServerSpec,
}

impl Registration {
    /// Reads a JSON object with `name` and the keys of [`ServerSpec`]. References to environment variables
    /// are not replaced: the text comes from the network.
    ///
    /// # Errors
    ///
    /// Every field that is unknown or of the wrong type, without its value; an empty path if this is no
    /// JSON object at all.
    pub fn from_json(body: &str) -> Result<Self, Vec<InvalidField>> {
        Self::read(body, |name| match name {
            Some(Value::Text(text)) => server_name(&text),
            Some(_) => Err("must be a string".into()),
            None => Err("is missing".into()),
        })
    }

    /// The same for a server that is registered already: `name` may be left out, but not differ.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json).
    pub fn replacing(registered: &ServerName, body: &str) -> Result<Self, Vec<InvalidField>> {
        Self::read(body, |name| match name {
            Some(Value::Text(text)) if text != registered.as_str() => {
                Err("must be that of the path; to rename a server, register it anew and remove the old one"
                    .into())
            }
            Some(Value::Text(_)) | None => Ok(registered.clone()),
            Some(_) => Err("must be a string".into()),
        })
    }

    fn read(
        body: &str,
        judge: impl FnOnce(Option<Value>) -> Result<ServerName, String>,
    ) -> Result<Self, Vec<InvalidField>> {
        let mut node =
            from_json::parse(body).map_err(|finding| vec![InvalidField::new([], finding.message)])?;
        if !matches!(node.value, Value::Table(_)) {
            return Err(vec![InvalidField::new([], "must be a JSON object")]);
        }
        let name = judge(node.take("name").map(|entry| entry.node.value));
        let (spec, faults) = read::read(&mut node);
        let mut fields: Vec<InvalidField> = faults.into_iter().map(|fault| fault.field).collect();
        match name {
            Ok(name) if fields.is_empty() => Ok(Self { name, spec }),
            Ok(_) => Err(fields),
            Err(reason) => {
                fields.insert(0, InvalidField::new(["name"], reason));
                Err(fields)
            }
        }
    }

    /// The name to register.
    #[must_use]
    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// The keys.
    #[must_use]
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// Checks the values; see [`ServerSpec::into_definition`]. Who may not register a program to run
    /// (`policy.allow_stdio_registration`) may not have files of this machine read either.
    ///
    /// # Errors
    ///
    /// Every field that is wrong.
    pub fn into_definition(self, policy: &Policy) -> Result<Definition, Vec<InvalidField>> {
        let files: Vec<_> = match &self.spec.tls {
            Some(tls) if !policy.allow_stdio_registration => tls.files().map(|(key, _)| key).collect(),
            _ => Vec::new(),
        };
        let definition = self.spec.into_definition(self.name, policy);
        if files.is_empty() {
            return definition;
        }
        let mut wrong = definition.err().unwrap_or_default();
        wrong.extend(files.into_iter().map(|key| InvalidField::new(["tls", key], FILES_OF_OURS)));
        Err(wrong)
    }
}

const FILES_OF_OURS: &str = "names a file of the gateway's machine, which only its configuration file may; \
                             `policy.allow_stdio_registration` allows it here too";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RESERVED_NAMES;

    fn errors(body: &str) -> Vec<String> {
        let definition = Registration::from_json(body)
            .and_then(|registration| registration.into_definition(&Policy::default()));
        definition.unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_body_becomes_a_definition() {
        let body = r#"{"name": "files", "url": "http://127.0.0.1:9/x", "priority": 7, "group": null}"#;
        let registration = Registration::from_json(body).unwrap();
        assert_eq!(registration.name().as_str(), "files");
        assert_eq!(registration.spec().priority, Some(7));
        let policy = Policy::default();
        let definition = registration.into_definition(&policy).unwrap();
        assert_eq!((definition.priority, definition.group), (7, None));
        assert_eq!(definition.request_timeout, policy.request_timeout);
    }

    #[test]
    fn a_replacement_keeps_its_name() {
        let registered: ServerName = "files".parse().unwrap();
        for (body, name) in [
            (r#"{"url": "https://a"}"#, Ok("files")),
            (r#"{"name": "files", "url": "https://a"}"#, Ok("files")),
            (r#"{"name": "other", "url": "https://a"}"#, Err("name")),
            (r#"{"name": 3, "url": "https://a"}"#, Err("name")),
            (r#"{"ulr": "https://a"}"#, Err("ulr")),
        ] {
            let read = Registration::replacing(&registered, body);
            let got = read.as_ref().map(|registration| registration.name().as_str());
            assert_eq!(got.map_err(|fields| &*fields[0].path[0]), name, "{body}");
        }
    }

    #[test]
    fn references_stay_as_they_are() {
        let body = r#"{"name": "a", "command": "${HOME}/bin/x"}"#;
        let registration = Registration::from_json(body).unwrap();
        assert_eq!(registration.spec().command.as_deref(), Some("${HOME}/bin/x"));
    }

    #[test]
    fn reserved_names_are_refused() {
        for name in RESERVED_NAMES {
            let expected =
                format!("`name`: the name `{name}` is reserved: the REST API has a path of that name");
            assert_eq!(errors(&format!(r#"{{"name": "{name}", "url": "https://a"}}"#)), [expected]);
        }
    }

    #[test]
    fn files_of_ours_are_for_those_who_may_run_programs() {
        let body = r#"{"name": "a", "url": "https://a", "priority": 0, "tls": {"ca_file": "/etc/shadow"}}"#;
        let refused = "`tls.ca_file`: names a file of the gateway's machine, which only its configuration file \
                       may; `policy.allow_stdio_registration` allows it here too";
        assert_eq!(errors(body), ["`priority`: must be 1 to 100", refused]);
        let body = body.replace(r#""priority": 0, "#, "");
        assert_eq!(errors(&body), [refused]);
        let mut policy = Policy::default();
        policy.allow_stdio_registration = true;
        let definition = Registration::from_json(&body).unwrap().into_definition(&policy).unwrap();
        assert!(definition.endpoint.http().unwrap().tls.ca_file.is_some());
    }

    #[test]
    fn every_mistake_names_its_field() {
        for (body, expected) in [
            ("", &["not valid JSON: EOF while parsing a value"][..]),
            ("[]", &["must be a JSON object"]),
            ("{/* x */}", &["not valid JSON: key must be a string"]),
            (r#"{"url": "https://a"}"#, &["`name`: is missing"]),
            (r#"{"name": 3, "url": "https://a"}"#, &["`name`: must be a string"]),
            (
                r#"{"name": "a__b", "ulr": "https://a", "priority": "high", "env": {"A": 1}}"#,
                &[
                    "`name`: a server name holds no \"__\" and does not end in '_'",
                    "`ulr`: unknown key; did you mean `url`?",
                    "`priority`: must be a whole number, 0 or more, not a string",
                    "`env.A`: must be a string, not a whole number",
                ],
            ),
            (
                r#"{"name": "a", "url": "ftp://a", "priority": 0, "tools": ["x", ""]}"#,
                &[
                    "`url`: must be an absolute `http` or `https` URL",
                    "`priority`: must be 1 to 100",
                    "`tools.1`: must not be empty",
                ],
            ),
            (
                r#"{"name": "a", "url": "http://10.0.0.7/mcp"}"#,
                &["`url`: plain http to another machine is refused when connecting; \
                   use https, or set `allow_insecure_http = true`"],
            ),
            (r#"{"name": "a"}"#, &["needs a `command` (a program to start) or a `url`"]),
        ] {
            assert_eq!(errors(body), expected, "{body}");
        }
    }
}
