//! Owns `runs` and `show`.

use effect::Result;
use journal::{Entry, Filter, Kind, Run, RunState, Status};
use serde_json::{Value, json};

use super::{approvals, cause};
use crate::app::App;
use crate::arguments::State;
use crate::exit::Exit;
use crate::render::{self, Table};

pub(super) async fn list(app: &App, state: Option<State>, limit: usize, as_json: bool) -> Result<Exit> {
    let state = state.map(|state| match state {
        State::Pending => RunState::Pending,
        State::Running => RunState::Running,
        State::Waiting => RunState::Waiting,
        State::Paused => RunState::Paused,
        State::Done => RunState::Done,
        State::Failed => RunState::Failed,
        State::Cancelled => RunState::Cancelled,
    });
    let runs = app.journal.runs(Filter { state, limit }).await?;
    let waits = match runs.iter().any(|run| run.state == RunState::Waiting) {
        true => approvals::open(app, None).await?,
        false => Vec::new(),
    };
    if as_json {
        let shown: Vec<Value> = runs.iter().map(|run| run_json(app, run)).collect();
        render::json(&shown);
        return Ok(Exit::Done);
    }
    let mut table =
        Table::new(&["run", "script", "state", "effects", "changed", "started", "cause", "outcome"]);
    for run in &runs {
        table.row([
            run.id.to_string(),
            run.playbook.clone().unwrap_or_else(|| run.name.clone()),
            shown_state(app, run),
            run.effects.to_string(),
            run.changed.to_string(),
            render::ago(run.created, app.clock.now()),
            cause::short(run),
            match waits.iter().find(|asked| asked.approval.asked.run == run.id.as_str()) {
                Some(asked) => format!("waits for {}", approvals::line(asked)),
                None => outcome_line(run),
            },
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

/// A run that counts as running although nobody holds it was killed.
fn is_orphaned(app: &App, run: &Run) -> bool {
    !run.imported && run.state == RunState::Running && app.journal.holder_of_run(&run.id).is_none()
}

fn shown_state(app: &App, run: &Run) -> String {
    if run.imported {
        return format!("{} (imported)", run.state);
    }
    if is_orphaned(app, run) { "killed".to_owned() } else { run.state.to_string() }
}

fn outcome_line(run: &Run) -> String {
    let error = run.outcome.as_ref().and_then(|outcome| outcome.get("error"));
    let part =
        |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str).unwrap_or_default();
    if error.is_some_and(|error| !error.is_null()) {
        format!("[{}] {}", part("code"), part("message"))
    } else {
        String::new()
    }
}

fn run_json(app: &App, run: &Run) -> Value {
    let mut shown = serde_json::to_value(run).unwrap_or(Value::Null);
    shown["resumable"] = json!(is_resumable(run));
    shown["killed"] = json!(is_orphaned(app, run));
    shown
}

pub(super) fn is_resumable(run: &Run) -> bool {
    !run.imported
        && matches!(run.state, RunState::Pending | RunState::Running | RunState::Waiting | RunState::Paused)
}

/// Every entry: the completed ones in their order, then those that are begun.
async fn entries(app: &App, run: &Run) -> Result<Vec<Entry>> {
    const PAGE: usize = 1000;
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.iter().rev().find_map(|entry| entry.order).unwrap_or(0);
        let page = app.journal.entries(&run.id, after, PAGE).await?;
        let is_last = page.last().is_none_or(|entry| entry.order.is_none());
        entries.extend(page);
        if is_last {
            return Ok(entries);
        }
    }
}

/// An entry with its recorded texts as the values they are.
fn entry_json(entry: &Entry) -> Value {
    let mut shown = serde_json::to_value(entry).unwrap_or(Value::Null);
    for name in ["arguments", "before", "change", "result"] {
        let value = shown[name].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(value) = value {
            shown[name] = value;
        }
    }
    shown
}

pub(super) async fn show(app: &App, prefix: &str, as_json: bool) -> Result<Exit> {
    let run = app.journal.run(prefix).await?;
    let entries = entries(app, &run).await?;
    if as_json {
        let mut shown = run_json(app, &run);
        let waits = approvals::open(app, Some(run.id.as_str())).await?;
        shown["waits_for"] = waits.iter().map(approvals::short).collect();
        shown["entries"] = entries.iter().map(entry_json).collect();
        render::json(&shown);
        return Ok(Exit::Done);
    }
    render::out(format_args!(
        "{} {}  {}",
        render::styled(render::BOLD, "run"),
        run.id,
        shown_state(app, &run)
    ));
    render::out(format_args!("script   {}", run.script));
    if let Some(playbook) = &run.playbook {
        render::out(format_args!("playbook {playbook}"));
    }
    for line in cause::lines(&run) {
        render::out(line);
    }
    render::out(format_args!("started  {}", render::rfc3339(run.created)));
    if let Some(ended) = run.ended {
        render::out(format_args!("ended    {}", render::rfc3339(ended)));
    }
    if let Some(allow) = run.grants.get("allow").and_then(Value::as_array).filter(|allow| !allow.is_empty()) {
        let words: Vec<&str> = allow.iter().filter_map(Value::as_str).collect();
        render::out(format_args!("granted  {}", words.join(" ")));
    }
    if let Some(origin) = origin(&run) {
        render::out(format_args!("{origin}"));
    }
    if let Some(plan) = &run.plan {
        render::out(format_args!("plan     {plan}"));
    }
    for entry in &entries {
        render::out(entry_line(entry));
    }
    for asked in approvals::open(app, Some(run.id.as_str())).await? {
        let line = approvals::line(&asked);
        render::out(format_args!("waits    for {line}: `mcrun approvals show {}`", asked.approval.id));
    }
    show_outcome(&run);
    if is_resumable(&run) && app.journal.holder_of_run(&run.id).is_none() {
        render::out(format_args!("`mcrun resume {}` goes on from here", run.id));
    }
    Ok(Exit::Done)
}

/// What a run came from, as a line.
fn origin(run: &Run) -> Option<String> {
    let text = |name: &str| run.origin.as_ref()?.get(name)?.as_str();
    Some(format!("forked   from run {} before {}", text("fork")?, text("from")?))
}

fn entry_line(entry: &Entry) -> String {
    let (symbol, style) = match (entry.status, action(entry).as_deref()) {
        _ if is_forgotten(entry) => ("×", render::DIM),
        (Status::Begun, _) => ("…", render::YELLOW),
        (Status::Failed, _) => ("✗", render::RED),
        (Status::Cancelled, _) => ("-", render::DIM),
        (Status::Done, Some("create")) => ("+", render::GREEN),
        (Status::Done, Some("replace")) => ("-/+", render::YELLOW),
        (Status::Done, Some("remove")) => ("-", render::YELLOW),
        (Status::Done, _) if entry.kind == Kind::Act => ("!", render::GREEN),
        (Status::Done, _) if entry.changed => ("~", render::YELLOW),
        (Status::Done, _) => ("=", render::DIM),
    };
    let place = entry.place.as_ref().map(ToString::to_string).unwrap_or_default();
    let took = match (entry.begun_at, entry.ended_at) {
        (Some(begun), Some(ended)) => format!("{} ms", ended.0 - begun.0),
        (Some(begun), None) => format!("begun {}, in doubt once nobody executes it", render::rfc3339(begun)),
        _ => String::new(),
    };
    let details = render::styled(render::DIM, format_args!("{took}  {place}"));
    format!(
        "  {} {} {}  {details}",
        render::styled(style, symbol),
        entry.identity,
        render::printable(&entry_subject(entry))
    )
}

/// What happened, as the begin recorded it.
fn action(entry: &Entry) -> Option<String> {
    let change: Value = serde_json::from_str(entry.change.as_deref()?).ok()?;
    Some(change.get("action")?.as_str()?.to_owned())
}

/// Whether an entry counts no more, because its run went back to a step before it.
pub(super) fn is_forgotten(entry: &Entry) -> bool {
    entry.identity.scope.starts_with('#')
}

/// What an effect was about, as its arguments tell.
pub(super) fn entry_subject(entry: &Entry) -> String {
    const TELLING: [&str; 7] = ["name", "service", "path", "url", "argv", "address", "reason"];
    let arguments: Value = serde_json::from_str(&entry.arguments).unwrap_or(Value::Null);
    let told = TELLING.iter().find_map(|name| arguments.get(name)).unwrap_or(&arguments);
    match told {
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

fn show_outcome(run: &Run) {
    let Some(outcome) = &run.outcome else { return };
    let Some(error) = outcome.get("error").cloned().and_then(|error| serde_json::from_value(error).ok())
    else {
        return;
    };
    let place = outcome.get("place").cloned().and_then(|place| serde_json::from_value(place).ok());
    let stack: Vec<script::StackFrame> = outcome
        .get("stack")
        .cloned()
        .and_then(|stack| serde_json::from_value(stack).ok())
        .unwrap_or_default();
    let place: Option<journal::Place> = place;
    let source = place.as_ref().filter(|place| place.file == run.name).map(|_| &*run.source);
    render::out(render::trouble(&error, place.as_ref(), &stack, source));
}
