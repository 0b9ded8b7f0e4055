//! Owns one run's turn as the executor sees it: what came of it, and what those who watch the run are told.

use std::sync::Arc;

use daemon::metrics::Metrics;
use daemon::monitors::{self, Monitor};
use daemon::runs::End;
use script::Interrupt;
use tokio::sync::watch;

use super::{Ready, Settled};
use crate::app::App;
use crate::execute::ear::Asked;
use crate::execute::errands;
use crate::execute::going::{self, Going, Step};
use crate::execute::relay::Relay;

/// One run's turn, and what those who watch it are told about its end.
pub(super) async fn turn(
    app: &App,
    mut ready: Ready,
    relay: Arc<Relay>,
    asked: watch::Receiver<Asked>,
    leaving: watch::Receiver<Interrupt>,
) -> Settled {
    let going = Going {
        run: ready.run,
        kept: std::mem::take(&mut ready.kept),
        wish: ready.wish.clone(),
        is_wanted: ready.is_wanted,
        is_again: ready.failures > 0,
        watch: relay.clone(),
        asked: Some(asked),
    };
    let step = going::go_on(app, going).await;
    let last = relay.last_watcher();
    let leaves = *leaving.borrow() != Interrupt::None;
    let (step, end) = match step {
        Ok(Step::Waits(waiting)) => (Ok(Step::Waits(waiting)), None),
        Ok(Step::Left(finished)) if leaves => (Ok(Step::Left(finished)), None),
        // The sleep goes on, although whoever watched it has gone.
        Ok(Step::Over { finished, waiting: Some(waiting), .. }) => {
            let end = errands::end(app, &ready.run, Some(&finished)).await;
            (Ok(Step::Waits(*waiting)), end)
        }
        Ok(Step::Over { name, finished, waiting: None }) => {
            let end = errands::end(app, &ready.run, Some(&finished)).await;
            if let Some(end) = &end {
                count(app, end, relay.is_alone()).await;
            }
            (Ok(Step::Over { name, finished, waiting: None }), end)
        }
        Ok(Step::Left(finished)) => {
            let end = errands::end(app, &ready.run, Some(&finished)).await;
            (Ok(Step::Left(finished)), end)
        }
        Ok(Step::Passed(why)) => {
            let finished = why.clone().map(going::broken);
            (Ok(Step::Passed(why)), errands::end(app, &ready.run, finished.as_ref()).await)
        }
        Err(error) => {
            let end = errands::end(app, &ready.run, Some(&going::broken(error.clone()))).await;
            (Err(error), end)
        }
    };
    Settled { ready, step, end, last }
}

/// Counts a run that has come to its end or to a pause, and tells of one that failed while nobody watched.
async fn count(app: &App, end: &End, is_alone: bool) {
    let (metrics, run) = (Metrics::shared(), &end.run);
    metrics.run_ended(run.playbook.as_deref(), run.state);
    if !is_alone || !app.live().monitors.watches(Monitor::Runs) {
        return;
    }
    if let Err(error) = monitors::runs::failed(&app.journal, metrics, run).await {
        tracing::warn!(run = %run.id, %error, "it cannot be told that a run has failed");
    }
}
