//! Owns `playbooks`: what is loaded, what cannot be and why, what was loaded before, and what changed. It reads what the
//! daemon keeps, and so works without one.

mod changes;
mod list;

use daemon::playbooks::history::{self, Active, Failed, History, Version};
use daemon::playbooks::{self, CatchUp, Definition, Overlap, Parameter, ParameterKind};
use effect::units::Span;
use effect::{Code, Result};
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::playbooks::Playbooks;
use crate::exit::Exit;
use crate::render::{self, Table};

pub(super) async fn playbooks(app: &App, command: Option<Playbooks>, json: bool) -> Result<Exit> {
    let history = History::new(app.journal.clone(), app.node.clone());
    match command {
        None => list::list(app, &history, json).await,
        Some(Playbooks::Show { name, json }) => show(app, &history, &name, json).await,
        Some(Playbooks::History { name, limit, json }) => versions(app, &history, &name, limit, json).await,
        Some(Playbooks::Diff { name, from, to, json }) => {
            changes::diff(&history, &name, (from, to), json).await
        }
    }
}

/// The active version of a playbook, and why its file is not active as it is.
async fn found(history: &History, name: &str) -> Result<(Active, Option<Failed>)> {
    let mut active = history.active().await?.into_iter();
    let failed = history.failed().await?.into_iter().find(|failed| failed.playbook.as_deref() == Some(name));
    match active.find(|active| active.name == name) {
        Some(active) => Ok((active, failed)),
        None => Err(unknown(history, name).await),
    }
}

/// Why there is no such playbook: its file may be gone, or never have been loaded.
async fn unknown(history: &History, name: &str) -> effect::Error {
    let unknown = history::unknown(name);
    let was_there = history.versions(name).await.is_ok();
    let failed = history.failed().await.unwrap_or_default();
    let its_own = failed.iter().find(|failed| failed.file.file_stem().is_some_and(|stem| stem == name));
    match its_own {
        _ if was_there => unknown
            .because("its file is gone")
            .hint(format!("`mcrun playbooks history {name}` lists what it was")),
        Some(failed) => unknown.because(format!("`{}`: {}", failed.file.display(), failed.error)),
        None => unknown,
    }
}

fn triggers(definition: &Definition) -> Vec<String> {
    definition.on.iter().map(ToString::to_string).collect()
}

/// What it takes and is not granted.
fn lacking(app: &App, active: &Active) -> Vec<String> {
    let allow = active.definition().and_then(|definition| definition.allow);
    playbooks::lacking(allow.as_deref(), app.config.granted())
}

fn overlap(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::Skip => "skip",
        Overlap::Queue => "queue",
        Overlap::Replace => "replace",
    }
}

fn catch_up(catch_up: CatchUp) -> &'static str {
    match catch_up {
        CatchUp::Skip => "skip",
        CatchUp::Once => "once",
        CatchUp::All => "all",
    }
}

fn kind(kind: ParameterKind) -> &'static str {
    match kind {
        ParameterKind::String => "string",
        ParameterKind::Number => "number",
        ParameterKind::Integer => "integer",
        ParameterKind::Boolean => "boolean",
        ParameterKind::Duration => "duration",
        ParameterKind::Size => "size",
    }
}

fn parameter_json(name: &str, parameter: &Parameter) -> Value {
    json!({
        "name": name,
        "type": kind(parameter.kind),
        "description": parameter.description,
        "default": parameter.default,
        "choices": parameter.choices,
        "required": parameter.default.is_none(),
    })
}

/// Twelve digits tell versions apart.
fn short(version: &str) -> &str {
    version.get(..12).unwrap_or(version)
}

fn failed_json(failed: &Failed) -> Value {
    json!({
        "file": failed.file,
        "line": failed.line,
        "playbook": failed.playbook,
        "since": render::rfc3339(failed.since),
        "error": failed.error,
    })
}

fn version_json(version: &Version, is_active: bool) -> Value {
    json!({
        "number": version.number,
        "version": version.version,
        "file": version.file,
        "loaded": render::rfc3339(version.loaded),
        "active": is_active,
        "sources": version.sources,
    })
}

