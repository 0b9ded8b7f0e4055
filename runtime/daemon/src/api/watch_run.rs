//! Owns what callers that follow a run are told: what is recorded, where they wish, then what happens. Nobody waits for a
//! slow one; what it missed is read from the journal, by the place where its own knowledge ends.

mod recorded;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::v1;
use api::v1::watch_run_response::Told as Message;
use effect::{Code, Error, Result};
use futures_util::stream;
use journal::{Journal, RunId};
use peer::calls::Over;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Sleep;

use self::recorded::Recorded;
use super::calls::Stream;
use super::{convert, status, stopping};
use crate::runs::{Runs, Told, Watching};

/// Branches whose place is kept. Beyond it an effect may be told twice after a gap, and none is left out.
const MOST_BRANCHES: usize = 10_000;
/// How often the telling may break off without anything that is new in between.
const MOST_BREAKS: usize = 8;
/// When the daemon ends, its runs have so long to tell where they stopped.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// What a caller wishes to hear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) run: RunId,
    pub(super) history: bool,
    pub(super) until_over: bool,
    /// Whether it answers no questions.
    pub(super) looks_on: bool,
}

impl Wish {
    async fn watch(&self, runs: &dyn Runs) -> Result<Watching> {
        match self.looks_on {
            true => runs.look_on(&self.run, self.until_over).await,
            false => runs.watch(&self.run, self.until_over).await,
        }
    }
}

/// Up to where a branch was told.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The last effect that has ended.
    effect: u32,
    /// Whether there is one: the first has the number 0 or 1.
    has_ended: bool,
    /// The last line.
    line: u64,
}

struct Following {
    runs: Arc<dyn Runs>,
    journal: Journal,
    wish: Wish,
    over: Option<Over>,
    /// Runs out some time after the end has come.
    last_words: Option<Pin<Box<Sleep>>>,
    told: mpsc::Receiver<Told>,
    first: Option<Message>,
    /// What is read from the journal, while there is more.
    recorded: Option<Recorded>,
    /// Up to where the journal was told: orders of its entries and of its log.
    known: (u64, u64),
    branches: HashMap<String, Place>,
    breaks: usize,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn follow(
    runs: Arc<dyn Runs>,
    journal: Journal,
    wish: Wish,
    over: Option<Over>,
    place: OwnedSemaphorePermit,
) -> Result<Stream<v1::WatchRunResponse>> {
    let Watching { run, told } = wish.watch(&*runs).await?;
    let known = match wish.history {
        true => (0, 0),
        false => (run.effects, journal.last_log(&wish.run).await?),
    };
    let first = Some(Message::Standing(convert::run(&run)));
    let recorded = match wish.history {
        true => Some(Recorded::with_sources(&journal, &run).await?),
        false => None,
    };
    let following = Following {
        runs,
        journal,
        wish,
        over,
        last_words: None,
        told,
        first,
        recorded,
        known,
        branches: HashMap::new(),
        breaks: 0,
        _place: place,
    };
    Ok(Box::pin(stream::unfold(Some(following), |following| async move {
        let mut following = following?;
        match following.next().await {
            Ok(message) => {
                let is_last = matches!(message, Message::End(_));
                let told = v1::WatchRunResponse { told: Some(message) };
                Some((Ok(told), (!is_last).then_some(following)))
            }
            Err(error) => Some((Err(status::of(&error)), None)),
        }
    })))
}

impl Following {
    async fn next(&mut self) -> Result<Message> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            if let Some(recorded) = &mut self.recorded {
                match recorded.next(&self.journal, &self.wish.run).await? {
                    Some(message) => {
                        self.known = recorded.known();
                        if self.is_new(&message) {
                            self.breaks = 0;
                            return Ok(message);
                        }
                    }
                    None => self.recorded = None,
                }
                continue;
            }
            match self.hear().await? {
                Some(told) => {
                    let message = convert::told(told);
                    if self.is_new(&message) {
                        self.breaks = 0;
                        return Ok(message);
                    }
                }
                None => self.catch_up().await?,
            }
        }
    }

    /// What happens next; nothing where the telling breaks off.
    async fn hear(&mut self) -> Result<Option<Told>> {
        if self.last_words.is_none() {
            let over = async {
                match &mut self.over {
                    Some(over) => over.come().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                told = self.told.recv() => return Ok(told),
                () = over => {}
            }
        }
        // The end has come: the run stops at its next effect, and says so.
        let last = self.last_words.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_WORDS)));
        tokio::select! {
            biased;
            told = self.told.recv() => match told {
                Some(told) => Ok(Some(told)),
                None => Err(stopping()),
            },
            () = last => Err(stopping()),
        }
    }

    /// Listens anew, and reads what was missed from the journal.
    async fn catch_up(&mut self) -> Result<()> {
        self.breaks += 1;
        if self.breaks > MOST_BREAKS {
            let message =
                format!("the run {} cannot be followed: what happens in it is not told", self.wish.run);
            return Err(Error::new(Code::ApiBusy, message).retryable());
        }
        let Watching { told, .. } = self.wish.watch(&*self.runs).await?;
        // What happens while the journal is read is told twice, and let through once.
        self.told = told;
        self.recorded = Some(Recorded::behind(self.known));
        Ok(())
    }

    /// Whether the caller does not know it yet, and notes that it does from now on.
    fn is_new(&mut self, message: &Message) -> bool {
        let (scope, effect, line) = match message {
            Message::Ended(ended) => (&ended.scope, Some(ended.counter), 0),
            Message::Started(started) => {
                let place = self.branches.get(&started.scope);
                return !place.is_some_and(|place| place.has_ended && started.counter <= place.effect);
            }
            Message::Log(log) if log.number > 0 => (&log.scope, None, log.number),
            _ => return true,
        };
        if self.branches.len() >= MOST_BRANCHES && !self.branches.contains_key(scope) {
            self.branches.clear();
        }
        let place = self.branches.entry(scope.clone()).or_default();
        match effect {
            Some(counter) if place.has_ended && counter <= place.effect => false,
            Some(counter) => {
                (place.effect, place.has_ended) = (counter, true);
                true
            }
            None if line <= place.line => false,
            None => {
                place.line = line;
                true
            }
        }
    }
}
