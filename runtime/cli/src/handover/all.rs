//! Owns following every run that the daemon goes on with, until each is over or paused.

use daemon::api::client::{Client, Heard};
use effect::Result;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use journal::{RunId, RunState};

use super::next;
use crate::app::App;
use crate::execute::ear::Signals;
use crate::execute::many::{BY_THEMSELVES, Outcome};
use crate::execute::{Finished, Trouble};
use crate::exit::Exit;

/// How many there are. `over` is told of each that has come to something; Ctrl-C ends the following and nothing else.
pub(crate) async fn follow_all(app: &App, daemon: &Client, mut over: impl FnMut(&Outcome)) -> Result<usize> {
    let found = app.journal.runs_in(BY_THEMSELVES).await?;
    let count = found.len();
    let mut following: FuturesUnordered<_> =
        found.into_iter().map(|(run, _)| follow(daemon, run)).collect();
    let mut signals = Signals::open().ok();
    loop {
        tokio::select! {
            outcome = following.next() => match outcome {
                Some(outcome) => outcome?.iter().for_each(&mut over),
                None => return Ok(count),
            },
            () = next(&mut signals) => return Ok(count),
        }
    }
}

async fn follow(daemon: &Client, run: RunId) -> Result<Option<Outcome>> {
    let mut telling = daemon.watch(&run, false, false).await?;
    while let Some(heard) = telling.next().await? {
        if let Heard::End { run: ended, exit_code, trouble } = heard {
            let state = ended.state.parse().unwrap_or(RunState::Paused);
            let trouble = trouble.and_then(Trouble::of_json);
            let finished = Finished { state, exit: Exit::of_code(exit_code), trouble };
            return Ok(Some(Outcome { run, name: ended.name, finished }));
        }
    }
    Ok(None)
}