/// Tells of a file that cannot be loaded, as of any other error.
fn tell(failed: &Failed) {
    let file = failed.file.display().to_string();
    let source = std::fs::read_to_string(&failed.file).ok();
    let place = failed.line.map(|line| journal::Place { file: file.clone(), line });
    render::note(render::trouble(&failed.error, place.as_ref(), &[], source.as_deref()));
}

async fn show(app: &App, history: &History, name: &str, as_json: bool) -> Result<Exit> {
    let (active, failed) = found(history, name).await?;
    let Some(definition) = active.definition() else {
        let message = format!("what `{name}` says it is was recorded by another version of mcrun");
        return Err(effect::Error::new(Code::JournalBroken, message).hint("`mcrun serve` reads it again"));
    };
    if as_json {
        let params = definition.params.iter().map(|(name, parameter)| parameter_json(name, parameter));
        let mut shown = version_json(&active.version, true);
        shown["name"] = json!(name);
        shown["description"] = json!(definition.description);
        shown["state"] = json!(if failed.is_some() { "broken" } else { "active" });
        shown["root"] = json!(active.root);
        shown["triggers"] = json!(triggers(&definition));
        shown["params"] = params.collect();
        shown["allow"] = json!(definition.allow);
        shown["lacking"] = json!(lacking(app, &active));
        shown["overlap"] = json!(overlap(definition.overlap));
        shown["catch_up"] = json!(catch_up(definition.catch_up));
        shown["timeout"] = json!(definition.timeout.map(|timeout| Span(timeout).to_string()));
        shown["broken"] = failed.as_ref().map_or(Value::Null, failed_json);
        render::json(&shown);
        return Ok(Exit::Done);
    }
    let line = |what: &str, said: &str| {
        let said = render::printable(said);
        render::out(format_args!("{} {said}", render::styled(render::DIM, format_args!("{what:<12}"))));
    };
    line("playbook", name);
    definition.description.iter().for_each(|description| line("description", description));
    line("file", &active.version.file.display().to_string());
    let (number, version) = (active.version.number, short(&active.version.version));
    let ago = render::ago(active.version.loaded, app.clock.now());
    line("version", &format!("{number} ({version}), loaded {ago}"));
    triggers(&definition).iter().for_each(|trigger| line("trigger", trigger));
    match &definition.allow {
        Some(allow) => line("allow", &allow.join(" ")),
        None => line("allow", "whatever the policy grants"),
    }
    match lacking(app, &active).join(" ") {
        lacking if lacking.is_empty() => {}
        lacking => line("not granted", &lacking),
    }
    line("overlap", overlap(definition.overlap));
    line("catch_up", catch_up(definition.catch_up));
    definition.timeout.iter().for_each(|timeout| line("timeout", &Span(*timeout).to_string()));
    active.version.sources.iter().for_each(|source| line("source", &source.name));
    if !definition.params.is_empty() {
        render::out("");
        let mut table = Table::new(&["parameter", "type", "default", "description"]);
        for (name, parameter) in &definition.params {
            let default = parameter.default.as_ref().map_or_else(|| "required".to_owned(), Value::to_string);
            let description = parameter.description.clone().unwrap_or_default();
            table.row([name.clone(), kind(parameter.kind).to_owned(), default, description]);
        }
        table.print();
    }
    failed.iter().for_each(tell);
    Ok(Exit::Done)
}

async fn versions(app: &App, history: &History, name: &str, limit: usize, as_json: bool) -> Result<Exit> {
    let versions = history.versions(name).await?;
    let active = history.active().await?.into_iter().find(|active| active.name == name);
    let is_active =
        |version: &Version| active.as_ref().is_some_and(|active| active.version.number == version.number);
    let shown = versions.iter().take(limit);
    if as_json {
        render::json(&shown.map(|version| version_json(version, is_active(version))).collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["number", "version", "loaded", "file", "modules", ""]);
    for version in shown {
        table.row([
            version.number.to_string(),
            short(&version.version).to_owned(),
            render::ago(version.loaded, app.clock.now()),
            version.file.display().to_string(),
            version.sources.len().saturating_sub(1).to_string(),
            if is_active(version) { "active".to_owned() } else { String::new() },
        ]);
    }
    table.print();
    Ok(Exit::Done)
}
