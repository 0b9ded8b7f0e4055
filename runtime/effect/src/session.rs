//! Owns the way of one run's effects: decode, capability, then replay or read, begin, apply, end; in a plan read and
//! diff only. Nothing else touches the world. Leaves the worker's side to the `script` crate.

mod act;
mod ensure;
mod outcome;
mod planning;
mod turnstile;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::{Begin, Begun, Identity, Journal, Lease, Open, Place, Recorded, RunId, RunState, Timestamp};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::context::Shared;
use crate::erased::{Call, Operation, ReadCall, WaitCall};
use crate::plan::Plan;
use crate::{Action, Code, Context, Error, Kind, Mode, Need, Registry, Result};

pub use outcome::journal_error;
use outcome::{parse_error, raw, recorded_form};
use turnstile::Turnstile;

/// One call of an effect, as the worker asks for it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Branch scope, counter and name.
    pub identity: Identity,
    /// The arguments in canonical JSON (sorted keys, no white space).
    pub arguments: Box<RawValue>,
    /// Where the script calls it.
    pub place: Option<Place>,
}

/// What the script gets back.
pub type Answer = Result<Box<RawValue>>;

/// Why a run cannot go on now, although its script did nothing wrong.
#[derive(Debug, Clone)]
pub enum Stop {
    /// It pauses: doubt or divergence. An operator decides.
    Pause(Error),
    /// The journal cannot be written: nothing may act any more.
    Broken(Error),
}

impl From<journal::Error> for Stop {
    fn from(error: journal::Error) -> Self {
        Stop::Broken(journal_error(error))
    }
}

/// What happens in a run, for whoever watches it.
#[derive(Debug)]
pub enum Event<'a> {
    /// An effect is under way.
    Started {
        /// Its identity.
        identity: &'a Identity,
        /// Its kind.
        kind: Kind,
        /// The object.
        subject: &'a str,
    },
    /// An effect has ended.
    Ended {
        /// Its identity.
        identity: &'a Identity,
        /// Its kind.
        kind: Kind,
        /// The object.
        subject: &'a str,
        /// What was done.
        action: Action,
        /// Why it failed.
        error: Option<&'a Error>,
        /// Milliseconds from start to end.
        millis: i64,
    },
}

/// Watches a run.
pub trait Observer: Send + Sync {
    /// Called in order, never concurrently; must not block.
    fn event(&self, event: Event<'_>);
}

/// The operator's words on acts in doubt.
#[derive(Debug, Clone, Default)]
pub struct Decisions {
    /// For the only act in doubt.
    pub only: Option<Decision>,
    /// For named ones, by scope and counter.
    pub named: HashMap<(String, u32), Decision>,
}

impl Decisions {
    fn on(&self, identity: &Identity) -> Option<Decision> {
        self.named.get(&(identity.scope.clone(), identity.counter)).copied().or(self.only)
    }
}

/// The operator's word on an act in doubt: `resume --doubt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Do it again.
    Redo,
    /// It took place.
    Done,
    /// Raise an error in the script.
    Fail,
}

/// The corridor of one run.
pub struct Session {
    registry: Arc<Registry>,
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
    decisions: Decisions,
    turnstile: Turnstile,
    progress: Mutex<Progress>,
    /// Why an end that nobody waited for could not be recorded.
    lost: Arc<Mutex<Option<journal::Error>>>,
}

#[derive(Default)]
struct Progress {
    /// The last counter of each scope, recorded or performed.
    counters: HashMap<String, u32>,
    /// Begun and not ended when the run was resumed, until the script asks again.
    open: BTreeMap<(String, u32), Open>,
    /// How far the recorded history has been handed to the worker.
    replayed: u64,
    leases: HashMap<String, Lease>,
    /// Requests under way that only wait for a long time, and all others.
    parked: usize,
    working: usize,
    shown_waiting: bool,
    plan: Plan,
}

