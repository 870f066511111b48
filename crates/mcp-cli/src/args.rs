//! The command line, as clap reads it.

use std::{fmt, num::NonZeroU64, path::PathBuf, str::FromStr};

use clap::{Args, Subcommand, ValueEnum, ValueHint};

/// Where the gateway is unless told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8300";

/// Options every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// Base URL of the gateway
    #[arg(long, global = true, env = "MCP_GATEWAY_URL", default_value = DEFAULT_URL, value_hint = ValueHint::Url)]
    pub url: String,
    /// Key of the gateway's API, sent as `Authorization: Bearer`
    #[arg(long, global = true, env = "MCP_GATEWAY_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<ApiKey>,
    /// Print JSON as the gateway sends it
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours; so does the environment variable NO_COLOR
    #[arg(long, global = true)]
    pub no_color: bool,
}

impl GlobalArgs {
    /// Whether `--url` was written on the command line, as far as its value tells.
    pub(crate) fn names_gateway(&self) -> bool {
        let otherwise = std::env::var("MCP_GATEWAY_URL").unwrap_or_else(|_| DEFAULT_URL.to_owned());
        self.url != otherwise
    }

    /// Whether colours are wanted where they can be shown: neither `--no-color` nor a non-empty `NO_COLOR`.
    pub fn color(&self) -> bool {
        !self.no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }
}

/// The key of the gateway's API. `Debug` does not show it.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for ApiKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("the key is empty"),
            text if !text.chars().all(|c| c.is_ascii_graphic()) => {
                Err("the key holds characters that cannot stand in a header")
            }
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// The commands that talk to a gateway, or to a server in its place.
#[derive(Debug, Clone, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Call a tool
    #[command(after_help = CALL_EXAMPLES)]
    Call(CallArgs),
    /// List the tools of all servers
    #[command(after_help = TOOLS_EXAMPLES)]
    Tools(ToolsArgs),
    /// List the prompts of all servers, as clients of the gateway see them
    #[command(after_help = PROMPTS_EXAMPLES)]
    Prompts(ShownArgs),
    /// List the resources of all servers and their templates, as clients of the gateway see them
    #[command(after_help = RESOURCES_EXAMPLES)]
    Resources(ShownArgs),
    /// Get one prompt
    #[command(after_help = PROMPT_EXAMPLES)]
    Prompt(PromptArgs),
    /// Read one resource
    #[command(after_help = READ_EXAMPLES)]
    Read(ReadArgs),
    /// Show which tools have changed their definitions, and approve what they are now
    #[command(after_help = CHANGES_EXAMPLES, args_conflicts_with_subcommands = true)]
    Changes {
        /// What to do; the list if missing
        #[command(subcommand)]
        command: Option<ChangesCommand>,
    },
    /// List, register, replace, remove, check, connect and mark servers
    #[command(after_help = SERVERS_EXAMPLES, args_conflicts_with_subcommands = true)]
    Servers {
        /// What to do; the list if missing
        #[command(subcommand)]
        command: Option<ServersCommand>,
    },
    /// Show every server on one screen
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Show changes of the servers' status
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(EventsArgs),
    /// Show the steps of invocations
    #[command(after_help = INVOCATIONS_EXAMPLES)]
    Invocations(InvocationsArgs),
    /// Tell what happened to one request, and why
    #[command(after_help = WHY_EXAMPLES)]
    Why {
        /// Its id: `call` prints it, answers to calls over HTTP have it in X-Request-Id, those over /sse in their
        /// `_meta`, and warnings in the log name it
        request_id: String,
    },
    /// Work on a configuration file
    #[command(subcommand, after_help = CONFIG_EXAMPLES)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Arguments of `call`.
