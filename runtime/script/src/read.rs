//! Owns the reading of a playbook's file: it is evaluated in a worker to learn what it says it is, without effects and
//! within narrow limits. What the description means is left to whoever keeps playbooks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use effect::{Code, Error};
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::host::{Effects, Ended, Failure, Interrupt, Launch, Reply, Request, Worker, run};
use crate::protocol::{Description, HistoryItem, LogLine, Mode, Module, Place, PlanEnd, Progress};
use crate::{Limits, Modules};

/// A file that was read.
#[derive(Debug)]
pub struct Reading {
    /// What it says it is.
    pub description: Description,
    /// The texts of the modules that its top requires, by the name by which they are loaded.
    pub modules: BTreeMap<String, String>,
}

/// What the reading of a file may use; `source` is the greatest size of one file, as in a run.
#[must_use]
pub fn limits(source: u64) -> Limits {
    Limits {
        memory: 8 << 20,
        // A thousand times what it takes: a loaded machine is not the file's fault.
        exec: Duration::from_secs(3),
        wall: Some(Duration::from_secs(30)),
        idle: None,
        effects: Some(0),
        output: 64 << 10,
        argument: 64 << 10,
        source,
        depth: 16,
    }
}

/// Evaluates the top of the file `name` with the text `source`. `effects` are the names of all effects; none is performed.
///
/// # Errors
/// `MC-L001` when it is no playbook, `MC-L002` when what it is given cannot be described, `MC-L003` when it has effects,
/// `MC-L004` when it takes too much; else what it fails with.
pub async fn read(
    worker: Worker,
    (name, source): (&str, &str),
    effects: Vec<String>,
    modules: &Modules,
    limit: u64,
) -> Result<Reading, Failure> {
    let launch = Launch {
        limits: limits(limit),
        mode: Mode::Read,
        effects,
        rewinds: BTreeMap::new(),
        args: Vec::new(),
        params: RawValue::from_string("{}".to_owned()).expect("an empty object is JSON"),
        seed: 0,
        name: name.to_owned(),
        source: source.to_owned(),
        event: None,
        resumed: false,
    };
    let reader = Reader { modules, required: RefCell::default(), description: Cell::new(None) };
    // Dropped at once: nobody interrupts a reading.
    let (_, never) = watch::channel(Interrupt::None);
    let ended = run(worker, launch, &reader, never).await;
    let description = reader.description.take();
    match (ended, description) {
        (Ended::Done { .. }, Some(description)) => {
            Ok(Reading { description, modules: reader.required.into_inner() })
        }
        (ended, _) => Err(failure(name, ended)),
    }
}

fn failure(name: &str, ended: Ended<std::convert::Infallible>) -> Failure {
    let without_place = |error| Failure { error, place: Place::default(), stack: Vec::new() };
    match ended {
        Ended::Failed(failure) => failure,
        Ended::Limit(hit) => Failure {
            error: Error::new(Code::PlaybookSize, format!("reading `{name}` takes too much"))
                .because(hit.error.message),
            place: hit.place,
            stack: hit.stack,
        },
        Ended::Lost(lost) => without_place(lost.error),
        Ended::Host(error) => without_place(error),
        Ended::Stopped(never) => match never {},
        Ended::Done { .. } | Ended::Diverged(_) | Ended::Interrupted => {
            let message = format!("reading `{name}` came to an end without a word");
            without_place(Error::new(Code::WorkerProtocol, message))
        }
    }
}

/// Finds modules and does nothing else.
struct Reader<'a> {
    modules: &'a Modules,
    required: RefCell<BTreeMap<String, String>>,
    description: Cell<Option<Description>>,
}

impl Effects for Reader<'_> {
    type Stop = std::convert::Infallible;

    /// The worker refuses them itself, with the place; its word is not trusted.
    async fn perform(&self, request: Request) -> Reply<Self::Stop> {
        let error = Error::new(Code::PlaybookEffect, "a file that is only read has no effects");
        Reply::Answer(Err(Error { effect: Some(request.name), ..error }))
    }

    async fn next_history(&self, _: usize) -> Result<Vec<HistoryItem>, Error> {
        Ok(Vec::new())
    }

    async fn module(&self, from: &str, path: &str) -> Result<Module, Error> {
        let module = self.modules.resolve(from, path)?;
        self.required.borrow_mut().insert(module.name.clone(), module.source.clone());
        Ok(module)
    }

    fn log(&self, _: LogLine) {}

    fn progress(&self, _: Progress) {}

    fn plan_ended(&self, _: PlanEnd) {}

    fn described(&self, description: Description) {
        self.description.set(Some(description));
    }
}
