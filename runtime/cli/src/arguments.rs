//! Owns the command line: what can be typed, with its help. Man page, completions and the reference page are made
//! from it.

pub(crate) mod access;
pub(crate) mod approvals;
pub(crate) mod boot;
pub(crate) mod certs;
pub(crate) mod dns;
pub(crate) mod events;
pub(crate) mod machine;
pub(crate) mod mcias;
pub(crate) mod playbooks;
pub(crate) mod routes;
pub(crate) mod runs;
pub(crate) mod secrets;
pub(crate) mod services;
pub(crate) mod start;
pub(crate) mod told;
pub(crate) mod tools;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use effect::session::Patience;
use effect::units::Span;

pub(crate) use runs::{Doubt, DoubtWord, State};

/// Sandboxed scripts that operate a small fleet of machines, and that you may kill at any moment.
#[derive(Debug, Parser)]
#[command(name = "mcrun", version, about, long_about = LONG_ABOUT, after_help = EXITS, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const LONG_ABOUT: &str = "Sandboxed scripts that operate a small fleet of machines, and that you may kill at any moment.\n\n\
    `mcrun FILE` runs a script. Every effect is written to a journal before and after, so a run that was killed \
    resumes exactly where it stopped. `mcrun plan FILE` shows what it would do.";

const EXITS: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 plan has changes or drift, 4 denied, 5 locked or stale,\n\
    6 waiting or paused, 7 failed and rolled back, 130 interrupted.";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The state directory: journal, records, logs.
    #[arg(long, global = true, value_name = "DIR", env = "MCRUN_STATE", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,
    /// The configuration file; else ~/.config/mcrun/mcrun.toml or /etc/mcrun/mcrun.toml.
    #[arg(long, global = true, value_name = "FILE", env = "MCRUN_CONFIG", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Answer every question with yes; capabilities are not granted by it but stay denied.
    #[arg(long, short = 'y', global = true)]
    pub(crate) yes: bool,
    /// Never ask: a question that is not answered by --yes is an error, a missing capability denied.
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// Say more; twice for everything.
    #[arg(long, short = 'v', global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How it is gone about.
#[derive(Debug, Clone, Args)]
pub(crate) struct How {
    /// Only show what would be done.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Print the outcome, or the plan, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of commands that evaluate a script.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Grants {
    /// Grant a capability, such as `containers:write:web-*`. Nothing is granted by default.
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) allow: Vec<String>,
    /// Deny a capability that is granted otherwise.
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) deny: Vec<String>,
    /// Set a limit: memory, exec, wall, idle, effects, output, argument, source or depth.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Script {
    /// The script.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Words for the script, in `args`.
    pub(crate) args: Vec<String>,
    /// Set a parameter, in `params`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) grants: Grants,
}

impl Script {
    /// A file with what it is granted.
    pub(crate) fn of(file: PathBuf, grants: Grants) -> Self {
        Self { file, grants, args: Vec::new(), set: Vec::new() }
    }
}

/// How long a run waits for services that another run holds.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Waiting {
    /// Wait for a service that another run holds, instead of stopping: so long, or as long as it takes.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true)]
    wait: Option<Option<Span>>,
}

