//! Owns what the daemon's rooms ask of whoever executes runs: to start them, to follow them, to end them. How a run is
//! executed is left to the command line's side, which fills [`Runs`] in; the API, triggers and monitors only hold it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::policy::Grants;
use effect::{Code, Error, Result};
use journal::{Run, RunId, Write};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::playbooks::Playbook;

/// No process executes more runs at once, and none has more of them wait.
const MOST_WORKERS: usize = 256;
const MOST_QUEUED: usize = 1_000_000;

/// `[daemon]` in mcrun.toml.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `[daemon.api]`.
    pub api: crate::api::Settings,
    workers: Option<usize>,
    queue: Option<usize>,
    /// The form of the log.
    pub log: crate::log::Form,
    /// The page for Prometheus.
    pub metrics: Option<crate::metrics::Settings>,
}

impl Settings {
    /// How many runs have a worker at once: 8 unless given.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or(8)
    }

    /// How many runs may wait for a worker: 10,000 unless given.
    #[must_use]
    pub fn queue(&self) -> usize {
        self.queue.unwrap_or(10_000)
    }

    /// Refuses numbers that make no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self) -> Result<()> {
        let bounds = [("workers", self.workers(), MOST_WORKERS), ("queue", self.queue(), MOST_QUEUED)];
        for (name, value, most) in bounds {
            if !(1..=most).contains(&value) {
                let message = format!("[daemon] {name} = {value} is not between 1 and {most}");
                return Err(Error::new(Code::Config, message));
            }
        }
        self.api.check()
    }
}

/// Why a run is started. It is recorded with the run, and its event is what the playbook's `run` is given, in every
/// resume the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// What made it start.
    #[serde(flatten)]
    pub by: By,
    /// What the playbook is told: a JSON object with `kind` and what belongs to it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub event: Value,
    /// What whoever made it start may have runs do at most; everything where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Vec<String>>,
}

/// What makes a run start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum By {
    /// Somebody, by the command line or the API.
    Caller {
        /// Who that is, as far as it is known: `user:root`, `certificate:ops.example.net`.
        caller: String,
    },
    /// A trigger of a playbook.
    Trigger {
        /// Which one, `cron 17 3 * * *`.
        trigger: String,
        /// Its occurrence, unique among those of the playbook.
        occurrence: String,
    },
    /// The daemon, for what it looks after itself.
    Daemon {
        /// Why, `renew hello.mcrun.test`.
        why: String,
    },
}

/// A playbook that is to be started.
#[derive(Debug, Clone)]
pub struct Order {
    /// The playbook, in the version that is to run.
    pub playbook: Arc<Playbook>,
    /// Its parameters: checked, with every default filled in.
    pub params: Value,
    /// Why.
    pub cause: Cause,
    /// What is recorded together with the run: both are there, or neither.
    pub writes: Vec<Write>,
}

/// A script that a caller has executed.
#[derive(Debug, Clone)]
pub struct Submission {
    /// `deploy.lua`.
    pub name: String,
    /// Its text.
    pub source: String,
    /// The modules that it may require, by name.
    pub modules: Vec<(String, String)>,
    /// The words after the file name.
    pub args: Vec<String>,
    /// A JSON object.
    pub params: Value,
    /// Capabilities; what the operator's policy grants where there are none.
    pub allow: Vec<String>,
    /// Capabilities that are taken away.
    pub deny: Vec<String>,
    /// `memory=64MiB`.
    pub limits: Vec<String>,
    /// Why.
    pub cause: Cause,
    /// What is recorded together with the run.
    pub writes: Vec<Write>,
}

/// How a recorded run is gone on with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// How long it waits for services that another run holds; nothing: not at all.
    pub patience: Option<Duration>,
    /// Whether questions may be put to whoever watches it.
    pub asks: bool,
    /// On acts in doubt: the effect (`deploy/web:3`, the only one where absent), and `redo`, `done` or `fail`.
    pub doubts: Vec<(Option<String>, String)>,
    /// Limits that are raised for it.
    pub limits: Vec<String>,
    /// Whether it goes on without the saved plan that it carries out.
    pub leave_plan: bool,
}

