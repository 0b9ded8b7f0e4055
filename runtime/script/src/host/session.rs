//! Owns the conversation with one worker: starts what it asks for, writes what completes, and ends it when it is over,
//! when it breaks a rule or when it takes too long.

use std::cell::Cell;
use std::future::Future;
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::unix::process::ExitStatusExt;
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::rc::Rc;

use effect::{Code, Error};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::checks::{Blocked, Checks};
use super::deadline::Deadline;
use super::drain::drain;
use super::pipe::{self, Incoming, Outgoing};
use super::spawn::Process;
use super::{Effects, Ended, Failure, Interrupt, Launch, LimitHit, Lost, Reply, Request};
use crate::Limits;
use crate::protocol::{
    Asked, Failed, FrameError, HistoryItem, Mode, Module, Outcome, Place, ScriptError, Start, ToHost,
    ToWorker, WhichLimit, arguments_hash,
};

/// How many history items are asked for at once.
const HISTORY_BATCH: usize = 1000;
/// History is read ahead until this much waits to be written.
const HISTORY_AHEAD: usize = 1 << 20;
/// One history frame is closed when it reaches this size.
const HISTORY_FRAME: usize = 256 << 10;

pub(super) type Task<'a, S> = Pin<Box<dyn Future<Output = Event<S>> + 'a>>;

/// Something that the run's effects came back with.
pub(super) enum Event<S> {
    Replied {
        id: u64,
        reply: Reply<S>,
    },
    /// The run ended before this effect's turn came.
    NotStarted,
    Module(Result<Module, Error>),
    History(Result<Vec<HistoryItem>, Error>),
}

#[derive(PartialEq, Eq)]
enum History {
    /// More may be read.
    Wanted,
    /// Being read.
    Fetching,
    /// All of it has been sent.
    Ended,
}

/// One conversation.
pub(super) struct Session<'a, E: Effects> {
    launch: Launch,
    effects: &'a E,
    worker: Process,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    incoming: Incoming,
    outgoing: Outgoing,
    checks: Checks,
    deadline: Deadline,
    wall: Option<Instant>,
    history: History,
    replayed_all: bool,
    described: bool,
    tasks: FuturesUnordered<Task<'a, E::Stop>>,
    /// The conversation is over: no further effect is started.
    over: Rc<Cell<bool>>,
    /// Where the script last asked for something.
    last_place: Place,
}

impl<'a, E: Effects> Session<'a, E> {
    pub(super) fn new(
        launch: Launch,
        effects: &'a E,
        worker: Process,
        stream: tokio::net::UnixStream,
    ) -> Self {
        let (reader, writer) = pipe::halves(stream);
        Self {
            checks: Checks::new(&launch.limits, &launch.effects),
            deadline: Deadline::starting(launch.limits.exec),
            wall: launch.limits.wall.map(|wall| Instant::now() + wall),
            history: if launch.resumed { History::Wanted } else { History::Ended },
            replayed_all: true,
            described: false,
            launch,
            effects,
            worker,
            reader,
            writer,
            incoming: Incoming::new(),
            outgoing: Outgoing::new(),
            tasks: FuturesUnordered::new(),
            over: Rc::default(),
            last_place: Place::default(),
        }
    }

    pub(super) async fn run(mut self, mut interrupt: watch::Receiver<Interrupt>) -> Ended<E::Stop> {
        let ended = match self.start() {
            Ok(()) => self.converse(&mut interrupt).await,
            Err(error) => self.broken(&error).await,
        };
        self.over.set(true);
        self.worker.end().await;
        drain(self.tasks, self.effects, ended, &mut interrupt).await
    }

    fn start(&mut self) -> Result<(), FrameError> {
        let start = Start {
            limits: self.launch.limits.clone(),
            mode: self.launch.mode,
            effects: self.launch.effects.clone(),
            rewinds: self.launch.rewinds.clone(),
            args: self.launch.args.clone(),
            params: self.launch.params.clone(),
            seed: self.launch.seed,
            script: Module {
                name: self.launch.name.clone(),
                source: std::mem::take(&mut self.launch.source),
            },
            event: self.launch.event.clone(),
            resumed: self.launch.resumed,
        };
        self.outgoing.push(&ToWorker::Start(Box::new(start)))
    }