#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// Name of the tool
    pub tool: String,
    /// One JSON object, or key=value words: the value is JSON if it parses as JSON, else a string
    #[arg(value_name = "JSON|KEY=VALUE")]
    pub arguments: Vec<String>,
    /// A server to try first; repeat it for an order of preference
    #[arg(long, value_name = "NAME", conflicts_with_all = ONE_SERVER)]
    pub server: Vec<String>,
    /// Try no other servers than those given with --server
    #[arg(long, requires = "server")]
    pub only: bool,
    /// Try only servers of this group
    #[arg(long, value_name = "NAME", conflicts_with_all = ONE_SERVER)]
    pub group: Option<String>,
    /// The one server to call: it is tried again where that may help, also while it waits for its retry, and no
    /// other server is
    #[arg(long, value_name = "NAME", conflicts_with_all = CHOICES)]
    pub on: Option<String>,
    /// Limit of one attempt in milliseconds
    #[arg(long, value_name = "MS")]
    pub timeout: Option<NonZeroU64>,
    /// Whether the call may run twice: decides if another server is tried when the outcome is unknown
    #[arg(long, value_name = "true|false")]
    pub idempotent: Option<bool>,
    /// On whose behalf.
    #[command(flatten)]
    pub user: UserArgs,
    /// The server to call without a gateway.
    #[command(flatten)]
    pub direct: DirectArgs,
}

/// Options after which there is one server only, and nothing to choose.
const ONE_SERVER: [&str; 2] = ["server_command", "server_url"];

/// Options that make no sense beside the one server of `--on`, or without a gateway.
const CHOICES: [&str; 6] = ["server", "only", "group", "config", "server_command", "server_url"];

/// Whom a call is made for.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "On behalf of a user")]
pub struct UserArgs {
    /// Who it is
    #[arg(long, value_name = "ID")]
    pub user_id: Option<String>,
    /// Environment variable that holds the user's token: sent with this call as `Authorization: Bearer` to the server
    /// of --on or --server-url, else to servers marked forward_user_token
    #[arg(long, value_name = "NAME", conflicts_with = "user_token_file")]
    pub user_token_env: Option<String>,
    /// File that holds it, readable by its owner alone
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub user_token_file: Option<PathBuf>,
}

/// Arguments of `tools`.
#[derive(Debug, Clone, Args)]
pub struct ToolsArgs {
    /// Only this server; may be repeated
    #[arg(long, value_name = "NAME")]
    pub server: Vec<String>,
    /// As clients of the gateway see them, with what is hidden from them although nothing denies it, and why
    #[arg(long, conflicts_with_all = NO_GATEWAY)]
    pub exposed: bool,
    /// The same for the clients of a view
    #[arg(long, value_name = "NAME", conflicts_with_all = NO_GATEWAY)]
    pub view: Option<String>,
    /// The server to ask without a gateway.
    #[command(flatten)]
    pub direct: DirectArgs,
}

/// Options that leave no gateway to ask.
const NO_GATEWAY: [&str; 3] = ["config", "server_command", "server_url"];

/// Arguments of `prompts` and `resources`.
#[derive(Debug, Clone, Args)]
pub struct ShownArgs {
    /// Only those of this server or group; may be repeated
    #[arg(long, value_name = "NAME")]
    pub server: Vec<String>,
    /// What clients of a view see
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
}

/// Arguments of `prompt`.
#[derive(Debug, Clone, Args)]
pub struct PromptArgs {
    /// The name clients know it by: `mcp-gateway prompts` lists them
    pub name: String,
    /// One JSON object, or key=value words; every value is a text
    #[arg(value_name = "JSON|KEY=VALUE")]
    pub arguments: Vec<String>,
    /// Among what clients of a view see
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
}

/// Arguments of `read`.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    /// Its URI: `mcp-gateway resources` lists them
    pub uri: String,
    /// Among what clients of a view see
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
}

/// The commands under `changes`.
#[derive(Debug, Clone, Subcommand)]
#[non_exhaustive]
pub enum ChangesCommand {
    /// List tools that are, or were, defined in another way than when they were first seen
    #[command(
        after_help = "Examples:\n  mcp-gateway changes list --pending\n  mcp-gateway changes list --json"
    )]
    List {
        /// Only tools of this server
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
        /// Only those that are not as approved
        #[arg(long)]
        pending: bool,
    },
    /// Approve what a tool is now
    #[command(after_help = APPROVE_EXAMPLES)]
    Approve {
        /// Name of the server
        server: String,
        /// The name the server gave the tool
        tool: String,
        /// What it was when you looked at it: its digest, or the beginning of that
        #[arg(long, value_name = "DIGEST")]
        digest: Option<String>,
    },
}

