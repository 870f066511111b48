#![doc = include_str!("../README.md")]

mod bridge;
mod checks;
mod client;
mod diagnostic;
mod environment;
mod file;
mod from_json;
mod from_toml;
mod gateway;
mod invalid;
mod listen;
mod name;
mod policy;
mod preset;
mod read;
mod registration;
mod server;
mod state_file;
mod tree;
mod view;
mod whole_file;

pub use bridge::BridgeSettings;
pub use diagnostic::{ConfigError, Diagnostic, Position};
pub use environment::{Env, process_env};
pub use file::{Config, Format, MAX_BYTES, locate};
pub use gateway::{GatewaySettings, NeedsKeys};
pub use invalid::InvalidField;
pub use listen::{InvalidListen, ListenAddress};
pub use name::{RESERVED_NAMES, RESERVED_OWNER};
pub use preset::{PRESETS, Preset, preset};
pub use registration::Registration;
pub use server::{AuthSpec, RateLimitSpec, ServerSpec, TlsSpec};
pub use state_file::StateFile;
pub use view::View;
pub use whole_file::WholeFile;