    async fn converse(&mut self, interrupt: &mut watch::Receiver<Interrupt>) -> Ended<E::Stop> {
        let mut timer = pin!(tokio::time::sleep_until(self.look_again()));
        let mut interruptible = true;
        loop {
            match self.hear() {
                Ok(Break(ended)) => return ended,
                Ok(Continue(())) => {}
                Err(Rule(reason)) => return self.rule_broken(&reason).await,
            }
            self.read_ahead();
            self.outgoing.write_some(&self.writer);
            if self.look_again() < timer.deadline() {
                timer.as_mut().reset(self.look_again());
            }
            tokio::select! {
                asked = interrupt.wait_for(|asked| *asked != Interrupt::None), if interruptible => match asked {
                    Ok(_) => return Ended::Interrupted,
                    // Nobody can interrupt this run any more.
                    Err(_) => interruptible = false,
                },
                Some(event) = self.tasks.next(), if !self.tasks.is_empty() => {
                    if let Break(ended) = self.happened(event) {
                        return ended;
                    }
                }
                filled = self.incoming.fill(&mut self.reader) => {
                    if !matches!(filled, Ok(1..)) {
                        return self.lost().await;
                    }
                }
                _ = self.writer.writable(), if self.outgoing.pending() > 0 => {}
                () = &mut timer => match self.overdue() {
                    Some(which) => return self.limit(which, Place::default(), Vec::new()),
                    None => timer.as_mut().reset(self.look_again()),
                }
            }
        }
    }

    fn look_again(&self) -> Instant {
        let deadline = self.deadline.look_again();
        self.wall.map_or(deadline, |wall| wall.min(deadline))
    }

    fn overdue(&mut self) -> Option<WhichLimit> {
        if self.wall.is_some_and(|wall| wall <= Instant::now()) {
            return Some(WhichLimit::Wall);
        }
        // A worker that has replayed all we sent waits for us, not we for it.
        let waits_for_history = self.history != History::Ended && self.replayed_all;
        (!waits_for_history && self.deadline.passed()).then_some(WhichLimit::Execution)
    }

    /// Takes in every frame that has arrived.
    fn hear(&mut self) -> Result<ControlFlow<Ended<E::Stop>>, Rule> {
        while let Some((frame, length)) = self.incoming.frame().map_err(|error| Rule(error.to_string()))? {
            if let Break(ended) = self.heard(frame, length)? {
                return Ok(Break(ended));
            }
        }
        Ok(Continue(()))
    }

    fn heard(&mut self, frame: ToHost, length: usize) -> Result<ControlFlow<Ended<E::Stop>>, Rule> {
        match frame {
            ToHost::Ready { landlock } => {
                self.effects.confined(landlock);
                self.deadline.arm();
            }
            ToHost::Request(asked) => return self.request(asked),
            ToHost::Cancel { id } => {
                if let Some((scope, counter)) = self.checks.cancel(id)? {
                    self.effects.cancel(scope, counter);
                }
            }
            ToHost::Require { from, path } => self.require(from, path)?,
            ToHost::Log(line) => {
                if self.counts_as_output(length) {
                    return Ok(Break(self.limit(WhichLimit::Output, line.place, Vec::new())));
                }
                self.effects.log(line);
            }
            ToHost::Progress(progress) => {
                if self.counts_as_output(length) {
                    return Ok(Break(self.limit(WhichLimit::Output, Place::default(), Vec::new())));
                }
                self.effects.progress(progress);
            }
            ToHost::Blocked { open, answered } => match self.checks.blocked(&open, answered)? {
                Blocked::Waits => self.deadline.disarm(),
                Blocked::Progressed => self.deadline.arm(),
                Blocked::Same => {}
            },
            ToHost::Replayed { count } => {
                if self.checks.replayed(count)? {
                    self.deadline.arm();
                }
                self.replayed_all = self.checks.replayed_all();
            }
            ToHost::PlanEnded(end) => {
                self.checks.plan_end()?;
                self.effects.plan_ended(end);
            }
            ToHost::Described(description) => {
                if self.launch.mode != Mode::Read || self.described {
                    return Err(Rule("a description that nobody asked for".to_owned()));
                }
                self.described = true;
                self.effects.described(description);
            }
            last => return Ok(Break(self.last_word(last))),
        }
        Ok(Continue(()))
    }

    /// The frames with which a worker ends.
    fn last_word(&self, frame: ToHost) -> Ended<E::Stop> {
        match frame {
            ToHost::Done { plan_ended } => Ended::Done { plan_ended },
            ToHost::Failed(failed) => Ended::Failed(failure(*failed)),
            ToHost::Limit { which, place, stack } => self.limit(which, place, stack),
            ToHost::Diverged(divergence) => Ended::Diverged(divergence),
            ToHost::Unconfined { reason } => Ended::Lost(Lost {
                error: Error::new(Code::WorkerSandbox, "the worker could not lock itself in").because(reason),
                status: "ended by itself".to_owned(),
            }),
            ToHost::Panicked { message } => Ended::Lost(Lost {
                error: Error::new(Code::WorkerLost, "the worker's own code failed").because(message),
                status: "ended by itself".to_owned(),
            }),
            _ => unreachable!("`heard` takes every other frame"),
        }
    }

