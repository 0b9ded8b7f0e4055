//! Owns what a run has come to when its worker has ended: the state that it is left in, the exit code, and what is told.

use effect::{Code, Error, Session};
use journal::{RunId, RunState};
use script::Ended;

use super::{Finished, Trouble};
use crate::app::App;
use crate::bridge::Stop;
use crate::exit::Exit;

pub(super) async fn conclude(app: &App, session: &Session, ended: Ended<Stop>) -> Finished {
    match ended {
        Ended::Done { .. } => match session.unclaimed() {
            Some(divergence) => Finished::paused(Trouble::new(divergence)),
            None => Finished::ended(RunState::Done, Exit::Done),
        },
        Ended::Failed(failure) => {
            if let Some(divergence) = session.unclaimed() {
                return Finished::paused(Trouble::new(divergence));
            }
            let trouble =
                Trouble { error: failure.error, place: recorded_place(failure.place), stack: failure.stack };
            let exit = match Exit::of(&trouble.error) {
                // A doubt that reached the script as an error: nothing is left to wait for.
                Exit::Waiting => Exit::Failed,
                exit => exit,
            };
            Finished { state: RunState::Failed, exit, trouble: Some(trouble) }
        }
        Ended::Limit(hit) => {
            Finished::paused(Trouble { error: hit.error, place: recorded_place(hit.place), stack: hit.stack })
        }
        Ended::Diverged(divergence) => {
            let recorded = recorded_arguments(app, session.run_id(), divergence.recorded.as_ref()).await;
            Finished::paused(diverged(&divergence, recorded.as_deref()))
        }
        Ended::Lost(lost) => Finished::paused(Trouble::new(lost.error)),
        Ended::Stopped(Stop::Corridor(effect::Stop::Pause(error))) => {
            let exit = Exit::of(&error);
            let exit = if exit == Exit::Failed { Exit::Waiting } else { exit };
            Finished { exit, ..Finished::paused(Trouble::new(error)) }
        }
        Ended::Stopped(Stop::Corridor(effect::Stop::Broken(error))) | Ended::Host(error) => {
            let exit = Exit::of(&error);
            Finished { state: RunState::Paused, exit, trouble: Some(Trouble::new(error)) }
        }
        Ended::Stopped(Stop::Parked | Stop::Corridor(effect::Stop::Unanswered)) | Ended::Interrupted => {
            stopped(app, session).await
        }
    }
}

/// The operator stopped it, with Ctrl-C or with `mcrun cancel`.
pub(super) async fn stopped(app: &App, session: &Session) -> Finished {
    let run = session.run_id();
    if app.journal.cancel_requested(run).await.unwrap_or(false) {
        return cancelled();
    }
    match app.journal.run(run.as_str()).await {
        // A sleep that was given up left the state as it was: the run waits on.
        Ok(run) if run.state == RunState::Waiting => Finished::ended(RunState::Waiting, Exit::Waiting),
        _ => Finished::ended(RunState::Paused, Exit::Interrupted),
    }
}

/// Somebody gave it up.
pub(super) fn cancelled() -> Finished {
    let error = Error::new(Code::Cancelled, "the run was cancelled");
    Finished { state: RunState::Cancelled, exit: Exit::Failed, trouble: Some(Trouble::new(error)) }
}

/// It is over, so that its playbook can start again.
pub(super) fn timed_out() -> Finished {
    let error = Error::new(Code::LimitWall, "the run took longer than its playbook's `timeout`")
        .hint("raise `timeout`, or look what took so long: `mcrun show RUN`");
    Finished { state: RunState::Failed, exit: Exit::Failed, trouble: Some(Trouble::new(error)) }
}

pub(super) fn recorded_place(place: script::Place) -> Option<journal::Place> {
    (place.line > 0).then_some(journal::Place { file: place.file, line: place.line })
}

/// The arguments of the recorded side; the history on its way to the worker has only their hash.
pub(crate) async fn recorded_arguments(
    app: &App,
    run: &RunId,
    side: Option<&script::Recorded>,
) -> Option<String> {
    const PAGE: usize = 1000;
    let side = side?;
    let mut after = 0;
    loop {
        let page = app.journal.entries(run, after, PAGE).await.ok()?;
        let is_side = |entry: &&journal::Entry| {
            entry.identity.scope == side.scope && u64::from(entry.identity.counter) == side.counter
        };
        if let Some(entry) = page.iter().find(is_side) {
            return Some(entry.arguments.to_string());
        }
        after = page.last()?.order?;
    }
}

/// Both sides of a divergence, as texts.
pub(crate) fn sides(divergence: &script::Divergence, recorded: Option<&str>) -> (String, String) {
    let side = |side: Option<&script::Recorded>, arguments: Option<&str>| match side {
        Some(side) => {
            let arguments: String = arguments.unwrap_or_default().chars().take(400).collect();
            format!("{}#{} {} {arguments}", side.scope, side.counter, side.name)
        }
        None => "nothing".to_owned(),
    };
    let requested = match &divergence.failure {
        Some(failure) => format!("nothing: the script failed with {failure}"),
        None => side(divergence.requested.as_ref(), divergence.arguments.as_deref()),
    };
    (side(divergence.recorded.as_ref(), recorded), requested)
}

fn diverged(divergence: &script::Divergence, recorded: Option<&str>) -> Trouble {
    let (recorded, requested) = sides(divergence, recorded);
    let error = Error::new(Code::Divergence, "the script no longer matches its recorded history")
        .detail(format!("recorded:  {recorded}"))
        .detail(format!("requested: {requested}"))
        .hint("the run is paused and nothing was done; `mcrun show RUN` lists its history");
    Trouble { place: recorded_place(divergence.place.clone()), ..Trouble::new(error) }
}