impl Session {
    /// The corridor for a run. A resumed run passes its entries that are begun and not ended.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        shared: Shared,
        observer: Arc<dyn Observer>,
        open: Vec<Open>,
        decisions: Decisions,
    ) -> Self {
        let open = open
            .into_iter()
            .map(|entry| ((entry.identity.scope.clone(), entry.identity.counter), entry))
            .collect();
        Self {
            registry,
            shared: Arc::new(shared),
            observer,
            decisions,
            turnstile: Turnstile::default(),
            progress: Mutex::new(Progress { open, ..Progress::default() }),
            lost: Arc::default(),
        }
    }

    /// What all effects of the run share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Performs one request.
    ///
    /// # Errors
    /// A [`Stop`] when the run must not go on; an effect's own failure is an `Err` inside the answer.
    pub async fn perform(&self, request: Request) -> Result<Answer, Stop> {
        self.check_ends()?;
        let open = self.claim(&request)?;
        let context = Context {
            shared: self.shared.clone(),
            identity: request.identity.clone(),
            resumed: open.is_some(),
        };
        let effect = match self.registry.find(&request.identity.name) {
            Ok(effect) => effect,
            Err(error) => return self.reject(&request, Kind::Read, error).await,
        };
        let kind = effect.kind();
        let admitted = parse_arguments(&request).and_then(|value| {
            let mut secrets = secrets_in(&value);
            let call = effect.decode(value)?;
            let mut needs = call.needs()?;
            // A handle proves nothing: it comes from the worker.
            needs.append(&mut secrets);
            Ok((call, needs))
        });
        let (call, needs) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return self.reject(&request, kind, error).await,
        };
        let permitted = context.policy.check(&request.identity.name, &needs);
        match (self.shared.mode, permitted) {
            (Mode::Plan, permitted) => {
                Ok(self.plan(&request, kind, &*call, &context, (&needs, permitted)).await)
            }
            (Mode::Run, Err(error)) => self.reject(&request, kind, error).await,
            (Mode::Run, Ok(())) => self.run(&request, kind, &*call, &context, open).await,
        }
    }

    /// Takes the identity of a request, which must be the next of its scope or one that was begun before.
    fn claim(&self, request: &Request) -> Result<Option<Open>, Stop> {
        let identity = &request.identity;
        let mut progress = self.progress();
        let open = progress.open.remove(&(identity.scope.clone(), identity.counter));
        let last = progress.counters.entry(identity.scope.clone()).or_default();
        if open.is_none() && identity.counter != *last + 1 {
            let expected = *last + 1;
            let error = Error::new(
                Code::WorkerProtocol,
                format!("the worker numbered `{identity}` where {expected} follows"),
            );
            return Err(Stop::Pause(error));
        }
        *last = (*last).max(identity.counter);
        drop(progress);
        match open {
            Some(open)
                if open.identity.name != identity.name || open.arguments_hash != hash(&request.arguments) =>
            {
                let requested = format!("{} {}", identity.name, request.arguments.get());
                let recorded = format!("{} {}", open.identity.name, open.arguments);
                Err(Stop::Pause(divergence(identity, &recorded, &requested, request.place.as_ref())))
            }
            open => Ok(open),
        }
    }

    async fn run(
        &self,
        request: &Request,
        kind: Kind,
        call: &dyn Call,
        context: &Context,
        open: Option<Open>,
    ) -> Result<Answer, Stop> {
        if let (Some(service), true) = (call.lease(), kind != Kind::Read) {
            self.hold(&service).map_err(|error| Stop::Pause(self.attribute(error, request)))?;
        }
        let subject = call.subject();
        let started = self.shared.clock.now();
        self.observer.event(Event::Started { identity: &request.identity, kind, subject: &subject });
        let parks = matches!(call.operation(), Operation::Wait(wait) if wait.parks());
        let under_way = UnderWay::new(self, parks);
        self.show_state().await?;
        let (action, answer) = match call.operation() {
            Operation::Read(read) => (Action::Read, self.read(request, read, context).await?),
            Operation::Ensure(ensure) => self.ensure(request, ensure, context, open).await?,
            Operation::Act(act) => (Action::Act, self.act(request, act, context, open).await?),
            Operation::Wait(wait) => (Action::Wait, self.wait(request, wait, context).await?),
        };
        drop(under_way);
        self.show_state().await?;
        self.check_journal(&answer).await?;
        self.observer.event(Event::Ended {
            identity: &request.identity,
            kind,
            subject: &subject,
            action,
            error: answer.as_ref().err(),
            millis: self.shared.clock.now().0 - started.0,
        });
        Ok(answer)
    }

    /// Holds the lease of a service until the run ends.
    fn hold(&self, service: &str) -> Result<()> {
        let mut progress = self.progress();
        if progress.leases.contains_key(service) {
            return Ok(());
        }
        let why = format!("changes service {service}");
        let lease = self.shared.journal.lease(&self.shared.node, service, &self.shared.run, &why)?;
        progress.leases.insert(service.to_owned(), lease);
        Ok(())
    }

    /// An effect that could not read or write our own records is no matter of the script: the run stops.
    async fn check_journal(&self, answer: &Answer) -> Result<(), Stop> {
        match answer {
            Err(error) if matches!(error.code, Code::DiskFull | Code::JournalBroken) => {
                Ok(self.journal().barrier().await?)
            }
            _ => Ok(()),
        }
    }

    /// Shows the run as waiting while all that is under way only waits.
    async fn show_state(&self) -> Result<(), Stop> {
        let state = {
            let mut progress = self.progress();
            let waits = progress.parked > 0 && progress.working == 0;
            if waits == progress.shown_waiting {
                return Ok(());
            }
            progress.shown_waiting = waits;
            if waits { RunState::Waiting } else { RunState::Running }
        };
        Ok(self.journal().set_state(&self.shared.run, state, None, None).await?)
    }

    async fn read(&self, request: &Request, read: &dyn ReadCall, context: &Context) -> Result<Answer, Stop> {
        let result = read.read(context).await;
        self.end(request, Kind::Read, Ending::unchanged(result)).await
    }

    async fn wait(&self, request: &Request, wait: &dyn WaitCall, context: &Context) -> Result<Answer, Stop> {
        let until = wait.until(context.now());
        let begun = self.begin(request, Kind::Wait, Before { until, ..Before::default() }).await?;
        let result = wait.wait(context, begun.until).await;
        if let Err(error) = &result
            && error.code == Code::Paused
        {
            // Not ended: the resume goes on from here.
            return Err(Stop::Pause(self.attribute(self.masked_error(error.clone()), request)));
        }
        self.end(request, Kind::Wait, Ending::unchanged(result)).await
    }

    /// Ends a request that never reached its effect.
    async fn reject(&self, request: &Request, kind: Kind, error: Error) -> Result<Answer, Stop> {
        let error = self.attribute(error, request);
        if self.shared.mode == Mode::Plan {
            return Ok(self.plan_rejection(request, kind, error));
        }
        let subject = String::new();
        let answer = self.end(request, kind, Ending::unchanged(Err(error))).await?;
        self.observer.event(Event::Ended {
            identity: &request.identity,
            kind,
            subject: &subject,
            action: Action::None,
            error: answer.as_ref().err(),
            millis: 0,
        });
        Ok(answer)
    }

    fn attribute(&self, mut error: Error, request: &Request) -> Error {
        error.effect.get_or_insert_with(|| request.identity.name.clone());
        error
    }

    /// Makes a begin durable, together with every end before it.
    async fn begin(&self, request: &Request, kind: Kind, before: Before) -> Result<Begun, Stop> {
        let begin = Begin {
            identity: request.identity.clone(),
            kind,
            arguments: request.arguments.get().into(),
            arguments_hash: hash(&request.arguments),
            place: request.place.clone(),
            before: before.before.map(|value| self.masked(value).to_string()),
            change: before.change.map(|value| self.masked(value).to_string()),
            until: before.until,
        };
        Ok(self.journal().begin(&self.shared.run, begin).await?)
    }

    /// Records an end. The answer may reach the script before the end is durable; the world may not see it earlier,
    /// which the next begin takes care of.
    async fn end(&self, request: &Request, kind: Kind, ending: Ending) -> Result<Answer, Stop> {
        Ok(self.record(request, kind, ending).await?)
    }

    async fn record(&self, request: &Request, kind: Kind, ending: Ending) -> Result<Answer, journal::Error> {
        let answer = ending
            .result
            .and_then(|value| bounded(raw(&self.masked(value))?))
            .map_err(|error| self.attribute(self.masked_error(error), request));
        let outcome = match &answer {
            Ok(value) => journal::Outcome::Done(value.get().into()),
            Err(error) => journal::Outcome::Failed(recorded_form(error)),
        };
        let entry = journal::End {
            identity: request.identity.clone(),
            kind,
            arguments: request.arguments.get().into(),
            arguments_hash: hash(&request.arguments),
            place: request.place.clone(),
            before: ending.before.map(|value| self.masked(value).to_string()),
            outcome,
            writes: ending.writes,
            changed: ending.changed,
        };
        let turn = self.turnstile.take();
        let recorded = if ending.at_once || !entry.writes.is_empty() {
            self.journal().end_now(&self.shared.run, entry).durable().await
        } else {
            self.watch_over(self.journal().end(&self.shared.run, entry));
            Ok(())
        };
        turn.pass().await;
        recorded.map(|()| answer)
    }

    /// A value without literal copies of secrets: what a program printed may contain one.
    #[must_use]
    pub fn masked(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.shared.secrets.mask(&text).into_owned()),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.masked(item)).collect()),
            Value::Object(fields) => {
                Value::Object(fields.into_iter().map(|(name, field)| (name, self.masked(field))).collect())
            }
            other => other,
        }
    }

    fn masked_error(&self, mut error: Error) -> Error {
        let mask = |text: &str| self.shared.secrets.mask(text).into_owned();
        error.message = mask(&error.message);
        error.cause = error.cause.as_deref().map(mask);
        error.details = error.details.iter().map(|line| mask(line)).collect();
        error
    }

    /// The next begin, or the group's delay, commits the end; nobody waits for it, but a script must not go on for long
    /// when it could not be recorded.
    fn watch_over(&self, ticket: journal::Ticket) {
        let lost = self.lost.clone();
        tokio::spawn(async move {
            if let Err(error) = ticket.await {
                lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
    }

    fn check_ends(&self) -> Result<(), Stop> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.clone().map_or(Ok(()), |error| Err(error.into()))
    }

    /// The next recorded completions, at most `limit`, for the worker to replay from; empty at their end.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn next_history(&self, limit: usize) -> Result<Vec<Recorded>> {
        let after = self.progress().replayed;
        let items = self.journal().history(&self.shared.run, after, limit).await?;
        for item in items.iter().filter(|item| item.identity.name == "secrets.get") {
            self.reveal_again(&item.outcome).await;
        }
        let mut progress = self.progress();
        for item in &items {
            progress.replayed = item.order;
            let last = progress.counters.entry(item.identity.scope.clone()).or_default();
            *last = (*last).max(item.identity.counter);
        }
        Ok(items)
    }

    /// A secret that an earlier attempt got is masked in this one too.
    async fn reveal_again(&self, outcome: &journal::Outcome) {
        let secret = outcome.text().and_then(|text| serde_json::from_str::<crate::Secret>(text).ok());
        for name in secret.iter().flat_map(crate::Secret::names) {
            if let Err(error) = self.shared.secrets.reveal(name).await {
                tracing::debug!(%error, "a secret of the recorded history cannot be masked");
            }
        }
    }

    /// What was begun before the run was resumed and not asked for again: the script has left its history.
    #[must_use]
    pub fn unclaimed(&self) -> Option<Error> {
        let progress = self.progress();
        let open = progress.open.values().next()?;
        let recorded = format!("{} {}", open.identity.name, open.arguments);
        Some(divergence(
            &open.identity,
            &recorded,
            "nothing: the script did not ask for it",
            open.place.as_ref(),
        ))
    }

    /// The plan so far; empty outside a plan.
    #[must_use]
    pub fn take_plan(&self) -> Plan {
        std::mem::take(&mut self.progress().plan)
    }

    /// Notes that a branch's plan ends at `place`.
    pub fn plan_ended(&self, scope: String, note: String, place: Option<Place>) {
        self.progress().plan.ends.push(crate::plan::End { scope, note, place });
    }

    fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// The run.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.shared.run
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request as long as it is under way, however it ends.
struct UnderWay<'a> {
    session: &'a Session,
    parks: bool,
}

