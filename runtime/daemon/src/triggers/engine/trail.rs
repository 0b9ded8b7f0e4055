//! Owns which occurrences of one trigger are recorded, in little room: there are ten thousand triggers, and fifty of each.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use effect::Timestamp;

use crate::triggers::occurrence::KEPT;

/// At most so many starts within so long.
pub(super) type Rate = (u32, Duration);

/// More starts than these are not counted.
const MOST_STARTS: usize = 10_000;
/// How many make room at once.
const MOST_OUT: usize = 500;

/// The recorded occurrences of a trigger, by what tells each from the others; the one that was recorded first is first.
#[derive(Debug)]
pub(super) enum Trail {
    /// Of one that has times: each is told by its time alone.
    Times(VecDeque<i64>),
    /// Of any other.
    Others(VecDeque<Kept>),
}

#[derive(Debug)]
pub(super) struct Kept {
    moment: Box<str>,
    since: Timestamp,
    is_start: bool,
}

impl Kept {
    /// Whether it counts among the starts. Not what is to come: the clock was set back.
    fn counts(&self, window: Duration, now: Timestamp) -> bool {
        self.is_start && self.since <= now && now.since(self.since) < window
    }
}

/// The moment of a time.
pub(in crate::triggers) fn moment(time: i64) -> String {
    format!("{time:014}")
}

impl Trail {
    /// Nothing yet of a trigger.
    pub(super) fn of(trigger: &str) -> Self {
        let kind = trigger.rsplit_once('/').map_or(trigger, |(_, kind)| kind);
        let has_times = ["cron-", "every-", "at-"].iter().any(|one| kind.starts_with(one));
        if has_times { Self::Times(VecDeque::new()) } else { Self::Others(VecDeque::new()) }
    }

    fn len(&self) -> usize {
        match self {
            Self::Times(times) => times.len(),
            Self::Others(others) => others.len(),
        }
    }

    pub(super) fn knows(&self, wanted: &str) -> bool {
        match self {
            Self::Times(times) => {
                wanted.parse().is_ok_and(|wanted: i64| times.iter().rev().any(|time| *time == wanted))
            }
            Self::Others(others) => others.iter().rev().any(|one| *one.moment == *wanted),
        }
    }

    pub(super) fn add(&mut self, moment: &str, since: Timestamp, is_start: bool) {
        match self {
            // What is named otherwise was not recorded by us.
            Self::Times(times) => times.extend(moment.parse::<i64>().ok()),
            Self::Others(others) => others.push_back(Kept { moment: moment.into(), since, is_start }),
        }
    }

    /// When the first of the starts that count was, where there are as many as there may be.
    pub(super) fn full_since(&self, (most, window): Rate, now: Timestamp) -> Option<Timestamp> {
        let Self::Others(others) = self else { return None };
        let mut starts = others.iter().rev().filter(|one| one.counts(window, now));
        starts.nth(most_of(most) - 1).map(|one| one.since)
    }

    /// What makes room for one more: the oldest ones, but nothing that waits, and no start that counts: who forgets these
    /// starts too often.
    pub(super) fn surplus(&self, rate: Option<Rate>, now: Timestamp, waits: &HashSet<&str>) -> Vec<String> {
        let over = (self.len() + 1).saturating_sub(KEPT + waits.len()).min(MOST_OUT);
        match self {
            Self::Times(times) => {
                let moments = times.iter().map(|time| moment(*time));
                moments.filter(|moment| !waits.contains(&**moment)).take(over).collect()
            }
            Self::Others(others) => {
                let counts = |one: &Kept| rate.is_some_and(|(_, window)| one.counts(window, now));
                let most = rate.map_or(0, |(most, _)| most_of(most));
                let newest = others.iter().enumerate().rev().filter(|(_, one)| counts(one));
                let first = newest.map(|(place, _)| place).take(most).last().unwrap_or(usize::MAX);
                let is_held = |place: usize, one: &Kept| place >= first && counts(one);
                let free = others.iter().enumerate().filter(|(place, one)| !is_held(*place, one));
                let free = free.map(|(_, one)| &*one.moment).filter(|moment| !waits.contains(moment));
                free.take(over).map(str::to_owned).collect()
            }
        }
    }

