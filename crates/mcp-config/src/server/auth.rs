//! The credentials a server is sent.

use mcp_transport::{Auth, ClientAuthentication, ClientCredentials};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::http::{NOT_VISIBLE, check_header_name, is_safe, is_visible, url};
use crate::checks::Checks;

/// The keys of `auth` as written. Source: contract §7.5.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AuthSpec {
    /// `bearer`, `api_key` or `client_credentials`.
    pub r#type: Option<String>,
    /// bearer: the token.
    pub token: Option<SecretString>,
    /// api_key: the key.
    pub key: Option<SecretString>,
    /// api_key: the header it is sent in (`X-API-Key`).
    pub header: Option<String>,
    /// client_credentials: the token endpoint of the authorization server.
    pub token_url: Option<String>,
    /// client_credentials: who we are.
    pub client_id: Option<String>,
    /// client_credentials: the proof.
    pub client_secret: Option<SecretString>,
    /// client_credentials: the `scope` to ask for (none).
    pub scope: Option<String>,
    /// client_credentials: the `resource` to ask for (the server's URL).
    pub resource: Option<String>,
    /// client_credentials: `basic` or `post`, how the secret is sent (`basic`).
    pub method: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bearer,
    ApiKey,
    ClientCredentials,
}

const KINDS: [(&str, Kind); 3] =
    [("bearer", Kind::Bearer), ("api_key", Kind::ApiKey), ("client_credentials", Kind::ClientCredentials)];

const METHODS: [(&str, ClientAuthentication); 2] =
    [("basic", ClientAuthentication::Basic), ("post", ClientAuthentication::Post)];

const API_KEY: &str = "X-API-Key";
const AUTHORIZATION: &str = "Authorization";

/// The headers of a server as they stand in its endpoint.
type Headers = Vec<(String, SecretString)>;

impl AuthSpec {
    /// What gives the tokens, if they are not fixed; a fixed one becomes a header.
    pub(super) fn check(&self, headers: &mut Headers, checks: &mut Checks) -> Option<Auth> {
        if self.r#type.is_none() {
            checks.fail(["auth"], "`type` is missing: `bearer`, `api_key` or `client_credentials`");
        }
        let kind = checks.word(["auth", "type"], self.r#type.as_deref(), &KINDS)?;
        self.refuse_other_keys(kind, checks);
        match kind {
            Kind::Bearer => {
                let token = required("token", self.token.as_ref(), checks)?;
                let token = token.expose_secret();
                let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
                checks.ensure(fits, ["auth", "token"], BARE_TOKEN);
                add(headers, AUTHORIZATION, format!("Bearer {token}").into(), checks);
                None
            }
            Kind::ApiKey => {
                let header = self.header.as_deref().unwrap_or(API_KEY);
                check_header_name(["auth", "header"], header, checks);
                let key = required("key", self.key.as_ref(), checks)?;
                checks.ensure(!key.expose_secret().is_empty(), ["auth", "key"], EMPTY);
                checks.ensure(is_visible(key.expose_secret()), ["auth", "key"], NOT_VISIBLE);
                add(headers, header, key.clone(), checks);
                None
            }
            Kind::ClientCredentials => {
                refuse_twice(headers, AUTHORIZATION, checks);
                self.client_credentials(checks).map(|credentials| Auth::ClientCredentials(credentials.into()))
            }
        }
    }

    fn client_credentials(&self, checks: &mut Checks) -> Option<ClientCredentials> {
        let advice = "; say `client_id` and `client_secret`";
        let token_url = required("token_url", self.token_url.as_deref(), checks)
            .and_then(|text| checks.valid(["auth", "token_url"], url(text, advice)));
        if let Some(url) = &token_url {
            checks.ensure(is_safe(url), ["auth", "token_url"], SECRET_IN_THE_OPEN);
        }
        let client_id = required("client_id", self.client_id.as_deref(), checks);
        checks.ensure(client_id != Some(""), ["auth", "client_id"], EMPTY);
        let client_secret = required("client_secret", self.client_secret.as_ref(), checks);
        let empty = client_secret.is_some_and(|secret| secret.expose_secret().is_empty());
        checks.ensure(!empty, ["auth", "client_secret"], EMPTY);
        if let Some(scope) = &self.scope {
            // RFC 6749 §3.3.
            let allowed = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
            let fits = !scope.is_empty() && scope.bytes().all(allowed);
            checks.ensure(fits, ["auth", "scope"], "must be words of visible ASCII, one space apart");
        }
        let resource = self.resource.as_deref().and_then(|text| {
            checks.valid(["auth", "resource"], url(text, ": it names the server that is asked for"))
        });
        let method = checks.word(["auth", "method"], self.method.as_deref(), &METHODS);
        Some(ClientCredentials {
            token_url: token_url?,
            client_id: client_id?.to_owned(),
            client_secret: client_secret?.clone(),
            scope: self.scope.clone(),
            resource,
            method: method.unwrap_or_default(),
        })
    }

    /// A key of another kind has no effect, which would be a surprise.
    fn refuse_other_keys(&self, kind: Kind, checks: &mut Checks) {
        for (key, belongs_to, given) in [
            ("token", Kind::Bearer, self.token.is_some()),
            ("key", Kind::ApiKey, self.key.is_some()),
            ("header", Kind::ApiKey, self.header.is_some()),
            ("token_url", Kind::ClientCredentials, self.token_url.is_some()),
            ("client_id", Kind::ClientCredentials, self.client_id.is_some()),
            ("client_secret", Kind::ClientCredentials, self.client_secret.is_some()),
            ("scope", Kind::ClientCredentials, self.scope.is_some()),
            ("resource", Kind::ClientCredentials, self.resource.is_some()),
            ("method", Kind::ClientCredentials, self.method.is_some()),
        ] {
            if given && belongs_to != kind {
                let word =
                    |wanted| KINDS.iter().find(|(_, kind)| *kind == wanted).map_or("", |(word, _)| word);
                let (theirs, ours) = (word(belongs_to), word(kind));
                checks.fail(["auth", key], format!("is for type `{theirs}`, this one is `{ours}`"));
            }
        }
    }
}

const EMPTY: &str = "must not be empty";
const BARE_TOKEN: &str = "must hold visible ASCII characters only, no spaces: the token without `Bearer`";
const SECRET_IN_THE_OPEN: &str = "must be https, or http to this machine: the client secret is sent there";

fn required<T>(key: &str, value: Option<T>, checks: &mut Checks) -> Option<T> {
    if value.is_none() {
        checks.fail(["auth"], format!("`{key}` is missing"));
    }
    value
}

fn add(headers: &mut Headers, name: &str, value: SecretString, checks: &mut Checks) {
    refuse_twice(headers, name, checks);
    headers.push((name.to_owned(), value));
}

fn refuse_twice(headers: &Headers, name: &str, checks: &mut Checks) {
    if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
        checks.fail(["auth"], format!("`headers` sets `{name}` already; keep one"));
    }
}
