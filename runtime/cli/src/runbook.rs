//! Owns the runbook: a plain-shell script that recreates every recorded service without mcrun, for the night when mcrun is
//! gone. It is written anew into the state directory whenever the registry has changed. What its lines are is
//! [`script`]'s; what a container is on a command line is the `containers` crate's.

mod script;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;

use containers::command_line::Dialect;
use containers::effects::{Recorded, recorded};
use effect::{Code, Error, Policy, Result};
use journal::{Look, Record, Timestamp};
use serde_json::Value;

use crate::app::App;
use crate::commands::grants_of;
use crate::private::Draft;
use crate::{render, wiring};

/// Its name in the state directory.
pub(crate) const NAME: &str = "runbook.sh";
/// While others change the registry a run writes it again, so often at most.
const MOST_TIMES: usize = 5;

/// What a runbook is made of.
struct Runbook {
    node: String,
    dialect: Dialect,
    /// In the order in which they were first recorded.
    services: Vec<Service>,
}

struct Service {
    name: String,
    version: Option<String>,
    /// When its record was written last.
    at: Timestamp,
    /// Where requests for its host names go.
    routes: Vec<String>,
    containers: Vec<Container>,
}

/// A container by its name, or why it cannot be made.
struct Container {
    name: String,
    recorded: Result<Recorded>,
}

/// The runbook of this node as text.
pub(crate) async fn text(app: &App) -> Result<String> {
    Ok(script::of(&gathered(app, records(app).await?).await?))
}

/// Writes `text` where only its owner may read it: the environment of services may be as sensitive as secrets.
pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    let written = || -> io::Result<()> {
        let mut draft = Draft::of(file)?;
        draft.write_all(text.as_bytes())?;
        draft.keep()
    };
    written().map_err(|error| {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let code = if full { Code::DiskFull } else { Code::StateUnusable };
        Error::new(code, format!("the runbook `{}` cannot be written", file.display())).because(error)
    })
}

/// Brings the runbook of the state directory up to date behind a run that may have changed the registry. That it cannot be
/// written is told and fails nothing.
pub(crate) async fn renew(app: &App) {
    // A machine in memory has services that nobody recreates; a journal that is out of use is told of elsewhere.
    if app.kit.is_some() || app.journal.broken() {
        return;
    }
    if let Err(error) = renewed(app).await {
        let warning = render::styled(render::YELLOW, "warning:");
        let because = error.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
        render::note(format_args!("{warning} {}{because}; the run is not affected", error.message));
    }
}

/// Whether the runbook is being written anew by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Renewing {
    /// Nobody writes it.
    #[default]
    Idle,
    /// A run does.
    Busy,
    /// Another run has come to its end meanwhile: whoever writes it does so once more, for both.
    Again,
}

async fn renewed(app: &App) -> Result<()> {
    if app.renewing.get() != Renewing::Idle {
        app.renewing.set(Renewing::Again);
        return Ok(());
    }
    let renewed = renew_often(app).await;
    app.renewing.set(Renewing::Idle);
    renewed
}

async fn renew_often(app: &App) -> Result<()> {
    let file = app.state.join(NAME);
    for turn in 1..=MOST_TIMES {
        // A run does not wait for all others: who comes behind its last turn writes it.
        app.renewing.set(if turn < MOST_TIMES { Renewing::Busy } else { Renewing::Idle });
        let current = records(app).await?;
        let text = script::of(&gathered(app, current.clone()).await?);
        if std::fs::read(&file).ok().as_deref() != Some(text.as_bytes()) {
            write(&file, &text)?;
        }
        // Another process may have put an older one in its place, or changed the registry meanwhile.
        if records(app).await? == current && app.renewing.get() != Renewing::Again {
            break;
        }
    }
    Ok(())
}

async fn records(app: &App) -> Result<Vec<Record>> {
    Ok(app.journal.records("service", Some(&app.node)).await?)
}

async fn gathered(app: &App, records: Vec<Record>) -> Result<Runbook> {
    let dialect = match wiring::containers(app).engine().name() {
        "docker" => Dialect::Docker,
        _ => Dialect::Podman,
    };
    let first = first_recorded(app, &records).await?;
    let mut services = Vec::new();
    for record in records {
        services.push(service(app, record).await?);
    }
    services.sort_by(|one, other| {
        let key = |service: &Service| first.get(&service.name).copied().unwrap_or(service.at);
        (key(one), &one.name).cmp(&(key(other), &other.name))
    });
    Ok(Runbook { node: app.node.clone(), dialect, services })
}

/// When each service was recorded for the first time, as far back as its releases are kept.
async fn first_recorded(app: &App, records: &[Record]) -> Result<BTreeMap<String, Timestamp>> {
    let kind = || "release".to_owned();
    let first =
        |record: &Record| Look::One { kind: kind(), name: system::registry::release_name(&record.name, 1) };
    let found = app.journal.look(&app.node, records.iter().map(first).collect()).await?;
    let mut moments = BTreeMap::new();
    for (record, mut releases) in records.iter().zip(found) {
        if releases.is_empty() {
            let prefix = format!("{}/", record.name);
            let kept = Look::Beneath { kind: kind(), prefix };
            releases = app.journal.look(&app.node, vec![kept]).await?.into_iter().flatten().collect();
        }
        if let Some(at) = releases.iter().map(|release| release.at).min() {
            moments.insert(record.name.clone(), at);
        }
    }
    Ok(moments)
}

async fn service(app: &App, record: Record) -> Result<Service> {
    let value: Value = serde_json::from_str(&record.value).map_err(|error| {
        Error::new(Code::JournalBroken, format!("the record of `{}` cannot be decoded", record.name))
            .because(error)
    })?;
    let policy = policy(app, &record).await?;
    let spec = &value["spec"];
    let containers = spec["containers"].as_array().into_iter().flatten().map(|container| Container {
        name: container["name"].as_str().unwrap_or("?").to_owned(),
        recorded: permitted(&policy, container),
    });
    let routes = spec["ingress"]["routes"].as_array().into_iter().flatten().map(route);
    Ok(Service {
        version: value["version"].as_str().map(str::to_owned),
        routes: routes.collect(),
        containers: containers.collect(),
        at: record.at,
        name: record.name,
    })
}

/// What the run might do that wrote a record: a record must not do more in the hands of whoever starts a runbook.
async fn policy(app: &App, record: &Record) -> Result<Policy> {
    let grants = grants_of(app, &record.name, record.run).await;
    let bound = app.live().policy.as_ref().map(|policy| policy.scripts.clone());
    let state = std::fs::canonicalize(&app.state).unwrap_or_else(|_| app.state.clone());
    Policy::new(bound.as_deref(), &grants)?.sealing_off(&[&state.to_string_lossy(), "/proc"])
}

fn permitted(policy: &Policy, container: &Value) -> Result<Recorded> {
    let recorded = recorded(container.clone())?;
    policy.check("containers.ensure", &recorded.needs)?;
    Ok(recorded)
}

fn route(route: &Value) -> String {
    let text = |field: &str| route[field].as_str().unwrap_or_default();
    let listen = route["listen"].as_u64().map(|port| format!(":{port}")).unwrap_or_default();
    let backends: Vec<&str> =
        route["backends"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!("{}{listen}{} to {}", text("hostname"), text("path"), backends.join(" "))
}
