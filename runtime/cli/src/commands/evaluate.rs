//! Owns `run` and `plan`, and how a run is followed to its end.

mod playbook;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use effect::plan::Plan;
use effect::policy::{Grants, allow_arguments};
use effect::session::{Kept, Patience};
use effect::{Code, Error, Mode, Result};
use journal::{NewRun, RunId, RunLock, RunState};
use script::{Limits, Modules};
use serde_json::{Map, Value, json};

pub(crate) use self::playbook::{Given, Params, adapted};
use super::plan_file::Frozen;
use crate::app::App;
use crate::arguments::{self, Script};
pub(super) use crate::execute::Job;
use crate::execute::{self, Finished, seed};
use crate::exit::Exit;
use crate::handover::{self, Following};
use crate::render::{self, Live, Silent, Watch};
use crate::stdlib;

pub(super) type Sources = HashMap<String, String>;

pub(super) async fn run(app: &App, script: &Script, patience: Patience, json: bool) -> Result<Exit> {
    let job = Job { patience, ..job_of(app, script, Mode::Run).await? };
    start(app, job, &script.file, json).await
}

/// Records and runs a new job.
pub(super) async fn start(app: &App, job: Job, script: &Path, json: bool) -> Result<Exit> {
    let lock = app.journal.lock_run(&job.id)?;
    let new = execute::new_run(app, &job, script);
    follow(app, job, lock, Beginning::New(Box::new(new)), json).await
}

/// What a run that is about to be gone on with begins with.
pub(super) enum Beginning {
    /// It is recorded.
    New(Box<NewRun>),
    /// This command has recorded it.
    Made,
    /// It was there before.
    Recorded,
}

/// Has a job whose run is locked executed: by the daemon, where one holds the state directory, else here.
async fn execute(
    app: &App,
    job: Job,
    lock: RunLock,
    beginning: Beginning,
    watch: Arc<dyn Watch>,
) -> Result<Finished> {
    let Some(client) = handover::daemon(app).await? else {
        let id = job.id;
        let begun = async {
            match beginning {
                Beginning::New(new) => execute::begin(app, *new).await,
                Beginning::Made | Beginning::Recorded => {
                    app.journal.set_state(&id, RunState::Running, None, None).await
                }
            }
        };
        return execute::run(app, job, watch, lock, begun).await;
    };
    let is_new = !matches!(beginning, Beginning::Recorded);
    if let Beginning::New(new) = beginning {
        let started = crate::audit::started(&new);
        app.journal.create_audited_run(*new, started).await?;
    }
    let (following, telling) = Following::begin(app, client, job, watch, (lock, is_new)).await?;
    following.follow(telling).await
}

/// Runs a job whose run is locked, and tells how it ended.
pub(super) async fn follow(
    app: &App,
    mut job: Job,
    lock: RunLock,
    beginning: Beginning,
    json: bool,
) -> Result<Exit> {
    let (id, main) = (job.id, (job.name.clone(), job.source.clone()));
    // `--yes` answers questions about what was asked for; it grants nothing.
    job.asks = !(json || app.global.no_input || app.global.yes);
    shown(app, id, main, json, |watch| execute(app, job, lock, beginning, watch)).await
}

/// Shows a run while somebody goes on with it, and tells how it ended. `main` is the script with its text.
pub(super) async fn shown<F: Future<Output = Result<Finished>>>(
    app: &App,
    id: RunId,
    main: (String, String),
    json: bool,
    going: impl FnOnce(Arc<dyn Watch>) -> F,
) -> Result<Exit> {
    if json {
        let finished = going(Arc::new(Silent { logs: false, sources: Mutex::default() })).await?;
        render::json(&outcome_json(&id.to_string(), &finished));
        return Ok(finished.exit);
    }
    let started = app.clock.now();
    let name = main.0.clone();
    let live = Arc::new(Live::new(id.to_string()));
    let finished = going(live.clone()).await;
    live.finish();
    let finished = finished?;
    if let Some(trouble) = &finished.trouble {
        let sources = sources(&live.sources, main);
        show_trouble(trouble, &sources);
    }
    let totals = live.totals();
    let seconds = (app.clock.now().0 - started.0) as f64 / 1000.0;
    render::note(format_args!(
        "{} {name}: {}, {} changed, {seconds:.2} s  {}",
        render::styled(render::BOLD, word(&finished)),
        render::count(totals.effects, "effect"),
        totals.changed,
        render::styled(render::DIM, format_args!("run {id}"))
    ));
    if let Some(advice) = advice(&finished, &id.to_string()) {
        render::note(advice);
    }
    Ok(finished.exit)
}