impl<'a> UnderWay<'a> {
    fn new(session: &'a Session, parks: bool) -> Self {
        let mut progress = session.progress();
        *(if parks { &mut progress.parked } else { &mut progress.working }) += 1;
        Self { session, parks }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut progress = self.session.progress();
        *(if self.parks { &mut progress.parked } else { &mut progress.working }) -= 1;
    }
}

/// What a begin records.
#[derive(Default)]
struct Before {
    before: Option<Value>,
    change: Option<Value>,
    until: Option<Timestamp>,
}

/// What an end records.
struct Ending {
    result: Result<Value>,
    before: Option<Value>,
    writes: Vec<journal::Write>,
    changed: bool,
    /// Commit without waiting for company.
    at_once: bool,
}

impl Ending {
    fn unchanged(result: Result<Value>) -> Self {
        Self { result, before: None, writes: Vec::new(), changed: false, at_once: false }
    }
}

fn parse_arguments(request: &Request) -> Result<Value> {
    serde_json::from_str(request.arguments.get())
        .map_err(|error| Error::new(Code::WorkerProtocol, "the arguments are not JSON").because(error))
}

/// The capabilities for the secrets that arguments refer to.
fn secrets_in(value: &Value) -> Vec<Need> {
    match value {
        Value::Object(fields) if fields.contains_key("$secret") => {
            let secret = serde_json::from_value::<crate::Secret>(value.clone());
            secret.iter().flat_map(crate::Secret::names).map(|name| Need::read("secrets", name)).collect()
        }
        Value::Object(fields) => fields.values().flat_map(secrets_in).collect(),
        Value::Array(items) => items.iter().flat_map(secrets_in).collect(),
        _ => Vec::new(),
    }
}

