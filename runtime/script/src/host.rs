//! Owns the host's side of the pipe: what it offers to whoever performs effects ([`Effects`]) and what a run can end
//! with ([`Ended`]). Processes are started in [`spawn`], bytes counted in [`pipe`], the conversation is [`session`], its end [`drain`].

mod checks;
mod deadline;
mod drain;
mod forked;
mod hearing;
mod pipe;
mod session;
mod spawn;

pub use hearing::hear;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;

use serde_json::value::RawValue;
use tokio::sync::watch;

pub use forked::Template;

use crate::Limits;
use crate::protocol::{
    Description, Divergence, Frame, HistoryItem, LogLine, Mode, Module, Place, PlanEnd, Progress, WhichLimit,
};

/// What one run is started with.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What the run may use.
    pub limits: Limits,
    /// Whether effects act.
    pub mode: Mode,
    /// The names of all effects, `containers.ensure`; they become the script's globals.
    pub effects: Vec<String>,
    /// What a failed transaction does about each effect that leaves something behind.
    pub rewinds: BTreeMap<String, effect::Rewind>,
    /// The words after the script's file name.
    pub args: Vec<String>,
    /// The typed parameters, a JSON object.
    pub params: Box<RawValue>,
    /// The seed of the run's random numbers; the same in every replay.
    pub seed: u64,
    /// The script's name, as it is shown in messages.
    pub name: String,
    /// The script's text.
    pub source: String,
    /// What a playbook's `run` is called with, a JSON object that is the same in every replay. Where there is none, the
    /// source is a script, which returns no playbook.
    pub event: Option<Box<RawValue>>,
    /// Whether there is a history to replay; without, [`Effects::next_history`] is never called.
    pub resumed: bool,
}

/// An effect that a script asks for. Nothing in it is trusted: identity and hash are the worker's word made plausible,
/// not proof.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names the request on the pipe.
    pub id: u64,
    /// The scope path; empty at the top.
    pub scope: String,
    /// The position within the scope, from 1.
    pub counter: u64,
    /// The effect's name, one of [`Launch::effects`].
    pub name: String,
    /// The arguments as canonical JSON text; an empty table below the top is `[]`.
    pub args: Box<RawValue>,
    /// [`crate::arguments_hash`] of `args`, computed by the host.
    pub hash: String,
    /// Where the script asked.
    pub place: Place,
}

/// What became of a request.
#[derive(Debug)]
pub enum Reply<S> {
    /// The script goes on with a result or an error that it may catch.
    Answer(Result<Box<RawValue>, effect::Error>),
    /// The run stops here and can be resumed.
    Stop(S),
}

/// Performs the effects of a run and keeps its record.
///
/// Replies are written to the worker in the order in which the futures of [`Effects::perform`] complete, and a replay
/// must deliver them in that same order: an implementation fixes the recorded order of an end as its last step, with no
/// await between that and its return.
pub trait Effects {
    /// Why a run stops without having ended: paused, waiting, cancelled.
    type Stop;

    /// Performs one effect. Called as soon as the script asks; the futures overlap and are started in that order, or never
    /// when the run ends before their turn.
    fn perform(&self, request: Request) -> impl Future<Output = Reply<Self::Stop>>;

    /// The script no longer wants the outcome of an effect that was asked for under this identity and has not been
    /// answered. One that changes nothing may be answered at once, with [`effect::Code::Cancelled`].
    fn cancel(&self, scope: &str, counter: u64) {
        let _ = (scope, counter);
    }

    /// The next at most `limit` completed effects of the recorded history; none when it ends.
    fn next_history(&self, limit: usize) -> impl Future<Output = Result<Vec<HistoryItem>, effect::Error>>;

    /// The module that `path` means in the module `from`.
    fn module(&self, from: &str, path: &str) -> impl Future<Output = Result<Module, effect::Error>>;

    /// A line of the run's log; lines of a replay come again under the same scope and number.
    fn log(&self, line: LogLine);

