//! Owns what is to come: the next times of what is loaded. What has been is told by `occurrence::last`.

use effect::Timestamp;
use jiff::tz::TimeZone;

use super::times::Times;
use super::identity;
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
