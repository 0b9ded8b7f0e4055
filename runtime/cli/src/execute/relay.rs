//! Owns what those are told who watch a run that is executed among many: everything, in order, each at its own pace.
//! One that is slow delays neither the run nor the others: it loses its place, and the journal knows what it missed.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use daemon::metrics::Metrics;
use daemon::runs::{Effect, End, Told};
use effect::approval::{Approver, Question, Verdict};
use effect::{Action, Code, Error, Event, Kind, Result};
use futures_util::future::join_all;
use journal::Identity;
use script::{Level, Module};
use tokio::sync::{mpsc, oneshot, watch};

use crate::render::Watch;

/// How far a watcher may fall behind.
const MOST_UNREAD: usize = 8192;
/// How many watch one run.
const MOST_WATCHERS: usize = 1024;

/// The watchers of one run.
#[derive(Default)]
pub(crate) struct Relay {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    watchers: Vec<Watcher>,
    last_watcher: u64,
    /// The sources that were told of.
    modules: HashSet<String>,
    /// Questions that nobody has answered.
    questions: BTreeMap<u64, Asking>,
    last_question: u64,
}

struct Watcher {
    told: mpsc::Sender<Told>,
    number: u64,
    how: Manner,
}

/// How somebody watches a run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Whether it watches on beyond pauses.
    pub(super) until_over: bool,
    /// Whether it answers no questions.
    pub(super) looks_on: bool,
}

struct Asking {
    told: Told,
    answer: oneshot::Sender<bool>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Relay").field("watchers", &self.inner().watchers.len()).finish()
    }
}

impl Relay {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another watcher, told what happens from now on and what is being asked.
    ///
    /// # Errors
    /// `MC-V015` where there are too many.
    pub(super) fn join(&self, how: Manner) -> Result<mpsc::Receiver<Told>> {
        let mut inner = self.inner();
        inner.watchers.retain(|watcher| !watcher.told.is_closed());
        if inner.watchers.len() >= MOST_WATCHERS {
            let message = format!("the run is watched by {MOST_WATCHERS} others already");
            return Err(Error::new(Code::DaemonBusy, message).retryable());
        }
        let (told, telling) = mpsc::channel(MOST_UNREAD);
        for asking in inner.questions.values() {
            // There is room: nothing was told yet.
            let _ = told.try_send(asking.told.clone());
        }
        inner.last_watcher += 1;
        let number = inner.last_watcher;
        inner.watchers.push(Watcher { told, number, how });
        Ok(telling)
    }

    /// The number of who joined last.
    pub(super) fn last_watcher(&self) -> u64 {
        self.inner().last_watcher
    }

    /// Whether nobody watches.
    pub(super) fn is_alone(&self) -> bool {
        let mut inner = self.inner();
        inner.watchers.retain(|watcher| !watcher.told.is_closed());
        inner.watchers.is_empty()
    }

    /// Those who may answer a question.
    fn answering(&self) -> Vec<mpsc::Sender<Told>> {
        let inner = self.inner();
        let there =
            inner.watchers.iter().filter(|watcher| !watcher.how.looks_on && !watcher.told.is_closed());
        there.map(|watcher| watcher.told.clone()).collect()
    }

    fn tell(&self, told: Told) {
        self.inner().tell(&told);
    }

    /// What the run has come to, for now or for good. Whoever joined behind `last` came when the turn was over: to them
    /// a pause is nothing that happens, but where the run stands, and they watch what comes of it.
    pub(super) fn end(&self, end: End, last: u64) {
        let is_over = end.run.state.is_final();
        let told = Told::End(Box::new(end));
        let mut inner = self.inner();
        // Whoever watches until it is over watches on.
        inner.watchers.retain(|watcher| {
            let stays = !is_over && (watcher.how.until_over || watcher.number > last);
            if !stays {
                // One that is too slow finds the end in the journal.
                let _ = watcher.told.try_send(told.clone());
            }
            stays
        });
        inner.questions.clear();
        // The next attempt tells of its sources again.
        inner.modules.clear();
    }

