//! Owns `mcrun start NAME --help`: what a playbook is for, what it can be told, and when it starts by itself.

use clap::CommandFactory as _;
use daemon::playbooks::params::plain;
use daemon::playbooks::{Parameter, ParameterKind};

use super::Playbook;
use crate::arguments::Arguments;
use crate::render::{self, BOLD, printable, styled};

/// The help of the command itself.
pub(super) fn of_the_command() {
    let mut command = Arguments::command();
    command.build();
    if let Some(start) = command.find_subcommand_mut("start") {
        render::out(start.render_help().ansi().to_string().trim_end());
    }
}

pub(super) fn of(playbook: &Playbook) {
    for line in text(playbook) {
        render::out(line);
    }
}

fn text(playbook: &Playbook) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(description) = &playbook.description {
        lines.extend(description.lines().map(printable));
        lines.push(String::new());
    }
    let parameters = if playbook.params.is_empty() { "" } else { " [PARAMETERS]" };
    lines.push(format!("{} mcrun start {}{parameters} [OPTIONS]", styled(BOLD, "Usage:"), playbook.name));
    if !playbook.params.is_empty() {
        lines.extend([String::new(), styled(BOLD, "Parameters:")]);
        let rows: Vec<_> = playbook.params.iter().map(|(name, found)| (option(name, found), meaning(found))).collect();
        let width = rows.iter().map(|(option, _)| option.chars().count()).max().unwrap_or(0);
        lines.extend(rows.into_iter().map(|(option, meaning)| format!("  {option:width$}  {meaning}").trim_end().to_owned()));
    }
    lines.extend([String::new(), styled(BOLD, "Starts by itself:")]);
    match playbook.triggers.as_slice() {
        [] => lines.push("  never".to_owned()),
        triggers => lines.extend(triggers.iter().map(|trigger| format!("  {}", printable(trigger)))),
    }
    lines.extend([String::new(), format!("{} {}", styled(BOLD, "File:"), printable(&playbook.file))]);
    lines.push("`mcrun start --help` shows the options of every start.".to_owned());
    lines
}

fn option(name: &str, parameter: &Parameter) -> String {
    let option = format!("--{}", name.replace('_', "-"));
    match parameter.kind {
        ParameterKind::Boolean => option,
        kind => format!("{option} <{}>", kind.word()),
    }
}

fn meaning(parameter: &Parameter) -> String {
    let mut parts: Vec<String> = parameter.description.iter().map(|text| printable(text)).collect();
    if !parameter.choices.is_empty() {
        let choices: Vec<_> = parameter.choices.iter().map(plain).collect();
        parts.push(format!("[one of: {}]", printable(&choices.join(", "))));
    }
    parts.push(match &parameter.default {
        Some(default) => format!("[default: {}]", printable(&plain(default))),
        None => "(required)".to_owned(),
    });
    parts.join(" ")
}
