//! State that travels through the client.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Makes and checks the `requestState` of a call that waits for the user.
///
/// The tag is a keyed hash under two random keys that live as long as the server. That keeps a client
/// from making up or altering a state, which is what a demo needs; it is no cryptographic MAC.
#[derive(Debug, Default)]
pub(crate) struct Seal {
    keys: [RandomState; 2],
}

impl Seal {
    /// How long a state is accepted.
    const LIFETIME: Duration = Duration::from_secs(600);

    /// A state for this call, good for ten minutes.
    pub(crate) fn issue(&self, now: Duration, tool: &str, arguments: &str) -> String {
        let expires = (now + Self::LIFETIME).as_millis();
        format!("{expires}.{}", self.tag(expires, tool, arguments))
    }

    /// Whether the state was issued for this very call and is still good.
    pub(crate) fn accepts(&self, now: Duration, tool: &str, arguments: &str, state: &str) -> bool {
        let Some((expires, tag)) = state.split_once('.') else { return false };
        let Ok(expires) = expires.parse::<u128>() else { return false };
        now.as_millis() < expires && self.tag(expires, tool, arguments) == tag
    }

    fn tag(&self, expires: u128, tool: &str, arguments: &str) -> String {
        let [first, second] = self.keys.each_ref().map(|key| key.hash_one((expires, tool, arguments)));
        format!("{first:016x}{second:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_good_for_its_call_and_its_time_only() {
        let seal = Seal::default();
        let now = Duration::from_secs(5);
        let state = seal.issue(now, "ask_user", "{}");
        let altered = format!("9{state}");
        for (at, tool, arguments, state, good) in [
            (now, "ask_user", "{}", &*state, true),
            (now + Seal::LIFETIME, "ask_user", "{}", &*state, false),
            (now, "sample", "{}", &*state, false),
            (now, "ask_user", "{\"question\":1}", &*state, false),
            (now, "ask_user", "{}", &*altered, false),
            (now, "ask_user", "{}", "", false),
            (now, "ask_user", "{}", "605000.", false),
        ] {
            assert_eq!(seal.accepts(at, tool, arguments, state), good, "{tool} {arguments} {state}");
        }
        assert!(!Seal::default().accepts(now, "ask_user", "{}", &state), "another server's state");
    }
}