/// What somebody who watches a run is told, in order.
#[derive(Debug, Clone)]
pub enum Told {
    /// An effect is under way.
    Started(Effect),
    /// An effect cannot start yet, and why.
    Held(Effect, String),
    /// An effect has ended.
    Ended {
        /// Which.
        effect: Effect,
        /// What was done, `create`.
        action: String,
        /// Why it failed.
        error: Option<Error>,
        /// From start to end.
        millis: i64,
    },
    /// The script logs or prints.
    Log {
        /// `debug`, `info`, `warn`, `error`, `print`.
        level: String,
        /// From where.
        scope: String,
        /// Its number in there, from 1; 0 where it is not recorded. Whoever lost lines finds these again by it.
        number: u64,
        /// Its words.
        message: String,
        /// JSON.
        fields: Option<String>,
    },
    /// How far something is.
    Progress {
        /// From where.
        scope: String,
        /// The script's words.
        value: String,
    },
    /// A source was loaded.
    Module {
        /// Its name.
        name: String,
        /// Its text.
        source: Arc<str>,
    },
    /// It was asked to stop.
    Interrupted {
        /// At once.
        hard: bool,
        /// For good.
        cancelled: bool,
    },
    /// It lacks capabilities that somebody may grant.
    Question {
        /// For the answer.
        id: u64,
        /// The effect that lacks them.
        effect: String,
        /// Its object.
        subject: String,
        /// Where the script calls it.
        place: Option<(String, u32)>,
        /// The capabilities.
        missing: Vec<String>,
    },
    /// It is over, paused, or was stopped by somebody.
    End(Box<End>),
}

/// Where a run has come to.
#[derive(Debug, Clone)]
pub struct End {
    /// The run as recorded.
    pub run: Run,
    /// The exit code of its outcome.
    pub exit_code: u8,
    /// The error with its place and stack, JSON.
    pub trouble: Option<Value>,
}

/// An effect of a run under way.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The branch.
    pub scope: String,
    /// Its number in there.
    pub counter: u32,
    /// `containers.ensure`.
    pub name: String,
    /// `read`, `ensure`, `act`, `wait`.
    pub kind: &'static str,
    /// Its object.
    pub subject: String,
}

/// What a watcher gets.
#[derive(Debug)]
pub struct Watching {
    /// The run as it stands when the watching begins.
    pub run: Run,
    /// What happens from then on. It ends behind [`Told::End`], and without one when the watcher has fallen too far
    /// behind: the journal knows what it missed.
    pub told: mpsc::Receiver<Told>,
}

/// Whoever executes runs.
#[async_trait]
pub trait Runs: Send + Sync + fmt::Debug {
    /// Records a run of a playbook, durably and together with the order's writes, and executes it.
    ///
    /// # Errors
    /// `MC-J009`-like refusals of the journal where a write does not find what it expects: nothing is recorded then.
    async fn start(&self, order: Order) -> Result<RunId>;

    /// Records a run of a script and executes it.
    ///
    /// # Errors
    /// Where the script, its parameters, limits or capabilities are refused; nothing is recorded then.
    async fn submit(&self, submission: Submission) -> Result<RunId>;

    /// Executes a run that is recorded and not over.
    ///
    /// # Errors
    /// Where it is over, or somebody else executes it.
    async fn go_on(&self, run: &RunId, wish: Wish) -> Result<()>;

    /// Takes back what a run changed, by a run of its own, which is granted `more` than that run was.
    ///
    /// # Errors
    /// As `mcrun undo`.
    async fn undo(&self, run: &RunId, force: bool, more: Grants, cause: Cause) -> Result<RunId>;

    /// Stops, starts, restarts or removes a service by a run; `operation` is `stop`, `start`, `restart` or `undeploy`.
    ///
    /// # Errors
    /// As the commands of these names.
    async fn operate(&self, operation: &str, service: &str, cause: Cause) -> Result<RunId>;

    /// Has a run that is executed here stop at its next effect, or at once. It can be resumed.
    ///
    /// # Errors
    /// Where it is not executed here.
    async fn interrupt(&self, run: &RunId, hard: bool) -> Result<()>;

    /// Gives a run up.
    ///
    /// # Errors
    /// Where it is over.
    async fn cancel(&self, run: &RunId) -> Result<()>;

    /// Answers a question of a run.
    ///
    /// # Errors
    /// Where nobody asked it, or somebody answered it before.
    async fn answer(&self, run: &RunId, question: u64, granted: bool) -> Result<()>;

    /// What happens in a run from now on, until it is over, paused, or stopped by somebody; `until_over`: until it is
    /// over. That it waits without a worker is no end: it goes on by itself.
    ///
    /// # Errors
    /// Where there is no such run.
    async fn watch(&self, run: &RunId, until_over: bool) -> Result<Watching>;

    /// The same for somebody who answers no questions: nobody waits for that.
    ///
    /// # Errors
    /// Where there is no such run.
    async fn look_on(&self, run: &RunId, until_over: bool) -> Result<Watching> {
        self.watch(run, until_over).await
    }
}
