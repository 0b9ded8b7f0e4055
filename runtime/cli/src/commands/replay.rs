//! Owns `replay`: whether another source would accept a recorded history. Nothing is performed: what the history does not
//! answer ends the replay.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use effect::session::divergence;
use effect::{Code, Error, Result};
use journal::{Identity, Open, Place, Run, RunState};
use script::{
    Ended, HistoryItem, Interrupt, Launch, Limits, LogLine, Module, Modules, PlanEnd, Progress, Reply,
    Request,
};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::evaluate::split;
use crate::app::App;
use crate::bridge::history_item;
use crate::execute::{self, start_worker};
use crate::exit::Exit;
use crate::{render, stdlib, wiring};

/// Every branch has asked by then: the worker tells what all of them want before it waits.
const UNTIL_ALL_ASKED: Duration = Duration::from_millis(50);

pub(super) async fn replay(app: &App, prefix: &str, against: &Path, as_json: bool) -> Result<Exit> {
    let run = app.journal.run(prefix).await?;
    let (root, name) = split(against)?;
    let limits: Limits = serde_json::from_value(run.limits.clone()).map_err(|error| {
        Error::new(Code::JournalBroken, format!("run {} cannot be decoded", run.id)).because(error)
    })?;
    let modules = Modules::open(&root, stdlib::source, limits.source)?;
    let source = modules.script(&name)?;
    let replayer = Replayer::new(app, &run, name.clone(), modules);
    let ended = evaluate(app, &run, (name.clone(), source.clone()), limits, &replayer).await?;
    let open = app.journal.open_entries(&run.id).await?;
    let verdict = verdict(app, &run, ended, &replayer, &open).await;
    let replayed = replayer.replayed.get();
    if as_json {
        render::json(&json!({
            "run": run.id,
            "accepted": verdict.is_ok(),
            "replayed": replayed,
            "next": verdict.as_ref().ok(),
            "error": verdict.as_ref().err().map(|refused| &refused.error),
            "place": verdict.as_ref().err().and_then(|refused| refused.place.as_ref()),
        }));
        return Ok(if verdict.is_ok() { Exit::Done } else { Exit::Failed });
    }
    match verdict {
        Ok(next) => {
            let effects = render::count(replayed, "effect");
            render::out(format_args!("`{name}` accepts the history of run {}: {effects} replayed", run.id));
            next.iter().for_each(|next| render::out(format_args!("then it asks for {next}")));
            Ok(Exit::Done)
        }
        Err(Refused { error, place }) => {
            let sources = replayer.sources.borrow();
            let text = place.as_ref().and_then(|place| match place.file == name {
                true => Some(source.as_str()),
                false => sources.get(&place.file).map(String::as_str),
            });
            render::note(render::trouble(&error, place.as_ref(), &[], text));
            Ok(Exit::Failed)
        }
    }
}

/// Why a source does not accept a history, and where.
struct Refused {
    error: Error,
    place: Option<Place>,
}

impl Refused {
    fn new(run: &Run, name: &str, recorded: &str, requested: &str, place: Option<Place>) -> Self {
        let error =
            Error::new(Code::Divergence, format!("`{name}` does not accept the history of run {}", run.id))
                .detail(format!("recorded:  {recorded}"))
                .detail(format!("requested: {requested}"))
                .hint("nothing was done; `mcrun show` of the run lists its history");
        Self { error, place }
    }
}

async fn evaluate(
    app: &App,
    run: &Run,
    (name, source): (String, String),
    limits: Limits,
    replayer: &Replayer<'_>,
) -> Result<Ended<()>> {
    let registry = wiring::registry(app, Path::new("/"))?;
    let params = RawValue::from_string(run.params.to_string())
        .map_err(|error| Error::new(Code::Internal, "the parameters cannot be encoded").because(error))?;
    let cause = run.cause.clone().map(|told| journal::NewCause {
        playbook: run.playbook.clone(),
        told,
        writes: Vec::new(),
    });
    let event = cause.as_ref().map(execute::event_of).transpose()?.flatten();
    let launch = Launch {
        limits,
        mode: script::Mode::Run,
        effects: registry.names().map(|(name, _)| name.to_owned()).collect(),
        rewinds: registry.rewinds().map(|(name, rewind)| (name.to_owned(), rewind)).collect(),
        args: run.args.clone(),
        params,
        seed: run.seed,
        name,
        source,
        event,
        resumed: true,
    };
    let worker = app.worker.take().map_or_else(start_worker, Ok)?;
    let (_interrupts, interrupt) = watch::channel(Interrupt::None);
    Ok(script::run(worker, launch, replayer, interrupt).await)
}

