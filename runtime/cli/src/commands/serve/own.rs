//! Owns runs that the process makes by itself, of what it looks after.

use std::path::Path;

use daemon::runs::{By, Cause};
use effect::policy::Grants;
use effect::{Code, Error, Result};
use journal::{NewCause, RunState};
use serde_json::Value;

use crate::app::App;
use crate::commands::evaluate;
use crate::execute::desk::{Desk, told};
use crate::execute::{self, Trouble};
use crate::render;

/// A script of the process's own.
pub(super) struct Own<'a> {
    pub(super) name: &'a str,
    pub(super) source: &'a str,
    pub(super) args: Vec<String>,
    pub(super) grants: Grants,
}

impl Own<'_> {
    /// Has it executed as a run, and waits for a good end.
    pub(super) async fn execute(self, app: &App, desk: &Desk) -> Result<()> {
        let name = self.name;
        let mut job = evaluate::shipped_job(app, name, self.source, self.args, self.grants)?;
        let cause = Cause { by: By::Daemon { why: name.to_owned() }, event: Value::Null, within: None };
        job.cause = Some(NewCause { playbook: None, told: told(&cause), writes: Vec::new() });
        let end = desk.execute(execute::new_run(app, &job, Path::new(name))).await?;
        let (run, state) = (end.run.id, end.run.state);
        render::note(format_args!("{name}: {state}, run {run}"));
        match (state, end.trouble.and_then(Trouble::of_json)) {
            (RunState::Done, _) => Ok(()),
            (_, Some(trouble)) => Err(trouble.error),
            (state, None) => Err(Error::new(Code::Failed, format!("the run {run} is {state}"))),
        }
    }
}
