//! Owns `resume --all`: every run that can go on by itself does.

use effect::Result;
use journal::RunState;

use super::evaluate;
use crate::app::App;
use crate::execute::many::{Many, Outcome};
use crate::exit::Exit;
use crate::{handover, render};

/// Goes on with every run that can go on by itself.
pub(super) async fn resume_all(app: &App, active: usize, as_json: bool) -> Result<Exit> {
    let mut exit = Exit::Done;
    let mut shown = Vec::new();
    let over = |outcome: &Outcome| {
        exit = worse(exit, outcome.finished.exit);
        if as_json {
            shown.push(evaluate::outcome_json(outcome.run.as_str(), &outcome.finished));
        } else {
            render::note(resumed_line(outcome));
        }
    };
    let found = match handover::daemon(app).await? {
        // It goes on with all of them anyway.
        Some(daemon) => handover::follow_all(app, &daemon, over).await?,
        None => {
            let many = Many::of(app, active).await?;
            let found = many.len();
            many.run(over).await?;
            found
        }
    };
    match as_json {
        true => render::json(&shown),
        false if found == 0 => render::note("no run waits to go on"),
        false => {}
    }
    let waits = !app.journal.runs_in(&[RunState::Waiting]).await?.is_empty();
    Ok(if exit == Exit::Done && waits { Exit::Waiting } else { exit })
}

/// The exit code for both: a failure counts more than a pause.
fn worse(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        (Exit::Done, other) | (Exit::Waiting, other @ (Exit::Failed | Exit::Denied)) => other,
        (one, _) => one,
    }
}

fn resumed_line(outcome: &Outcome) -> String {
    let error = outcome.finished.trouble.as_ref();
    let why = error
        .map(|trouble| format!("  [{}] {}", trouble.error.code, render::printable(&trouble.error.message)));
    let state = outcome.finished.state;
    let style = if state == RunState::Done { render::GREEN } else { render::YELLOW };
    format!(
        "{} {}{}  {}",
        render::styled(style, state),
        outcome.name,
        why.unwrap_or_default(),
        render::styled(render::DIM, format_args!("run {}", outcome.run))
    )
}
