//! Owns handing a run over to the daemon of the state directory, and following it there, so that what is seen of it is the
//! same as if it were executed here. What a run does is left to [`crate::execute`], the calls to [`daemon::api::client`].

mod all;
mod saying;
mod show;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use daemon::api::client::{Client, Heard, Watch as Telling};
use daemon::runs::{Told, Wish};
use effect::approval::{Approver, Question, Verdict};
use effect::session::{Decision, Decisions, Patience};
use effect::{Code, Error, Result};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use journal::{Place, Run, RunId, RunLock, RunState};
use tokio::sync::watch;

pub(crate) use self::all::follow_all;
use self::saying::Saying;
use crate::app::App;
use crate::execute::ear::Signals;
use crate::execute::going::ENDLESS;
use crate::execute::{self, Finished, Job, Trouble};
use crate::exit::Exit;
use crate::render::{self, Watch};

/// For a daemon that is about to open its socket, or to end.
const OPENING: Duration = Duration::from_secs(10);
/// For a daemon to come back.
const COMING_BACK: Duration = Duration::from_secs(20);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

/// The daemon of the state directory, where one holds it.
///
/// # Errors
/// `MC-V011` where it does not answer, `MC-V006` where the two do not understand one another: what it holds is not executed
/// here beside it.
pub(crate) async fn daemon(app: &App) -> Result<Option<Client>> {
    // The world of a test is its own.
    if app.kit.is_some() {
        return Ok(None);
    }
    let path = app.config.daemon.api.socket_in(&app.state);
    let mut patience = std::pin::pin!(tokio::time::sleep(OPENING));
    loop {
        let Some(holder) = app.journal.holder_of_daemon() else { return Ok(None) };
        let error = match Client::connect(&path).await {
            Ok(client) => return Ok(Some(client)),
            Err(error) if error.code == Code::ApiUnavailable => error,
            Err(error) => return Err(error),
        };
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_ATTEMPTS) => {}
            () = &mut patience => {
                let message = format!("{holder} holds the state directory and does not answer at `{}`", path.display());
                let cause = error.cause.unwrap_or(error.message);
                return Err(Error::new(Code::DaemonSilent, message).because(cause).retryable());
            }
        }
    }
}

/// A run that is executed by the daemon.
pub(crate) struct Following<'a> {
    app: &'a App,
    client: Client,
    run: RunId,
    watch: Arc<dyn Watch>,
    wish: Wish,
    /// Who is asked for capabilities that it lacks.
    approver: Option<Arc<dyn Approver>>,
    /// Whether it was asked to stop.
    stopping: watch::Sender<bool>,
    interrupts: u32,
}

/// A question that is being asked.
type Asking = Pin<Box<dyn Future<Output = (u64, Verdict)>>>;

impl<'a> Following<'a> {
    /// Hands a recorded run over, new where this command has recorded it. It is ours until then, so that nobody else begins
    /// with it.
    pub(crate) async fn begin(
        app: &'a App,
        client: Client,
        job: Job,
        watch: Arc<dyn Watch>,
        (lock, is_new): (RunLock, bool),
    ) -> Result<(Self, Option<Telling>)> {
        // Whatever was prepared for executing it here.
        drop(app.worker.take());
        let stopping = watch::Sender::new(false);
        let approver = if job.asks { watch.clone().approver(stopping.subscribe()) } else { None };
        let wish = Wish {
            patience: match job.patience {
                Patience::None => None,
                Patience::For(time) => Some(time),
                Patience::Endless => Some(ENDLESS),
            },
            asks: approver.is_some(),
            doubts: job.past.as_ref().map(|past| doubts(&past.decisions)).unwrap_or_default(),
            limits: job.raised.clone(),
            leave_plan: false,
        };
        let run = job.id;
        let taken = async {
            let telling = client.watch(&run, false, false).await?;
            // With the leases of a saved plan; the run takes them again.
            drop((job, lock));
            client.take(&run, &wish).await.map(|()| telling)
        };
        let telling = match taken.await {
            Ok(telling) => Some(telling),
            // It is recorded: the next daemon executes it.
            Err(error) if is_away(&error) => None,
            Err(error) if is_new => return Err(given_up(app, &run, error).await),
            Err(error) => return Err(error),
        };
        // What was in doubt is decided now.
        let wish = Wish { doubts: Vec::new(), ..wish };
        Ok((Self { app, client, run, watch, wish, approver, stopping, interrupts: 0 }, telling))
    }

