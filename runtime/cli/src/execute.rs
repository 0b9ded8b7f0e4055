//! Owns the execution of one run or plan: worker, corridor, signals, and the state that the run is left in.

pub(crate) mod desk;
pub(crate) mod ear;
mod ending;
mod errands;
pub(crate) mod executor;
mod freed;
pub(crate) mod going;
pub(crate) mod many;
mod recorded;
pub(crate) mod relay;
mod waiting;
mod wished;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use effect::context::Shared;
use effect::plan::Plan;
use effect::policy::Grants;
use effect::saved::{Bound, Saved};
use effect::session::{Decisions, Kept, Patience};
use effect::{Code, Error, Mode, Overlay, Policy, Result, Session};
use journal::{NewCause, Open, RunId, RunLock, RunState};
use script::{Ended, Interrupt, Launch, Limits, Modules, StackFrame, Worker};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::ear::{Asked, Ear, Heard, Why};
pub(crate) use self::ending::{recorded_arguments, sides};
pub(crate) use self::recorded::{begin, event_of, new_run, past, recorded_job, seed};

use crate::app::App;
use crate::bridge::{Bridge, Stop};
use crate::exit::Exit;
use crate::render::{Observe, Watch};
use crate::{runbook, stdlib, wiring};

/// A script that is about to be evaluated.
pub(crate) struct Job {
    pub(crate) id: RunId,
    /// Its name within `root`.
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    pub(crate) source: String,
    pub(crate) args: Vec<String>,
    pub(crate) params: Value,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    /// Whether a person may be asked for capabilities that are missing.
    pub(crate) asks: bool,
    /// How long it waits for services that another run holds.
    pub(crate) patience: Patience,
    /// Sources by module name, as pinned.
    pub(crate) sources: HashMap<String, String>,
    /// The saved plan that it carries out.
    pub(crate) planned: Option<Planned>,
    /// Why it is started, where it is not simply run.
    pub(crate) cause: Option<NewCause>,
    /// The leases that it holds already.
    pub(crate) kept: Kept,
    /// Limits that are raised for the rest of it, as they were said.
    pub(crate) raised: Vec<String>,
    pub(crate) past: Option<Past>,
}

/// A saved plan that is carried out.
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) steps: Saved,
}

/// What an earlier attempt at the run left.
#[derive(Default)]
pub(crate) struct Past {
    pub(crate) open: Vec<Open>,
    pub(crate) decisions: Decisions,
    /// The last log line of each scope.
    pub(crate) logged: HashMap<String, u64>,
    /// How often a part of its history was forgotten.
    pub(crate) generation: u32,
}

/// How it ended, for people and for the journal.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) state: RunState,
    pub(crate) exit: Exit,
    pub(crate) trouble: Option<Trouble>,
}

/// What went wrong, and where.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) place: Option<journal::Place>,
    pub(crate) stack: Vec<StackFrame>,
}

impl Trouble {
    fn new(error: Error) -> Self {
        Self { error, place: None, stack: Vec::new() }
    }

    fn to_json(&self) -> Value {
        json!({ "error": self.error, "place": self.place, "stack": self.stack })
    }

    /// As it was recorded; nothing where the run came to a good end.
    pub(crate) fn of_json(mut outcome: Value) -> Option<Self> {
        let error = serde_json::from_value(outcome.get_mut("error")?.take()).ok()?;
        let mut part = |name: &str| outcome.get_mut(name).map(Value::take).unwrap_or_default();
        let place = serde_json::from_value(part("place")).unwrap_or_default();
        Some(Self { error, place, stack: serde_json::from_value(part("stack")).unwrap_or_default() })
    }
}

impl Finished {
    fn ended(state: RunState, exit: Exit) -> Self {
        Self { state, exit, trouble: None }
    }

    fn paused(trouble: Trouble) -> Self {
        Self { state: RunState::Paused, exit: Exit::Waiting, trouble: Some(trouble) }
    }

    /// Whether it was asked to stop and did, before its end.
    fn is_stopped(&self) -> bool {
        self.trouble.is_none() && matches!(self.state, RunState::Paused | RunState::Waiting)
    }

    fn met_full_disk(&self) -> bool {
        let code = self.trouble.as_ref().map(|trouble| trouble.error.code);
        self.state == RunState::Paused && code == Some(Code::DiskFull)
    }
}

/// What one worker brought a run to.
enum Attempt {
    /// The run has ended, paused or been interrupted; what it keeps where it waits on.
    Over(Box<Finished>, Kept),
    /// It only waits, for long, and goes on in another worker.
    Freed(Box<Session>),
    /// It is left as it is recorded, because this process ends or the disk is full: it goes on by itself later.
    Left(Box<Finished>),
}