    fn counts_as_output(&mut self, length: usize) -> bool {
        self.checks.output(length) > output_on_the_pipe(self.launch.limits.output)
    }

    fn request(&mut self, asked: Asked) -> Result<ControlFlow<Ended<E::Stop>>, Rule> {
        self.checks.request(&asked)?;
        if self.launch.limits.effects.is_some_and(|most| self.checks.effects() > most) {
            return Ok(Break(self.limit(WhichLimit::Effects, asked.place, Vec::new())));
        }
        let effects = self.effects;
        let Asked { id, scope, counter, name, args, place } = asked;
        let hash = arguments_hash(args.get());
        self.last_place.clone_from(&place);
        let request = Request { id, scope, counter, name, args, hash, place };
        let over = self.over.clone();
        let performed = effects.perform(request);
        self.tasks.push(Box::pin(async move {
            if over.get() {
                return Event::NotStarted;
            }
            Event::Replied { id, reply: performed.await }
        }));
        Ok(Continue(()))
    }

    fn require(&mut self, from: String, path: String) -> Result<(), Rule> {
        self.checks.require()?;
        let effects = self.effects;
        self.tasks.push(Box::pin(async move { Event::Module(effects.module(&from, &path).await) }));
        Ok(())
    }

    fn read_ahead(&mut self) {
        if self.history == History::Wanted && self.outgoing.pending() < HISTORY_AHEAD {
            self.history = History::Fetching;
            let effects = self.effects;
            self.tasks.push(Box::pin(async { Event::History(effects.next_history(HISTORY_BATCH).await) }));
        }
    }

    fn happened(&mut self, event: Event<E::Stop>) -> ControlFlow<Ended<E::Stop>> {
        let pushed = match event {
            Event::Replied { id, reply: Reply::Answer(answer) } => self.answer(id, answer),
            Event::Replied { reply: Reply::Stop(stop), .. } => return Break(Ended::Stopped(stop)),
            Event::NotStarted => Ok(()),
            Event::Module(module) => {
                let outcome =
                    module.and_then(|module| within_source_limit(module, self.launch.limits.source));
                self.outgoing.push(&ToWorker::Module { outcome })
            }
            Event::History(Ok(items)) => self.history_arrived(items),
            Event::History(Err(error)) => return Break(Ended::Host(error)),
        };
        match pushed {
            Ok(()) => Continue(()),
            Err(error) => Break(Ended::Host(too_long(&error))),
        }
    }

    fn answer(
        &mut self,
        id: u64,
        answer: Result<Box<serde_json::value::RawValue>, Error>,
    ) -> Result<(), FrameError> {
        let outcome = match answer {
            Ok(result) => Outcome::Ok(result),
            Err(error) => Outcome::error(&error),
        };
        self.checks.answer(id);
        self.deadline.arm();
        match self.outgoing.push(&ToWorker::Answer { id, outcome }) {
            Err(error) => {
                self.outgoing.push(&ToWorker::Answer { id, outcome: Outcome::error(&too_long(&error)) })
            }
            Ok(()) => Ok(()),
        }
    }