impl Waiting {
    pub(crate) fn patience(&self) -> Patience {
        match self.wait {
            None => Patience::None,
            Some(None) => Patience::Endless,
            Some(Some(span)) => Patience::For(span.0),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a script: `mcrun FILE` is short for it.
    Run(runs::Run),
    /// Show what a script would do, without doing it.
    Plan(runs::Plan),
    /// Carry out a saved plan: exactly what it says, once, and only while the world is as it was.
    Apply(runs::Apply),
    /// List runs, newest first.
    Runs(runs::Runs),
    /// Show one run: its effects, how it ended, what to do next.
    Show(runs::Show),
    /// Print the log of a run or the output of a service.
    Logs(runs::Logs),
    /// Go on with a run that was killed, interrupted or paused.
    Resume(runs::Resume),
    /// Start a new run with the sources, arguments and grants of another and with its history up to a step.
    Fork(runs::Fork),
    /// Look whether another version of a script would accept the history of a run. Does nothing else.
    Replay(runs::Replay),
    /// Remove finished runs that are older or more than [retention] in mcrun.toml keeps: 90 days and 10000 runs unless given.
    Gc(runs::Gc),
    /// Show the audit: what was allowed, refused and done, by whom. Nothing ever removes a record of it.
    Audit(access::Audit),
    /// Ask the access policy whether a call would be allowed, and by which rule. Exit code 4 where it would not.
    #[command(after_help = access::actions())]
    CanI(access::CanI),
    /// The access policy, `[access]` in mcrun.toml.
    #[command(subcommand)]
    Policy(access::Policy),
    /// Write a run to a file, without secrets, for a bug report.
    Export(runs::Export),
    /// Write a runbook: a plain shell script of engine commands that recreates every recorded service without mcrun. The
    /// state directory always has a current one, `runbook.sh`. No secret is in it.
    ExportRunbook(machine::ExportRunbook),
    /// Take in a run that was exported elsewhere, to be shown and replayed.
    Import(runs::Import),
    /// Take a backup of mcrun's own state: registry, journal, authorities, zones, routes and the keys to what is sealed in
    /// them. Daemon and runs go on meanwhile.
    Backup(machine::Backup),
    /// Put a backup in place of a state directory that is not there, or empty. Every sum is checked before.
    Restore(machine::Restore),
    /// Give a run up; one that is under way stops at its next effect.
    Cancel(runs::Cancel),
    /// Tell that an event has happened: to every run that waits for it with `wait_for`, and to playbooks that it starts.
    Emit(told::Emit),
    /// List events, the newest last: what monitors and `mcrun emit` have told of in the last 30 days.
    Events(told::Events),
    /// Show when playbooks start by themselves, and what became of the last times.
    Schedule(told::Schedule),
    /// Bring back what was there before a run that is over, the last change first. Shows the plan and asks.
    Undo(runs::Undo),
    /// List containers and native services.
    Ps(services::Ps),
    /// Show what containers use: live on a terminal, once elsewhere.
    Top(services::Top),
    /// Run a program inside a service's container, with this terminal where there is one.
    Exec(services::Inside),
    /// List the images on this node: of one service, of one repository, or all.
    Images(services::Images),
    /// Stay: execute every run of the state directory, start playbooks, answer calls, look after the edge, publish what the
    /// embedded authority has, answer ACME clients, renew certificates when their time has come.
    Serve(machine::Serve),
    /// Set mcrun up on this machine, which systemd runs: units, the group of the daemon's socket, the state directory
    /// (/var/lib/mcrun unless --state names another), a configuration where there is none. Shows the plan and asks;
    /// `mcrun undo` takes it back.
    Setup(machine::Setup),
    /// Answer questions for names and serve routes, until another edge does: what `serve` starts and looks after.
    #[command(hide = true)]
    Edge,
    /// Certificates, and the embedded authority.
    #[command(subcommand)]
    Certs(certs::Certs),
    /// Identity: the first admin, the login policy, accounts.
    #[command(subcommand)]
    Mcias(mcias::Mcias),
    /// Zones of DNS.
    #[command(subcommand)]
    Zones(dns::Zones),
    /// Records of zones.
    #[command(subcommand)]
    Records(dns::Records),
    /// The name server of this node.
    #[command(subcommand)]
    Dns(dns::Dns),
    /// Routes: where requests for host names go.
    #[command(subcommand)]
    Routes(routes::Routes),
    /// The sealed store: secrets that lie encrypted in the state directory.
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Approvals: what runs ask people for with `approve`.
    #[command(subcommand)]
    Approvals(approvals::Approvals),
    /// Documents: texts that runs have pushed for people to read.
    #[command(subcommand)]
    Docs(approvals::Docs),
    /// List playbooks: what is loaded, what cannot be and why.
    #[command(args_conflicts_with_subcommands = true)]
    Playbooks(playbooks::Listing),
    /// Compare what is recorded of services with what runs. Exits with 1 when a container engine does not answer, or has lost
    /// what is recorded.
    Status(services::Status),
    /// Compare services with what is recorded of them, field by field, as the daemon's monitor does, and probe their health.
    /// Exits with 3 when something differs, with 1 when nothing does and something cannot be compared.
    Drift(services::Drift),
    /// Stop a service and leave it in place.
    Stop(services::Stop),
    /// Start a playbook with its parameters, or a service that was stopped.
    #[command(
        disable_help_flag = true,
        override_usage = "mcrun start [OPTIONS] <NAME> [--PARAMETER VALUE]..."
    )]
    Start(start::Start),
    /// Restart a service.
    Restart(services::Restart),
    /// Take containers that mcrun did not make into the registry, and write a definition of each. The containers are not
    /// touched: they run on, and are mcrun's from then on.
    Adopt(services::Adopt),
    /// Bring services to what their definitions say, NAME.toml in a folder: missing images are built, what differs is
    /// deployed, what is not active is stopped. Shows the plan and asks. Nothing is ever removed.
    Sync(services::Sync),
    /// Build the images of a service, as `path` and `[build.images]` of its definition say.
    Build(services::Build),
    /// Open the definition of a service in $VISUAL or $EDITOR, check it, and say how to roll it out.
    Edit(services::Edit),
    /// List the releases of a service, newest first.
    Releases(services::Releases),
    /// Bring an earlier release of a service back.
    Rollback(services::Rollback),
    /// Bring the platform up in stages, each healthy before the next; what is up already is left alone.
    Boot(boot::Boot),
    /// Bring back everything that the registry has, after the container engine has lost it.
    Recover(boot::Recover),
    /// Remove a service: containers, ports and record.
    Undeploy(services::Undeploy),
    /// Make a starter project: a script that deploys a service, editor support, a README.
    New(tools::New),
    /// Check the types of scripts: misspelt fields, wrong values, unknown functions.
    Check(tools::Check),
    /// Run the tests of scripts: every `*.test.lua`, on a machine in memory.
    Test(tools::Test),
    /// Write type definitions for editors (luau-lsp) and a .luaurc.
    Types(tools::Types),
    /// Write the reference pages.
    Reference(tools::Reference),
    /// Explain an error code.
    Explain(tools::Explain),
    /// Check this machine: sandbox, engines, state directory, configuration; with -v what each driver can do.
    Doctor(machine::Doctor),
    /// Print completions for a shell.
    Completions(tools::Completions),
    /// Print a manual page, or write all of them.
    Man(tools::Man),
}

