//! Owns the words of `mcrun start`: parameters of a playbook are options that no command line knows beforehand.

use std::ffi::OsString;

use clap::{Args, CommandFactory as _};

use super::{Arguments, Grants, Waiting};

/// What is started, and what it is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Start {
    /// The playbook, or the service that was stopped; `playbook:NAME` or `service:NAME` where there are both.
    #[arg(required_unless_present = "help")]
    pub(crate) name: Option<String>,
    /// Parameters of the playbook: `--NAME VALUE`, `--NAME=VALUE`, and for a boolean `--NAME` and `--no-NAME`.
    #[arg(last = true, value_name = "PARAMETERS")]
    pub(crate) params: Vec<String>,
    /// Leave the run to the daemon, and print its id.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show what the playbook is for, what it can be told, and when it starts by itself.
    #[arg(long, short = 'h')]
    pub(crate) help: bool,
    /// Without a daemon: what the playbook is granted.
    #[command(flatten)]
    pub(crate) grants: Grants,
    #[command(flatten)]
    pub(crate) wait: Waiting,
}

/// Puts what `start` does not know itself behind `--`: words behind the name of a playbook are its parameters.
pub(super) fn with_parameters(mut words: Vec<OsString>, command: usize) -> Vec<OsString> {
    if words.get(command).is_none_or(|word| word != "start") {
        return words;
    }
    let own = Own::of_start();
    let mut rest = words.split_off(command + 1).into_iter().peekable();
    let (mut name, mut params) = (None, Vec::new());
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy().into_owned();
        if text == "--" {
            params.extend(rest.by_ref());
        } else if own.knows(&text) {
            words.push(word);
            if own.takes_next(&text) {
                words.extend(rest.next());
            }
        } else if name.is_none() {
            // An option before the name is nobody's: the command line is told so.
            if text.starts_with('-') { words.push(word) } else { name = Some(word) }
        } else {
            params.push(word);
        }
    }
    words.extend(name);
    if !params.is_empty() {
        words.push("--".into());
        words.extend(params);
    }
    words
}

/// The options that `start` knows itself.
struct Own(Vec<Known>);

struct Known {
    long: String,
    short: Option<char>,
    /// Whether the next word is its value.
    takes_next: bool,
}

impl Own {
    fn of_start() -> Self {
        let mut command = Arguments::command();
        command.build();
        let start = command.find_subcommand("start").into_iter();
        let known = start.flat_map(clap::Command::get_arguments).filter_map(|argument| {
            let takes_value = argument.get_action().takes_values() && !argument.is_require_equals_set();
            Some(Known {
                long: argument.get_long()?.to_owned(),
                short: argument.get_short(),
                takes_next: takes_value,
            })
        });
        Self(known.collect())
    }

    fn long(&self, text: &str) -> Option<&Known> {
        let name = text.strip_prefix("--")?.split('=').next()?;
        self.0.iter().find(|known| known.long == name)
    }

    fn knows(&self, text: &str) -> bool {
        if self.long(text).is_some() {
            return true;
        }
        let shorts = text.strip_prefix('-').unwrap_or_default();
        !shorts.is_empty()
            && shorts.chars().all(|short| self.0.iter().any(|known| known.short == Some(short)))
    }

    fn takes_next(&self, text: &str) -> bool {
        !text.contains('=') && self.long(text).is_some_and(|known| known.takes_next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(words: &[&str]) -> Vec<String> {
        let words = ["mcrun", "start"].into_iter().chain(words.iter().copied()).map(OsString::from).collect();
        with_parameters(words, 1).into_iter().skip(2).map(|word| word.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_start_does_not_know_is_the_playbooks() {
        assert_eq!(sorted(&["web"]), ["web"]);
        assert_eq!(sorted(&["web", "--wait=5s", "-y"]), ["--wait=5s", "-y", "web"]);
        assert_eq!(
            sorted(&["sweep", "--tag", "v2", "--json", "--force", "--state", "/s", "-4"]),
            ["--json", "--state", "/s", "sweep", "--", "--tag", "v2", "--force", "-4"]
        );
        assert_eq!(sorted(&["sweep", "--tag=v2", "--", "--json"]), ["sweep", "--", "--tag=v2", "--json"]);
        assert_eq!(sorted(&["--help"]), ["--help"]);
        assert_eq!(sorted(&["--tga", "sweep"]), ["--tga", "sweep"]);
    }

    #[test]
    fn no_parameter_can_have_the_name_of_an_option() {
        let own = Own::of_start();
        let mut names: Vec<String> = own.0.into_iter().map(|known| known.long.replace('-', "_")).collect();
        names.sort();
        names.dedup();
        let reserved = daemon::playbooks::params::RESERVED;
        for name in names {
            assert!(reserved.contains(&name.as_str()), "`{name}` is missing in RESERVED");
        }
    }
}
