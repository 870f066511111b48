//! The `gateway` table: how clients reach the gateway, and who may.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::bridge::BridgeSettings;
use crate::checks::{Checks, set};
use crate::invalid::InvalidField;
use crate::listen::ListenAddress;

/// How clients reach the gateway, and who may.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GatewaySettings {
    /// Where to listen (`127.0.0.1:8300`).
    pub listen: ListenAddress,
    /// Keys of which a client must present one; empty: no key is asked for.
    pub api_keys: Vec<SecretString>,
    /// Names the gateway may be addressed by, besides those of loopback and the address it listens on.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may use it; empty: no web page may.
    pub allowed_origins: Vec<String>,
    /// Addresses that servers reached over HTTP may have; empty: any that is fit to be one.
    pub outbound_allow: Vec<IpNet>,
    /// Where servers that are registered over the REST API are kept; `None`: nowhere.
    pub state_file: Option<PathBuf>,
    /// How the MCP endpoint serves its clients.
    pub bridge: BridgeSettings,
}

/// Equal if a gateway would serve the same clients the same way, keys included.
impl PartialEq for GatewaySettings {
    fn eq(&self, other: &Self) -> bool {
        let Self { listen, api_keys, allowed_hosts, allowed_origins, outbound_allow, state_file, bridge } =
            self;
        let exposed = |keys: &[SecretString]| -> Vec<String> {
            keys.iter().map(|key| key.expose_secret().to_owned()).collect()
        };
        (listen, allowed_hosts, allowed_origins, outbound_allow)
            == (&other.listen, &other.allowed_hosts, &other.allowed_origins, &other.outbound_allow)
            && (state_file, bridge) == (&other.state_file, &other.bridge)
            && exposed(api_keys) == exposed(&other.api_keys)
    }
}

/// A gateway that others can reach must ask for a key. Source: reliability, S01.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{listen} can be reached from other machines, which needs `gateway.api_keys`; \
     set them, or listen on 127.0.0.1"
)]
pub struct NeedsKeys {
    listen: ListenAddress,
}

impl GatewaySettings {
    /// Listens elsewhere than the file says.
    ///
    /// # Errors
    ///
    /// The address is not loopback and there are no keys. Nothing changes then.
    pub fn listen_on(&mut self, listen: ListenAddress) -> Result<(), NeedsKeys> {
        if self.api_keys.is_empty() && !listen.is_loopback() {
            return Err(NeedsKeys { listen });
        }
        self.listen = listen;
        Ok(())
    }
}

/// The keys as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewaySpec {
    listen: Option<String>,
    api_keys: Option<Vec<SecretString>>,
    allowed_hosts: Option<Vec<String>>,
    allowed_origins: Option<Vec<String>>,
    outbound_allow: Option<Vec<String>>,
    state_file: Option<PathBuf>,
    pub(crate) prefix: Option<bool>,
    pub(crate) max_sessions: Option<u64>,
    pub(crate) session_idle_timeout: Option<u64>,
    pub(crate) park_timeout: Option<u64>,
    pub(crate) max_parked: Option<u64>,
    pub(crate) page_size: Option<u64>,
    pub(crate) list_wait: Option<u64>,
}

impl GatewaySpec {
    /// The settings, and what is wrong with them.
    pub(crate) fn into_settings(self) -> (GatewaySettings, Vec<InvalidField>) {
        let mut checks = Checks::default();
        let bridge = self.bridge(&mut checks);
        let mut settings = GatewaySettings { bridge, ..GatewaySettings::default() };
        for (index, key) in self.api_keys.iter().flatten().enumerate() {
            if let Some(reason) = weakness(key.expose_secret()) {
                checks.fail(["api_keys", &index.to_string()], reason);
            }
        }
        set(&mut settings.api_keys, self.api_keys);
        set(&mut settings.allowed_hosts, self.allowed_hosts);
        set(&mut settings.allowed_origins, self.allowed_origins);
        if let Some(path) = self.state_file {
            checks.ensure(path.file_name().is_some(), ["state_file"], "must be the path of a file");
            settings.state_file = Some(path);
        }
        if let Some(ranges) = self.outbound_allow {
            // An empty list could mean that nothing is allowed, or that nothing is asked for.
            checks.ensure(
                !ranges.is_empty(),
                ["outbound_allow"],
                "is empty; leave it out to allow any address",
            );
            for (index, text) in ranges.iter().enumerate() {
                let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
                let range = range.map_err(|_| NO_RANGE.to_owned());
                settings.outbound_allow.extend(checks.valid(["outbound_allow", &index.to_string()], range));
            }
        }
        if let Some(listen) = self.listen {
            match listen.parse() {
                Ok(listen) => {
                    if settings.listen_on(listen).is_err() {
                        checks.fail(["listen"], EXPOSED);
                    }
                }
                Err(error) => checks.fail(["listen"], error.to_string()),
            }
        }
        (settings, checks.into_faults())
    }
}

