//! Owns `releases`, which lists what a service once was, and `rollback`, which brings one of these back: a script of one
//! line through the same corridor as every other.

use std::path::Path;

use effect::session::Patience;
use effect::{Code, Error, Mode, Result};
use journal::Timestamp;
use serde_json::{Value, json};

use super::{evaluate, services};
use crate::app::App;
use crate::exit::Exit;
use crate::render::{self, Table};

pub(super) async fn list(app: &App, service: &str, limit: usize, as_json: bool) -> Result<Exit> {
    let current = app.journal.record("service", &app.node, service).await?;
    let current: Option<u64> =
        current.and_then(|record| decoded(&record.value).ok()?.get("release")?.as_u64());
    let prefix = format!("{service}/");
    let mut releases = Vec::new();
    for record in app.journal.records("release", Some(&app.node)).await? {
        if record.name.starts_with(&prefix) {
            let release = decoded(&record.value)?;
            let is_current = current.is_some() && release["number"].as_u64() == current;
            releases.push(shown(&release, record.run.map(|run| run.to_string()), is_current));
        }
    }
    if releases.is_empty() && current.is_none() {
        return Err(Error::new(Code::ServiceUnknown, format!("there is no service `{service}`"))
            .hint("`mcrun status` lists the services"));
    }
    // Their names sort as their numbers do.
    releases.reverse();
    releases.truncate(limit);
    if as_json {
        render::json(&releases);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["release", "version", "containers", "recorded", "run", ""]);
    for release in &releases {
        let text = |name: &str| release[name].as_str().unwrap_or_default().to_owned();
        let names = release["containers"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        let note = match (release["current"].as_bool(), release["rolled_back_to"].as_u64()) {
            (Some(true), Some(to)) => format!("current, back to {to}"),
            (Some(true), None) => "current".to_owned(),
            (_, Some(to)) => format!("back to {to}"),
            _ => String::new(),
        };
        let number = release["number"].as_u64().unwrap_or_default().to_string();
        table.row([number, text("version"), names.join(" "), text("recorded_at"), text("run"), note]);
    }
    table.print();
    Ok(Exit::Done)
}

fn decoded(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(Code::JournalBroken, "a release cannot be decoded").because(error))
}

/// What is shown of a release: never its environment.
fn shown(release: &Value, run: Option<String>, is_current: bool) -> Value {
    let containers = release["spec"]["containers"].as_array().into_iter().flatten();
    let names: Vec<&Value> = containers.filter_map(|container| container.get("name")).collect();
    let at = release["at"].as_f64().unwrap_or_default();
    json!({
        "service": release["service"],
        "number": release["number"],
        "version": release["version"],
        "containers": names,
        "recorded_at": render::rfc3339(Timestamp((at * 1000.0) as i64)),
        "run": run,
        "current": is_current,
        "rolled_back_to": release["details"]["rolled_back_to"],
    })
}

/// What `rollback` is asked for.
pub(super) struct Wish {
    pub(super) to: Option<u64>,
    /// Only show it.
    pub(super) plan: bool,
    pub(super) patience: Patience,
    pub(super) json: bool,
}

pub(super) async fn rollback(app: &App, service: &str, wish: Wish) -> Result<Exit> {
    let Some(record) = app.journal.record("service", &app.node, service).await? else {
        return Err(Error::new(Code::ServiceUnknown, format!("there is no service `{service}`"))
            .hint("`mcrun status` lists the services"));
    };
    let grants = services::grants(app, service, record.run).await;
    let name = format!("rollback {service}");
    let body = "require(\"@std/deploy\").rollback(args[1], { to = tonumber(args[2]) })\n";
    let args = std::iter::once(service.to_owned()).chain(wish.to.map(|to| to.to_string())).collect();
    let job = evaluate::shipped_job(app, &name, body, args, grants)?;
    if wish.plan {
        return evaluate::show_plan(app, evaluate::Job { mode: Mode::Plan, ..job }, wish.json, false).await;
    }
    let job = evaluate::Job { patience: wish.patience, ..job };
    evaluate::start(app, job, Path::new(&name), wish.json).await
}
