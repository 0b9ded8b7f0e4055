//! Owns what is asked of the executor from elsewhere: by the API, triggers, renewals. A desk may be held by any task; it
//! records what is to be executed itself, before it says a word to the executor, so that nothing that was promised is
//! lost.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use daemon::runs::{Cause, End, Order, Runs, Submission, Told, Watching, Wish};
use effect::policy::Grants;
use effect::session::journal_error;
use effect::{Code, Error, Policy, Result};
use journal::{Journal, NewCause, NewRun, Run, RunId, RunState};
use script::Limits;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::going::TIMEOUT;
use super::recorded::seed;
use super::relay::Manner;
use super::wished;
use crate::audit;
use crate::commands::{check_resumable, decisions};
use crate::config::Config;

type Reply<T> = oneshot::Sender<Result<T>>;

/// What the executor is asked.
pub(super) enum Message {
    Take { run: RunId, wish: Wish, is_wanted: bool, reply: Reply<()> },
    Undo { run: RunId, force: bool, more: Grants, cause: Cause, reply: Reply<RunId> },
    Operate { operation: String, service: String, cause: Cause, reply: Reply<RunId> },
    Interrupt { run: RunId, hard: bool, reply: Reply<()> },
    Cancel { run: RunId, reply: Reply<()> },
    Answer { run: RunId, question: u64, granted: bool, reply: Reply<()> },
    Watch { run: RunId, how: Manner, reply: Reply<mpsc::Receiver<Told>> },
}

/// What executor and desks know of one another at any moment.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How many runs wait for their turn.
    pub(super) queued: AtomicUsize,
    /// Whether this process is about to end.
    pub(super) leaves: AtomicBool,
}

/// Asks the executor of this process.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(super) journal: Journal,
    pub(super) node: String,
    pub(super) state: PathBuf,
    /// The configuration as it is now: what `[policy] scripts` grants.
    pub(super) live: watch::Receiver<Arc<Config>>,
    /// How many runs may wait for their turn.
    pub(super) most: usize,
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Desk").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Desk {
    /// Refuses what could not be executed soon.
    fn admit(&self) -> Result<()> {
        if self.shared.leaves.load(Ordering::Relaxed) {
            return Err(stops());
        }
        if self.shared.queued.load(Ordering::Relaxed) >= self.most {
            let message = format!("{} runs wait to be executed", self.most);
            return Err(Error::new(Code::DaemonBusy, message).retryable());
        }
        Ok(())
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T> {
        let (reply, replied) = oneshot::channel();
        self.messages.send(message(reply)).await.map_err(|_| stops())?;
        replied.await.map_err(|_| stops())?
    }

    /// Records a run and has it executed.
    async fn begin(&self, new: NewRun) -> Result<RunId> {
        self.admit()?;
        let (id, started) = (new.id, audit::started(&new));
        self.journal.create_audited_run(new, started).await.map_err(refused)?;
        match self
            .ask(|reply| Message::Take { run: id, wish: Wish::default(), is_wanted: false, reply })
            .await
        {
            // It is recorded, so the next daemon executes it.
            Err(error) if error.code == Code::DaemonStops => Ok(id),
            taken => taken.map(|()| id),
        }
    }

    /// Has a run executed and waits for what it comes to.
    ///
    /// # Errors
    /// Where it is not recorded, and `MC-V012` where this process ends before the run does.
    pub(crate) async fn execute(&self, new: NewRun) -> Result<End> {
        self.admit()?;
        let (id, started) = (new.id, audit::started(&new));
        self.journal.create_audited_run(new, started).await.map_err(refused)?;
        // A pause is an end for whoever waits here.
        let how = Manner { until_over: false, looks_on: true };
        let mut told = self.ask(|reply| Message::Watch { run: id, how, reply }).await?;
        self.ask(|reply| Message::Take { run: id, wish: Wish::default(), is_wanted: false, reply }).await?;
        while let Some(told) = told.recv().await {
            if let Told::End(end) = told {
                return Ok(*end);
            }
        }
        Err(stops())
    }

    async fn run_of(&self, run: &RunId) -> Result<Run> {
        Ok(self.journal.run(run.as_str()).await?)
    }

    fn new_run(&self, name: String, source: String, limits: &Limits, grants: &Grants) -> Result<NewRun> {
        let id = self.journal.next_id()?;
        Ok(NewRun {
            id,
            script: name.clone(),
            name,
            args: Vec::new(),
            params: json!({}),
            grants: json!(grants),
            limits: json!(limits),
            seed: seed(id.as_str()),
            node: self.node.clone(),
            source,
            root: self.state.display().to_string(),
            modules: BTreeMap::new(),
            plan: None,
            cause: None,
        })
    }

    /// The operator's word, as it is now.
    fn bound(&self) -> Option<Vec<String>> {
        self.live.borrow().policy.as_ref().map(|policy| policy.scripts.clone())
    }

    /// A playbook gets what the operator grants, narrowed by what it says it takes. Without an operator's word nothing
    /// is granted.
    fn granted(&self, allow: Option<&Vec<String>>) -> Grants {
        let allow = match (self.bound(), allow) {
            (None, _) => Vec::new(),
            (Some(bound), None) => bound,
            (Some(_), Some(allow)) => allow.clone(),
        };
        Grants { allow, ..Grants::default() }
    }
}

fn stops() -> Error {
    Error::new(Code::DaemonStops, "the daemon is stopping").retryable()
}