/// How to reach servers without a running gateway: one of the three, or none.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "direct", multiple = false)]
#[command(next_help_heading = "Without a running gateway")]
pub struct DirectArgs {
    /// Use the servers of this configuration file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Start this command and speak MCP over its stdin and stdout
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pub server_command: Option<String>,
    /// Connect to the MCP server at this URL
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub server_url: Option<String>,
}

/// The commands under `servers`.
#[derive(Debug, Clone, Subcommand)]
#[non_exhaustive]
pub enum ServersCommand {
    /// List all servers
    #[command(after_help = "Examples:\n  mcp-gateway servers list\n  mcp-gateway servers list --json")]
    List,
    /// Show everything about one server
    #[command(after_help = "Examples:\n  mcp-gateway servers get search-a")]
    Get {
        /// Name of the server
        name: String,
    },
    /// Register a server, or replace the one of that name
    #[command(override_usage = ADD_USAGE, after_help = ADD_EXAMPLES)]
    Add(AddArgs),
    /// Replace the definition of a registered server; settings that are left out get their defaults
    #[command(override_usage = UPDATE_USAGE, after_help = UPDATE_EXAMPLES)]
    Update(AddArgs),
    /// Remove a server
    #[command(after_help = "Examples:\n  mcp-gateway servers remove search-a")]
    Remove {
        /// Name of the server
        name: String,
    },
    /// Probe one server or all; exit code 1 if one is not healthy
    #[command(after_help = SERVERS_CHECK_EXAMPLES)]
    Check {
        /// Name of the server; all if missing
        name: Option<String>,
        /// Also while a server waits for its retry
        #[arg(long)]
        force: bool,
    },
    /// Show the health of one server or all as last recorded, without a probe
    #[command(
        after_help = "Examples:\n  mcp-gateway servers health\n  mcp-gateway servers health search-a --json"
    )]
    Health {
        /// Name of the server; all if missing
        name: Option<String>,
    },
    /// Say what a check would: the server is healthy, degraded or unavailable; the next check may say otherwise
    #[command(after_help = MARK_EXAMPLES)]
    Mark(MarkArgs),
    /// Show what a server said of itself in its last handshake
    #[command(after_help = "Examples:\n  mcp-gateway servers capabilities search-a")]
    Capabilities {
        /// Name of the server
        name: String,
    },
    /// Show sums over all servers
    #[command(after_help = "Examples:\n  mcp-gateway servers stats\n  mcp-gateway servers stats --json")]
    Stats,
    /// Handshake with one server or all; exit code 1 if one is not initialized
    #[command(after_help = "Examples:\n  mcp-gateway servers initialize search-a --force")]
    Initialize(ForceArgs),
    /// Probe, then handshake with one server or all; exit code 1 if one is not initialized
    #[command(
        after_help = "Examples:\n  mcp-gateway servers connect\n  mcp-gateway servers connect search-a --force"
    )]
    Connect(ForceArgs),
    /// Close a server's connections at once; the next use or check connects again
    #[command(after_help = "Examples:\n  mcp-gateway servers disconnect search-a")]
    Disconnect {
        /// Name of the server
        name: String,
    },
    /// Close a server's connections at once and connect anew; exit code 1 if it does not come up
    #[command(after_help = "Examples:\n  mcp-gateway servers reconnect search-a")]
    Reconnect {
        /// Name of the server
        name: String,
    },
    /// Ask one server or all for their tools again; exit code 1 if one does not answer
    #[command(
        after_help = "Examples:\n  mcp-gateway servers refresh\n  mcp-gateway servers refresh search-a"
    )]
    Refresh {
        /// Name of the server; all if missing
        name: Option<String>,
    },
}

/// Arguments of `servers add` and `servers update`.
#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// Name of the server
    pub name: String,
    /// Its URL, unless --command is given; then key=value settings as in the configuration file
    #[arg(value_name = "URL|KEY=VALUE")]
    pub words: Vec<String>,
    /// A command to start instead of a URL; the gateway must allow it (allow_stdio_registration)
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    pub command: Option<String>,
}

