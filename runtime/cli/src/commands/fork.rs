//! Owns `fork`: a new run that begins with a part of an older one's history.

use std::path::Path;

use effect::Result;
use effect::session::Patience;
use serde_json::json;

use super::evaluate::{Beginning, follow};
use super::history::{check_not_undone, check_own, cut, cut_refused};
use crate::app::App;
use crate::audit;
use crate::execute::{self, Job};
use crate::exit::Exit;

/// What `fork` is asked for.
pub(super) struct Wish<'a> {
    pub(super) from: &'a str,
    pub(super) limits: &'a [String],
    pub(super) patience: Patience,
    pub(super) json: bool,
}

pub(super) async fn fork(app: &App, prefix: &str, wish: Wish<'_>) -> Result<Exit> {
    let old = app.journal.run(prefix).await?;
    // Nobody goes on with it while it is copied.
    let old_lock = app.journal.lock_run(&old.id)?;
    let old = app.journal.run(old.id.as_str()).await?;
    check_own(&old)?;
    check_not_undone(app, &old).await?;
    let cut = cut(app, &old, wish.from).await?;
    cut.confirm(app, wish.from)?;
    let id = app.journal.next_id()?;
    let lock = app.journal.lock_run(&id)?;
    // A saved plan was made for one run, from its beginning.
    let mut job =
        Job { id, planned: None, patience: wish.patience, ..execute::recorded_job(app, &old).await? };
    for limit in wish.limits {
        job.limits.set(limit)?;
    }
    app.config.check_apart_from(&job.root)?;
    let origin = json!({ "fork": old.id, "from": wish.from });
    let new = execute::new_run(app, &job, Path::new(&old.script));
    let started = audit::started(&new);
    let forked = app.journal.fork(&old.id, cut.after, new, origin).await;
    forked.map_err(|error| cut_refused(error, wish.from))?;
    drop(app.journal.audit(started));
    drop(old_lock);
    let run = app.journal.run(id.as_str()).await?;
    job.past = Some(execute::past(app, &run).await?);
    follow(app, job, lock, Beginning::Made, wish.json).await
}
