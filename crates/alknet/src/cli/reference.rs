//! The reference of the command line, `docs/reference/cli.md`, out of the commands themselves.

use std::{env, fs, path::Path};

use clap::{Arg, Command, CommandFactory};

use super::Cli;

#[test]
fn the_reference_is_golden() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let now = reference();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "{} is not what the commands say: UPDATE_GOLDEN=1 writes it", path.display());
}

/// Every command has words that say what it is for, and every argument too.
#[test]
fn everything_is_explained() {
    fn unexplained(command: &Command, found: &mut Vec<String>) {
        let name = command.get_bin_name().unwrap_or_default();
        if command.get_about().is_none() {
            found.push(name.to_owned());
        }
        let silent = command.get_arguments().filter(|argument| argument.get_help().is_none());
        found.extend(silent.map(|argument| format!("{name} {}", argument.get_id())));
        command.get_subcommands().for_each(|command| unexplained(command, found));
    }
    let mut found = Vec::new();
    unexplained(&built(), &mut found);
    assert_eq!(found, [""; 0]);
}

fn built() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

fn reference() -> String {
    let command = built();
    let mut text =
        "# The command line\n\nWritten out of the program by `cargo xtask golden`; do not edit.\n\n".to_owned();
    text += &about(&command);
    text += "\n## Options of every command\n\n";
    let of_every_command = command.get_arguments().filter(|argument| !goes_without_saying(argument));
    of_every_command.for_each(|argument| text += &entry(argument));
    command.get_subcommands().for_each(|command| describe(command, &mut text));
    text
}

fn describe(command: &Command, text: &mut String) {
    if command.is_hide_set() {
        return;
    }
    let name = command.get_bin_name().unwrap_or_default();
    let depth = "#".repeat(name.split(' ').count());
    *text += &format!("\n{depth} {name}\n\n{}", about(command));
    if command.has_subcommands() {
        command.get_subcommands().for_each(|command| describe(command, text));
        return;
    }
    let arguments = command.get_arguments();
    let own = arguments.filter(|argument| !argument.is_global_set() && !argument.is_hide_set());
    let entries: String = own.filter(|argument| !goes_without_saying(argument)).map(entry).collect();
    if !entries.is_empty() {
        *text += &format!("\n{entries}");
    }
}

/// What the help says, with its examples as code.
fn about(command: &Command) -> String {
    let words = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    let (words, examples) = words.split_once("\n\nExamples:\n").unwrap_or((&words, ""));
    let lines: Vec<_> = examples.lines().map(str::trim).collect();
    let code = if lines.is_empty() { String::new() } else { format!("\n```sh\n{}\n```\n", lines.join("\n")) };
    format!("{words}\n{code}")
}

/// Help and version go without saying.
fn goes_without_saying(argument: &Arg) -> bool {
    matches!(argument.get_id().as_str(), "help" | "version")
}

fn entry(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let possible: Vec<_> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let variable = argument.get_env().map(|name| name.to_string_lossy()).unwrap_or_default();
    let mut text = format!("- `{argument}`: {help}");
    let takes_value = argument.get_action().takes_values();
    let notes = [("one of", possible.join(", ")), ("default", defaults.join(" ")), ("environment", variable.into())];
    for (name, note) in notes.into_iter().filter(|(_, note)| takes_value && !note.is_empty()) {
        text += &format!(" [{name}: {note}]");
    }
    text + "\n"
}
