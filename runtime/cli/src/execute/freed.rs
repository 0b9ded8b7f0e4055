//! Owns what becomes of a run that only waits, for long: its worker is ended, and it is replayed in a new one when its
//! time has come.

use std::convert::Infallible;
use std::time::Duration;

use effect::{Result, Session};
use journal::{Open, RunState, Timestamp};
use script::Interrupt;
use tokio::sync::watch;

use super::ear::asked_to_stop;
use super::{Job, past, recorded_job};
use crate::app::App;
use crate::render::Watch;

/// How often it is looked whether something that is waited for has happened.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Asks the run to stop once it has only waited for `idle` and would for as long again.
pub(super) async fn free(
    interrupts: &watch::Sender<Interrupt>,
    app: &App,
    session: &Session,
    idle: Option<Duration>,
) -> Infallible {
    let Some(idle) = idle else { return std::future::pending().await };
    let mut waiting = session.waiting();
    loop {
        // The session outlives this, and so does what it tells.
        let _ = waiting.wait_for(|waits| *waits).await;
        tokio::select! {
            _ = waiting.wait_for(|waits| !*waits) => continue,
            () = tokio::time::sleep(idle.min(LEAST_IDLE)) => {}
        }
        let open = app.journal.open_entries(session.run_id()).await.unwrap_or_default();
        let least = open.iter().filter_map(|entry| entry.until).min();
        let left = least.map_or(Duration::MAX, |until| until_then(app.clock.now(), until));
        if !open.is_empty() && left > idle {
            interrupts.send_replace(Interrupt::Soft);
            return std::future::pending().await;
        }
        let _ = waiting.wait_for(|waits| !*waits).await;
    }
}

/// A run that has waited for this long may well go on waiting.
const LEAST_IDLE: Duration = Duration::from_millis(500);

pub(super) fn until_then(now: Timestamp, until: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0))
}

/// Waits without a worker until the run is to go on, and with what; nothing when it was asked to stop.
pub(super) async fn wait(app: &App, session: &Session, watch: &dyn Watch) -> Result<Option<Job>> {
    let id = session.run_id();
    let open = app.journal.open_entries(id).await?;
    tokio::select! {
        due = due(app, session, &open) => due?,
        () = asked_to_stop(app, id) => {
            watch.interrupted(false, app.journal.cancel_requested(id).await.unwrap_or(false));
            return Ok(None);
        }
    }
    app.journal.set_state(id, RunState::Running, None, None).await?;
    let run = app.journal.run(id.as_str()).await?;
    let past = past(app, &run).await?;
    Ok(Some(Job { past: Some(past), kept: session.keep(), ..recorded_job(app, &run).await? }))
}

async fn due(app: &App, session: &Session, open: &[Open]) -> Result<()> {
    while !session.is_due(open).await? {
        let least = open.iter().filter_map(|entry| entry.until).min();
        let left = least.map_or(BETWEEN_LOOKS, |until| until_then(app.clock.now(), until));
        tokio::time::sleep(left.min(BETWEEN_LOOKS)).await;
    }
    Ok(())
}