    /// How far the script says it is.
    fn progress(&self, progress: Progress);

    /// The file that is read is a playbook's. Called at most once, before the end.
    fn described(&self, description: Description) {
        let _ = description;
    }

    /// A branch's plan ends here.
    fn plan_ended(&self, end: PlanEnd);

    /// The worker is locked in; `landlock` tells whether the kernel had it.
    fn confined(&self, landlock: bool) {
        let _ = landlock;
    }

    /// The run is about to stop: effects that only wait should reply [`Reply::Stop`] when they are polled next. Such a
    /// stop is the run's end only if nothing else ran ([`Ended::Stopped`] instead of [`Ended::Interrupted`]); one that
    /// comes later counts as an effect's own. Called at most once.
    fn stopping(&self) {}
}

/// What the operator asks of a running script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interrupt {
    /// Nothing.
    None,
    /// Start no further effect; end when the running ones have ended and are recorded, however long that takes.
    Soft,
    /// End at once.
    Hard,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended<S> {
    /// The script came to its end.
    Done {
        /// In a plan: some branch touched what nobody can know yet.
        plan_ended: bool,
    },
    /// The script failed.
    Failed(Failure),
    /// A limit was passed; the run can be resumed.
    Limit(LimitHit),
    /// The script no longer matches its history; nothing was done.
    Diverged(Box<Divergence>),
    /// The worker died or made no sense; the run can be resumed.
    Lost(Lost),
    /// An effect stopped the run.
    Stopped(S),
    /// The operator stopped the run.
    Interrupted,
    /// The host itself could not go on: no worker could be started, the history could not be read.
    Host(effect::Error),
}

/// An error that nothing in the script caught.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The error; one raised by the script itself has the code MC-S002 or the one the script gave it.
    pub error: effect::Error,
    /// Where it was raised.
    pub place: Place,
    /// The script's own frames, innermost first.
    pub stack: Vec<Frame>,
}

/// A limit was passed.
#[derive(Debug, Clone)]
pub struct LimitHit {
    /// Which one.
    pub which: WhichLimit,
    /// The limit as an error, with a hint how to raise it.
    pub error: effect::Error,
    /// Where the script was, if the worker could still say so.
    pub place: Place,
    /// The script's own frames, innermost first.
    pub stack: Vec<Frame>,
}

/// The worker is gone without an end.
#[derive(Debug, Clone)]
pub struct Lost {
    /// MC-S020 when it died, MC-S021 when it was ended for what it said, MC-S022 when it could not be confined.
    pub error: effect::Error,
    /// How the process ended: an exit code or a signal.
    pub status: String,
}

/// A worker that waits to be told what to run. Starting it takes milliseconds in which its host can do other things.
///
/// It dies with the thread that started it (its parent-death signal follows the thread), so start it from one that lives
/// as long as the run. Dropping it ends it.
#[derive(Debug)]
pub struct Worker {
    process: spawn::Process,
    stream: tokio::net::UnixStream,
}

impl Worker {
    /// Starts `program worker`, which must lead to [`crate::worker_main`]; `/proc/self/exe` is the running program.
    ///
    /// # Errors
    /// MC-S020 when no process can be started.
    pub fn start(program: &Path) -> effect::Result<Self> {
        let (process, stream) = spawn::spawn(program)?;
        Ok(Self { process, stream })
    }
}

/// Runs a script to its end in `worker`. Everything the run asks for passes through `effects`. Effects that outlast a run
/// that failed, was lost or passed a limit are dropped after half a second.
pub async fn run<E: Effects>(
    worker: Worker,
    launch: Launch,
    effects: &E,
    interrupt: watch::Receiver<Interrupt>,
) -> Ended<E::Stop> {
    if let Some(error) = session::source_error(&launch.name, launch.source.len(), launch.limits.source) {
        return Ended::Failed(Failure { error, place: Place::default(), stack: Vec::new() });
    }
    session::Session::new(launch, effects, worker.process, worker.stream).run(interrupt).await
}