/// What is recorded is what the script gets, so a result that cannot reach it is an error on both sides.
fn bounded(result: Box<RawValue>) -> Result<Box<RawValue>> {
    const GREATEST_RESULT: usize = 16 << 20;
    if result.get().len() <= GREATEST_RESULT {
        return Ok(result);
    }
    let message = format!(
        "the result has {} bytes, more than the {GREATEST_RESULT} that an effect may return",
        result.get().len()
    );
    Err(Error::new(Code::TooLarge, message).hint("ask for less, or put it into a file"))
}

/// The hash by which a resumed run recognises its arguments.
#[must_use]
pub fn hash(arguments: &RawValue) -> [u8; 16] {
    let hash = blake3::hash(arguments.get().as_bytes());
    hash.as_bytes().first_chunk().copied().expect("a BLAKE3 hash has 32 bytes")
}

/// A divergence that shows both sides.
#[must_use]
pub fn divergence(identity: &Identity, recorded: &str, requested: &str, place: Option<&Place>) -> Error {
    let at = place.map(|place| format!(" at {}:{}", place.file, place.line)).unwrap_or_default();
    Error::new(Code::Divergence, format!("effect {identity}{at} differs from the recorded history"))
        .detail(format!("recorded:  {}", clip(recorded)))
        .detail(format!("requested: {}", clip(requested)))
        .hint("the run is paused and nothing was done; `mcrun show RUN` lists its history")
}

fn clip(text: &str) -> String {
    const LONGEST: usize = 400;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The error that an effect recorded.
///
/// # Errors
/// `MC-J007` when it cannot be decoded.
pub fn recorded_error(text: &str) -> Result<Error> {
    parse_error(text)
}
