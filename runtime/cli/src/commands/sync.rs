//! Owns `sync`: all definitions of a folder are brought to the registry by a script that ships, plan first.

use std::path::Path;

use effect::policy::{Grants, Need};
use effect::session::Patience;
use effect::{Code, Error, Mode, Result};
use serde_json::json;

use super::definitions::{Definition, Folder};
use super::evaluate::{self, Job};
use super::services::confirm;
use crate::app::App;
use crate::arguments::{self, How};
use crate::exit::Exit;
use crate::render;

const SCRIPT: &str = include_str!("sync.luau");

/// What `sync` is asked for.
pub(super) struct Wish<'a> {
    /// The folder, or one definition.
    pub(super) place: &'a Path,
    /// The domain of routes without a host name.
    pub(super) domain: Option<&'a str>,
    pub(super) grants: &'a arguments::Grants,
    pub(super) how: &'a How,
    pub(super) patience: Patience,
}

pub(super) async fn sync(app: &App, wish: Wish<'_>) -> Result<Exit> {
    if wish.how.json && !wish.how.plan && !app.global.yes {
        return Err(Error::new(Code::Usage, "not confirmed").hint("say `--yes`, or `--plan` to look first"));
    }
    let is_folder = wish.place.is_dir();
    let folder = if is_folder {
        Folder::read(wish.place)?
    } else {
        Folder { definitions: vec![Definition::read(wish.place)?], scripts: Vec::new() }
    };
    for script in &folder.scripts {
        render::note(format_args!("{} is a script and left alone: `mcrun {0}` runs it", script.display()));
    }
    if folder.definitions.is_empty() {
        let message = format!("there is no definition in `{}`", wish.place.display());
        return Err(Error::new(Code::Usage, message)
            .hint("definitions are files NAME.toml, as `deploy.from_toml` reads them"));
    }
    // One file says nothing about what else there should be.
    let recorded = if is_folder { recorded(app).await? } else { Vec::new() };
    let job = |mode| job(app, &wish, &folder.definitions, &recorded, mode);
    if wish.how.plan || !wish.how.json {
        let shown = evaluate::show_plan(app, job(Mode::Plan)?, wish.how.json, true).await?;
        match shown {
            Exit::PlanHasChanges if wish.how.plan => return Ok(Exit::Done),
            Exit::PlanHasChanges => confirm(app, "Do this?")?,
            other => return Ok(other),
        }
        render::note("");
    }
    let job = Job { patience: wish.patience, ..job(Mode::Run)? };
    let name = job.name.clone();
    evaluate::start(app, job, Path::new(&name), wish.how.json).await
}

async fn recorded(app: &App) -> Result<Vec<String>> {
    let records = app.journal.records("service", Some(&app.node)).await?;
    Ok(records.into_iter().map(|record| record.name).collect())
}

fn job(
    app: &App,
    wish: &Wish<'_>,
    definitions: &[Definition],
    recorded: &[String],
    mode: Mode,
) -> Result<Job> {
    let config = app.live();
    let bound = config.policy.as_ref().map(|policy| policy.scripts.as_slice());
    let given =
        Grants { allow: wish.grants.allow.clone(), deny: wish.grants.deny.clone(), ..Grants::default() };
    let mut grants = given.or_bound(bound);
    // Only so much as tells which images are there.
    let images = Need::read("images", "").to_string();
    grants.allow.push(images);
    let name = format!("sync {}", wish.place.display());
    let params = json!({
        "files": definitions.iter().map(Definition::given).collect::<Vec<_>>(),
        "folder": wish.place,
        "domain": wish.domain,
        "node": app.node,
        "recorded": recorded,
    });
    let job = evaluate::shipped_job(app, &name, SCRIPT, Vec::new(), grants)?;
    Ok(Job {
        mode,
        params: super::line::without_nulls(params),
        limits: evaluate::limits(wish.grants)?,
        ..job
    })
}