    /// Answers a question.
    ///
    /// # Errors
    /// `MC-V014` where nobody waits for it.
    pub(super) fn answer(&self, question: u64, granted: bool) -> Result<()> {
        let asking = self.inner().questions.remove(&question);
        // The run may have gone on without an answer.
        asking.and_then(|asking| asking.answer.send(granted).ok()).ok_or_else(|| {
            Error::new(Code::QuestionGone, format!("nobody waits for the answer to question {question}"))
        })
    }

    /// Waits until the last one has gone who may answer.
    async fn abandoned(&self) {
        loop {
            let answering = self.answering();
            if answering.is_empty() {
                return;
            }
            join_all(answering.iter().map(mpsc::Sender::closed)).await;
        }
    }
}

impl Inner {
    fn tell(&mut self, told: &Told) {
        self.watchers.retain(|watcher| match watcher.told.try_send(told.clone()) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "a watcher of a run is gone, or too slow");
                false
            }
        });
    }
}

impl Watch for Relay {
    fn event(&self, event: Event<'_>) {
        let effect = |identity: &Identity, kind: Option<Kind>, subject: &str| Effect {
            scope: identity.scope.clone(),
            counter: identity.counter,
            name: identity.name.clone(),
            kind: kind.map_or("", Kind::as_str),
            subject: subject.to_owned(),
        };
        let told = match event {
            Event::Started { identity, kind, subject } => {
                Told::Started(effect(identity, Some(kind), subject))
            }
            Event::Held { identity, reason } => Told::Held(effect(identity, None, ""), reason.to_owned()),
            Event::Ended { identity, kind, subject, action, error, millis } => Told::Ended {
                effect: effect(identity, Some(kind), subject),
                action: word(action),
                error: error.cloned(),
                millis,
            },
        };
        Metrics::shared().told(&told);
        self.tell(told);
    }

    fn log(&self, level: Level, scope: &str, message: &str, fields: Option<&str>) {
        self.line(0, level, scope, message, fields);
    }

    fn line(&self, number: u64, level: Level, scope: &str, message: &str, fields: Option<&str>) {
        let level = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Print => "print",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        self.tell(Told::Log {
            level: level.to_owned(),
            scope: scope.to_owned(),
            number,
            message: message.to_owned(),
            fields: fields.map(str::to_owned),
        });
    }

    fn progress(&self, scope: &str, value: &str) {
        self.tell(Told::Progress { scope: scope.to_owned(), value: value.to_owned() });
    }

    fn module(&self, module: &Module) {
        let mut inner = self.inner();
        if inner.modules.insert(module.name.clone()) {
            let source = Arc::from(module.source.as_str());
            inner.tell(&Told::Module { name: module.name.clone(), source });
        }
    }

    fn interrupted(&self, hard: bool, cancelled: bool) {
        self.tell(Told::Interrupted { hard, cancelled });
    }

    fn approver(self: Arc<Self>, stopping: watch::Receiver<bool>) -> Option<Arc<dyn Approver>> {
        Some(Arc::new(Asker { relay: self, stopping }))
    }
}

fn word(action: Action) -> String {
    let word = serde_json::to_value(action).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Asks whoever watches and may answer.
struct Asker {
    relay: Arc<Relay>,
    stopping: watch::Receiver<bool>,
}

#[async_trait]
impl Approver for Asker {
    async fn ask(&self, question: Question<'_>) -> Verdict {
        if self.relay.answering().is_empty() {
            return Verdict::Refused;
        }
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut inner = self.relay.inner();
            inner.last_question += 1;
            let id = inner.last_question;
            let told = Told::Question {
                id,
                effect: question.effect.to_owned(),
                subject: question.subject.to_owned(),
                place: question.place.map(|place| (place.file.clone(), place.line)),
                missing: question.missing.to_vec(),
            };
            inner.tell(&told);
            inner.questions.insert(id, Asking { told, answer });
            id
        };
        let mut stopping = self.stopping.clone();
        let verdict = tokio::select! {
            answered = answered => match answered {
                Ok(true) => Verdict::Granted,
                Ok(false) => Verdict::Refused,
                Err(_) => Verdict::Stopped,
            },
            Ok(_) = stopping.wait_for(|stopping| *stopping) => Verdict::Stopped,
            // Whoever could have answered is gone: nothing is decided.
            () = self.relay.abandoned() => Verdict::Stopped,
        };
        self.relay.inner().questions.remove(&id);
        verdict
    }
}

#[cfg(test)]
mod tests;