    /// Those that were recorded before a time; of one that has times, those that were due.
    pub(super) fn before(&self, oldest: Timestamp, waits: &HashSet<&str>) -> Vec<String> {
        let found: Vec<String> = match self {
            Self::Times(times) => {
                times.iter().filter(|time| **time < oldest.0).map(|time| moment(*time)).collect()
            }
            Self::Others(others) => {
                others.iter().filter(|one| one.since < oldest).map(|one| one.moment.to_string()).collect()
            }
        };
        found.into_iter().filter(|moment| !waits.contains(&**moment)).collect()
    }

    /// Forgets some. Whether any is left.
    pub(super) fn forget(&mut self, gone: &[String]) -> bool {
        match self {
            Self::Times(times) => {
                let gone: HashSet<i64> = gone.iter().filter_map(|moment| moment.parse().ok()).collect();
                times.retain(|time| !gone.contains(time));
            }
            Self::Others(others) => {
                let gone: HashSet<&str> = gone.iter().map(String::as_str).collect();
                others.retain(|one| !gone.contains(&*one.moment));
            }
        }
        self.len() > 0
    }
}

fn most_of(most: u32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX).clamp(1, MOST_STARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    /// Records one more, and forgets what makes room for it.
    fn go_off(trail: &mut Trail, moment: &str, at: i64, is_start: bool, rate: Option<Rate>) {
        let gone = trail.surplus(rate, Timestamp(at), &HashSet::new());
        trail.forget(&gone);
        trail.add(moment, Timestamp(at), is_start);
    }

    #[test]
    fn a_schedule_takes_no_more_room_the_longer_it_goes_off() {
        let mut trail = Trail::of("p/cron-01234567");
        for minute in 0..20_000 {
            let at = minute * 60_000;
            go_off(&mut trail, &moment(at), at, true, None);
        }
        let Trail::Times(times) = &trail else { panic!("a cron has times") };
        assert_eq!((times.len(), times.back()), (KEPT, Some(&(19_999 * 60_000))));
        // Ten thousand of them are five megabytes.
        assert!(times.capacity() * size_of::<i64>() <= 512, "{}", times.capacity());
        assert!(trail.knows(&moment(19_999 * 60_000)) && !trail.knows(&moment(0)));
        assert_eq!(trail.full_since((1, WINDOW), Timestamp(0)), None);
    }

    #[test]
    fn starts_that_count_are_kept_and_what_was_left_out_makes_room() {
        let rate = Some((80, WINDOW));
        let mut trail = Trail::of("p/event-01234567");
        for number in 0..80 {
            go_off(&mut trail, &format!("s{number}"), number, true, rate);
        }
        for number in 80..200 {
            go_off(&mut trail, &format!("n{number}"), number, false, rate);
        }
        assert_eq!(trail.len(), 81);
        assert_eq!(trail.full_since((80, WINDOW), Timestamp(200)), Some(Timestamp(0)));
        assert_eq!(trail.full_since((81, WINDOW), Timestamp(200)), None);
        // Once they do not count any more, as few are kept as of any other.
        go_off(&mut trail, "late", 60_100, true, rate);
        assert_eq!((trail.len(), trail.knows("late")), (KEPT, true));
    }

    #[test]
    fn what_waits_makes_no_room_however_old_it_is() {
        let mut trail = Trail::of("p/event-01234567");
        for number in 0..KEPT {
            trail.add(&format!("{number}"), Timestamp(0), true);
        }
        let none = trail.surplus(None, Timestamp(1), &HashSet::from(["0"]));
        assert_eq!(none, Vec::<String>::new());
        trail.add("more", Timestamp(0), true);
        assert_eq!(trail.surplus(None, Timestamp(1), &HashSet::from(["0"])), ["1"]);
        assert_eq!(trail.before(Timestamp(1), &HashSet::from(["0"])).len(), KEPT);
    }
}
