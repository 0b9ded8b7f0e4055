//! Owns the command line: what can be typed, with its help. Man page, completions and the reference page are made
//! from it.

pub(crate) mod access;
pub(crate) mod approvals;
pub(crate) mod boot;
pub(crate) mod certs;
pub(crate) mod dns;
pub(crate) mod events;
pub(crate) mod mcias;
pub(crate) mod playbooks;
pub(crate) mod routes;
pub(crate) mod secrets;
pub(crate) mod start;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, ValueHint};
use effect::session::Patience;
use effect::units::Span;

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

/// The forms of the log, for help and completions.
fn log_form() -> impl TypedValueParser<Value = daemon::log::Form> {
    let names = daemon::log::Form::ALL.map(|(name, _)| name);
    PossibleValuesParser::new(names).try_map(|name| name.parse())
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
    Run {
        #[command(flatten)]
        script: Script,
        #[command(flatten)]
        wait: Waiting,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a script would do, without doing it.
    Plan {
        #[command(flatten)]
        script: Script,
        /// Save the plan in this file, for `mcrun apply`.
        #[arg(long, value_name = "PLAN", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
        /// Print the plan as JSON.
        #[arg(long)]
        json: bool,
        /// Exit with 3 when there are changes.
        #[arg(long)]
        detailed_exitcode: bool,
    },
    /// Carry out a saved plan: exactly what it says, once, and only while the world is as it was.
    Apply {
        /// The file that `mcrun plan FILE --out PLAN` wrote.
        #[arg(value_hint = ValueHint::FilePath)]
        plan: PathBuf,
        #[command(flatten)]
        wait: Waiting,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// List runs, newest first.
    Runs {
        /// Only runs in this state.
        #[arg(long, value_name = "STATE")]
        only: Option<State>,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one run: its effects, how it ended, what to do next.
    Show {
        /// The run's id or its beginning.
        run: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the log of a run or the output of a service.
    Logs {
        /// A run's id, or a service or container.
        subject: String,
        /// Go on with what is written from now on.
        #[arg(long, short)]
        follow: bool,
        /// At most so many of the newest lines.
        #[arg(long, short = 'n', default_value_t = 200)]
        tail: usize,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Go on with a run that was killed, interrupted or paused.
    Resume {
        /// The run's id or its beginning.
        #[arg(required_unless_present = "all")]
        run: Option<String>,
        /// Go on with every run that was killed, waits or was never started, for instance after a reboot. Paused ones
        /// wait for your decision.
        #[arg(long, conflicts_with_all = ["run", "from", "doubt", "limit", "leave_plan", "wait"])]
        all: bool,
        /// How many of them have a worker at once.
        #[arg(long, value_name = "N", default_value_t = 8, requires = "all", value_parser = clap::value_parser!(u16).range(1..))]
        active: u16,
        /// Forget what was recorded from a step on, also of a run that is over, and go on from there; a step's name, or
        /// SCOPE#N as `mcrun show` prints it. Asks before acts are done again.
        #[arg(long, value_name = "STEP", conflicts_with = "doubt")]
        from: Option<String>,
        /// What became of the act in doubt: redo, done or fail; SCOPE#N=redo where there are several.
        #[arg(long, value_name = "WORD")]
        doubt: Vec<Doubt>,
        /// Set a limit for the rest of the run.
        #[arg(long, value_name = "NAME=VALUE")]
        limit: Vec<String>,
        /// Go on without the saved plan that the run carries out, as its script does.
        #[arg(long)]
        leave_plan: bool,
        #[command(flatten)]
        wait: Waiting,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start a new run with the sources, arguments and grants of another and with its history up to a step.
    Fork {
        /// The run's id or its beginning; it stays as it is.
        run: String,
        /// The step from which on it is done anew; a step's name, or SCOPE#N as `mcrun show` prints it.
        #[arg(long, value_name = "STEP")]
        from: String,
        /// Set a limit for the new run.
        #[arg(long, value_name = "NAME=VALUE")]
        limit: Vec<String>,
        #[command(flatten)]
        wait: Waiting,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look whether another version of a script would accept the history of a run. Does nothing else.
    Replay {
        /// The run's id or its beginning.
        run: String,
        /// The script to be replayed.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        against: PathBuf,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove finished runs that are older or more than [retention] in mcrun.toml keeps: 90 days and 10000 runs unless given.
    Gc {
        /// Only tell what would be removed.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the audit: what was allowed, refused and done, by whom. Nothing ever removes a record of it.
    Audit(access::Audit),
    /// Ask the access policy whether a call would be allowed, and by which rule. Exit code 4 where it would not.
    #[command(after_help = access::actions())]
    CanI(access::CanI),
    /// The access policy, `[access]` in mcrun.toml.
    #[command(subcommand)]
    Policy(access::Policy),
    /// Write a run to a file, without secrets, for a bug report.
    Export {
        /// The run's id or its beginning.
        run: String,
        /// The file; mcrun-RUN.jsonl in this folder unless given.
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Write a runbook: a plain shell script of engine commands that recreates every recorded service without mcrun. The
    /// state directory always has a current one, `runbook.sh`. No secret is in it.
    ExportRunbook {
        /// The file; standard output unless given.
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
    },
    /// Take in a run that was exported elsewhere, to be shown and replayed.
    Import {
        /// The file.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Take a backup of mcrun's own state: registry, journal, authorities, zones, routes and the keys to what is sealed in
    /// them. Daemon and runs go on meanwhile.
    Backup {
        /// The archive; mcrun-NODE-TIME.tar.zst in this folder unless given. None is replaced.
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
        /// Seal it with a passphrase, in the form of age. Without, whoever reads it has every key of this node.
        #[arg(long)]
        seal: bool,
        #[command(flatten)]
        passphrase: certs::Passphrase,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put a backup in place of a state directory that is not there, or empty. Every sum is checked before.
    Restore {
        /// The archive that `mcrun backup` wrote.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Only try it: unpack it in a temporary place, open what is in it, tell, and take it all away again.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        passphrase: certs::Passphrase,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a run up; one that is under way stops at its next effect.
    Cancel {
        /// The run's id or its beginning.
        run: String,
    },
    /// Tell that an event has happened: to every run that waits for it with `wait_for`, and to playbooks that it starts.
    Emit {
        /// The event's name, such as `db.restored`.
        event: String,
        /// What is told with it, as JSON.
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
    /// List events, the newest last: what monitors and `mcrun emit` have told of in the last 30 days.
    Events {
        /// Only events with such names: `*` stands for a part between dots, as in `container.*`.
        event: Option<String>,
        /// Go on with what is told from now on, until Ctrl-C.
        #[arg(long, short)]
        follow: bool,
        /// Only those told since then: a moment, `2026-12-24T17:00:00Z`, or how long ago, `2h`.
        #[arg(long, value_name = "WHEN")]
        since: Option<events::Since>,
        /// At most so many of the newest that there are; 200 unless this or --since is given.
        #[arg(long, short = 'n', value_name = "N")]
        tail: Option<usize>,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Show when playbooks start by themselves, and what became of the last times.
    Schedule {
        /// Only this playbook.
        name: Option<String>,
        /// So many times to come of each trigger.
        #[arg(long, default_value_t = 1, value_name = "N")]
        next: usize,
        /// At most so many of what was.
        #[arg(long, default_value_t = 10, value_name = "N")]
        last: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Bring back what was there before a run that is over, the last change first. Shows the plan and asks.
    Undo {
        /// The run's id or its beginning.
        run: String,
        /// Bring back the older state also where later runs have changed it again.
        #[arg(long)]
        force: bool,
        /// Only show what would be done.
        #[arg(long)]
        plan: bool,
        /// Grant a capability beyond those that the run had, where bringing something back takes more.
        #[arg(long, value_name = "CAPABILITY")]
        allow: Vec<String>,
        /// Refuse a capability, whatever grants it.
        #[arg(long, value_name = "CAPABILITY")]
        deny: Vec<String>,
        #[command(flatten)]
        wait: Waiting,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List containers and native services.
    Ps {
        /// Those that mcrun did not make as well.
        #[arg(long, short)]
        all: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what containers use: live on a terminal, once elsewhere.
    Top {
        /// Those that mcrun did not make as well.
        #[arg(long, short)]
        all: bool,
        /// Measure once and end, also on a terminal.
        #[arg(long)]
        once: bool,
        /// The seconds between two measurements.
        #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
        every: u64,
        /// Print JSON, once.
        #[arg(long)]
        json: bool,
    },
    /// Run a program inside a service's container, with this terminal where there is one.
    Exec {
        /// The service or container.
        service: String,
        /// The user; the container's own unless given.
        #[arg(long, short)]
        user: Option<String>,
        /// The directory; the container's own unless given.
        #[arg(long, short, value_name = "DIR")]
        workdir: Option<String>,
        /// Set a variable, in addition to the container's.
        #[arg(long, short, value_name = "NAME=VALUE")]
        env: Vec<String>,
        /// No terminal, also where there is one.
        #[arg(long)]
        no_terminal: bool,
        /// The program and its arguments, after `--`.
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// List the images on this node: of one service, of one repository, or all.
    Images {
        /// A service, or an image's name, its last part will do.
        name: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stay: execute every run of the state directory, start playbooks, answer calls, look after the edge, publish what the
    /// embedded authority has, answer ACME clients, renew certificates when their time has come.
    Serve {
        /// The form of the log, whatever mcrun.toml says: systemd's journal where that reads the error stream, else text,
        /// unless given.
        #[arg(long, value_name = "FORM", value_parser = log_form())]
        log: Option<daemon::log::Form>,
    },
    /// Set mcrun up on this machine, which systemd runs: units, the group of the daemon's socket, the state directory
    /// (/var/lib/mcrun unless --state names another), a configuration where there is none. Shows the plan and asks;
    /// `mcrun undo` takes it back.
    Setup {
        /// The user that the daemon and the edge run as, made where there is none; root unless given. Any other can neither
        /// drive an engine of the machine nor start services of other users.
        #[arg(long, value_name = "NAME", default_value = "root")]
        user: String,
        /// Where mcrun is installed: the units start PREFIX/bin/mcrun. The place of this very program unless given.
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        prefix: Option<PathBuf>,
        /// Write and enable everything and start nothing, as for the image of a machine.
        #[arg(long)]
        no_start: bool,
        #[command(flatten)]
        how: How,
    },
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
    Playbooks {
        #[command(subcommand)]
        command: Option<playbooks::Playbooks>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare what is recorded of services with what runs. Exits with 1 when a container engine does not answer, or has lost
    /// what is recorded.
    Status {
        /// One service; all of them unless given.
        service: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare services with what is recorded of them, field by field, as the daemon's monitor does, and probe their health.
    /// Exits with 3 when something differs, with 1 when nothing does and something cannot be compared.
    Drift {
        /// These services; all of them, and containers of mcrun that no record knows, unless given.
        #[arg(value_name = "SERVICE")]
        services: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop a service and leave it in place.
    Stop {
        /// The service.
        service: String,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Start a playbook with its parameters, or a service that was stopped.
    #[command(
        disable_help_flag = true,
        override_usage = "mcrun start [OPTIONS] <NAME> [--PARAMETER VALUE]..."
    )]
    Start(start::Start),
    /// Restart a service.
    Restart {
        /// The service.
        service: String,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Take containers that mcrun did not make into the registry, and write a definition of each. The containers are not
    /// touched: they run on, and are mcrun's from then on.
    Adopt {
        /// The containers; every one that runs and is not mcrun's unless given.
        names: Vec<String>,
        /// The folder that the definitions are written to, as NAME.lua; the current folder unless given.
        #[arg(long, short, value_name = "FOLDER", default_value = ".", value_hint = ValueHint::DirPath)]
        out: PathBuf,
        #[command(flatten)]
        wait: Waiting,
        #[command(flatten)]
        how: How,
    },
    /// Bring services to what their definitions say, NAME.toml in a folder: missing images are built, what differs is
    /// deployed, what is not active is stopped. Shows the plan and asks. Nothing is ever removed.
    Sync {
        /// The folder, or one definition.
        #[arg(value_name = "FOLDER", value_hint = ValueHint::AnyPath)]
        place: PathBuf,
        /// The domain of routes without a host name; `svc.mcp.metacircular.net` unless given.
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        #[command(flatten)]
        grants: Grants,
        #[command(flatten)]
        wait: Waiting,
        #[command(flatten)]
        how: How,
    },
    /// Build the images of a service, as `path` and `[build.images]` of its definition say.
    Build {
        /// The service.
        service: String,
        /// Its definition in TOML, or the folder that has it; what the registry names, else the current folder, unless
        /// given.
        #[arg(long, short, value_name = "PATH", value_hint = ValueHint::AnyPath)]
        definition: Option<PathBuf>,
        #[command(flatten)]
        grants: Grants,
        #[command(flatten)]
        how: How,
    },
    /// Open the definition of a service in $VISUAL or $EDITOR, check it, and say how to roll it out.
    Edit {
        /// The service.
        service: String,
        /// Roll it out afterwards: shows the plan and asks.
        #[arg(long)]
        apply: bool,
        /// The domain of routes without a host name, where the definition is TOML.
        #[arg(long, value_name = "DOMAIN")]
        domain: Option<String>,
        #[command(flatten)]
        grants: Grants,
        #[command(flatten)]
        wait: Waiting,
    },
    /// List the releases of a service, newest first.
    Releases {
        /// The service.
        service: String,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Bring an earlier release of a service back.
    Rollback {
        /// The service.
        service: String,
        /// The number of the release; the one before the current unless given.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        /// Only show what would be done.
        #[arg(long)]
        plan: bool,
        #[command(flatten)]
        wait: Waiting,
        /// Print the outcome, or the plan, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Bring the platform up in stages, each healthy before the next; what is up already is left alone.
    Boot(boot::Boot),
    /// Bring back everything that the registry has, after the container engine has lost it.
    Recover(boot::Recover),
    /// Remove a service: containers, ports and record.
    Undeploy {
        /// The service.
        service: String,
        #[command(flatten)]
        wait: Waiting,
    },
    /// Make a starter project: a script that deploys a service, editor support, a README.
    New {
        /// The folder; it must not exist or be empty.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Check the types of scripts: misspelt fields, wrong values, unknown functions.
    Check {
        /// Scripts, or folders with all scripts in them.
        #[arg(required = true, value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the tests of scripts: every `*.test.lua`, on a machine in memory.
    Test {
        /// Test files, or folders with all test files in them; the current folder unless given.
        #[arg(value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
        /// Only tests whose names contain this text.
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Print the outcomes as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write type definitions for editors (luau-lsp) and a .luaurc.
    Types {
        /// The folder to write to; standard output unless given.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
    /// Write the reference pages.
    Reference {
        /// The folder to write to, such as `docs`.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// Only compare: fail when a page is out of step.
        #[arg(long)]
        check: bool,
    },
    /// Explain an error code.
    Explain {
        /// The code, such as MC-C003.
        code: String,
    },
    /// Check this machine: sandbox, engines, state directory, configuration; with -v what each driver can do.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write all of them.
    Man {
        /// The command; the page of mcrun itself unless given.
        command: Option<String>,
        /// Write the pages of all commands to this folder, such as /usr/local/share/man/man1.
        #[arg(long, value_name = "DIR", conflicts_with = "command", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

/// States by which runs can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// Not started yet.
    Pending,
    /// Under way.
    Running,
    /// Waiting for a time or an event.
    Waiting,
    /// Stopped before its end, to be resumed.
    Paused,
    /// Ended well.
    Done,
    /// Ended with an error.
    Failed,
    /// Given up.
    Cancelled,
}

/// An operator's word on an act in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// Scope and counter; the only act in doubt unless given.
    pub(crate) identity: Option<(String, u32)>,
    pub(crate) word: DoubtWord,
}

/// What the operator may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoubtWord {
    /// Do it again.
    Redo,
    /// It took place.
    Done,
    /// Raise an error in the script.
    Fail,
}

impl Command {
    /// Whether a script is evaluated, the user's own or one that ships.
    pub(crate) fn evaluates(&self) -> bool {
        matches!(
            self,
            Self::Run { .. }
                | Self::Plan { .. }
                | Self::Apply { .. }
                | Self::Resume { .. }
                | Self::Fork { .. }
                | Self::Replay { .. }
                | Self::Undo { .. }
                | Self::Stop { .. }
                | Self::Start(_)
                | Self::Boot(_)
                | Self::Recover(_)
                | Self::Restart { .. }
                | Self::Undeploy { .. }
                | Self::Adopt { .. }
                | Self::Sync { .. }
                | Self::Build { .. }
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

impl std::str::FromStr for Doubt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (identity, word) = match text.rsplit_once('=') {
            Some((identity, word)) => (Some(identity), word),
            None => (None, text),
        };
        let word = match word {
            "redo" => DoubtWord::Redo,
            "done" => DoubtWord::Done,
            "fail" => DoubtWord::Fail,
            other => return Err(format!("`{other}` is not redo, done or fail")),
        };
        let identity = identity.map(|identity| {
            let parts = identity
                .rsplit_once('#')
                .and_then(|(scope, counter)| Some((scope.to_owned(), counter.parse().ok()?)));
            parts.ok_or_else(|| format!("`{identity}` is not SCOPE#N, as `mcrun show` prints it"))
        });
        Ok(Self { identity: identity.transpose()?, word })
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