impl Command {
    /// Whether a script is evaluated, the user's own or one that ships.
    pub(crate) fn evaluates(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Plan(_)
                | Self::Apply(_)
                | Self::Resume(_)
                | Self::Fork(_)
                | Self::Replay(_)
                | Self::Undo(_)
                | Self::Stop(_)
                | Self::Start(_)
                | Self::Boot(_)
                | Self::Recover(_)
                | Self::Restart(_)
                | Self::Undeploy(_)
                | Self::Adopt(_)
                | Self::Sync(_)
                | Self::Build(_)
                | Self::Certs(
                    certs::Certs::Ensure(_)
                        | certs::Certs::Renew { .. }
                        | certs::Certs::Revoke { .. }
                        | certs::Certs::Remove { .. }
                )
                | Self::Zones(dns::Zones::Set(_) | dns::Zones::Rm { .. } | dns::Zones::Import { .. })
                | Self::Records(dns::Records::Set(_) | dns::Records::Rm { .. })
                | Self::Routes(
                    routes::Routes::Set(_)
                        | routes::Routes::Rm { .. }
                        | routes::Routes::Pause { .. }
                        | routes::Routes::Resume { .. }
                        | routes::Routes::Drain { .. }
                )
        )
    }
}

/// Puts `run` before a file name that stands where a command is expected.
pub(crate) fn with_run(mut words: Vec<OsString>) -> Vec<OsString> {
    let with_value = ["--state", "--config"];
    let mut index = 1;
    while let Some(word) = words.get(index).and_then(|word| word.to_str()) {
        if with_value.contains(&word) {
            index += 2;
        } else if word.starts_with('-') && word != "-" {
            index += 1;
        } else {
            break;
        }
    }
    let is_command = |word: &str| {
        word == "help" || Arguments::command().get_subcommands().any(|command| command.get_name() == word)
    };
    let looks_like_file = words.get(index).is_some_and(|word| {
        let path = std::path::Path::new(word);
        let text = word.to_str().unwrap_or_default();
        !is_command(text) && (path.extension().is_some() || text.contains('/') || path.is_file())
    });
    if looks_like_file {
        words.insert(index, "run".into());
    }
    start::with_parameters(words, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(words: &[&str]) -> Vec<String> {
        let words = std::iter::once("mcrun").chain(words.iter().copied()).map(OsString::from).collect();
        with_run(words).into_iter().skip(1).map(|word| word.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_file_name_means_run() {
        assert_eq!(inserted(&["deploy.lua", "a"]), ["run", "deploy.lua", "a"]);
        assert_eq!(inserted(&["--state", "x", "deploy.lua"]), ["--state", "x", "run", "deploy.lua"]);
        assert_eq!(inserted(&["plan", "deploy.lua"]), ["plan", "deploy.lua"]);
        assert_eq!(inserted(&["--version"]), ["--version"]);
        assert_eq!(inserted(&["deplyo"]), ["deplyo"]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