/// Arguments of `servers mark`.
#[derive(Debug, Clone, Args)]
pub struct MarkArgs {
    /// Name of the server
    pub name: String,
    /// What it is
    #[arg(value_name = "AS")]
    pub mark: MarkAs,
    /// Why, shown as its last error; not with healthy
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What `servers mark` can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MarkAs {
    /// Used as before, at once
    Healthy,
    /// Used after the healthy ones, once its retry window is over
    Degraded,
    /// Used last, once its retry window is over
    Unavailable,
}

/// Arguments of `servers initialize` and `servers connect`.
#[derive(Debug, Clone, Args)]
pub struct ForceArgs {
    /// Name of the server; all if missing
    pub name: Option<String>,
    /// Handshake although one is in force, or although the probe failed
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Keep it on screen, refreshed every second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// Arguments of `events`.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Only this server
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Only what the invocation of this id caused
    #[arg(long, value_name = "ID")]
    pub correlation_id: Option<String>,
    /// How the list is cut and continued.
    #[command(flatten)]
    pub follow: FollowArgs,
}

/// Arguments of `invocations`.
#[derive(Debug, Clone, Args)]
pub struct InvocationsArgs {
    /// Only this server
    #[arg(long, value_name = "NAME")]
    pub server: Option<String>,
    /// Only this MCP method
    #[arg(long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Only the invocation of this id
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// How the list is cut and continued.
    #[command(flatten)]
    pub follow: FollowArgs,
}

/// How an event list is cut and continued.
#[derive(Debug, Clone, Args)]
pub struct FollowArgs {
    /// Only the newest N
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroU64>,
    /// Go on with new ones as they come, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
}

/// The commands under `config`.
#[derive(Debug, Clone, Subcommand)]
#[non_exhaustive]
pub enum ConfigCommand {
    /// Check a configuration file; exit code 4 if it is invalid
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The file; looked for in the usual places if missing
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Print an example configuration to start from; without NAME the list of them
    #[command(after_help = PRESET_EXAMPLES)]
    Preset {
        /// Name of the example
        name: Option<String>,
    },
}

const CALL_EXAMPLES: &str = r#"Examples:
  mcp-gateway call add a=2 b=3
  mcp-gateway call search '{"query": "rust", "limit": 5}'
  mcp-gateway call search query=rust --server search-b --server search-a
  mcp-gateway call lookup code='"007"'             a string that looks like a number
  mcp-gateway call charge amount=5 --idempotent false --timeout 2000
  mcp-gateway call search query=rust --on search-b
  mcp-gateway call search query=rust --config mcp-gateway.toml --server search-b --only
  mcp-gateway call echo message=hi --server-command 'npx -y @modelcontextprotocol/server-everything'
  mcp-gateway call echo message=hi --server-url http://127.0.0.1:3001/mcp

--server is a preference: another server answers if those cannot. With --only it is a restriction.
--on names the one server to call. It is tried again where that may help and cannot do harm:
policy.call_attempts times in all (3), or the server's max_retries times beyond the first.

The text of the result goes to stdout; which server answered, and what was tried before, to stderr.
Exit codes: 0 ok, 1 the call failed or the tool reported an error, 2 usage, 3 gateway not reachable,
4 configuration invalid."#;

const TOOLS_EXAMPLES: &str = "Examples:
  mcp-gateway tools
  mcp-gateway tools --server search-a --json
  mcp-gateway tools --exposed
  mcp-gateway tools --view research
  mcp-gateway tools --config mcp-gateway.toml
  mcp-gateway tools --server-command 'uvx mcp-server-time'";

const PROMPTS_EXAMPLES: &str = "Examples:
  mcp-gateway prompts
  mcp-gateway prompts --server search --json";

const RESOURCES_EXAMPLES: &str = "Examples:
  mcp-gateway resources
  mcp-gateway resources --view research";

const PROMPT_EXAMPLES: &str = r#"Examples:
  mcp-gateway prompt search__summarise
  mcp-gateway prompt search__summarise topic=rust pages=3
  mcp-gateway prompt search__summarise '{"topic": "rust"}' --json"#;

const READ_EXAMPLES: &str = "Examples:
  mcp-gateway read file:///etc/motd
  mcp-gateway read demo://text/1 --json";

const CHANGES_EXAMPLES: &str = "Examples:
  mcp-gateway changes
  mcp-gateway changes list --pending
  mcp-gateway changes approve search-a find

A server with on_tool_change = \"block\" does not offer a tool that has changed until it is approved.";

const APPROVE_EXAMPLES: &str = "Examples:
  mcp-gateway changes approve search-a find
  mcp-gateway changes approve search-a find --digest 9b74c9897bac";

const SERVERS_EXAMPLES: &str = "Examples:
  mcp-gateway servers
  mcp-gateway servers add search-b https://search-b.example.com/mcp group=search priority=50
  mcp-gateway servers check search-b
  mcp-gateway servers mark search-b unavailable --reason 'upgrade until noon'
  mcp-gateway servers remove search-b";

/// Written out because the generated line asks for `--url` where MCP_GATEWAY_URL is set.
const ADD_USAGE: &str = "mcp-gateway servers add [OPTIONS] <NAME> <URL> [KEY=VALUE]...
       mcp-gateway servers add [OPTIONS] <NAME> --command <COMMAND> [KEY=VALUE]...";

const ADD_EXAMPLES: &str = r#"Examples:
  mcp-gateway servers add search-b https://search-b.example.com/mcp
  mcp-gateway servers add search-b https://search-b.example.com/mcp group=search priority=50
  mcp-gateway servers add search-b https://search-b.example.com/mcp 'headers={"X-Team": "blue"}'
  mcp-gateway servers add time --command 'uvx mcp-server-time' timeout_ms=5000"#;

const UPDATE_USAGE: &str = "mcp-gateway servers update [OPTIONS] <NAME> <URL> [KEY=VALUE]...
       mcp-gateway servers update [OPTIONS] <NAME> --command <COMMAND> [KEY=VALUE]...";

const UPDATE_EXAMPLES: &str = r#"Examples:
  mcp-gateway servers update search-b https://search-b.example.com/v2/mcp group=search
  mcp-gateway servers update time --command 'uvx mcp-server-time' timeout_ms=5000"#;

const MARK_EXAMPLES: &str = r#"Examples:
  mcp-gateway servers mark search-b unavailable --reason 'upgrade until noon'
  mcp-gateway servers mark search-b healthy"#;

const STATUS_EXAMPLES: &str = "Examples:
  mcp-gateway status
  mcp-gateway status --watch
  mcp-gateway status --url http://gateway.example.com:8300 --json";

const EVENTS_EXAMPLES: &str = "Examples:
  mcp-gateway events --server search-a --limit 20
  mcp-gateway events --follow
  mcp-gateway events --correlation-id 5c1f3c0e-0d7c-4a53-9f0b-7a2f4b7f7f10 --json";

const INVOCATIONS_EXAMPLES: &str = "Examples:
  mcp-gateway invocations --limit 20
  mcp-gateway invocations --follow --method tools/call
  mcp-gateway invocations --request-id 5c1f3c0e-0d7c-4a53-9f0b-7a2f4b7f7f10";

const WHY_EXAMPLES: &str = "Examples:
  mcp-gateway why 5c1f3c0e-0d7c-4a53-9f0b-7a2f4b7f7f10
  mcp-gateway why 5c1f3c0e-0d7c-4a53-9f0b-7a2f4b7f7f10 --json";

const SERVERS_CHECK_EXAMPLES: &str = "Examples:
  mcp-gateway servers check
  mcp-gateway servers check search-a && echo healthy
  mcp-gateway servers check search-a --force";

const CONFIG_EXAMPLES: &str = "Examples:
  mcp-gateway config check
  mcp-gateway config check ./mcp-gateway.toml
  mcp-gateway config preset restaurants > mcp-gateway.toml";

const CHECK_EXAMPLES: &str = "Examples:
  mcp-gateway config check
  mcp-gateway config check ./mcp-gateway.toml
  mcp-gateway config check ~/.config/Claude/claude_desktop_config.json --json";

const PRESET_EXAMPLES: &str = "Examples:
  mcp-gateway config preset
  mcp-gateway config preset restaurants > mcp-gateway.toml";

const COMPLETIONS_EXAMPLES: &str = "Examples:
  mcp-gateway completions bash > ~/.local/share/bash-completion/completions/mcp-gateway
  mcp-gateway completions zsh > ~/.zfunc/_mcp-gateway
  mcp-gateway completions fish > ~/.config/fish/completions/mcp-gateway.fish";

#[cfg(test)]
mod tests;
