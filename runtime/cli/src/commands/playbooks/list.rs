//! Owns the list of playbooks.

use daemon::playbooks::history::{Active, Failed, History};
use daemon::playbooks::lacking_note;
use daemon::triggers::schedule::soonest;
use effect::Result;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{failed_json, lacking, short, tell, triggers};
use crate::app::App;
use crate::commands::schedule;
use crate::exit::Exit;
use crate::render::{self, Table};

pub(super) async fn list(app: &App, history: &History, as_json: bool) -> Result<Exit> {
    let (active, failed) = (history.active().await?, history.failed().await?);
    let is_served = app.journal.holder_of_daemon().is_some();
    let (now, zone) = (app.clock.now(), TimeZone::system());
    let next = |active: &Active| soonest(&active.outline()?, now, &zone);
    let broken = |name: &str| failed.iter().find(|failed| failed.playbook.as_deref() == Some(name));
    let others: Vec<&Failed> = failed.iter().filter(|failed| failed.playbook.is_none()).collect();
    if as_json {
        let playbooks: Vec<Value> = active
            .iter()
            .map(|active| {
                let mut row = row_json(active, broken(&active.name));
                row["lacking"] = json!(lacking(app, active));
                row["next"] = json!(next(active).map(render::rfc3339));
                row
            })
            .collect();
        let others: Vec<Value> = others.into_iter().map(failed_json).collect();
        render::json(&json!({ "daemon": is_served, "playbooks": playbooks, "broken": others }));
        return Ok(Exit::Done);
    }
    if !active.is_empty() {
        let mut table = Table::new(&["playbook", "state", "version", "loaded", "next", "triggers", "file"]);
        for active in &active {
            let state = if broken(&active.name).is_some() { "broken" } else { "active" };
            let triggers = active.definition().map(|definition| triggers(&definition)).unwrap_or_default();
            table.row([
                active.name.clone(),
                state.to_owned(),
                format!("{} ({})", active.version.number, short(&active.version.version)),
                render::ago(active.version.loaded, now),
                next(active).map(|next| schedule::shown(next, &zone)).unwrap_or_default(),
                triggers.join(", "),
                active.version.file.display().to_string(),
            ]);
        }
        table.print();
    }
    for active in &active {
        let lacking = lacking(app, active);
        if !lacking.is_empty() {
            render::note(lacking_note(&active.name, &lacking));
        }
    }
    for failed in &failed {
        tell(failed);
        match &failed.playbook {
            Some(playbook) => render::note(format_args!(
                "`{playbook}` goes on as it was before: `mcrun playbooks show {playbook}`"
            )),
            None => render::note(format_args!("`{}` is left out", failed.file.display())),
        }
    }
    if app.config.playbooks.folders.is_empty() && active.is_empty() {
        render::note(
            "there are no playbooks: `folders` under [playbooks] of mcrun.toml names where they lie",
        );
    } else if !is_served {
        render::note(
            "no daemon serves this state directory: this is what the last one has left; `mcrun serve` starts one",
        );
    }
    Ok(Exit::Done)
}

fn row_json(active: &Active, failed: Option<&Failed>) -> Value {
    let definition = active.definition();
    json!({
        "name": active.name,
        "description": definition.as_ref().and_then(|definition| definition.description.clone()),
        "state": if failed.is_some() { "broken" } else { "active" },
        "number": active.version.number,
        "version": active.version.version,
        "loaded": render::rfc3339(active.version.loaded),
        "triggers": definition.as_ref().map(triggers),
        "file": active.version.file,
        "broken": failed.map(failed_json),
    })
}