const EXPOSED: &str = "can be reached from other machines, which needs `api_keys`; \
                       set them, or listen on 127.0.0.1";

const NO_RANGE: &str = "must be an IP address, or a range of them such as `10.0.0.0/8`";

/// Shortest accepted key in bytes. Source: reliability, S08.
const MIN_KEY: usize = 32;

/// Longest accepted key in bytes; a request head has room for it.
const MAX_KEY: usize = 4096;

/// Why a key protects nothing.
fn weakness(key: &str) -> Option<&'static str> {
    if key.len() < MIN_KEY {
        return Some("is shorter than 32 bytes; make one with `openssl rand -hex 32`");
    }
    if key.len() > MAX_KEY {
        return Some("is longer than 4096 bytes");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some("must hold visible ASCII characters only, no spaces");
    }
    is_placeholder(key).then_some("is a placeholder; make a key with `openssl rand -hex 32`")
}

/// Whether somebody typed this to be replaced later: it says so, or hardly varies.
fn is_placeholder(key: &str) -> bool {
    let folded = key.to_ascii_lowercase().replace(['-', '_', '.'], "");
    let says_so = [
        "changeme",
        "placeholder",
        "replaceme",
        "yourapikey",
        "yourkey",
        "yoursecret",
        "yourtoken",
        "example",
        "insertkey",
        "xxxx",
    ];
    let distinct: HashSet<u8> = key.bytes().collect();
    let bytes = key.as_bytes();
    let repeats = |length: usize| bytes.iter().zip(&bytes[length..]).all(|(one, other)| one == other);
    says_so.iter().any(|word| folded.contains(word))
        || distinct.len() < 8
        || (1..=bytes.len() / 2).any(repeats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_protect_nothing_are_refused() {
        let random = "8f3c1e0a9d7b46528f1e2d3c4b5a6978e1f20c4d";
        for (key, reason) in [
            (random, None),
            (&random[..32], None),
            (&random[..31], Some("is shorter than 32 bytes; make one with `openssl rand -hex 32`")),
            ("", Some("is shorter than 32 bytes; make one with `openssl rand -hex 32`")),
            (&random.repeat(103), Some("is longer than 4096 bytes")),
            (&format!("{random} "), Some("must hold visible ASCII characters only, no spaces")),
            (&format!("{random}é"), Some("must hold visible ASCII characters only, no spaces")),
        ] {
            assert_eq!(weakness(key), reason, "{key}");
        }
        for key in [
            "change-me-change-me-change-me-please-1234",
            "YOUR_API_KEY_GOES_HERE_0123456789abcdef",
            "<placeholder-for-the-key-of-the-gateway>",
            "0123456789abcdef0123456789abcdef",
            "00000000000000000000000000000000",
            "abcabcdabcabcdabbacdabcdabcdabcddcba",
        ] {
            let reason = "is a placeholder; make a key with `openssl rand -hex 32`";
            assert_eq!(weakness(key), Some(reason), "{key}");
        }
    }

    #[test]
    fn another_address_needs_keys_as_the_first_one_did() {
        let mut settings = GatewaySettings::default();
        let everywhere: ListenAddress = "0.0.0.0:80".parse().unwrap();
        let error = settings.listen_on(everywhere.clone()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "0.0.0.0:80 can be reached from other machines, which needs `gateway.api_keys`; set them, or listen on 127.0.0.1"
        );
        assert_eq!(settings.listen, ListenAddress::default());
        settings.listen_on("localhost:0".parse().unwrap()).unwrap();
        settings.api_keys.push("8f3c1e0a9d7b46528f1e2d3c4b5a6978".into());
        settings.listen_on(everywhere.clone()).unwrap();
        assert_eq!(settings.listen, everywhere);
    }
}
