//! Owns `schedule`: when playbooks start by themselves, and what became of the last times. It reads what the daemon has
//! recorded, so that it answers without one, too.

use std::sync::Arc;

use daemon::playbooks::Table;
use daemon::playbooks::history::History;
use daemon::triggers::schedule::{self, Next};
use daemon::triggers::{self, Occurrence};
use effect::policy::nearest;
use effect::{Code, Error, Result, Timestamp};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::app::App;
use crate::exit::Exit;
use crate::render;

/// How many times of each trigger are told at the most.
const MOST: usize = 1000;

pub(super) struct Wish<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) next: usize,
    pub(super) last: usize,
    pub(super) json: bool,
}

pub(super) async fn schedule(app: &App, wish: Wish<'_>) -> Result<Exit> {
    let table = table(app).await?;
    if let Some(name) = wish.name
        && !table.playbooks.contains_key(name)
    {
        let error = Error::new(Code::PlaybookUnknown, format!("there is no playbook `{name}`"));
        return Err(match nearest(name, table.playbooks.keys().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        });
    }
    let (now, zone) = (app.clock.now(), TimeZone::system());
    let next = schedule::next(&table, wish.name, now, &zone, wish.next.clamp(1, MOST));
    let last = triggers::last(&app.journal, &app.node, wish.name, wish.last).await?;
    let is_on = app.journal.holder_of_daemon().is_some();
    if wish.json {
        render::json(&json!({
            "daemon": is_on,
            "next": next.iter().map(|next| told(next, &zone)).collect::<Vec<_>>(),
            "last": last.iter().map(became).collect::<Vec<_>>(),
        }));
        return Ok(Exit::Done);
    }
    if next.is_empty() {
        render::note("no playbook starts by itself");
    } else {
        show_next(&next, now, &zone);
    }
    if !last.is_empty() {
        render::out("");
        show_last(&last, &zone);
    }
    if !is_on && !next.is_empty() {
        render::note("no daemon holds this state directory: nothing starts until `mcrun serve` does");
    }
    Ok(Exit::Done)
}

/// What was loaded last: what it is, without its sources.
async fn table(app: &App) -> Result<Table> {
    let mut table = Table::default();
    for active in History::new(app.journal.clone(), app.node.clone()).active().await? {
        // One of a version that said it otherwise is read again when a daemon starts.
        if let Some(playbook) = active.outline() {
            table.playbooks.insert(active.name, Arc::new(playbook));
        }
    }
    Ok(table)
}

fn show_next(next: &[Next], now: Timestamp, local: &TimeZone) {
    let mut table = render::Table::new(&["playbook", "trigger", "next", ""]);
    for one in next {
        if one.times.is_empty() {
            table.row([one.playbook.clone(), one.trigger.clone(), when(one).to_owned(), String::new()]);
        }
        for (_, goes_off) in &one.times {
            let at = shown(*goes_off, &zone_of(one, local));
            table.row([one.playbook.clone(), one.trigger.clone(), at, in_time(*goes_off, now)]);
        }
    }
    table.print();
}

/// When something goes off that has no times, or none to come.
fn when(next: &Next) -> &'static str {
    match next.trigger.split(' ').next().unwrap_or_default() {
        "boot" => "after the next boot",
        "event" => "when it happens",
        "file" => "when it changes",
        "webhook" => "when it is called",
        _ => "never again",
    }
}

fn show_last(last: &[Occurrence], local: &TimeZone) {
    let mut table = render::Table::new(&["at", "playbook", "trigger", "outcome", "run", ""]);
    for one in last {
        let run = one.run.map(|run| run.to_string()).unwrap_or_default();
        let note = match (&one.reason, one.missed) {
            (Some(reason), _) => reason.clone(),
            (None, 0) => String::new(),
            (None, missed) => format!("makes up for {missed} more"),
        };
        let (playbook, trigger) = (one.playbook.clone(), one.trigger.clone());
        table.row([shown(one.at, local), playbook, trigger, one.outcome.as_str().to_owned(), run, note]);
    }
    table.print();
}

/// The zone in which a trigger's times are meant.
fn zone_of(next: &Next, local: &TimeZone) -> TimeZone {
    next.zone.as_ref().and_then(|zone| TimeZone::get(zone).ok()).unwrap_or_else(|| local.clone())
}

/// `2026-11-24 03:17:00 +01:00`.
pub(super) fn shown(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
        Err(_) => at.to_string(),
    }
}

/// `in 2 h`.
fn in_time(at: Timestamp, now: Timestamp) -> String {
    let seconds = (at.0 - now.0).max(0) / 1000;
    match seconds {
        0..60 => format!("in {seconds} s"),
        60..3600 => format!("in {} min", seconds / 60),
        3600..86_400 => format!("in {} h", seconds / 3600),
        _ => format!("in {} d", seconds / 86_400),
    }
}

fn told(next: &Next, local: &TimeZone) -> Value {
    let zone = zone_of(next, local);
    let time = |(at, goes_off): &(Timestamp, Timestamp)| json!({ "at": at.to_string(), "goes_off": goes_off.to_string(), "local": shown(*goes_off, &zone) });
    json!({
        "playbook": next.playbook,
        "trigger": next.trigger,
        "zone": next.zone,
        "times": next.times.iter().map(time).collect::<Vec<_>>(),
    })
}

fn became(one: &Occurrence) -> Value {
    json!({
        "playbook": one.playbook,
        "trigger": one.trigger,
        "at": one.at.to_string(),
        "since": one.since.to_string(),
        "outcome": one.outcome.as_str(),
        "missed": one.missed,
        "run": one.run.map(|run| run.to_string()),
        "reason": one.reason,
    })
}
