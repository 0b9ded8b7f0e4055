//! Owns cron expressions in a time zone: which moments a wall clock's times are. What an expression says of a wall clock
//! is left to croner.
//!
//! The rules, where the clock is moved. An expression that names hours (`30 2 * * *`, `0 */2 * * *`) goes off once for
//! each of its times: a time that the clock leaves out goes off at the first moment after the gap, several of them once;
//! a time that the clock shows twice goes off at the first. An expression for every hour (`*/15 * * * *`) follows the
//! clock: what is left out is left out, and what is shown twice goes off twice, so that the time between two starts stays
//! the same.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use effect::{Code, Error, Result, Timestamp};
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::clip;

/// Longer ones are mistakes.
const LONGEST: usize = 256;
/// How often the clock may be moved between two times: as often as in a hundred years.
const MOST_MOVES: usize = 400;
/// A doubled hour has no more times than this that went off the first time round.
const MOST_DOUBLED: usize = 2 * 3600 * 24;
/// How many times are compared with the next ones: enough for those of a day or a week that are not all alike.
const MOST_COMPARED: usize = 16;
/// Where an expression is tried out.
const BEGINNING: civil::DateTime = civil::datetime(2000, 1, 1, 0, 0, 0, 0);

/// croner keeps a byte for each year up to 5000: thousands of triggers would have 5 KiB each. So many are at hand, as the
/// same expression is mostly looked at several times in a row; others are parsed again when their time has come.
const MOST_PARSED: usize = 256;

fn parsed(text: &str) -> std::result::Result<Arc<croner::Cron>, croner::errors::CronError> {
    static PARSED: Mutex<Option<HashMap<Box<str>, Arc<croner::Cron>>>> = Mutex::new(None);
    let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    let parsed = parsed.get_or_insert_default();
    if let Some(cron) = parsed.get(text) {
        return Ok(cron.clone());
    }
    let cron = Arc::new(croner::Cron::from_str(text)?);
    if parsed.len() >= MOST_PARSED {
        parsed.clear();
    }
    parsed.insert(text.into(), cron.clone());
    Ok(cron)
}

/// A cron expression in a time zone.
#[derive(Clone)]
pub(super) struct Expression {
    text: Box<str>,
    is_hourly: bool,
    zone: TimeZone,
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Expression").field(&self.text).field(&self.zone).finish()
    }
}

impl Expression {
    pub(super) fn parse(text: &str, zone: TimeZone) -> Result<Self> {
        let wrong = |why: String| {
            Error::new(Code::TriggerTime, format!("the cron expression `{}` is not understood", clip(text)))
                .because(why)
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let is_alias = text.trim_start().starts_with('@');
        let is_known = match fields.len() {
            1 => is_alias,
            5 | 6 => !text.contains('@'),
            _ => false,
        };
        if !is_known || text.len() > LONGEST {
            return Err(wrong("it has five or six fields, or is one of `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`".into()));
        }
        parsed(text).map_err(|error| wrong(error.to_string()))?;
        let is_hourly = match fields.as_slice() {
            [alias] => alias.eq_ignore_ascii_case("@hourly"),
            fields => matches!(fields[fields.len() - 4], "*" | "*/1"),
        };
        let expression = Self { text: text.into(), is_hourly, zone };
        match expression.search(BEGINNING, true) {
            Some(_) => Ok(expression),
            None => Err(Error::new(
                Code::CronNever,
                format!("`{}` never comes true: no day has its date", clip(text)),
            )),
        }
    }

    /// The first moment after another one.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(after.0).ok()?;
        let found = if self.is_hourly { self.next_by_clock(after) } else { self.next_once(after) }?;
        Some(Timestamp(found.as_millisecond()))
    }

    /// The shortest time from one of the first times to the next, by a clock that nobody moves.
    pub(super) fn shortest_distance(&self) -> Option<Duration> {
        let first = self.search(BEGINNING, true);
        let times = std::iter::successors(first, |time| self.search(*time, false)).take(MOST_COMPARED);
        let times: Vec<civil::DateTime> = times.collect();
        times.windows(2).map(|pair| pair[1].duration_since(pair[0]).unsigned_abs()).min()
    }

    /// Each time as often as the clock shows it.
    fn next_by_clock(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let (mut from, mut is_within) = (after, false);
        for _ in 0..MOST_MOVES {
            let offset = self.zone.to_offset(from);
            let time = self.search(offset.to_datetime(from), is_within)?;
            let found = offset.to_timestamp(time).ok()?;
            // By this offset, which holds until the clock is moved.
            match self.zone.following(from).next() {
                Some(moved) if moved.timestamp() <= found => (from, is_within) = (moved.timestamp(), true),
                _ => return Some(found),
            }
        }
        None
    }

    /// Each time once.
    fn next_once(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut time = self.zone.to_datetime(after);
        for _ in 0..MOST_DOUBLED {
            time = self.search(time, false)?;
            let found = self.first_moment(time)?;
            // Within a doubled hour, the second time round, what was found went off the first time.
            if found > after {
                return Some(found);
            }
        }
        None
    }

    /// The first moment at which the clock shows a time, or has passed it.
    fn first_moment(&self, time: civil::DateTime) -> Option<jiff::Timestamp> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                // By the later offset, it lies before the gap.
                let before_gap = after.to_timestamp(time).ok()?;
                Some(self.zone.following(before_gap).next()?.timestamp())
            }
        }
    }

    /// The first time of the wall clock after `time`, or at it.
    fn search(&self, time: civil::DateTime, is_within: bool) -> Option<civil::DateTime> {
        // Wall clock times have no zone: in UTC no clock is moved.
        let time = jiff::tz::Offset::UTC.to_timestamp(time).ok()?;
        // A time that begins within a second is after that second.
        let is_within = is_within && time.subsec_nanosecond() == 0;
        let start: DateTime<Utc> = DateTime::from_timestamp(time.as_second(), 0)?;
        let found = parsed(&self.text).ok()?.find_next_occurrence(&start, is_within).ok()?;
        let found = jiff::Timestamp::from_second(found.timestamp()).ok()?;
        Some(jiff::tz::Offset::UTC.to_datetime(found))
    }
}
