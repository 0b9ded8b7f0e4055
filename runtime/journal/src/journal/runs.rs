//! Owns what is asked about runs, and what becomes of them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Journal;
use crate::audit;
use crate::error::Result;
use crate::id::RunId;
use crate::reader;
use crate::run::{Filter, NewRun, PageOfRuns, Run, RunState};
use crate::writer::Change;

/// Runs.
impl Journal {
    /// Records a run as pending. Durable on return.
    pub async fn create_run(&self, run: NewRun) -> Result<()> {
        self.change(Change::CreateRun(Box::new(run), None)).await
    }

    /// The same with a record of the audit: both are there, or neither.
    pub async fn create_audited_run(&self, run: NewRun, audit: audit::New) -> Result<()> {
        self.change(Change::CreateRun(Box::new(run), Some(Box::new(audit)))).await
    }

    /// Puts a run into `state`. Durable on return, with everything that was queued before. A run of which an end was
    /// lost to a full disk can neither wait nor be done.
    pub async fn set_state(
        &self,
        run: &RunId,
        state: RunState,
        outcome: Option<Value>,
        exit_code: Option<i32>,
    ) -> Result<()> {
        self.change(Change::SetState { run: *run, state, outcome, exit_code }).await
    }

    /// The run whose id begins with `prefix`.
    pub async fn run(&self, prefix: &str) -> Result<Run> {
        let prefix = prefix.to_owned();
        self.read(move |connection| reader::runs::run(connection, &prefix)).await
    }

    /// The run that has taken the saved plan `name`, if one has.
    pub async fn taker_of_plan(&self, name: &str) -> Result<Option<RunId>> {
        let name = name.to_owned();
        self.read(move |connection| reader::runs::taker_of_plan(connection, &name)).await
    }

    /// The steps of the saved plan that a run carries out, as they were given.
    pub async fn planned(&self, run: &RunId) -> Result<Option<String>> {
        let run = *run;
        self.read(move |connection| reader::runs::planned(connection, &run)).await
    }

    /// The runs that `filter` lets through, newest first.
    pub async fn runs(&self, filter: Filter) -> Result<Vec<Run>> {
        self.read(move |connection| reader::runs::runs(connection, &filter)).await
    }

    /// One page of runs, newest first.
    pub async fn page_of_runs(&self, page: PageOfRuns) -> Result<Vec<Run>> {
        self.read(move |connection| reader::runs::page(connection, &page)).await
    }

    /// The runs in one of `states`, the first first, without loading what they run.
    pub async fn runs_in(&self, states: &'static [RunState]) -> Result<Vec<(RunId, RunState)>> {
        self.read(move |connection| reader::runs::in_states(connection, states)).await
    }

    /// The runs of a playbook that are not over, the first first.
    pub async fn unfinished_of(&self, playbook: &str) -> Result<Vec<RunId>> {
        let playbook = playbook.to_owned();
        self.read(move |connection| reader::runs::unfinished_of(connection, &playbook)).await
    }

    /// Replaces what the run was granted: somebody granted it more while it was under way.
    pub async fn set_grants(&self, run: &RunId, grants: Value) -> Result<()> {
        self.change(Change::SetGrants { run: *run, grants }).await
    }

    /// Replaces how the run was asked to be executed, which whoever goes on with it reads.
    pub async fn set_wish(&self, run: &RunId, wish: Option<Value>) -> Result<()> {
        self.change(Change::SetWish { run: *run, wish }).await
    }

    /// Lets the run go on without the saved plan that it carries out.
    pub async fn release_plan(&self, run: &RunId) -> Result<()> {
        self.change(Change::ReleasePlan(*run)).await
    }

    /// Asks for the end of a run, whichever process executes it.
    pub async fn request_cancel(&self, run: &RunId) -> Result<()> {
        self.change(Change::RequestCancel(*run)).await
    }

    /// Whether somebody asked for the end of a run. Cheap enough to be asked again and again.
    pub async fn cancel_requested(&self, run: &RunId) -> Result<bool> {
        let run = *run;
        self.read_committed(move |connection| reader::runs::cancel_requested(connection, &run)).await
    }

    /// Pins the source of a module for every resume of the run. The first one stays.
    pub async fn pin_source(&self, run: &RunId, module: &str, source: &str) -> Result<()> {
        self.change(Change::Pin { run: *run, module: module.to_owned(), source: source.to_owned() }).await
    }

    /// The pinned sources of a run's modules, by module.
    pub async fn sources(&self, run: &RunId) -> Result<BTreeMap<String, String>> {
        let run = *run;
        self.read(move |connection| reader::runs::sources(connection, &run)).await
    }
}
