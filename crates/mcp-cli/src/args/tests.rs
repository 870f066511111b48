use clap::{CommandFactory as _, Parser, error::ErrorKind};

use super::*;

#[derive(Debug, Parser)]
#[command(name = "mcp-gateway")]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("mcp-gateway".to_owned()).chain(shlex::split(line).unwrap()))
}

#[test]
fn the_tree_is_sound_and_every_command_has_examples() {
    Cli::command().debug_assert();
    fn visit(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        let has_examples =
            command.get_after_help().is_some_and(|text| text.to_string().contains("mcp-gateway "));
        if command.get_name() != "mcp-gateway" && command.get_name() != "help" && !has_examples {
            missing.push(path.clone());
        }
        command.get_subcommands().for_each(|command| visit(command, &path, missing));
    }
    let mut missing = Vec::new();
    visit(&Cli::command(), "", &mut missing);
    assert!(missing.is_empty(), "no examples in the help of {missing:?}");
}

#[test]
fn every_example_parses() {
    let texts = [
        CALL_EXAMPLES,
        TOOLS_EXAMPLES,
        PROMPTS_EXAMPLES,
        RESOURCES_EXAMPLES,
        PROMPT_EXAMPLES,
        READ_EXAMPLES,
        CHANGES_EXAMPLES,
        APPROVE_EXAMPLES,
        SERVERS_EXAMPLES,
        ADD_EXAMPLES,
        UPDATE_EXAMPLES,
        MARK_EXAMPLES,
        STATUS_EXAMPLES,
        EVENTS_EXAMPLES,
        INVOCATIONS_EXAMPLES,
        WHY_EXAMPLES,
        SERVERS_CHECK_EXAMPLES,
        CONFIG_EXAMPLES,
        CHECK_EXAMPLES,
        PRESET_EXAMPLES,
        COMPLETIONS_EXAMPLES,
    ];
    let lines =
        texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("  mcp-gateway "));
    let mut count = 0;
    for line in lines {
        // Without a remark after the command, a redirection, or a following command.
        let line = ["   ", " > ", " && "].iter().fold(line, |line, end| line.split(end).next().unwrap());
        let parsed = parse(line);
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn call_takes_its_options_in_any_order() {
    for line in [
        "call add a=1 b=2 --server x --server y --only --timeout 250 --idempotent true --json",
        "--json call --server x --only --idempotent true add --timeout 250 a=1 --server y b=2",
    ] {
        let cli = parse(line).unwrap();
        assert!(cli.global.json);
        let Command::Call(call) = cli.command else { panic!("{line}") };
        assert_eq!(
            (call.tool.as_str(), &call.arguments[..]),
            ("add", &["a=1".to_owned(), "b=2".to_owned()][..])
        );
        assert_eq!(call.server, ["x", "y"]);
        assert!(call.only);
        assert_eq!((call.timeout.map(NonZeroU64::get), call.idempotent), (Some(250), Some(true)));
    }
}

#[test]
fn servers_alone_is_the_list() {
    assert!(matches!(parse("servers").unwrap().command, Command::Servers { command: None }));
    assert!(matches!(
        parse("servers list").unwrap().command,
        Command::Servers { command: Some(ServersCommand::List) }
    ));
}

#[test]
fn what_cannot_be_is_refused() {
    for (line, kind) in [
        ("call", ErrorKind::MissingRequiredArgument),
        ("call add --only", ErrorKind::MissingRequiredArgument),
        ("call add --timeout 0", ErrorKind::ValueValidation),
        ("call add --idempotent maybe", ErrorKind::InvalidValue),
        ("call add --config a --server-url b", ErrorKind::ArgumentConflict),
        ("call add --server a --server-url b", ErrorKind::ArgumentConflict),
        ("call add --group a --server-command b", ErrorKind::ArgumentConflict),
        ("events --limit 0", ErrorKind::ValueValidation),
        ("events --limit x", ErrorKind::ValueValidation),
        ("servers get", ErrorKind::MissingRequiredArgument),
        ("servers mark a", ErrorKind::MissingRequiredArgument),
        ("servers mark a unreachable", ErrorKind::InvalidValue),
        ("completions tcl", ErrorKind::InvalidValue),
        ("whence", ErrorKind::InvalidSubcommand),
        ("why", ErrorKind::MissingRequiredArgument),
        ("call add --on a --server b", ErrorKind::ArgumentConflict),
        ("call add --on a --config b", ErrorKind::ArgumentConflict),
        ("call add --user-token-env A --user-token-file b", ErrorKind::ArgumentConflict),
        ("servers disconnect", ErrorKind::MissingRequiredArgument),
        ("status --api-key ''", ErrorKind::ValueValidation),
        ("status --api-key 'two words'", ErrorKind::ValueValidation),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.kind(), kind, "{line}: {error}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn the_key_is_never_printed() {
    let cli = parse("status --api-key canary").unwrap();
    assert_eq!(cli.global.api_key.as_ref().unwrap().reveal(), "canary");
    assert!(!format!("{cli:?}").contains("canary"));
}