/// What the source asks for beyond the history, or why it does not accept it.
async fn verdict(
    app: &App,
    run: &Run,
    ended: Ended<()>,
    replayer: &Replayer<'_>,
    open: &[Open],
) -> std::result::Result<Vec<String>, Refused> {
    match ended {
        Ended::Done { .. } => beyond(run, replayer, open),
        // A run that failed does so again.
        Ended::Failed(_) if run.state == RunState::Failed => beyond(run, replayer, open),
        Ended::Failed(failure) => {
            let error = Error { effect: None, ..failure.error };
            Err(Refused {
                error: error.detail(format!("run {} did not fail here", run.id)),
                place: placed(failure.place),
            })
        }
        Ended::Stopped(()) | Ended::Interrupted => beyond(run, replayer, open),
        Ended::Diverged(divergence) => {
            let recorded = execute::recorded_arguments(app, &run.id, divergence.recorded.as_ref()).await;
            let (recorded, requested) = execute::sides(&divergence, recorded.as_deref());
            Err(Refused::new(run, &replayer.name, &recorded, &requested, placed(divergence.place)))
        }
        Ended::Limit(hit) => Err(Refused { error: hit.error, place: placed(hit.place) }),
        Ended::Lost(lost) => Err(Refused { error: lost.error, place: None }),
        Ended::Host(error) => Err(Refused { error, place: None }),
    }
}

/// The history is at its end: what was begun must be asked for, and a run that is done asks for nothing more.
fn beyond(run: &Run, replayer: &Replayer<'_>, open: &[Open]) -> std::result::Result<Vec<String>, Refused> {
    let asked = replayer.asked.borrow();
    for begun in open {
        let identity = &begun.identity;
        let recorded = format!("{} {}", identity.name, begun.arguments);
        let again = asked.iter().find(|asked| asked.is_at(identity));
        let differs = again.is_none_or(|asked| {
            asked.name != identity.name || asked.hash != hexadecimal(&begun.arguments_hash)
        });
        if differs {
            let requested = again
                .map_or_else(|| "nothing".to_owned(), |asked| format!("{} {}", asked.name, asked.args.get()));
            let place = again.map_or_else(|| begun.place.clone(), |asked| placed(asked.place.clone()));
            return Err(Refused {
                error: divergence(identity, &recorded, &requested, place.as_ref()),
                place,
            });
        }
    }
    match asked.first() {
        Some(first) if run.state == RunState::Done => {
            let requested = format!("{}#{} {} {}", first.scope, first.counter, first.name, first.args.get());
            let place = placed(first.place.clone());
            Err(Refused::new(run, &replayer.name, "the end: the run is done", &requested, place))
        }
        _ => Ok(asked.iter().map(shown).collect()),
    }
}

fn shown(request: &Request) -> String {
    let place = placed(request.place.clone()).map(|place| format!(" ({place})")).unwrap_or_default();
    format!("{}#{} {}{place}", request.scope, request.counter, request.name)
}

fn placed(place: script::Place) -> Option<Place> {
    (place.line > 0).then_some(Place { file: place.file, line: place.line })
}

fn hexadecimal(hash: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*hash))
}

trait At {
    fn is_at(&self, identity: &Identity) -> bool;
}

impl At for Request {
    fn is_at(&self, identity: &Identity) -> bool {
        self.scope == identity.scope && self.counter == u64::from(identity.counter)
    }
}

/// Answers from the history and from nothing else.
struct Replayer<'a> {
    app: &'a App,
    run: &'a Run,
    /// The script's name.
    name: String,
    modules: Modules,
    after: Cell<u64>,
    replayed: Cell<u64>,
    /// What was asked for beyond the history.
    asked: RefCell<Vec<Request>>,
    sources: RefCell<HashMap<String, String>>,
}

impl<'a> Replayer<'a> {
    fn new(app: &'a App, run: &'a Run, name: String, modules: Modules) -> Self {
        Self {
            app,
            run,
            name,
            modules,
            after: Cell::new(0),
            replayed: Cell::new(0),
            asked: RefCell::default(),
            sources: RefCell::default(),
        }
    }
}

impl script::Effects for Replayer<'_> {
    type Stop = ();

    async fn perform(&self, request: Request) -> Reply<()> {
        self.asked.borrow_mut().push(request);
        tokio::time::sleep(UNTIL_ALL_ASKED).await;
        Reply::Stop(())
    }

    async fn next_history(&self, limit: usize) -> Result<Vec<HistoryItem>> {
        let page = self.app.journal.history(&self.run.id, self.after.get(), limit).await?;
        if let Some(last) = page.last() {
            self.after.set(last.order);
            self.replayed.set(self.replayed.get() + page.len() as u64);
        }
        page.into_iter().map(history_item).collect()
    }

    async fn module(&self, from: &str, path: &str) -> Result<Module> {
        let module = self.modules.resolve(from, path)?;
        self.sources.borrow_mut().insert(module.name.clone(), module.source.clone());
        Ok(module)
    }

    fn log(&self, _: LogLine) {}

    fn progress(&self, _: Progress) {}

    fn plan_ended(&self, _: PlanEnd) {}
}
