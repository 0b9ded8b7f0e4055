//! Owns the page of the command line, a view of its clap definition.

use clap::{Arg, ArgAction, Command};

use super::{GENERATED, cell};

/// `cli.md`: every command with its arguments.
pub(crate) fn command_line(command: &Command) -> String {
    // Building fills in what clap works out by itself, such as usage and value names.
    let mut command = command.clone();
    command.build();
    let mut text = format!("{GENERATED}# The command line\n");
    push_about(&mut text, &command);
    push_arguments(
        &mut text,
        "Options of every command",
        command.get_arguments().filter(|arg| arg.is_global_set()),
    );
    let name = command.get_name().to_owned();
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        push_command(&mut text, &name, subcommand);
    }
    if let Some(notes) = command.get_after_help() {
        text.push_str(&format!("\n{}\n", notes.to_string().trim()));
    }
    text
}

fn push_command(text: &mut String, parent: &str, command: &Command) {
    let name = format!("{parent} {}", command.get_name());
    text.push_str(&format!("\n## {name}\n"));
    push_about(text, command);
    let usage = command.clone().render_usage().to_string();
    text.push_str(&format!("\n```text\n{}\n```\n", usage.trim().trim_start_matches("Usage: ")));
    push_arguments(text, "", command.get_arguments().filter(|arg| !arg.is_global_set()));
    for subcommand in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        push_command(text, &name, subcommand);
    }
}

fn push_about(text: &mut String, command: &Command) {
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        text.push_str(&format!("\n{}\n", about.to_string().trim()));
    }
}

fn push_arguments<'a>(text: &mut String, title: &str, arguments: impl Iterator<Item = &'a Arg>) {
    let generated = |arg: &Arg| matches!(arg.get_id().as_str(), "help" | "version");
    let rows: Vec<String> = arguments.filter(|arg| !arg.is_hide_set() && !generated(arg)).map(row).collect();
    if rows.is_empty() {
        return;
    }
    if !title.is_empty() {
        text.push_str(&format!("\n**{title}**\n"));
    }
    text.push_str("\n| argument | |\n| --- | --- |\n");
    rows.iter().for_each(|row| text.push_str(row));
}

fn row(arg: &Arg) -> String {
    let mut help =
        arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    if !help.is_empty() && !help.ends_with(['.', '!', '?']) {
        help.push('.');
    }
    let choices: Vec<String> = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count => Vec::new(),
        _ => arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect(),
    };
    if !choices.is_empty() {
        help.push_str(&format!(" One of {}.", choices.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        help.push_str(&format!(" Default: `{}`.", defaults.join(" ")));
    }
    if let Some(variable) = arg.get_env() {
        help.push_str(&format!(" Environment: `{}`.", variable.to_string_lossy()));
    }
    format!("| `{}` | {} |\n", cell(&written(arg)), cell(&help))
}

/// The argument as it is typed: `-v, --verbose`, `--state <DIR>`, `[ARGS]...`.
fn written(arg: &Arg) -> String {
    if arg.is_positional() {
        return arg.to_string();
    }
    match arg.get_short() {
        Some(short) if arg.get_long().is_some() => format!("-{short}, {arg}"),
        _ => arg.to_string(),
    }
}
