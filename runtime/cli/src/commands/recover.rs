//! Owns `recover`: everything that the registry has is brought back, by the script beside the configuration where there is
//! one, else in the order in which services were first deployed.

use effect::policy::Grants;
use effect::{Mode, Result};
use serde_json::{Value, json};

use super::boot::beside_configuration;
use super::{evaluate, services};
use crate::app::App;
use crate::arguments::{self, boot::Recover};
use crate::exit::Exit;

const SCRIPT: &str = "require(\"@std/recover\").run()\n";

pub(super) async fn recover(app: &App, recover: &Recover) -> Result<Exit> {
    let own = beside_configuration(app, "recover.lua").filter(|file| file.is_file());
    let job = match own {
        Some(file) => {
            let only = recover.only.iter().map(|service| format!("only={}", Value::from(service.as_str())));
            let script = arguments::Script {
                set: only.collect(),
                ..arguments::Script::of(file, recover.grants.clone())
            };
            if recover.how.plan {
                let wish = evaluate::Wish { json: recover.how.json, detailed: false, out: None };
                return evaluate::plan(app, &script, wish).await;
            }
            return evaluate::run(app, &script, recover.wait.patience(), recover.how.json).await;
        }
        None => evaluate::Job {
            params: json!({ "only": recover.only }),
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

/// What every run was granted that recorded a service, and what is added by hand: a record is a script's word, and must
/// not do more in the operator's hands than that script could.
async fn granted(app: &App, recover: &Recover) -> Result<Grants> {
    let mut granted = Grants { allow: vec!["registry:read".into()], deny: recover.grants.deny.clone() };
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