    fn history_arrived(&mut self, items: Vec<HistoryItem>) -> Result<(), FrameError> {
        self.deadline.arm();
        if items.is_empty() {
            self.history = History::Ended;
            return self.outgoing.push(&ToWorker::HistoryEnd);
        }
        self.history = History::Wanted;
        self.replayed_all = false;
        self.checks.sent_history(items.len());
        let mut batch = Vec::new();
        let mut size = 0;
        for item in items {
            size += item_size(&item);
            batch.push(item);
            if size >= HISTORY_FRAME {
                self.outgoing.push(&ToWorker::History(std::mem::take(&mut batch)))?;
                size = 0;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.outgoing.push(&ToWorker::History(batch)) }
    }

    fn limit(&self, which: WhichLimit, place: Place, stack: Vec<crate::protocol::Frame>) -> Ended<E::Stop> {
        let mut error = limit_error(which, &self.launch.limits);
        if place.line == 0 && self.last_place.line > 0 {
            error = error.detail(format!("after {}:{}", self.last_place.file, self.last_place.line));
        }
        Ended::Limit(LimitHit { which, error, place, stack })
    }

    async fn lost(&mut self) -> Ended<E::Stop> {
        let status = self.worker.gone().await;
        // Outside of the VM's own count an allocation that fails aborts: the address space is bounded for that reason.
        if status.is_some_and(|status| status.signal() == Some(libc::SIGABRT)) {
            return self.limit(WhichLimit::Memory, Place::default(), Vec::new());
        }
        let error = Error::new(Code::WorkerLost, format!("the worker died: {}", describe(status)))
            .hint("the run can be resumed");
        Ended::Lost(Lost { error, status: describe(status) })
    }

    async fn rule_broken(&mut self, reason: &str) -> Ended<E::Stop> {
        let status = self.worker.end().await;
        let error =
            Error::new(Code::WorkerProtocol, "the worker broke the protocol and was ended").because(reason);
        Ended::Lost(Lost { error, status: describe(status) })
    }

    async fn broken(&mut self, error: &FrameError) -> Ended<E::Stop> {
        self.worker.end().await;
        Ended::Host(too_long(error))
    }
}

/// The worker broke a rule of the conversation.
struct Rule(String);

impl From<String> for Rule {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// The worker counts what the script wrote; on the pipe it is wrapped, so the host's own bound is wider.
fn output_on_the_pipe(limit: u64) -> u64 {
    limit.saturating_mul(8).saturating_add(1 << 20)
}

fn within_source_limit(module: Module, limit: u64) -> Result<Module, Error> {
    match source_error(&module.name, module.source.len(), limit) {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// The error for a source file of `length` bytes, if that is above the limit.
pub(super) fn source_error(name: &str, length: usize, limit: u64) -> Option<Error> {
    (length as u64 > limit).then(|| {
        Error::new(Code::LimitSource, format!("`{name}` is {length} bytes long, the limit is {limit}"))
            .hint("split it into modules, or raise `--limit source`")
    })
}

fn item_size(item: &HistoryItem) -> usize {
    let (Outcome::Ok(value) | Outcome::Err(value)) = &item.outcome;
    value.get().len() + item.scope.len() + item.name.len() + item.hash.len() + 64
}

fn too_long(error: &FrameError) -> Error {
    Error::new(Code::TooLarge, "a value is too large for the pipe to the worker").because(error)
}

fn limit_error(which: WhichLimit, limits: &Limits) -> Error {
    let size = effect::units::Size;
    let span = effect::units::Span;
    let (message, hint) = match which {
        WhichLimit::Memory => {
            (format!("the script used more than {} of memory", size(limits.memory)), "--limit memory=256MiB")
        }
        WhichLimit::Execution => (
            format!("the script computed for more than {} between two effects", span(limits.exec)),
            "--limit exec=30s",
        ),
        WhichLimit::Wall => {
            let wall = limits.wall.map_or_else(|| "its limit".to_owned(), |wall| span(wall).to_string());
            (format!("the run took longer than {wall}"), "--limit wall=none")
        }
        WhichLimit::Effects => {
            let most = limits.effects.map_or_else(|| "its limit of".to_owned(), |most| most.to_string());
            (format!("the run performed more than {most} effects"), "--limit effects=none")
        }
        WhichLimit::Output => {
            (format!("the script wrote more than {} of output", size(limits.output)), "--limit output=64MiB")
        }
    };
    Error::new(which.code(), message).hint(format!("if that is meant, resume the run with `{hint}`"))
}

pub(super) fn failure(failed: Failed) -> Failure {
    Failure { error: script_error(failed.error), place: failed.place, stack: failed.stack }
}

/// A script may raise a table under any code; one that is not ours becomes part of the message.
fn script_error(error: ScriptError) -> Error {
    let (code, message) = match error.code.parse::<Code>() {
        Ok(code) => (code, error.message),
        Err(_) if error.code.is_empty() => (Code::Uncaught, error.message),
        Err(_) => (Code::Uncaught, format!("{}: {}", error.code, error.message)),
    };
    Error {
        cause: error.cause,
        hint: error.hint,
        effect: error.effect,
        retryable: error.retryable,
        details: error.details,
        missing: error.missing,
        ..Error::new(code, message)
    }
}

fn describe(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "its status is unknown".to_owned() };
    match status.signal() {
        Some(libc::SIGSYS) => "it made a system call that is forbidden to it (signal SIGSYS)".to_owned(),
        Some(libc::SIGSEGV | libc::SIGBUS | libc::SIGILL) => {
            format!("it crashed (signal {})", status.signal().unwrap_or_default())
        }
        Some(libc::SIGKILL) => "it was killed (signal SIGKILL)".to_owned(),
        Some(signal) => format!("it was ended by signal {signal}"),
        None => format!("it ended with status {}", status.code().unwrap_or_default()),
    }
}
