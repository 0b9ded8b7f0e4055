//! Owns `ps` and `status`: what runs, and what should.

use containers::Observed;
use daemon::monitors::engine::Lost;
use daemon::monitors::standing;
use effect::{Code, Error, Result};
use serde_json::{Value, json};

use super::approvals;
use super::judge::{self, Judging};
use crate::app::App;
use crate::exit::Exit;
use crate::render::{self, Table};
use crate::wiring;

/// What is shown of a container: never its environment.
fn shown(container: &Observed) -> Value {
    let mut value = serde_json::to_value(container).unwrap_or(Value::Null);
    if let Some(fields) = value.as_object_mut() {
        let names: Vec<Value> = container.env.keys().map(|name| json!(name)).collect();
        fields.insert("env".into(), Value::Array(names));
    }
    value
}

fn ports(container: &Observed) -> String {
    container.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

pub(super) async fn ps(app: &App, all: bool, as_json: bool) -> Result<Exit> {
    let mut containers = wiring::containers(app).list().await?;
    containers.retain(|container| all || container.managed);
    if as_json {
        render::json(&containers.iter().map(shown).collect::<Vec<_>>());
        return Ok(Exit::Done);
    }
    let mut table =
        Table::new(&["name", "service", "state", "driver", "image or program", "ports", "started"]);
    for container in &containers {
        table.row([
            container.name.clone(),
            container.service.clone().unwrap_or_default(),
            container.state.as_str().to_owned(),
            container.driver.clone(),
            container.image.clone().or_else(|| container.argv.first().cloned()).unwrap_or_default(),
            ports(container),
            container.started_at.clone().unwrap_or_default(),
        ]);
    }
    table.print();
    Ok(Exit::Done)
}

pub(super) async fn status(app: &App, service: Option<&str>, as_json: bool) -> Result<Exit> {
    let mut records = app.journal.records("service", Some(&app.node)).await?;
    records.retain(|record| service.is_none_or(|service| record.name == service));
    if let (Some(service), true) = (service, records.is_empty()) {
        return Err(Error::new(Code::ServiceUnknown, format!("there is no service `{service}`"))
            .hint("`mcrun status` lists the services"));
    }
    let judge = Judging(app);
    let listing = standing::listing(&judge::parts(app, &judge), app.config.monitors.patience.0).await?;
    let mut services = Vec::new();
    for record in &records {
        let recorded: Value = serde_json::from_str(&record.value).unwrap_or(Value::Null);
        let own: Vec<&Observed> = listing
            .containers
            .iter()
            .filter(|c| c.managed && c.service.as_deref() == Some(&record.name))
            .collect();
        services.push(json!({
            "service": record.name,
            "node": record.node,
            "version": recorded.get("version"),
            "recorded_at": render::rfc3339(record.at),
            "state": state(&own, listing.unanswered.is_empty()),
            "containers": own.iter().map(|container| shown(container)).collect::<Vec<_>>(),
        }));
    }
    if as_json {
        render::json(&services);
    } else {
        show(&services);
    }
    if service.is_none() {
        for asked in approvals::open(app, None).await? {
            let (line, id) = (approvals::line(&asked), &asked.approval.id);
            render::note(format_args!(
                "run {} waits for {line}: `mcrun approvals show {id}`",
                asked.approval.asked.run
            ));
        }
    }
    if let Some(lost) = &listing.lost {
        warn_of_lost(lost);
    }
    warn_of_unanswered(&listing.unanswered);
    let is_whole = listing.unanswered.is_empty() && listing.lost.is_none();
    Ok(if is_whole { Exit::Done } else { Exit::Failed })
}

fn show(services: &[Value]) {
    let mut table = Table::new(&["service", "version", "state", "containers", "recorded"]);
    for service in services {
        let text = |name: &str| service[name].as_str().unwrap_or_default().to_owned();
        let names = service["containers"].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(|container| container["name"].as_str()).collect();
        table.row([text("service"), text("version"), text("state"), names.join(" "), text("recorded_at")]);
    }
    table.print();
}

/// Says that an engine has lost what is recorded, and how it is brought back.
pub(super) fn warn_of_lost(lost: &Lost) {
    render::note(format_args!("{}", lost.message));
}

/// Says which drivers did not answer.
pub(super) fn warn_of_unanswered(unanswered: &[String]) {
    for driver in unanswered {
        render::note(format_args!("what it has is not known: {}", render::printable(driver)));
    }
}

/// `is_whole` says whether everybody has answered: what is not there then is missing.
fn state(containers: &[&Observed], is_whole: bool) -> &'static str {
    let up = containers.iter().filter(|container| container.is_up()).count();
    match (up, containers.len()) {
        (_, 0) if !is_whole => "unknown",
        (_, 0) => "missing",
        (up, all) if up == all => "running",
        (0, _) => "stopped",
        _ => "degraded",
    }
}