/// Runs a run to its end, its pause or its interruption, and records which. `begun` records that it is under way.
pub(crate) async fn run(
    app: &App,
    job: Job,
    watch: Arc<dyn Watch>,
    _lock: RunLock,
    begun: impl Future<Output = journal::Result<()>>,
) -> Result<Finished> {
    let (limits, asks, patience) = (job.limits.clone(), job.asks, job.patience);
    let mut attempted = attempt(app, job, watch.clone(), Ear::Signals, begun).await?;
    loop {
        let session = match attempted {
            Attempt::Over(finished, _) | Attempt::Left(finished) => return Ok(*finished),
            Attempt::Freed(session) => session,
        };
        attempted = match freed::wait(app, &session, &*watch).await? {
            Some(job) => {
                let job = Job { limits: limits.clone(), asks, patience, ..job };
                attempt(app, job, watch.clone(), Ear::Signals, std::future::ready(Ok(()))).await?
            }
            None => {
                let finished = ending::stopped(app, &session).await;
                return record(app, session.run_id(), finished).await;
            }
        };
    }
}

/// Goes on with a run in one worker. The worker starts while `begun` is recorded, because the journal keeps whatever an
/// effect writes behind it.
async fn attempt(
    app: &App,
    job: Job,
    watch: Arc<dyn Watch>,
    ear: Ear,
    begun: impl Future<Output = journal::Result<()>>,
) -> Result<Attempt> {
    let (id, goes_on_later) = (job.id, ear.is_of_many());
    let (begun, evaluated) = tokio::join!(begun, evaluate(app, job, watch, ear));
    begun?;
    // Before the end is recorded: a run that is killed here is resumed, and comes here again.
    if evaluated.as_ref().is_ok_and(|evaluation| evaluation.session.holds_leases()) {
        runbook::renew(app).await;
    }
    let (finished, heard, kept) = match evaluated {
        Ok(evaluation) if evaluation.frees_worker() => {
            return Ok(Attempt::Freed(Box::new(evaluation.session)));
        }
        Ok(Evaluation { session, ended, heard, .. }) => {
            let finished = ending::conclude(app, &session, ended).await;
            let kept = if finished.state == RunState::Waiting { session.keep() } else { Kept::default() };
            (finished, heard, kept)
        }
        // Nothing has run: the run keeps its state and can be resumed once the cause is mended.
        Err(error) => {
            let finished = Finished { exit: Exit::of(&error), ..Finished::paused(Trouble::new(error)) };
            (finished, Asked::NOTHING, Kept::default())
        }
    };
    let finished = match (heard.why, finished.is_stopped()) {
        (Why::Leaving, true) => {
            app.journal.barrier().await?;
            return Ok(Attempt::Left(Box::new(finished)));
        }
        (Why::TimedOut, true) => ending::timed_out(),
        _ => finished,
    };
    if goes_on_later && finished.met_full_disk() {
        return Ok(Attempt::Left(Box::new(finished)));
    }
    Ok(Attempt::Over(Box::new(record(app, &id, finished).await?), kept))
}

/// Records what a run has come to.
async fn record(app: &App, id: &RunId, finished: Finished) -> Result<Finished> {
    let outcome = finished.trouble.as_ref().map(Trouble::to_json);
    let recorded =
        app.journal.set_state(id, finished.state, outcome, Some(finished.exit.code().into())).await;
    match (recorded, &finished.trouble) {
        // The journal itself is the trouble: the run stays as it is recorded, and the first cause is what counts.
        (Err(error), Some(_)) => tracing::debug!(%error, "the run's end is not recorded"),
        (recorded, _) => recorded?,
    }
    Ok(finished)
}

/// Gives up a run that nobody executes. Whoever calls this holds its lock.
pub(crate) async fn give_up(app: &App, id: &RunId) -> Result<()> {
    record(app, id, ending::cancelled()).await.map(drop)
}

/// Evaluates a script without applying anything.
pub(crate) async fn plan(app: &App, job: Job, watch: Arc<dyn Watch>) -> Result<(Plan, Finished)> {
    let Evaluation { session, ended, .. } = evaluate(app, job, watch, Ear::Signals).await?;
    let finished = ending::conclude(app, &session, ended).await;
    Ok((session.take_plan(), finished))
}

/// One worker's part of a run.
struct Evaluation {
    session: Session,
    ended: Ended<Stop>,
    /// Nobody but ourselves asked it to stop.
    freed: bool,
    /// What somebody else asked.
    heard: Asked,
}

impl Evaluation {
    /// Whether the run only waits, and goes on in another worker.
    fn frees_worker(&self) -> bool {
        self.freed && matches!(self.ended, Ended::Stopped(Stop::Parked) | Ended::Interrupted)
    }
}

