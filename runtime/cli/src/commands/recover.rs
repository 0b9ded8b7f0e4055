//! Owns `recover`: everything that the registry has is brought back, by the script beside the configuration where there is
//! one, else in the order in which services were first deployed.

use effect::policy::Grants;
use effect::{Code, Error, Mode, Result};
use serde_json::{Map, Value, json};

use super::boot::beside_configuration;
use super::{evaluate, services};
use crate::app::App;
use crate::arguments::{self, boot::Recover};
use crate::exit::Exit;

const SCRIPT: &str = "require(\"@std/recover\").run()\n";

pub(super) async fn recover(app: &App, recover: &Recover) -> Result<Exit> {
    let params = params(recover)?;
    let own = beside_configuration(app, "recover.lua").filter(|file| file.is_file());
    let job = match own {
        Some(file) => {
            let settings = params.iter().map(|(name, value)| format!("{name}={value}"));
            let script = arguments::Script {
                set: settings.collect(),
                ..arguments::Script::of(file, recover.grants.clone())
            };
            if recover.how.plan {
                let wish = evaluate::Wish { json: recover.how.json, detailed: false, out: None };
                return evaluate::plan(app, &script, wish).await;
            }
            return evaluate::run(app, &script, recover.wait.patience(), recover.how.json).await;
        }
        None => evaluate::Job {
            params: params.into(),
            patience: recover.wait.patience(),
            ..evaluate::shipped_job(app, "recover", SCRIPT, Vec::new(), granted(app, recover).await?)?
        },
    };
    if recover.how.plan {
        let job = evaluate::Job { mode: Mode::Plan, ..job };
        return evaluate::show_plan(app, job, recover.how.json, false).await;
    }
    let name = job.name.clone();
    evaluate::start(app, job, std::path::Path::new(&name), recover.how.json).await
}

/// What the script is told.
fn params(recover: &Recover) -> Result<Map<String, Value>> {
    let mut params = Map::new();
    params.extend(recover.only.iter().map(|only| ("only".to_owned(), only.clone().into())));
    if let Some(owner) = &recover.owner {
        let Some((from, to)) = owner.split_once('=').filter(|(from, to)| !from.is_empty() && !to.is_empty())
        else {
            return Err(Error::new(Code::Usage, format!("`--owner {owner}` is not OLD=NEW"))
                .hint("`--owner 995:995=850:850`; `ls -n` shows the numbers of owners"));
        };
        params.insert("owner".to_owned(), json!({ "from": from, "to": to }));
    }
    Ok(params)
}

/// What every run was granted that recorded a service, and what is added by hand: a record is a script's word, and must
/// not do more in the operator's hands than that script could.
async fn granted(app: &App, recover: &Recover) -> Result<Grants> {
    let mut granted = Grants {
        allow: vec!["registry:read".into()],
        deny: recover.grants.deny.clone(),
        ..Grants::default()
    };
    for record in app.journal.records("service", Some(&app.node)).await? {
        if recover.only.as_ref().is_none_or(|only| *only == record.name) {
            granted.allow.extend(services::grants(app, &record.name, record.run).await.allow);
        }
    }
    granted.allow.extend(recover.grants.allow.iter().cloned());
    granted.allow.sort();
    granted.allow.dedup();
    Ok(granted)
}