    /// Follows a run that the daemon has begun by itself, from its beginning on.
    pub(crate) async fn join(
        app: &'a App,
        client: Client,
        run: RunId,
        watch: Arc<dyn Watch>,
    ) -> Result<(Self, Telling)> {
        // Whatever was prepared for executing it here.
        drop(app.worker.take());
        let telling = client.look_on(&run, true).await?;
        let (stopping, wish) = (watch::Sender::new(false), Wish::default());
        Ok((Self { app, client, run, watch, wish, approver: None, stopping, interrupts: 0 }, telling))
    }

    /// Follows it until it is over or paused.
    ///
    /// # Errors
    /// `MC-V010` where the daemon ends and does not come back.
    pub(crate) async fn follow(mut self, telling: Option<Telling>) -> Result<Finished> {
        let mut telling = match telling {
            Some(telling) => telling,
            None => match self.find_again(None).await? {
                Again::There(there) => there,
                Again::Over(finished) => return Ok(finished),
            },
        };
        let mut signals = Signals::open().ok();
        let mut asking: Option<Asking> = None;
        let mut saying: FuturesUnordered<Saying> = FuturesUnordered::new();
        loop {
            let heard = tokio::select! {
                biased;
                () = next(&mut signals) => {
                    if self.interrupts > 1 && !saying.is_empty() {
                        return Err(self.silent());
                    }
                    saying.push(self.interrupt());
                    continue;
                }
                Some(is_heard) = saying.next(), if !saying.is_empty() => match is_heard {
                    true => continue,
                    false => return Err(self.silent()),
                },
                (question, verdict) = answered(&mut asking) => {
                    asking = None;
                    saying.extend(self.answer(question, verdict));
                    continue;
                }
                heard = telling.next() => heard,
            };
            match heard {
                Ok(Some(Heard::Standing(_))) => {}
                Ok(Some(Heard::Told(Told::Question { id, effect, subject, place, missing }))) => {
                    let place = place.map(|(file, line)| Place { file, line });
                    asking = self.approver.clone().map(|approver| -> Asking {
                        Box::pin(async move {
                            let question = Question {
                                effect: &effect,
                                subject: &subject,
                                place: place.as_ref(),
                                missing: &missing,
                            };
                            (id, approver.ask(question).await)
                        })
                    });
                }
                Ok(Some(Heard::Told(told))) => show::told(&*self.watch, told),
                Ok(Some(Heard::End { run, exit_code, trouble })) => {
                    let state = run.state.parse().unwrap_or(RunState::Paused);
                    let trouble = trouble.and_then(Trouble::of_json);
                    return Ok(Finished { state, exit: Exit::of_code(exit_code), trouble });
                }
                Ok(None) => match self.find_again(None).await? {
                    Again::There(there) => telling = there,
                    Again::Over(finished) => return Ok(finished),
                },
                Err(error) if is_away(&error) => match self.find_again(Some(error)).await? {
                    Again::There(there) => telling = there,
                    Again::Over(finished) => return Ok(finished),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the daemon is back, or the run is over without it.
    async fn find_again(&mut self, why: Option<Error>) -> Result<Again> {
        tracing::debug!(run = %self.run, ?why, "the daemon does not tell what happens any more");
        let mut signals = Signals::open().ok();
        let mut patience = std::pin::pin!(tokio::time::sleep(COMING_BACK));
        let mut is_said = false;
        loop {
            if let Some(finished) = self.recorded().await? {
                return Ok(Again::Over(finished));
            }
            // A daemon that is there and says nothing must not keep Ctrl-C waiting.
            let telling = tokio::select! {
                telling = self.follow_again() => telling?,
                () = next(&mut signals) => return Err(self.gone()),
            };
            if let Some(telling) = telling {
                return Ok(Again::There(telling));
            }
            if !std::mem::replace(&mut is_said, true) {
                render::waits("the daemon has ended; the run goes on when it is back");
            }
            tokio::select! {
                () = tokio::time::sleep(BETWEEN_ATTEMPTS) => {}
                () = next(&mut signals) => return Err(self.gone()),
                () = &mut patience => return Err(self.gone()),
            }
        }
    }

    /// What the run has come to, where it is recorded that it does not go on by itself.
    async fn recorded(&self) -> Result<Option<Finished>> {
        let run = self.app.journal.run(self.run.as_str()).await?;
        let rests = run.state.is_final() || run.state == RunState::Paused;
        // A daemon that was asked to go on with a paused run may have ended before it did.
        Ok((rests && self.app.journal.holder_of_run(&run.id).is_none()).then(|| finished(run)))
    }

    async fn follow_again(&mut self) -> Result<Option<Telling>> {
        if self.app.journal.holder_of_daemon().is_none() {
            return Ok(None);
        }
        let path = self.app.config.daemon.api.socket_in(&self.app.state);
        let there = async {
            let client = Client::connect(&path).await?;
            let telling = client.watch(&self.run, false, false).await?;
            client.take(&self.run, &self.wish).await?;
            Ok::<_, Error>((client, telling))
        };
        match there.await {
            Ok((client, telling)) => {
                self.client = client;
                Ok(Some(telling))
            }
            Err(error) if is_away(&error) || error.code == Code::RunState => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn gone(&self) -> Error {
        Error::new(Code::DaemonGone, "the daemon has ended while it executed the run")
            .because(format!("run {} goes on when the daemon is back", self.run))
            .hint(format!("start it again, or go on without it: `mcrun resume {}`", self.run))
    }
}

/// A run whose command fails before anybody has begun with it: it must not begin later, behind the operator's back.
async fn given_up(app: &App, run: &RunId, error: Error) -> Error {
    let Ok(_lock) = app.journal.lock_run(run) else { return error };
    match execute::give_up(app, run).await {
        Ok(()) => error.detail(format!("run {run} was given up before it began")),
        Err(why) => error.detail(format!("run {run} begins by itself: it cannot be given up: {why}")),
    }
}

/// Whether the daemon is ending, or has ended.
fn is_away(error: &Error) -> bool {
    matches!(error.code, Code::ApiUnavailable | Code::DaemonStops)
}

/// What was found when the daemon did not tell any more.
enum Again {
    There(Telling),
    Over(Finished),
}

fn finished(run: Run) -> Finished {
    let code = run.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or_default();
    let trouble = run.outcome.filter(|_| run.state != RunState::Done).and_then(Trouble::of_json);
    Finished { state: run.state, exit: Exit::of_code(code), trouble }
}

/// The operator's words as they are told to another process.
fn doubts(decisions: &Decisions) -> Vec<(Option<String>, String)> {
    let word = |decision: Decision| match decision {
        Decision::Redo => "redo".to_owned(),
        Decision::Done => "done".to_owned(),
        Decision::Fail => "fail".to_owned(),
    };
    let named = decisions.named.iter();
    let named =
        named.map(|((scope, counter), decision)| (Some(format!("{scope}#{counter}")), word(*decision)));
    decisions.only.iter().map(|decision| (None, word(*decision))).chain(named).collect()
}

async fn next(signals: &mut Option<Signals>) {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

async fn answered(asking: &mut Option<Asking>) -> (u64, Verdict) {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}
