//! Owns following every run that the daemon goes on with, until each is over or paused.

use daemon::api::client::{Client, Heard};
use effect::Result;
use futures_util::stream::{self, StreamExt as _};
use journal::{RunId, RunState};

use super::next;
use crate::app::App;
use crate::execute::ear::Signals;
use crate::execute::many::{BY_THEMSELVES, Outcome};
use crate::execute::{Finished, Trouble};
use crate::exit::Exit;

/// How many are followed at once: the daemon has a place for so many of every command's. Those behind them are told of when
/// their turn comes, whenever they end.
const AT_ONCE: usize = 64;

/// How many there are. `over` is told of each that has come to something; Ctrl-C ends the following and nothing else.
pub(crate) async fn follow_all(app: &App, daemon: &Client, mut over: impl FnMut(&Outcome)) -> Result<usize> {
    let mut found = app.journal.runs_in(BY_THEMSELVES).await?;
    let count = found.len();
    // Those that may wait for days are in nobody's way.
    found.sort_by_key(|(_, state)| *state == RunState::Waiting);
    let following = stream::iter(found.into_iter().map(|(run, _)| follow(daemon, run)));
    let mut following = std::pin::pin!(following.buffer_unordered(AT_ONCE));
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
    let mut telling = daemon.look_on(&run, false).await?;
    while let Some(heard) = telling.next().await? {
        let (ended, exit_code, trouble) = match heard {
            Heard::End { run, exit_code, trouble } => (run, exit_code, trouble),
            // It was paused before its turn came, and does not go on by itself.
            Heard::Standing(standing) if standing.state == RunState::Paused.as_str() => {
                let exit_code = standing.exit_code.and_then(|code| u8::try_from(code).ok());
                (standing, exit_code.unwrap_or(Exit::Waiting.code()), None)
            }
            Heard::Standing(_) | Heard::Told(_) => continue,
        };
        let state = ended.state.parse().unwrap_or(RunState::Paused);
        let trouble = trouble.and_then(Trouble::of_json);
        let finished = Finished { state, exit: Exit::of_code(exit_code), trouble };
        return Ok(Some(Outcome { run, name: ended.name, finished }));
    }
    Ok(None)
}