fn sources(collected: &Mutex<Sources>, (name, source): (String, String)) -> Sources {
    let mut sources = collected.lock().unwrap_or_else(PoisonError::into_inner).clone();
    sources.insert(name, source);
    sources
}

fn show_trouble(trouble: &execute::Trouble, sources: &Sources) {
    let source = trouble.place.as_ref().and_then(|place| sources.get(&place.file)).map(String::as_str);
    render::note(render::trouble(&trouble.error, trouble.place.as_ref(), &trouble.stack, source));
}

fn word(finished: &Finished) -> &'static str {
    match (finished.state, finished.exit) {
        (_, Exit::Interrupted) => "interrupted",
        (_, Exit::RolledBack) => "rolled back",
        (state, _) => state.as_str(),
    }
}

fn advice(finished: &Finished, run: &str) -> Option<String> {
    match finished.state {
        RunState::Paused | RunState::Waiting => Some(format!("`mcrun resume {run}` goes on from here")),
        _ => None,
    }
}

pub(super) fn outcome_json(run: &str, finished: &Finished) -> Value {
    let trouble = finished.trouble.as_ref();
    json!({
        "run": run,
        "state": finished.state.as_str(),
        "exit_code": finished.exit.code(),
        "error": trouble.map(|trouble| &trouble.error),
        "place": trouble.and_then(|trouble| trouble.place.as_ref()),
    })
}

/// What `plan` is asked for.
pub(super) struct Wish<'a> {
    pub(super) json: bool,
    pub(super) detailed: bool,
    /// The file that the plan is saved in.
    pub(super) out: Option<&'a Path>,
}

pub(super) async fn plan(app: &App, script: &Script, wish: Wish<'_>) -> Result<Exit> {
    let job = job_of(app, script, Mode::Plan).await?;
    let Some(out) = wish.out else { return show_plan(app, job, wish.json, wish.detailed).await };
    let frozen = Frozen::new(app, &job, &script.file);
    let Shown { plan, modules, exit } = shown_plan(app, job, wish.json, wish.detailed).await?;
    if !matches!(exit, Exit::Done | Exit::PlanHasChanges) {
        render::note("the plan is not saved: it does not come to a good end");
        return Ok(exit);
    }
    let id = frozen.save(app, &plan, modules, out)?;
    render::note(format_args!("plan {id} is saved: `mcrun apply {}` does exactly this, once", out.display()));
    Ok(exit)
}

/// A plan that was shown.
struct Shown {
    plan: Plan,
    modules: Sources,
    exit: Exit,
}

/// Plans a job and shows what it would do.
pub(super) async fn show_plan(app: &App, job: Job, as_json: bool, detailed: bool) -> Result<Exit> {
    Ok(shown_plan(app, job, as_json, detailed).await?.exit)
}

async fn shown_plan(app: &App, job: Job, as_json: bool, detailed: bool) -> Result<Shown> {
    let main = (job.name.clone(), job.source.clone());
    let watch = Arc::new(Silent { logs: !as_json, sources: Mutex::default() });
    let (plan, finished) = execute::plan(app, job, watch.clone() as Arc<dyn Watch>).await?;
    let error = finished.trouble.as_ref().map(|trouble| &trouble.error);
    if as_json {
        render::json(&render::plan_json(&plan, error));
    } else {
        render::plan(&plan, &main.0);
        if let Some(trouble) = &finished.trouble {
            show_trouble(trouble, &sources(&watch.sources, main));
        }
    }
    let modules = watch.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let exit = exit_of_plan(&plan, &finished, as_json, detailed);
    Ok(Shown { plan, modules, exit })
}

/// What a plan ends with, and what it takes to run it.
fn exit_of_plan(plan: &Plan, finished: &Finished, as_json: bool, detailed: bool) -> Exit {
    let needs = plan.needs();
    if !as_json && !needs.is_empty() {
        render::note(format_args!("{} {}", render::styled(render::BOLD, "needs:"), allow_arguments(&needs)));
    }
    if !plan.missing().is_empty() {
        if !as_json && !plan.ends.is_empty() {
            render::note(
                "a plan sees only as far as it may look: `--allow '*'` shows all that is needed and changes nothing",
            );
        }
        return Exit::Denied;
    }
    match finished.exit {
        Exit::Done if detailed && plan.has_changes() => Exit::PlanHasChanges,
        exit => exit,
    }
}

