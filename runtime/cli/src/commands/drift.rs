//! Owns `drift`: how services stand against what is recorded of them.

use daemon::monitors::standing::{self, Report, State};
use effect::{Code, Error, Result};

use super::inspect;
use super::judge::{Judging, parts};
use crate::app::App;
use crate::exit::Exit;
use crate::render::{self, Table};

pub(super) async fn drift(app: &App, services: &[String], as_json: bool) -> Result<Exit> {
    for service in services {
        if app.journal.record("service", &app.node, service).await?.is_none() {
            return Err(Error::new(Code::ServiceUnknown, format!("there is no service `{service}`"))
                .hint("`mcrun status` lists the services"));
        }
    }
    let judge = Judging(app);
    let parts = parts(app, &judge);
    let report = standing::report(&parts, app.config.monitors.patience.0, services).await?;
    if as_json {
        render::json(&report);
    } else {
        show(&report);
    }
    Ok(exit(&report))
}

/// What differs counts before what cannot be compared.
fn exit(report: &Report) -> Exit {
    let is_unknown = |state: State| state == State::Unknown;
    let differs = |state: State| !state.is_as_wanted() && !is_unknown(state);
    let mut states = report.services.iter().map(|standing| standing.state);
    if states.clone().any(differs) || !report.orphaned.is_empty() {
        Exit::PlanHasChanges
    } else if states.any(is_unknown) || !report.unanswered.is_empty() {
        Exit::Failed
    } else {
        Exit::Done
    }
}

fn show(report: &Report) {
    let mut table = Table::new(&["service", "version", "state", "what"]);
    for standing in &report.services {
        // What a program or a server said may have line breaks.
        let mut reasons = standing.reasons.iter().map(|reason| reason.replace('\n', " "));
        let version = standing.version.clone().unwrap_or_default();
        let first = reasons.next().unwrap_or_default();
        table.row([standing.service.clone(), version, standing.state.as_str().to_owned(), first]);
        // One line for each reason, so that none is longer than a terminal is wide without need.
        reasons.for_each(|reason| table.row([String::new(), String::new(), String::new(), reason]));
    }
    for orphan in &report.orphaned {
        let service = orphan.service.as_deref().map(|service| format!(" of `{service}`")).unwrap_or_default();
        let what = format!(
            "{}: a container{service} of {} that no record knows, {}",
            orphan.container,
            orphan.driver,
            orphan.state.as_str()
        );
        table.row([String::new(), String::new(), "orphaned".to_owned(), what]);
    }
    table.print();
    if let Some(lost) = &report.lost {
        inspect::warn_of_lost(lost);
    }
    inspect::warn_of_unanswered(&report.unanswered);
}
