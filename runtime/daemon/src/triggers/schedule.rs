//! Owns what is to come: the next times of what is loaded. What has been is told by `occurrence::last`.

use std::sync::Arc;

use async_trait::async_trait;
use effect::{Result, Timestamp};
use jiff::tz::TimeZone;
use journal::Journal;
use tokio::sync::watch;

use super::times::Times;
use super::{identity, occurrence};
use crate::api;
use crate::playbooks::{Playbook, Table, Trigger};

/// A trigger, and when it goes off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The playbook.
    pub playbook: String,
    /// Its trigger, as people are shown it.
    pub trigger: String,
    /// The zone in which its times are meant, where it is not the machine's.
    pub zone: Option<String>,
    /// Each of the next times, and when it goes off by its jitter. Nothing for what has no times.
    pub times: Vec<(Timestamp, Timestamp)>,
}

/// The next `count` times of each trigger, of one playbook or of all.
#[must_use]
pub fn next(
    table: &Table,
    playbook: Option<&str>,
    now: Timestamp,
    local: &TimeZone,
    count: usize,
) -> Vec<Next> {
    let chosen =
        table.playbooks.values().filter(|one| playbook.is_none_or(|name| one.definition.name == name));
    chosen.flat_map(|one| of(one, now, local, count)).collect()
}

/// When a playbook goes off next, if it is known.
#[must_use]
pub fn soonest(playbook: &Playbook, now: Timestamp, local: &TimeZone) -> Option<Timestamp> {
    of(playbook, now, local, 1).iter().flat_map(|next| &next.times).map(|(_, goes_off)| *goes_off).min()
}

fn of(playbook: &Playbook, now: Timestamp, local: &TimeZone, count: usize) -> Vec<Next> {
    let name = &playbook.definition.name;
    let one = |trigger: &Trigger| {
        let salt = identity::name(name, trigger);
        // What was checked when it was loaded may be of a zone that has gone since: it has no times then.
        let times = Times::of(trigger, &salt, local).ok().flatten();
        let to_come = times.iter().flat_map(|times| {
            // A time that has come may be put off still.
            let late = Timestamp(now.0.saturating_sub(86_400_000));
            let from = if times.is_put_off() { late } else { now };
            let all = std::iter::successors(times.next(from), |time| times.next(*time));
            all.map(|time| (time, times.goes_off(time))).skip_while(|(_, goes_off)| *goes_off <= now)
        });
        let zone = match trigger {
            Trigger::Cron(cron) => cron.zone.clone(),
            _ => None,
        };
        let times = to_come.take(count).collect();
        Next { playbook: name.clone(), trigger: identity::text(trigger), zone, times }
    };
    playbook.definition.on.iter().map(one).collect()
}

/// What the API tells of times.
#[derive(Debug)]
pub struct Calendar {
    /// Where occurrences are recorded.
    pub journal: Journal,
    /// This machine.
    pub node: String,
    /// What is loaded.
    pub table: watch::Receiver<Arc<Table>>,
    /// The machine's time zone.
    pub zone: TimeZone,
}

#[async_trait]
impl api::Schedule for Calendar {
    async fn next(&self, playbook: Option<&str>, each: usize) -> Result<Vec<api::Occurrence>> {
        let table = self.table.borrow().clone();
        let now = self.journal.clock().now();
        let mut due = Vec::new();
        for next in next(&table, playbook, now, &self.zone, each) {
            due.extend(next.times.iter().map(|(_, goes_off)| api::Occurrence {
                playbook: next.playbook.clone(),
                trigger: next.trigger.clone(),
                at: *goes_off,
                outcome: "due",
                run: None,
                reason: None,
            }));
        }
        due.sort_by_key(|one| one.at);
        Ok(due)
    }

    async fn last(&self, playbook: Option<&str>, most: usize) -> Result<Vec<api::Occurrence>> {
        let found = occurrence::last(&self.journal, &self.node, playbook, most).await?;
        let told = |one: occurrence::Occurrence| api::Occurrence {
            playbook: one.playbook,
            trigger: one.trigger,
            at: one.at,
            outcome: one.outcome.as_str(),
            run: one.run,
            reason: one.reason,
        };
        Ok(found.into_iter().map(told).collect())
    }
}
