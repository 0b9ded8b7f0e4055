//! Owns what can be said of runs: starting, planning, looking at them, going on, taking back.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::{Script, Waiting};

/// `mcrun run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) script: Script,
    #[command(flatten)]
    pub(crate) wait: Waiting,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) script: Script,
    /// Save the plan in this file, for `mcrun apply`.
    #[arg(long, value_name = "PLAN", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// Print the plan as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with 3 when there are changes.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

/// `mcrun apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The file that `mcrun plan FILE --out PLAN` wrote.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) plan: PathBuf,
    #[command(flatten)]
    pub(crate) wait: Waiting,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun runs`.
#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// Only runs in this state.
    #[arg(long, value_name = "STATE")]
    pub(crate) only: Option<State>,
    /// At most so many.
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) limit: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The run's id or its beginning.
    pub(crate) run: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// A run's id, or a service or container.
    pub(crate) subject: String,
    /// Go on with what is written from now on.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// At most so many of the newest lines.
    #[arg(long, short = 'n', default_value_t = 200)]
    pub(crate) tail: usize,
    /// Print JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run's id or its beginning.
    #[arg(required_unless_present = "all")]
    pub(crate) run: Option<String>,
    /// Go on with every run that was killed, waits or was never started, for instance after a reboot. Paused ones
    /// wait for your decision.
    #[arg(long, conflicts_with_all = ["run", "from", "doubt", "limit", "leave_plan", "wait"])]
    pub(crate) all: bool,
    /// How many of them have a worker at once.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "all", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) active: u16,
    /// Forget what was recorded from a step on, also of a run that is over, and go on from there; a step's name, or
    /// SCOPE#N as `mcrun show` prints it. Asks before acts are done again.
    #[arg(long, value_name = "STEP", conflicts_with = "doubt")]
    pub(crate) from: Option<String>,
    /// What became of the act in doubt: redo, done or fail; SCOPE#N=redo where there are several.
    #[arg(long, value_name = "WORD")]
    pub(crate) doubt: Vec<Doubt>,
    /// Set a limit for the rest of the run.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<String>,
    /// Go on without the saved plan that the run carries out, as its script does.
    #[arg(long)]
    pub(crate) leave_plan: bool,
    #[command(flatten)]
    pub(crate) wait: Waiting,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun fork`.
#[derive(Debug, Args)]
pub(crate) struct Fork {
    /// The run's id or its beginning; it stays as it is.
    pub(crate) run: String,
    /// The step from which on it is done anew; a step's name, or SCOPE#N as `mcrun show` prints it.
    #[arg(long, value_name = "STEP")]
    pub(crate) from: String,
    /// Set a limit for the new run.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: Waiting,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The run's id or its beginning.
    pub(crate) run: String,
    /// The script to be replayed.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) against: PathBuf,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun gc`.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only tell what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `mcrun export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The run's id or its beginning.
    pub(crate) run: String,
    /// The file; mcrun-RUN.jsonl in this folder unless given.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

/// `mcrun import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file.
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

/// `mcrun cancel`.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The run's id or its beginning.
    pub(crate) run: String,
}

/// `mcrun undo`.
#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// The run's id or its beginning.
    pub(crate) run: String,
    /// Bring back the older state also where later runs have changed it again.
    #[arg(long)]
    pub(crate) force: bool,
    /// Only show what would be done.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Grant a capability beyond those that the run had, where bringing something back takes more.
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) allow: Vec<String>,
    /// Refuse a capability, whatever grants it.
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) deny: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: Waiting,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
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
