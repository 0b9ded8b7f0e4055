//! Owns the bridge between a worker's conversation and the corridor of its run: requests, history, modules, log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use effect::Session;
use journal::{Identity, Kind, Place};
use script::{HistoryItem, LogLine, Module, Modules, Outcome, PlanEnd, Progress, Reply, Request};
use tokio::sync::watch;

use crate::render::Watch;

/// Why the corridor ends a run before its script does.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The run pauses, or the journal is gone.
    Corridor(effect::Stop),
    /// A wait was given up because the run was asked to stop: it goes on with a resume.
    Parked,
}

/// One run's bridge.
pub(crate) struct Bridge<'a> {
    pub(crate) session: &'a Session,
    pub(crate) modules: Modules,
    pub(crate) watch: &'a dyn Watch,
    /// The kind of each effect, to know which only wait.
    pub(crate) kinds: HashMap<&'static str, Kind>,
    /// The last line of each scope that an earlier attempt has stored, and so shown.
    pub(crate) logged: HashMap<String, u64>,
    pub(crate) planning: bool,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) pinned: Mutex<Vec<String>>,
}

impl Bridge<'_> {
    async fn parked(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as the bridge, so this only ends when the run is asked to stop.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    async fn performed(&self, request: Request) -> Reply<Stop> {
        let Ok(counter) = u32::try_from(request.counter) else {
            let error =
                effect::Error::new(effect::Code::WorkerProtocol, "the worker counts beyond four billion");
            return Reply::Stop(Stop::Corridor(effect::Stop::Pause(error)));
        };
        let (name, scope) = (request.name.clone(), request.scope.clone());
        let waits = self.kinds.get(request.name.as_str()) == Some(&Kind::Wait);
        let request = effect::Request {
            identity: Identity { scope: request.scope, counter, name: request.name },
            arguments: request.args,
            place: place(request.place),
        };
        let performed = self.session.perform(request);
        let performed = if waits {
            tokio::select! {
                performed = performed => performed,
                () = self.parked() => return Reply::Stop(Stop::Parked),
            }
        } else {
            performed.await
        };
        match performed {
            Ok(answer) => {
                if let Some(remark) = answer
                    .as_ref()
                    .ok()
                    .and_then(|answer| containers::images::effects::remark_in(&name, answer.get()))
                {
                    self.watch.log(script::Level::Warn, &scope, &remark, None);
                }
                Reply::Answer(answer)
            }
            Err(stop) => Reply::Stop(Stop::Corridor(stop)),
        }
    }
}

impl script::Effects for Bridge<'_> {
    type Stop = Stop;

    fn perform(&self, request: Request) -> impl Future<Output = Reply<Stop>> {
        let working = self.session.working();
        async move {
            let _working = working;
            self.performed(request).await
        }
    }

    fn cancel(&self, scope: &str, counter: u64) {
        if let Ok(counter) = u32::try_from(counter) {
            self.session.cancel(scope, counter);
        }
    }

    async fn next_history(&self, limit: usize) -> effect::Result<Vec<HistoryItem>> {
        let recorded = self.session.next_history(limit).await?;
        recorded.into_iter().map(history_item).collect()
    }

    async fn module(&self, from: &str, path: &str) -> effect::Result<Module> {
        let module = self.modules.resolve(from, path)?;
        let is_new = {
            let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = !pinned.contains(&module.name);
            if is_new {
                pinned.push(module.name.clone());
            }
            is_new
        };
        if is_new && !self.planning {
            let shared = self.session.shared();
            shared.journal.pin_source(&shared.run, &module.name, &module.source).await?;
        }
        self.watch.module(&module);
        Ok(module)
    }

    fn log(&self, line: LogLine) {
        if self.logged.get(&line.scope).is_some_and(|last| line.number <= *last) {
            return;
        }
        let shared = self.session.shared();
        let message = shared.secrets.mask(&line.message).into_owned();
        let fields = line.fields.as_ref().map(|fields| {
            let fields = serde_json::from_str(fields.get()).unwrap_or_else(|error| {
                serde_json::Value::from(format!("(fields that cannot be decoded: {error})"))
            });
            self.session.masked(fields).to_string()
        });
        self.watch.line(line.number, line.level, &line.scope, &message, fields.as_deref());
        if self.planning {
            return;
        }
        let level = match line.level {
            script::Level::Debug => journal::Level::Debug,
            script::Level::Info | script::Level::Print => journal::Level::Info,
            script::Level::Warn => journal::Level::Warn,
            script::Level::Error => journal::Level::Error,
        };
        let at = shared.clock.now();
        let stored = journal::LogLine {
            scope: line.scope,
            number: line.number,
            level,
            message,
            fields,
            at,
            place: place(line.place),
        };
        shared.journal.log(&shared.run, stored);
    }

    fn progress(&self, progress: Progress) {
        self.watch.progress(&progress.scope, progress.value.get());
    }

    fn plan_ended(&self, end: PlanEnd) {
        self.session.plan_ended(end.scope, end.note, place(end.place));
    }

    fn stopping(&self) {
        self.stopping.send_replace(true);
    }
}

pub(crate) fn history_item(recorded: journal::Recorded) -> effect::Result<HistoryItem> {
    let broken = |error: serde_json::Error| {
        effect::Error::new(effect::Code::JournalBroken, "a recorded result cannot be decoded").because(error)
    };
    let raw = |text: Box<str>| serde_json::value::RawValue::from_string(text.into()).map_err(broken);
    let outcome = match recorded.outcome {
        journal::Outcome::Done(result) => Outcome::Ok(raw(result)?),
        journal::Outcome::Failed(error) => Outcome::Err(raw(error)?),
        journal::Outcome::Cancelled => {
            Outcome::error(&effect::Error::new(effect::Code::Cancelled, effect::session::GIVEN_UP))
        }
    };
    let hash = format!("{:032x}", u128::from_be_bytes(recorded.arguments_hash));
    Ok(HistoryItem {
        scope: recorded.identity.scope,
        counter: recorded.identity.counter.into(),
        name: recorded.identity.name,
        hash,
        outcome,
    })
}

fn place(place: script::Place) -> Option<Place> {
    (place.line > 0).then_some(Place { file: place.file, line: place.line })
}