fn refused(error: journal::Error) -> Error {
    match error {
        journal::Error::Conflict { .. } => {
            Error::new(Code::RunState, "nothing was started: what is recorded with the run is there already")
                .because(error)
        }
        error => journal_error(error),
    }
}

/// A cause as it is recorded.
pub(crate) fn told(cause: &Cause) -> Value {
    serde_json::to_value(cause).unwrap_or_default()
}

#[async_trait]
impl Runs for Desk {
    async fn start(&self, order: Order) -> Result<RunId> {
        let Order { playbook, params, cause, writes } = order;
        let definition = &playbook.definition;
        let mut grants = self.granted(definition.allow.as_ref());
        grants.within.extend(cause.within.clone());
        let name = playbook.file.strip_prefix(&playbook.root).unwrap_or(&playbook.file);
        let mut told = told(&cause);
        if let (Some(timeout), Some(fields)) = (definition.timeout, told.as_object_mut()) {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            fields.insert(TIMEOUT.to_owned(), json!(millis));
        }
        let named = name.display().to_string();
        let new = self.new_run(named, playbook.source.to_string(), &Limits::default(), &grants)?;
        let modules = playbook.modules.iter().map(|(name, source)| (name.clone(), source.to_string()));
        self.begin(NewRun {
            script: playbook.file.display().to_string(),
            params,
            root: playbook.root.display().to_string(),
            modules: modules.collect(),
            cause: Some(NewCause { playbook: Some(definition.name.clone()), told, writes }),
            ..new
        })
        .await
    }

    async fn submit(&self, submission: Submission) -> Result<RunId> {
        let mut limits = Limits::default();
        for limit in &submission.limits {
            limits.set(limit)?;
        }
        let grants = Grants { allow: submission.allow, deny: submission.deny, ..Grants::default() };
        let bound = self.bound();
        let mut grants = grants.or_bound(bound.as_deref());
        grants.within.extend(submission.cause.within.clone());
        Policy::new(bound.as_deref(), &grants)?;
        let new = self.new_run(submission.name, submission.source, &limits, &grants)?;
        let told = told(&submission.cause);
        self.begin(NewRun {
            args: submission.args,
            params: submission.params,
            modules: submission.modules.into_iter().collect(),
            cause: Some(NewCause { playbook: None, told, writes: submission.writes }),
            ..new
        })
        .await
    }

    async fn go_on(&self, run: &RunId, wish: Wish) -> Result<()> {
        let recorded = self.run_of(run).await?;
        check_resumable(&recorded)?;
        for limit in &wish.limits {
            Limits::default().set(limit)?;
        }
        if !wish.doubts.is_empty() {
            decisions(&self.journal.open_entries(run).await?, &wish.doubts)?;
        }
        let told = wished::recorded(&wish);
        if told != recorded.wish
            && let Err(error) = self.journal.set_wish(run, told).await
        {
            // This process knows it all the same.
            tracing::warn!(%run, %error, "the next process will not know what the run was taken with");
        }
        self.ask(|reply| Message::Take { run: *run, wish, is_wanted: true, reply }).await
    }

    async fn undo(&self, run: &RunId, force: bool, mut more: Grants, cause: Cause) -> Result<RunId> {
        self.admit()?;
        more.within.extend(cause.within.clone());
        self.ask(|reply| Message::Undo { run: *run, force, more, cause, reply }).await
    }

    async fn operate(&self, operation: &str, service: &str, cause: Cause) -> Result<RunId> {
        self.admit()?;
        let (operation, service) = (operation.to_owned(), service.to_owned());
        self.ask(|reply| Message::Operate { operation, service, cause, reply }).await
    }

    async fn interrupt(&self, run: &RunId, hard: bool) -> Result<()> {
        self.ask(|reply| Message::Interrupt { run: *run, hard, reply }).await
    }

    async fn cancel(&self, run: &RunId) -> Result<()> {
        let recorded = self.run_of(run).await?;
        if recorded.state.is_final() || recorded.imported {
            let message = format!("run {run} is already {}", recorded.state);
            return Err(Error::new(Code::RunState, message));
        }
        self.journal.request_cancel(run).await?;
        self.ask(|reply| Message::Cancel { run: *run, reply }).await
    }

    async fn answer(&self, run: &RunId, question: u64, granted: bool) -> Result<()> {
        self.ask(|reply| Message::Answer { run: *run, question, granted, reply }).await
    }

    async fn watch(&self, run: &RunId, until_over: bool) -> Result<Watching> {
        self.watched(run, Manner { until_over, looks_on: false }).await
    }

    async fn look_on(&self, run: &RunId, until_over: bool) -> Result<Watching> {
        self.watched(run, Manner { until_over, looks_on: true }).await
    }
}

impl Desk {
    async fn watched(&self, run: &RunId, how: Manner) -> Result<Watching> {
        // Before it is looked at, so that nothing happens in between.
        self.run_of(run).await?;
        let told = self.ask(|reply| Message::Watch { run: *run, how, reply }).await?;
        let run = self.run_of(run).await?;
        if !run.state.is_final() {
            return Ok(Watching { run, told });
        }
        // It may have been told before anybody listened.
        let (telling, told) = mpsc::channel(1);
        let end = End {
            exit_code: run.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or_default(),
            trouble: run.outcome.clone().filter(|_| run.state != RunState::Done),
            run: run.clone(),
        };
        // There is room for one.
        let _ = telling.try_send(Told::End(Box::new(end)));
        Ok(Watching { run, told })
    }
}

#[cfg(test)]
mod tests;
