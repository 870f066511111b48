//! The variable by which the processes of a server are known for as long as they live.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Every server finds it in its environment, and what it starts inherits it. The value is
/// `HOST.SERVER`: 32 hexadecimal digits that only this process has, a dot, and the number of the server.
pub(crate) const VARIABLE: &str = "MCP_STDIO_OWNER";

/// One start of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Marker(u64);

impl Marker {
    /// One that no other server has, of this process or another.
    pub(crate) fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// The marker in an environment as `/proc/PID/environ` shows it, if it is one of ours.
    #[cfg(any(target_os = "linux", test))]
    pub(crate) fn find(environment: &[u8]) -> Option<Self> {
        let start = host().as_bytes();
        let is_entry = |at: &usize| *at == 0 || environment[at - 1] == 0;
        let at = memchr::memmem::find_iter(environment, start).find(is_entry)?;
        let number = environment[at + start.len()..].split(|byte| *byte == 0).next()?;
        Some(Self(std::str::from_utf8(number).ok()?.strip_prefix('.')?.parse().ok()?))
    }
}

/// The value of the variable.
impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", &host()[VARIABLE.len() + 1..], self.0)
    }
}

/// What the environments of all our servers hold: `MCP_STDIO_OWNER=HOST`.
pub(crate) fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| format!("{VARIABLE}={}", Uuid::new_v4().simple()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_whole_and_only_if_it_is_ours() {
        let (one, other) = (Marker::new(), Marker::new());
        assert_ne!(one, other);
        let environment = format!("A=b\0{VARIABLE}={other}\0Z=\0");
        assert_eq!(Marker::find(environment.as_bytes()), Some(other));
        assert_eq!(Marker::find(&environment.as_bytes()[4..environment.len() - 4]), Some(other));
        for foreign in [
            String::new(),
            format!("X{VARIABLE}={one}\0"),
            format!("{VARIABLE}=0123456789abcdef0123456789abcdef.1\0"),
            format!("{VARIABLE}={one}x\0"),
            format!("{}\0", host()),
        ] {
            assert_eq!(Marker::find(foreign.as_bytes()), None, "{foreign:?}");
        }
    }
}
