//! On whose behalf a call is made.

use secrecy::{ExposeSecret, SecretString};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

/// The user a call is made for (contract §8.5).
///
/// `Debug` does not show the token. Writing the body to JSON does, since that is how it reaches the gateway;
/// the gateway writes it nowhere. Reading a wrong one says what it must be and never what was given.
#[derive(Debug, Clone, Default)]
pub struct UserContext {
    /// Who it is.
    pub user_id: Option<String>,
    /// Sent as `Authorization: Bearer` to the server that is called, and with nothing else. Not empty.
    pub token: Option<SecretString>,
}

/// Longest token in bytes; web servers take headers of about that length.
const MAX_TOKEN: usize = 8192;

/// Longest id in bytes.
const MAX_USER_ID: usize = 1024;

impl UserContext {
    /// A user with an id, a token, or both. An empty token is none.
    ///
    /// # Errors
    ///
    /// What is wrong, without the value.
    pub fn new(user_id: Option<String>, token: Option<String>) -> Result<Self, &'static str> {
        let token = token.filter(|token| !token.is_empty());
        if user_id.as_ref().is_some_and(|id| id.len() > MAX_USER_ID) {
            return Err("the user_id is longer than 1024 bytes");
        }
        if token.as_ref().is_some_and(|token| token.len() > MAX_TOKEN) {
            return Err("the token is longer than 8192 bytes");
        }
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("the token holds characters that cannot stand in a header");
        }
        Ok(Self { user_id, token: token.map(SecretString::from) })
    }
}

impl<'de> Deserialize<'de> for UserContext {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Given {
            user_id: Option<String>,
            token: Option<String>,
        }
        // By way of the text, because the errors of serde repeat what they did not expect: it may be the token.
        let raw = Box::<RawValue>::deserialize(from)?;
        let Given { user_id, token } = serde_json::from_str(raw.get()).map_err(|_| {
            D::Error::custom("must be an object with the keys user_id and token, both strings")
        })?;
        Self::new(user_id, token).map_err(D::Error::custom)
    }
}

impl Serialize for UserContext {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { user_id, token } = self;
        let mut fields = to.serialize_struct("UserContext", 2)?;
        match user_id {
            Some(id) => fields.serialize_field("user_id", id)?,
            None => fields.skip_field("user_id")?,
        }
        match token {
            Some(token) => fields.serialize_field("token", token.expose_secret())?,
            None => fields.skip_field("token")?,
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_written() {
        for (text, written) in [
            ("{}", "{}"),
            (r#"{"user_id":"u","token":"t.o-k"}"#, r#"{"user_id":"u","token":"t.o-k"}"#),
            (r#"{"user_id":null,"token":""}"#, "{}"),
        ] {
            let user: UserContext = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&user).unwrap(), written, "{text}");
        }
    }

    #[test]
    fn the_token_shows_neither_in_debug_nor_in_errors() {
        let user: UserContext = serde_json::from_str(r#"{"token":"canary"}"#).unwrap();
        assert!(!format!("{user:?}").contains("canary"));
        let long = format!(r#"{{"token":"canary{}"}}"#, "x".repeat(MAX_TOKEN));
        let long_id = format!(r#"{{"token":"canary","user_id":"{}"}}"#, "x".repeat(MAX_USER_ID + 1));
        for wrong in [
            r#""canary""#,
            r#"["canary"]"#,
            r#"{"token":["canary"]}"#,
            r#"{"canary":1}"#,
            r#"{"token":"canary","user_id":7}"#,
            r#"{"token":"canary canary"}"#,
            r#"{"token":"canary\n"}"#,
            &*long,
            &*long_id,
        ] {
            let error = serde_json::from_str::<UserContext>(wrong).unwrap_err().to_string();
            assert!(error.contains("token") || error.contains("user_id"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
