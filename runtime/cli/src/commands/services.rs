//! Owns `stop`, `start`, `restart` and `undeploy`: a script of one line through the same corridor as every other.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use effect::policy::Grants;
use effect::session::Patience;
use effect::{Code, Error, Result};
use journal::RunId;

use super::evaluate;
use crate::app::App;
use crate::exit::Exit;
use crate::{render, wiring};

pub(super) async fn operate(app: &App, operation: &str, service: &str, patience: Patience) -> Result<Exit> {
    let job = operation_job(app, operation, service).await?;
    if operation == "undeploy" {
        confirm(app, &format!("Remove `{service}`: its containers, ports and record?"))?;
    }
    let name = job.name.clone();
    evaluate::start(app, evaluate::Job { patience, ..job }, Path::new(&name), false).await
}

/// The script that stops, starts, restarts or removes a service.
pub(crate) async fn operation_job(app: &App, operation: &str, service: &str) -> Result<evaluate::Job> {
    if !["stop", "start", "restart", "undeploy"].contains(&operation) {
        let message = format!("`{operation}` is nothing that can be done to a service");
        return Err(Error::new(Code::Usage, message).hint("stop, start, restart or undeploy"));
    }
    let record = app.journal.record("service", &app.node, service).await?;
    let (body, grants) = match record {
        Some(record) => (
            format!("require(\"@std/services\").{operation}(args[1])"),
            grants(app, service, record.run).await,
        ),
        None => (container_body(app, operation, service).await?, own_container(service)),
    };
    let name = format!("{operation} {service}");
    evaluate::shipped_job(app, &name, &format!("{body}\n"), vec![service.to_owned()], grants)
}

/// The one line for a container that a script made without a record.
async fn container_body(app: &App, operation: &str, name: &str) -> Result<String> {
    let world = wiring::containers(app);
    let found = world.find(name).await?;
    if !found.is_some_and(|(_, container)| container.managed) {
        return Err(Error::new(Code::ServiceUnknown, format!("there is no service `{name}`"))
            .hint("`mcrun status` lists the services, `mcrun ps` the containers"));
    }
    let operation = if operation == "undeploy" { "remove" } else { operation };
    Ok(format!("containers.{operation} {{ name = args[1] }}"))
}

fn own_container(name: &str) -> Grants {
    Grants { allow: vec![format!("containers:write:{name}")], ..Grants::default() }
}

/// What the run was granted that recorded the service, and the service's own records. A record is a script's word: it
/// must not do more in the operator's hands than that script could.
pub(crate) async fn grants(app: &App, service: &str, writer: Option<RunId>) -> Grants {
    let own = ["registry", "ports"].map(|primitive| format!("{primitive}:write:{service}"));
    let writer = match writer {
        Some(run) => app.journal.run(run.as_str()).await.ok(),
        None => None,
    };
    let recorded = writer.and_then(|run| serde_json::from_value::<Grants>(run.grants).ok());
    let mut grants = recorded.unwrap_or_default();
    grants.allow.extend(own);
    grants
}

/// Asks before something goes away that nothing brings back.
pub(super) fn confirm(app: &App, question: &str) -> Result<()> {
    if app.global.yes {
        return Ok(());
    }
    if app.global.no_input || !std::io::stdin().is_terminal() {
        return Err(Error::new(Code::Usage, format!("not confirmed: {question}")).hint("say `--yes`"));
    }
    render::note(format_args!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::new(Code::Usage, "the answer cannot be read").because(error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::new(Code::Usage, "not confirmed, nothing was done")),
    }
}
