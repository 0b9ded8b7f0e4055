//! Owns what `mcrun FILE` does with a playbook's file: its parameters are checked, and its `run` is told that somebody
//! started it by hand.

use daemon::playbooks::{self, Parts, calls_playbook, names_playbook, params};
use daemon::runs::{By, Cause};
use effect::policy::Grants;
use effect::{Code, Error, Result};
use journal::NewCause;
use script::Modules;
use serde_json::{Value, json};

use super::Job;
use crate::app::{App, user_name};
use crate::playbooks::{read, with_place};
use crate::{execute, stdlib, wiring};

/// What a playbook is started with.
pub(crate) struct Given<'a> {
    pub(crate) params: Params<'a>,
    /// What was granted by hand.
    pub(crate) grants: Grants,
    /// What its `run` is told; that it was started by hand unless given.
    pub(crate) event: Option<Value>,
}

/// Parameters as they are given.
pub(crate) enum Params<'a> {
    /// `NAME=VALUE`
    Settings(&'a [String]),
    /// `--name value`
    Words(&'a [String]),
    /// A JSON object.
    Values(&'a Value),
}

/// The job for a file: where the file is a playbook's, one that calls its `run`.
pub(crate) async fn adapted(app: &App, job: Job, given: Given<'_>) -> Result<Job> {
    // Without the word nothing can be a playbook, and a script is not to pay for the question.
    if !names_playbook(&job.source) {
        return Ok(job);
    }
    match parts(app, &job).await {
        Ok(parts) => started(app, job, parts, given),
        Err(error) if error.code == Code::NotPlaybook => Ok(job),
        // A script may use the word for something else, and have effects.
        Err(_) if !calls_playbook(&job.source) => Ok(job),
        Err(error) => Err(error),
    }
}

async fn parts(app: &App, job: &Job) -> Result<Parts> {
    let limit = job.limits.source;
    let modules = Modules::open(&job.root, stdlib::source, limit)?;
    let effects = wiring::registry(app, &job.root)?.names().map(|(name, _)| name.to_owned()).collect();
    let worker = execute::start_worker()?;
    let read = read(worker, effects, &modules, (&job.name, &job.source), limit).await;
    read.map_err(|mistake| with_place(mistake, &job.name))
}

fn started(app: &App, mut job: Job, parts: Parts, given: Given<'_>) -> Result<Job> {
    let definition = parts.definition;
    let checked = match given.params {
        Params::Settings(settings) => {
            let pairs = settings.iter().map(|setting| setting.split_once('=').unwrap_or((setting, "")));
            params::check_settings(&definition.params, pairs)
        }
        Params::Words(words) => params::check_words(&definition.params, words),
        Params::Values(values) => params::check(&definition.params, values),
    };
    job.params = checked?;
    let bound = app.config.policy.as_ref().map(|policy| policy.scripts.as_slice());
    job.grants = playbooks::grants(definition.allow.as_deref(), given.grants, bound)?;
    if let Some(timeout) = definition.timeout {
        job.limits.wall = Some(job.limits.wall.map_or(timeout, |wall| wall.min(timeout)));
    }
    // What was read is what runs.
    job.sources = parts.modules.into_iter().map(|(name, text)| (name, text.to_string())).collect();
    let event = given.event.unwrap_or_else(|| json!({ "kind": "manual" }));
    let cause = Cause { by: By::Caller { caller: format!("user {}", user_name()) }, event };
    let told = serde_json::to_value(&cause)
        .map_err(|error| Error::new(Code::Internal, "a cause cannot be encoded").because(error))?;
    job.cause = Some(NewCause { playbook: Some(definition.name), told, writes: Vec::new() });
    Ok(job)
}