async fn evaluate(app: &App, job: Job, watch: Arc<dyn Watch>, ear: Ear) -> Result<Evaluation> {
    // Looking at runs is asked for by commands of ours, in the operator's name; what scripts are granted bounds them.
    let bound =
        app.live().policy.as_ref().map(|policy| [&policy.scripts[..], &["runs:read".to_owned()]].concat());
    let bound = bound.as_deref();
    let state = std::fs::canonicalize(&app.state).unwrap_or_else(|_| app.state.clone());
    let policy = Policy::new(bound, &job.grants)?.sealing_off(&[&state.to_string_lossy(), "/proc"])?;
    let registry = Arc::new(wiring::registry(app, &job.root)?);
    let kinds: HashMap<_, _> = registry.names().collect();
    let effects = registry.names().map(|(name, _)| name.to_owned()).collect();
    let rewinds = registry.rewinds().map(|(name, rewind)| (name.to_owned(), rewind)).collect();
    if job.past.is_some() && app.kit.is_none() {
        // What it has from `secrets.get` may lie in a checkpoint that is not replayed.
        app.vault.refresh().await?;
    }
    let shared = Shared {
        run: job.id,
        node: app.node.clone(),
        mode: job.mode,
        policy,
        secrets: wiring::secrets_of(app, &job.root, (job.mode == Mode::Run).then_some(job.id))?,
        sealer: app.sealer.clone(),
        journal: app.journal.clone(),
        clock: app.clock.clone(),
        root: job.root.clone(),
        overlay: Overlay::default(),
    };
    let job_id = job.id;
    let resumed = job.past.is_some();
    let past = job.past.unwrap_or_default();
    let stopping = watch::Sender::new(false);
    let approver = if job.asks { watch.clone().approver(stopping.subscribe()) } else { None };
    let session = Session::new(registry, shared, Arc::new(Observe(watch.clone())), past.open, past.decisions)
        .asking_for_approval(approver)
        .doing_again(past.generation)
        .patient(job.patience, stopping.subscribe())
        .bound_to(job.planned.map(|planned| Bound::to(planned.steps)))
        .keeping(job.kept);
    let modules = Modules::open(&job.root, stdlib::source, job.limits.source)?.with_pinned(job.sources);
    let params = RawValue::from_string(job.params.to_string())
        .map_err(|error| Error::new(Code::Internal, "the parameters cannot be encoded").because(error))?;
    let event = job.cause.as_ref().map(event_of).transpose()?.flatten();
    // What a limit on the whole time leaves is known to one worker only.
    let idle = job.limits.idle.filter(|_| job.mode == Mode::Run && job.limits.wall.is_none());
    let launch = Launch {
        limits: job.limits,
        mode: if job.mode == Mode::Plan { script::Mode::Plan } else { script::Mode::Run },
        effects,
        rewinds,
        args: job.args,
        params,
        seed: job.seed,
        name: job.name,
        source: job.source,
        event,
        resumed,
    };
    let bridge = Bridge {
        session: &session,
        modules,
        watch: &*watch,
        kinds,
        logged: past.logged,
        planning: job.mode == Mode::Plan,
        stopping,
        pinned: Mutex::new(Vec::new()),
    };
    let worker = next_worker(app).await?;
    let (interrupts, interrupt) = watch::channel(Interrupt::None);
    let mut stopped = interrupt.clone();
    let run = async {
        if resumed {
            let held = tokio::select! {
                held = session.hold_again() => held,
                _ = stopped.wait_for(|asked| *asked != Interrupt::None) => Err(effect::Stop::Unanswered),
            };
            if let Err(stop) = held {
                return Ended::Stopped(Stop::Corridor(stop));
            }
        }
        script::run(worker, launch, &bridge, interrupt).await
    };
    let heard = Heard::new(Asked::NOTHING);
    let ended = tokio::select! {
        // Signals are heard before anything else happens.
        biased;
        never = ear::listen(ear, &interrupts, &heard, (app, &job_id), &*watch) => match never {},
        ended = run => ended,
        never = freed::free(&interrupts, app, &session, idle) => match never {},
    };
    drop(bridge);
    let heard = heard.get();
    let freed = *interrupts.borrow() != Interrupt::None && heard.level == Interrupt::None;
    Ok(Evaluation { session, ended, freed, heard })
}

/// This very program, whatever has become of its file.
pub(crate) const PROGRAM: &str = "/proc/self/exe";

/// Starts a worker of this very program.
pub(crate) fn start_worker() -> Result<Worker> {
    Worker::start(PROGRAM.as_ref())
}

/// The worker that was started in advance, a copy of the template, or a new one.
async fn next_worker(app: &App) -> Result<Worker> {
    if let Some(worker) = app.worker.take() {
        return Ok(worker);
    }
    if let Some(template) = app.template.get() {
        match template.worker().await {
            Ok(worker) => return Ok(worker),
            Err(error) => tracing::debug!(%error, "a worker is started, because none could be copied"),
        }
    }
    start_worker()
}
