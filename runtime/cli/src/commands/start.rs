//! Owns `start`: a playbook by its name, with parameters as its file declares them, or a service that was stopped. A name
//! that both bear has to say which is meant.

mod help;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use api::v1;
use daemon::api::client::Client;
use daemon::playbooks::params::{self, KINDS};
use daemon::playbooks::{Parameter, ParameterKind};
use daemon::triggers;
use effect::policy::Grants;
use effect::{Code, Error, Mode, Result};
use serde_json::{Value, json};

use super::{evaluate, services};
use crate::app::App;
use crate::arguments::start::Start;
use crate::exit::Exit;
use crate::handover::{self, Following};
use crate::playbooks::{Found, find};
use crate::render;

/// A playbook, as far as the command line needs to know it.
struct Playbook {
    name: String,
    description: Option<String>,
    file: String,
    params: BTreeMap<String, Parameter>,
    triggers: Vec<String>,
    place: Place,
}

/// Where a playbook was found.
enum Place {
    /// A daemon has it loaded.
    Loaded(Client),
    /// Nobody has: it is this file, as it is now.
    File(Box<Found>),
}

pub(super) async fn start(app: &App, start: &Start) -> Result<Exit> {
    let Some(name) = &start.name else {
        help::of_the_command();
        return Ok(Exit::Done);
    };
    let (kind, name) = match name.split_once(':') {
        Some((kind @ ("playbook" | "service"), name)) => (Some(kind), name),
        _ => (None, name.as_str()),
    };
    let is_service =
        kind != Some("playbook") && app.journal.record("service", &app.node, name).await?.is_some();
    let playbook = match kind {
        Some("service") => Err(unknown(app, name)),
        _ => playbook(app, name).await?,
    };
    match playbook {
        Ok(_) if is_service => {
            Err(Error::new(Code::Usage, format!("`{name}` is both a service and a playbook"))
                .hint(format!("`mcrun start service:{name}` or `mcrun start playbook:{name}`")))
        }
        Ok(playbook) if start.help => {
            help::of(&playbook);
            Ok(Exit::Done)
        }
        Ok(playbook) => begin(app, playbook, start).await,
        Err(unknown) if kind == Some("playbook") || (start.help && !is_service) => Err(unknown),
        Err(unknown) => service(app, name, start, unknown).await,
    }
}

async fn service(app: &App, name: &str, start: &Start, unknown: Error) -> Result<Exit> {
    if start.help {
        help::of_the_command();
        return Ok(Exit::Done);
    }
    if let Some(word) = start.params.first() {
        let message = format!("`{name}` is no playbook, and a service takes no parameters such as `{word}`");
        return Err(Error::new(Code::Usage, message).hint("`mcrun playbooks` lists playbooks"));
    }
    let started = services::operate(app, "start", name, start.wait.patience()).await;
    started.map_err(|error| match error.code {
        Code::ServiceUnknown => {
            let hint = "`mcrun status` lists services, `mcrun playbooks` playbooks".to_owned();
            Error::new(error.code, format!("there is no service and no playbook `{name}`"))
                .hint(unknown.hint.unwrap_or(hint))
        }
        _ => error,
    })
}

fn unknown(app: &App, name: &str) -> Error {
    let error = Error::new(Code::PlaybookUnknown, format!("there is no playbook `{name}`"));
    if app.config.playbooks.folders.is_empty() {
        return error.hint("`folders` under [playbooks] in mcrun.toml says where they come from");
    }
    error
}

/// The playbook of this name: as the daemon has it loaded, else as its file is. Else why there is none.
async fn playbook(app: &App, name: &str) -> Result<Result<Playbook>> {
    let Some(client) = handover::daemon(app).await? else {
        let found = find(app, name).await?.ok_or_else(|| unknown(app, name));
        return Ok(found.map(|found| {
            let definition = &found.parts.definition;
            Playbook {
                name: definition.name.clone(),
                description: definition.description.clone(),
                file: found.file.display().to_string(),
                params: definition.params.clone(),
                triggers: definition.on.iter().map(triggers::text).collect(),
                place: Place::File(Box::new(found)),
            }
        }));
    };
    let request = v1::GetPlaybookRequest { name: name.to_owned() };
    let mut calls = client.playbooks();
    let answer = match client.call(calls.get_playbook(request)).await {
        Ok(answer) => answer,
        // A service may have a name that no playbook can have.
        Err(error) if matches!(error.code, Code::ApiRequest | Code::PlaybookUnknown) => {
            return Ok(Err(unknown(app, name)));
        }
        Err(error) => return Err(error),
    };
    Ok(answer.playbook.ok_or_else(|| unknown(app, name)).map(|found| Playbook {
        name: found.name,
        description: found.description,
        file: found.file,
        params: found.params.into_iter().filter_map(parameter).collect(),
        triggers: found.triggers,
        place: Place::Loaded(client),
    }))
}

/// A parameter as the daemon tells of it; one of a type that is not known here is left to the daemon.
fn parameter(told: v1::PlaybookParameter) -> Option<(String, Parameter)> {
    let (_, kind) = KINDS.into_iter().find(|(word, _)| *word == told.r#type)?;
    let choice = |text: String| match kind {
        ParameterKind::Number | ParameterKind::Integer => serde_json::from_str(&text).unwrap_or(Value::Null),
        _ => Value::from(text),
    };
    let parameter = Parameter {
        kind,
        description: told.description,
        default: told.default.and_then(|text| serde_json::from_str(&text).ok()),
        choices: told.choices.into_iter().map(choice).collect(),
    };
    Some((told.name, parameter))
}

async fn begin(app: &App, playbook: Playbook, start: &Start) -> Result<Exit> {
    match playbook.place {
        Place::Loaded(client) => {
            let granted = &start.grants;
            if !(granted.allow.is_empty() && granted.deny.is_empty() && granted.limit.is_empty()) {
                let message = "a playbook that the daemon starts has what the operator's policy grants";
                return Err(Error::new(Code::Usage, message).hint(format!(
                    "leave `--allow`, `--deny` and `--limit` out, or run its file: `mcrun {}`",
                    playbook.file
                )));
            }
            let params = params::check_words(&playbook.params, &start.params)?;
            let run = client.start(&playbook.name, &params, None).await?;
            if start.detach {
                match start.json {
                    true => render::json(&json!({ "run": run })),
                    false => render::out(run),
                }
                return Ok(Exit::Done);
            }
            let recorded = app.journal.run(run.as_str()).await?;
            let main = (recorded.name, recorded.source.to_string());
            evaluate::shown(app, run, main, start.json, |watch: Arc<dyn render::Watch>| async move {
                let (following, telling) = Following::join(app, client, run, watch).await?;
                following.follow(Some(telling)).await
            })
            .await
        }
        Place::File(found) => {
            if start.detach {
                return Err(Error::new(Code::Usage, "there is no daemon that the run could be left to")
                    .hint("start one with `mcrun serve`, or leave `--detach` out"));
            }
            let script = crate::arguments::Script::of(found.file.clone(), start.grants.clone());
            let grants = Grants {
                allow: start.grants.allow.clone(),
                deny: start.grants.deny.clone(),
                ..Grants::default()
            };
            let given =
                evaluate::Given { params: evaluate::Params::Words(&start.params), grants, event: None };
            let job = evaluate::job(app, &script, Mode::Run)?;
            let job = evaluate::adapted(app, job, given).await?;
            let job = evaluate::Job { patience: start.wait.patience(), ..job };
            evaluate::start(app, job, Path::new(&playbook.file), start.json).await
        }
    }
}
