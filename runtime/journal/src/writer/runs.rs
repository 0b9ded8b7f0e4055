//! Owns how runs and their sources are written.

use rusqlite::{OptionalExtension, named_params, params};
use serde_json::Value;

use super::Writer;
use super::entries::put_blob;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::record::{Expect, Write};
use crate::run::{NewRun, RunState};

const CREATE: &str = "
INSERT INTO runs (id, state, created, updated, name, script, root, node, seed, source, args, params, grants, limits,
    plan, planned, playbook, cause, seen)
VALUES (:id, :state, :at, :at, :name, :script, :root, :node, :seed, :source, :args, :params, :grants, :limits,
    :plan, :planned, :playbook, :cause, (SELECT coalesce(max(id), 0) FROM events))";

/// The records that say which run has taken a saved plan. They outlive the run, so that no plan is ever taken twice.
pub(crate) const KIND_OF_PLANS: &str = "plan";

const SET_STATE: &str = "
UPDATE runs SET
    state = :state,
    outcome = :outcome,
    exit_code = :exit_code,
    updated = :at,
    started = CASE WHEN :running THEN coalesce(started, :at) ELSE started END,
    ended = CASE WHEN :final THEN :at END,
    cancel = CASE WHEN :final THEN 0 ELSE cancel END
WHERE number = :number";

impl Writer {
    pub(super) fn create_run(&mut self, run: &NewRun, at: Timestamp) -> Result<()> {
        let mut known = self.connection.prepare_cached("SELECT number FROM runs WHERE id = ?")?;
        if known.query_row([run.id.as_str()], |_| Ok(())).optional()?.is_some() {
            return Err(Error::Conflict { kind: "run".into(), name: run.id.to_string() });
        }
        drop(known);
        let taken = run.plan.iter().map(|plan| taking(&plan.name, &run.id));
        let beside = run.cause.iter().flat_map(|cause| cause.writes.iter().cloned());
        self.write_records(&taken.chain(beside).collect::<Vec<_>>(), Some(&run.id), at)?;
        let source = put_blob(&self.connection, &run.source)?;
        let planned = run.plan.as_ref().map(|plan| put_blob(&self.connection, &plan.steps)).transpose()?;
        self.connection.prepare_cached(CREATE)?.execute(named_params! {
            ":id": run.id.as_str(),
            ":state": RunState::Pending.as_str(),
            ":at": at.0,
            ":name": run.name,
            ":script": run.script,
            ":root": run.root,
            ":node": run.node,
            ":seed": run.seed.cast_signed(),
            ":source": source,
            ":args": Value::from(run.args.as_slice()).to_string(),
            ":params": run.params.to_string(),
            ":grants": run.grants.to_string(),
            ":limits": run.limits.to_string(),
            ":plan": run.plan.as_ref().map(|plan| &plan.name),
            ":planned": planned,
            ":playbook": run.cause.as_ref().and_then(|cause| cause.playbook.as_ref()),
            ":cause": run.cause.as_ref().map(|cause| cause.told.to_string()),
        })?;
        run.modules.iter().try_for_each(|(module, source)| self.pin(&run.id, module, source))
    }

    pub(super) fn set_state(
        &mut self,
        run: &RunId,
        state: RunState,
        outcome: Option<&Value>,
        exit_code: Option<i32>,
        at: Timestamp,
    ) -> Result<()> {
        if state.vouches_for_its_entries() {
            self.lost.check(run)?;
        }
        let number = self.cached(run)?.number;
        self.connection.prepare_cached(SET_STATE)?.execute(named_params! {
            ":number": number,
            ":state": state.as_str(),
            ":outcome": outcome.map(Value::to_string),
            ":exit_code": exit_code,
            ":at": at.0,
            ":running": state == RunState::Running,
            ":final": state.is_final(),
        })?;
        if state != RunState::Running {
            self.lost.stopped(run);
            self.runs.remove(run);
        }
        Ok(())
    }

    pub(super) fn set_grants(&mut self, run: &RunId, grants: &Value) -> Result<()> {
        let number = self.cached(run)?.number;
        self.connection
            .prepare_cached("UPDATE runs SET grants = ? WHERE number = ?")?
            .execute(params![grants.to_string(), number])?;
        Ok(())
    }

    pub(super) fn set_wish(&mut self, run: &RunId, wish: Option<&Value>) -> Result<()> {
        let number = self.cached(run)?.number;
        self.connection
            .prepare_cached("UPDATE runs SET wish = ? WHERE number = ?")?
            .execute(params![wish.map(Value::to_string), number])?;
        Ok(())
    }

    pub(super) fn release_plan(&mut self, run: &RunId) -> Result<()> {
        let number = self.cached(run)?.number;
        self.connection
            .prepare_cached("UPDATE runs SET planned = NULL WHERE number = ?")?
            .execute([number])?;
        Ok(())
    }

    pub(super) fn request_cancel(&mut self, run: &RunId) -> Result<()> {
        let number = self.cached(run)?.number;
        self.connection.prepare_cached("UPDATE runs SET cancel = 1 WHERE number = ?")?.execute([number])?;
        Ok(())
    }

    pub(super) fn pin(&mut self, run: &RunId, module: &str, source: &str) -> Result<()> {
        let number = self.cached(run)?.number;
        let blob = put_blob(&self.connection, source)?;
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO sources (run, module, blob) VALUES (?, ?, ?)")?
            .execute(params![number, module, blob])?;
        Ok(())
    }
}

/// The record that `run` has taken the plan `name`, which nobody has before.
fn taking(name: &str, run: &RunId) -> Write {
    Write {
        kind: KIND_OF_PLANS.to_owned(),
        node: String::new(),
        name: name.to_owned(),
        value: Some(Value::from(run.as_str()).to_string()),
        expect: Expect::Absent,
    }
}