/// What the command line asks for, of a script or a playbook.
async fn job_of(app: &App, script: &Script, mode: Mode) -> Result<Job> {
    let job = job(app, script, mode)?;
    let grants =
        Grants { allow: script.grants.allow.clone(), deny: script.grants.deny.clone(), ..Grants::default() };
    adapted(app, job, Given { params: Params::Settings(&script.set), grants, event: None }).await
}

/// What the command line asks for.
pub(super) fn job(app: &App, script: &Script, mode: Mode) -> Result<Job> {
    let limits = limits(&script.grants)?;
    let config = app.live();
    let bound = config.policy.as_ref().map(|policy| policy.scripts.as_slice());
    let grants =
        Grants { allow: script.grants.allow.clone(), deny: script.grants.deny.clone(), ..Grants::default() }
            .or_bound(bound);
    effect::Policy::new(bound, &grants)?;
    let (root, name) = split(&script.file)?;
    app.config.check_apart_from(&root)?;
    let source = Modules::open(&root, stdlib::source, limits.source)?.script(&name)?;
    let id = app.journal.next_id()?;
    Ok(Job {
        id,
        name,
        root,
        source,
        args: script.args.clone(),
        params: params(&script.set)?,
        limits,
        grants,
        seed: seed(id.as_str()),
        mode,
        asks: false,
        patience: Patience::None,
        sources: HashMap::new(),
        planned: None,
        cause: None,
        kept: Kept::default(),
        raised: Vec::new(),
        past: None,
    })
}

pub(super) fn limits(grants: &arguments::Grants) -> Result<Limits> {
    let mut limits = Limits::default();
    for limit in &grants.limit {
        limits.set(limit)?;
    }
    Ok(limits)
}

/// The folder that modules come from, and the script's name in it.
pub(crate) fn split(file: &Path) -> Result<(std::path::PathBuf, String)> {
    let unreadable = |cause: &dyn std::fmt::Display| {
        Error::new(Code::Unreadable, format!("the script `{}` cannot be read", file.display()))
            .because(cause)
            .hint("check the path and its permissions")
    };
    let real = std::fs::canonicalize(file).map_err(|error| unreadable(&error))?;
    let name = real
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| unreadable(&"its name is not UTF-8"))?;
    let root = real.parent().ok_or_else(|| unreadable(&"it is not a file"))?;
    Ok((root.to_owned(), name.to_owned()))
}

/// `--set KEY=VALUE`: numbers, booleans and JSON are understood as such, everything else is text.
fn params(settings: &[String]) -> Result<Value> {
    let mut params = Map::new();
    for setting in settings {
        let Some((key, value)) = setting.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Error::new(Code::Usage, format!("`--set {setting}` is not KEY=VALUE"))
                .hint("write `--set tag=v2`; `params.tag` has it in the script"));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        params.insert(key.to_owned(), value);
    }
    Ok(Value::Object(params))
}

/// A job for a script in the world of a test.
pub(crate) fn script_job(app: &App, file: &Path, mode: Mode, grants: Grants) -> Result<Job> {
    let script = Script {
        file: file.to_owned(),
        args: Vec::new(),
        set: Vec::new(),
        grants: arguments::Grants { allow: grants.allow, deny: grants.deny, limit: Vec::new() },
    };
    job(app, &script, mode)
}

/// A job for a script that ships inside the binary.
pub(super) fn shipped_job(
    app: &App,
    name: &str,
    source: &str,
    args: Vec<String>,
    grants: Grants,
) -> Result<Job> {
    let id = app.journal.next_id()?;
    Ok(Job {
        id,
        name: name.to_owned(),
        root: app.state.clone(),
        source: source.to_owned(),
        args,
        params: json!({}),
        limits: Limits::default(),
        grants,
        seed: seed(id.as_str()),
        mode: Mode::Run,
        asks: false,
        patience: Patience::None,
        sources: HashMap::new(),
        planned: None,
        cause: None,
        kept: Kept::default(),
        raised: Vec::new(),
        past: None,
    })
}
