//! Owns the execution of one run or plan: worker, corridor, signals, and the state that the run is left in.

mod freed;
pub(crate) mod many;

use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use effect::context::Shared;
use effect::plan::Plan;
use effect::policy::Grants;
use effect::saved::{Bound, Saved};
use effect::session::{Decisions, Kept, Patience};
use effect::{Code, Error, Mode, Overlay, Policy, Result, Session};
use journal::{NewCause, NewPlan, NewRun, Open, Run, RunId, RunLock, RunState};
use script::{Ended, Interrupt, Launch, Limits, Modules, StackFrame, Worker};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::app::App;
use crate::bridge::{Bridge, Stop};
use crate::exit::Exit;
use crate::render::{Observe, Watch};
use crate::{approve, stdlib, wiring};

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
}

impl Finished {
    fn ended(state: RunState, exit: Exit) -> Self {
        Self { state, exit, trouble: None }
    }

    fn paused(trouble: Trouble) -> Self {
        Self { state: RunState::Paused, exit: Exit::Waiting, trouble: Some(trouble) }
    }
}

/// What one worker brought a run to.
enum Attempt {
    /// The run has ended, paused or been interrupted.
    Over(Box<Finished>),
    /// It only waits, for long, and goes on in another worker.
    Freed(Box<Session>),
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
    let mut attempted = attempt(app, job, watch.clone(), begun).await?;
    loop {
        let session = match attempted {
            Attempt::Over(finished) => return Ok(*finished),
            Attempt::Freed(session) => session,
        };
        attempted = match freed::wait(app, &session, &*watch).await? {
            Some(job) => {
                let job = Job { limits: limits.clone(), asks, patience, ..job };
                attempt(app, job, watch.clone(), std::future::ready(Ok(()))).await?
            }
            None => {
                let finished = stopped(app, &session).await;
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
    begun: impl Future<Output = journal::Result<()>>,
) -> Result<Attempt> {
    let id = job.id;
    let (begun, evaluated) = tokio::join!(begun, evaluate(app, job, watch));
    begun?;
    let finished = match evaluated {
        Ok(evaluation) if evaluation.frees_worker() => {
            return Ok(Attempt::Freed(Box::new(evaluation.session)));
        }
        Ok(Evaluation { session, ended, .. }) => conclude(app, &session, ended).await,
        // Nothing has run: the run keeps its state and can be resumed once the cause is mended.
        Err(error) => Finished { exit: Exit::of(&error), ..Finished::paused(Trouble::new(error)) },
    };
    Ok(Attempt::Over(Box::new(record(app, &id, finished).await?)))
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

/// Evaluates a script without applying anything.
pub(crate) async fn plan(app: &App, job: Job, watch: Arc<dyn Watch>) -> Result<(Plan, Finished)> {
    let Evaluation { session, ended, .. } = evaluate(app, job, watch).await?;
    let finished = conclude(app, &session, ended).await;
    Ok((session.take_plan(), finished))
}

/// One worker's part of a run.
struct Evaluation {
    session: Session,
    ended: Ended<Stop>,
    /// Nobody but ourselves asked it to stop.
    freed: bool,
}

impl Evaluation {
    /// Whether the run only waits, and goes on in another worker.
    fn frees_worker(&self) -> bool {
        self.freed && matches!(self.ended, Ended::Stopped(Stop::Parked) | Ended::Interrupted)
    }
}

async fn evaluate(app: &App, job: Job, watch: Arc<dyn Watch>) -> Result<Evaluation> {
    // Looking at runs is asked for by commands of ours, in the operator's name; what scripts are granted bounds them.
    let bound =
        app.config.policy.as_ref().map(|policy| [&policy.scripts[..], &["runs:read".to_owned()]].concat());
    let bound = bound.as_deref();
    let state = std::fs::canonicalize(&app.state).unwrap_or_else(|_| app.state.clone());
    let policy = Policy::new(bound, &job.grants)?.sealing_off(&[&state.to_string_lossy(), "/proc"])?;
    let registry = Arc::new(wiring::registry(app, &job.root)?);
    let kinds: HashMap<_, _> = registry.names().collect();
    let effects = registry.names().map(|(name, _)| name.to_owned()).collect();
    let rewinds = registry.rewinds().map(|(name, rewind)| (name.to_owned(), rewind)).collect();
    let shared = Shared {
        run: job.id,
        node: app.node.clone(),
        mode: job.mode,
        policy,
        secrets: wiring::secrets(app, &job.root)?,
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
    let approver = if job.asks { approve::Terminal::open(&watch, stopping.subscribe()) } else { None };
    let session = Session::new(registry, shared, Arc::new(Observe(watch.clone())), past.open, past.decisions)
        .asking_for_approval(approver)
        .doing_again(past.generation)
        .patient(job.patience, stopping.subscribe())
        .bound_to(job.planned.map(|planned| Bound::to(planned.steps)))
        .keeping(job.kept);
    let modules = Modules::open(&job.root, stdlib::source, job.limits.source)?.with_pinned(job.sources);
    let params = RawValue::from_string(job.params.to_string())
        .map_err(|error| Error::new(Code::Internal, "the parameters cannot be encoded").because(error))?;
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
    let asked = Cell::new(Interrupt::None);
    let ended = tokio::select! {
        // Signals are heard before anything else happens.
        biased;
        never = forward_interrupts(&interrupts, &asked, app, &job_id, &*watch) => match never {},
        ended = run => ended,
        never = freed::free(&interrupts, app, &session, idle) => match never {},
    };
    drop(bridge);
    let freed = *interrupts.borrow() != Interrupt::None && asked.get() == Interrupt::None;
    Ok(Evaluation { session, ended, freed })
}

/// This very program, whatever has become of its file.
const PROGRAM: &str = "/proc/self/exe";

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

/// The signals that ask a run to stop.
struct Signals([Signal; 3]);

impl Signals {
    fn open() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// How often a run looks whether somebody asked for its end; a signal is quicker and may get lost.
const CANCEL_CHECK: std::time::Duration = std::time::Duration::from_secs(1);

/// Ctrl-C once stops the run at its next effect, twice at once; `mcrun cancel` counts as once.
async fn forward_interrupts(
    interrupts: &watch::Sender<Interrupt>,
    asked: &Cell<Interrupt>,
    app: &App,
    run: &RunId,
    watch: &dyn Watch,
) -> std::convert::Infallible {
    let Ok(mut signals) = Signals::open() else { return std::future::pending().await };
    loop {
        tokio::select! {
            () = signals.next() => {}
            () = tokio::time::sleep(CANCEL_CHECK), if asked.get() == Interrupt::None => {
                if !matches!(app.journal.cancel_requested(run).await, Ok(true)) {
                    continue;
                }
            }
        }
        let level = if asked.get() == Interrupt::None { Interrupt::Soft } else { Interrupt::Hard };
        asked.set(level);
        let is_cancelled = app.journal.cancel_requested(run).await.unwrap_or(false);
        watch.interrupted(level == Interrupt::Hard, is_cancelled);
        interrupts.send_replace(level);
    }
}

async fn conclude(app: &App, session: &Session, ended: Ended<Stop>) -> Finished {
    match ended {
        Ended::Done { .. } => match session.unclaimed() {
            Some(divergence) => Finished::paused(Trouble::new(divergence)),
            None => Finished::ended(RunState::Done, Exit::Done),
        },
        Ended::Failed(failure) => {
            if let Some(divergence) = session.unclaimed() {
                return Finished::paused(Trouble::new(divergence));
            }
            let trouble =
                Trouble { error: failure.error, place: recorded_place(failure.place), stack: failure.stack };
            let exit = match Exit::of(&trouble.error) {
                // A doubt that reached the script as an error: nothing is left to wait for.
                Exit::Waiting => Exit::Failed,
                exit => exit,
            };
            Finished { state: RunState::Failed, exit, trouble: Some(trouble) }
        }
        Ended::Limit(hit) => {
            Finished::paused(Trouble { error: hit.error, place: recorded_place(hit.place), stack: hit.stack })
        }
        Ended::Diverged(divergence) => {
            let recorded = recorded_arguments(app, session.run_id(), divergence.recorded.as_ref()).await;
            Finished::paused(diverged(&divergence, recorded.as_deref()))
        }
        Ended::Lost(lost) => Finished::paused(Trouble::new(lost.error)),
        Ended::Stopped(Stop::Corridor(effect::Stop::Pause(error))) => {
            let exit = Exit::of(&error);
            let exit = if exit == Exit::Failed { Exit::Waiting } else { exit };
            Finished { exit, ..Finished::paused(Trouble::new(error)) }
        }
        Ended::Stopped(Stop::Corridor(effect::Stop::Broken(error))) | Ended::Host(error) => {
            let exit = Exit::of(&error);
            Finished { state: RunState::Paused, exit, trouble: Some(Trouble::new(error)) }
        }
        Ended::Stopped(Stop::Parked | Stop::Corridor(effect::Stop::Unanswered)) | Ended::Interrupted => {
            stopped(app, session).await
        }
    }
}

/// The operator stopped it, with Ctrl-C or with `mcrun cancel`.
async fn stopped(app: &App, session: &Session) -> Finished {
    let run = session.run_id();
    if app.journal.cancel_requested(run).await.unwrap_or(false) {
        return cancelled();
    }
    match app.journal.run(run.as_str()).await {
        // A sleep that was given up left the state as it was: the run waits on.
        Ok(run) if run.state == RunState::Waiting => Finished::ended(RunState::Waiting, Exit::Waiting),
        _ => Finished::ended(RunState::Paused, Exit::Interrupted),
    }
}

/// Gives up a run whose end was asked for while nobody executed it.
async fn conclude_cancelled(app: &App, id: &RunId) -> Result<Finished> {
    record(app, id, cancelled()).await
}

fn cancelled() -> Finished {
    let error = Error::new(Code::Cancelled, "the run was cancelled");
    Finished { state: RunState::Cancelled, exit: Exit::Failed, trouble: Some(Trouble::new(error)) }
}

fn recorded_place(place: script::Place) -> Option<journal::Place> {
    (place.line > 0).then_some(journal::Place { file: place.file, line: place.line })
}

/// The arguments of the recorded side; the history on its way to the worker has only their hash.
pub(crate) async fn recorded_arguments(
    app: &App,
    run: &RunId,
    side: Option<&script::Recorded>,
) -> Option<String> {
    const PAGE: usize = 1000;
    let side = side?;
    let mut after = 0;
    loop {
        let page = app.journal.entries(run, after, PAGE).await.ok()?;
        let is_side = |entry: &&journal::Entry| {
            entry.identity.scope == side.scope && u64::from(entry.identity.counter) == side.counter
        };
        if let Some(entry) = page.iter().find(is_side) {
            return Some(entry.arguments.to_string());
        }
        after = page.last()?.order?;
    }
}

/// Both sides of a divergence, as texts.
pub(crate) fn sides(divergence: &script::Divergence, recorded: Option<&str>) -> (String, String) {
    let side = |side: Option<&script::Recorded>, arguments: Option<&str>| match side {
        Some(side) => {
            let arguments: String = arguments.unwrap_or_default().chars().take(400).collect();
            format!("{}#{} {} {arguments}", side.scope, side.counter, side.name)
        }
        None => "nothing".to_owned(),
    };
    let requested = match &divergence.failure {
        Some(failure) => format!("nothing: the script failed with {failure}"),
        None => side(divergence.requested.as_ref(), divergence.arguments.as_deref()),
    };
    (side(divergence.recorded.as_ref(), recorded), requested)
}

fn diverged(divergence: &script::Divergence, recorded: Option<&str>) -> Trouble {
    let (recorded, requested) = sides(divergence, recorded);
    let error = Error::new(Code::Divergence, "the script no longer matches its recorded history")
        .detail(format!("recorded:  {recorded}"))
        .detail(format!("requested: {requested}"))
        .hint("the run is paused and nothing was done; `mcrun show RUN` lists its history");
    Trouble { place: recorded_place(divergence.place.clone()), ..Trouble::new(error) }
}

/// A new run as it is recorded.
pub(crate) fn new_run(app: &App, job: &Job, script: &Path) -> NewRun {
    NewRun {
        id: job.id,
        name: job.name.clone(),
        script: script.display().to_string(),
        args: job.args.clone(),
        params: job.params.clone(),
        grants: json!(job.grants),
        limits: json!(job.limits),
        seed: job.seed,
        node: app.node.clone(),
        source: job.source.clone(),
        root: job.root.display().to_string(),
        modules: job.sources.clone().into_iter().collect(),
        plan: job
            .planned
            .as_ref()
            .map(|planned| NewPlan { name: planned.name.clone(), steps: json!(planned.steps).to_string() }),
        cause: job.cause.clone(),
    }
}

/// Records a new run that is under way, in one commit.
pub(crate) async fn begin(app: &App, new: NewRun) -> journal::Result<()> {
    let id = new.id;
    let (created, running) =
        tokio::join!(app.journal.create_run(new), app.journal.set_state(&id, RunState::Running, None, None));
    created.and(running)
}

/// What is needed to go on with a recorded run.
pub(crate) async fn past(app: &App, run: &Run) -> Result<Past> {
    const PAGE: usize = 1000;
    let mut logged: HashMap<String, u64> = HashMap::new();
    let mut after = 0;
    loop {
        let lines = app.journal.logs(&run.id, after, PAGE).await?;
        for entry in &lines {
            let last = logged.entry(entry.line.scope.clone()).or_default();
            *last = (*last).max(entry.line.number);
            after = entry.order;
        }
        if lines.len() < PAGE {
            break;
        }
    }
    Ok(Past {
        open: app.journal.open_entries(&run.id).await?,
        decisions: Decisions::default(),
        logged,
        generation: run.forgotten,
    })
}

/// A recorded run as it is to go on, with its sources and the saved plan that it carries out.
pub(crate) async fn recorded_job(app: &App, run: &Run) -> Result<Job> {
    let broken = |error: serde_json::Error| {
        Error::new(Code::JournalBroken, format!("run {} cannot be decoded", run.id)).because(error)
    };
    let steps = app.journal.planned(&run.id).await?;
    let steps = steps.map(|text| serde_json::from_str(&text)).transpose().map_err(broken)?;
    let name = run.plan.clone().unwrap_or_default();
    Ok(Job {
        id: run.id,
        name: run.name.clone(),
        root: run.root.clone().into(),
        source: run.source.to_string(),
        args: run.args.clone(),
        params: run.params.clone(),
        limits: serde_json::from_value(run.limits.clone()).map_err(broken)?,
        grants: serde_json::from_value(run.grants.clone()).map_err(broken)?,
        seed: run.seed,
        mode: Mode::Run,
        asks: false,
        patience: Patience::None,
        sources: app.journal.sources(&run.id).await?.into_iter().collect(),
        planned: steps.map(|steps| Planned { name, steps }),
        cause: run.cause.clone().map(|told| NewCause {
            playbook: run.playbook.clone(),
            told,
            writes: Vec::new(),
        }),
        kept: Kept::default(),
        past: None,
    })
}
