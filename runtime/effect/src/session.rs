//! Owns the way of one run's effects: decode, capability, then replay or read, begin, apply, end; in a plan read and
//! diff only. Nothing else touches the world. Leaves the worker's side to the `script` crate.

mod act;
mod cancelling;
mod ensure;
mod history;
mod leases;
mod outcome;
mod planning;
mod records;
mod rewind;
mod standing;
mod turnstile;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::{Identity, Journal, Lease, Open, Place, RunId, Work, Working};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};

use crate::approval::Approver;
use crate::checkpoint;
use crate::context::Shared;
use crate::declaration::Declared;
use crate::erased::{Call, Erased, Operation, ReadCall, WaitCall};
use crate::plan::Plan;
use crate::runs::Restore;
use crate::saved::Bound;
use crate::{Action, Code, Context, Error, Kind, Mode, Need, Registry, Result};

pub use cancelling::GIVEN_UP;
pub use history::{divergence, hash, recorded_error};
pub use leases::{Patience, take_lease};
pub use outcome::journal_error;
use outcome::raw;
use records::{Before, Ending, bounded, driven};
pub use standing::Kept;
use standing::UnderWay;
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
    /// It was asked to stop while it waited for a person's word or for a lease: nothing is decided.
    Unanswered,
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
    /// An effect cannot start yet: another run holds the service.
    Held {
        /// Its identity.
        identity: &'a Identity,
        /// Who holds it.
        reason: &'a str,
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
    /// Whoever may grant what the run lacks, and whose turn it is to be asked.
    approver: Option<Arc<dyn Approver>>,
    asking: tokio::sync::Mutex<()>,
    /// The saved plan that the run carries out.
    bound: Option<Bound>,
    /// How often a part of the run's history was forgotten.
    generation: u32,
    /// How long it waits for leases, one at a time, unless it is asked to stop.
    patience: Patience,
    leasing: tokio::sync::Mutex<()>,
    stopping: Option<watch::Receiver<bool>>,
    /// Whether all that is under way only waits.
    only_waits: watch::Sender<bool>,
    _working: Working,
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
    /// By service.
    leases: HashMap<String, Lease>,
    /// The service that an effect under way changes.
    under: HashMap<Identity, String>,
    /// Requests under way that only wait for a long time, and all others.
    parked: usize,
    working: usize,
    shown_waiting: bool,
    plan: Plan,
    /// Whom to tell that the outcome of an effect is no longer wanted, by scope and counter.
    cancels: HashMap<(String, u32), Arc<Notify>>,
    /// What was changed after runs that this one undoes.
    touched: HashMap<RunId, Arc<rewind::Touched>>,
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
            _working: shared.journal.working(Work::Run),
            registry,
            shared: Arc::new(shared),
            observer,
            decisions,
            turnstile: Turnstile::default(),
            progress: Mutex::new(Progress { open, ..Progress::default() }),
            approver: None,
            bound: None,
            generation: 0,
            patience: Patience::None,
            leasing: tokio::sync::Mutex::default(),
            stopping: None,
            asking: tokio::sync::Mutex::default(),
            only_waits: watch::Sender::new(false),
            lost: Arc::default(),
        }
    }

    /// The same corridor, in which a person is asked for what the run lacks.
    #[must_use]
    pub fn asking_for_approval(mut self, approver: Option<Arc<dyn Approver>>) -> Self {
        self.approver = approver;
        self
    }

    /// The same corridor, in which what was forgotten so often is done anew: not as another attempt at the same act.
    #[must_use]
    pub fn doing_again(mut self, generation: u32) -> Self {
        self.generation = generation;
        self
    }

    /// The same corridor, in which nothing acts otherwise than a saved plan says.
    #[must_use]
    pub fn bound_to(mut self, bound: Option<Bound>) -> Self {
        self.bound = bound;
        self
    }

    /// The same corridor, which waits for leases until it is asked to stop.
    #[must_use]
    pub fn patient(mut self, patience: Patience, stopping: watch::Receiver<bool>) -> Self {
        self.patience = patience;
        self.stopping = Some(stopping);
        self
    }

    pub(crate) fn approver(&self) -> Option<&Arc<dyn Approver>> {
        self.approver.as_ref()
    }

    pub(crate) fn asking(&self) -> &tokio::sync::Mutex<()> {
        &self.asking
    }

    /// What all effects of the run share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Counts an effect as being under way, from the moment at which it is known that it will be performed: whatever is
    /// performed beside it is then committed together.
    pub fn working(&self) -> Working {
        self.journal().working(Work::Effect)
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
        let admitted = match parse_arguments(&request) {
            Ok(arguments) if request.identity.name == Restore::NAME => {
                self.restoration(arguments, &context).await
            }
            Ok(arguments) => admitted(&**effect, arguments),
            Err(error) => Err(error),
        };
        let (call, needs) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return self.reject(&request, kind, error).await,
        };
        let permitted = context.policy.check(&request.identity.name, &needs);
        match (self.shared.mode, permitted) {
            (Mode::Plan, permitted) => {
                Ok(self.plan(&request, kind, &*call, &context, (&needs, permitted)).await)
            }
            (Mode::Run, Err(error)) => match self.approve(&request, &call.subject(), &needs, error).await? {
                Some(error) => self.reject(&request, kind, error).await,
                None => self.run(&request, kind, &*call, &context, open).await,
            },
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
            self.hold(&service, request).await?;
        }
        let subject = call.subject();
        // A wait that was cut is as long as it has been waited for in all.
        let begun = open.as_ref().filter(|_| kind == Kind::Wait).map(|open| open.begun_at);
        let started = begun.unwrap_or_else(|| self.shared.clock.now());
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
        self.progress().under.remove(&request.identity);
        self.uncancel(&request.identity);
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

    async fn read(&self, request: &Request, read: &dyn ReadCall, context: &Context) -> Result<Answer, Stop> {
        let result = driven(
            ("read:before", "read:after"),
            self.unless_cancelled(&request.identity, read.read(context)),
        )
        .await;
        let answer = self.end(request, Kind::Read, Ending::unchanged(result)).await?;
        if let (checkpoint::Folding::NAME, Ok(value)) = (request.identity.name.as_str(), &answer) {
            self.fold(request, value.get()).await?;
        }
        Ok(answer)
    }

    /// Behind the end, so that a replay meets neither it nor anything else of the finished checkpoint.
    async fn fold(&self, request: &Request, value: &str) -> Result<(), Stop> {
        match checkpoint::fold(&request.identity, request.arguments.get(), value) {
            Ok(fold) => Ok(self.journal().fold(&self.shared.run, fold).await?),
            Err(error) => Err(Stop::Broken(error)),
        }
    }

    async fn wait(&self, request: &Request, wait: &dyn WaitCall, context: &Context) -> Result<Answer, Stop> {
        let until = wait.until(context.now());
        let begun = self.begin(request, Kind::Wait, Before { until, ..Before::default() }).await?;
        let waited = self.unless_cancelled(&request.identity, wait.wait(context, begun.until));
        let result = driven(("wait:before", "wait:after"), waited).await;
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

fn parse_arguments(request: &Request) -> Result<Value> {
    serde_json::from_str(request.arguments.get())
        .map_err(|error| Error::new(Code::WorkerProtocol, "the arguments are not JSON").because(error))
}

fn admitted(effect: &dyn Erased, arguments: Value) -> Result<(Box<dyn Call>, Vec<Need>)> {
    let mut secrets = secrets_in(&arguments);
    let call = effect.decode(arguments)?;
    let mut needs = call.needs()?;
    // A handle proves nothing: it comes from the worker.
    needs.append(&mut secrets);
    Ok((call, needs))
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
