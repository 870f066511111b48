//! On whose behalf a call is made: the token comes from the environment or a file, never from the command line,
//! which every user of the machine can read.

use std::{fs::File, io::Read as _, path::Path};

use mcp_api_types::UserContext;
use mcp_config::Env;

use crate::{args::UserArgs, exit::Error};

/// More than the longest token there can be.
const MAX_FILE: u64 = 64 * 1024;

impl UserArgs {
    /// The user the options name, if they name one.
    pub(crate) fn context(&self, env: Env<'_>) -> Result<Option<UserContext>, Error> {
        let (token, source) = match (&self.user_token_env, &self.user_token_file) {
            (Some(name), _) => {
                let value = env(name).filter(|value| !value.is_empty());
                let missing = || Error::Usage(format!("the environment variable {name} holds no token"));
                (Some(value.ok_or_else(missing)?), name.clone())
            }
            (None, Some(path)) => (Some(read(path)?), path.display().to_string()),
            (None, None) => (None, "--user-id".to_owned()),
        };
        if token.is_none() && self.user_id.is_none() {
            return Ok(None);
        }
        let context = UserContext::new(self.user_id.clone(), token);
        context.map(Some).map_err(|reason| Error::Usage(format!("{source}: {reason}")))
    }
}

/// The token in a file, without the line end that editors leave.
fn read(path: &Path) -> Result<String, Error> {
    let wrong = |reason: &str| Error::Usage(format!("{}: {reason}", path.display()));
    let file = File::open(path).map_err(|error| wrong(&error.to_string()))?;
    if is_open_to_others(&file) {
        return Err(wrong("others can read this file; a token wants `chmod 600`"));
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| wrong(&error.to_string()))?;
    match text.trim_end() {
        "" => Err(wrong("the file holds no token")),
        token => Ok(token.to_owned()),
    }
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("canary".into()),
            "EMPTY" => Some(String::new()),
            "SPACED" => Some("canary canary".into()),
            _ => None,
        }
    }

    fn json(args: &UserArgs) -> Result<String, String> {
        let context = args.context(&env).map_err(|error| error.to_string())?;
        Ok(serde_json::to_string(&context).unwrap())
    }

    fn by_env(name: &str) -> UserArgs {
        UserArgs { user_token_env: Some(name.into()), ..UserArgs::default() }
    }

    #[test]
    fn a_token_comes_from_the_environment() {
        assert_eq!(json(&UserArgs::default()).unwrap(), "null");
        let only_id = UserArgs { user_id: Some("ada".into()), ..UserArgs::default() };
        assert_eq!(json(&only_id).unwrap(), r#"{"user_id":"ada"}"#);
        let both = UserArgs { user_id: Some("ada".into()), ..by_env("TOKEN") };
        assert_eq!(json(&both).unwrap(), r#"{"user_id":"ada","token":"canary"}"#);
        for (name, told) in [
            ("NONE", "the environment variable NONE holds no token"),
            ("EMPTY", "the environment variable EMPTY holds no token"),
            ("SPACED", "SPACED: the token holds characters that cannot stand in a header"),
        ] {
            assert_eq!(json(&by_env(name)).unwrap_err(), told);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_token_comes_from_a_file_of_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let args = UserArgs { user_token_file: Some(path.clone()), ..UserArgs::default() };
        assert!(
            json(&args).unwrap_err().starts_with(&format!("{}: ", path.display())),
            "there is no such file"
        );
        for (text, mode, expected) in [
            ("canary\n", 0o600, Ok(r#"{"token":"canary"}"#)),
            ("canary", 0o400, Ok(r#"{"token":"canary"}"#)),
            ("canary", 0o640, Err("others can read this file; a token wants `chmod 600`")),
            ("\n", 0o600, Err("the file holds no token")),
            ("canary\ncanary", 0o600, Err("the token holds characters that cannot stand in a header")),
        ] {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let expected =
                expected.map(str::to_owned).map_err(|reason| format!("{}: {reason}", path.display()));
            assert_eq!(json(&args), expected, "{text:?} {mode:o}");
        }
    }
}
