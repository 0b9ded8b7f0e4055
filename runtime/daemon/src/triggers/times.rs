//! Owns the times of a trigger: pure functions of a moment. What is done about them belongs to the engine.
//!
//! A time has two sides: when it is by the trigger, which names its occurrence, and when it goes off, which is later by
//! its share of the jitter. The share is a function of playbook, trigger and time, so that it is the same after a restart.

mod cron;

use std::collections::VecDeque;
use std::time::Duration;

use aws_lc_rs::digest;
use effect::units::Span;
use effect::{Code, Error, Result, Timestamp};
use jiff::tz::TimeZone;

use crate::playbooks::{Cron, Every, Trigger};

use self::cron::Expression;

/// `every` counts seconds: more often is the work of a service.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST_JITTER: Duration = Duration::from_secs(86_400);
/// How many missed times are counted one by one.
const MOST_COUNTED: usize = 10_000;

/// The times of one trigger.
#[derive(Debug, Clone)]
pub struct Times {
    rule: Rule,
    jitter: Duration,
    /// What the share of the jitter depends on.
    salt: String,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron(Box<Expression>),
    Every(i64),
    At(Timestamp),
}

/// Times that have passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// The last ones, the first first.
    pub last: VecDeque<Timestamp>,
    /// How many more there were before them; at least so many, where `is_more`.
    pub before: u64,
    /// Whether there were so many that they were not counted.
    pub is_more: bool,
}

impl Times {
    /// The times of a trigger, if it has any. `salt` tells it from others that go off at the same time; `local` is the
    /// machine's zone.
    ///
    /// # Errors
    /// `MC-L010` to `MC-L012` for times that are not understood, never come or are of no known zone.
    pub fn of(trigger: &Trigger, salt: &str, local: &TimeZone) -> Result<Option<Self>> {
        let Some(rule) = rule(trigger, local)? else { return Ok(None) };
        let jitter = jitter(trigger);
        check_against(jitter, &rule)?;
        Ok(Some(Self { rule, jitter, salt: salt.to_owned() }))
    }

    /// The first time after a moment.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron(expression) => expression.next(after),
            Rule::Every(period) => {
                let count = after.0.div_euclid(*period).checked_add(1)?;
                count.checked_mul(*period).map(Timestamp)
            }
            Rule::At(at) => (*at > after).then_some(*at),
        }
    }

    /// Whether its times go off later than they are.
    #[must_use]
    pub fn is_put_off(&self) -> bool {
        !self.jitter.is_zero()
    }

    /// When a time goes off: up to the jitter later.
    #[must_use]
    pub fn goes_off(&self, time: Timestamp) -> Timestamp {
        let jitter = u64::try_from(self.jitter.as_millis()).unwrap_or(0);
        if jitter == 0 {
            return time;
        }
        let told = format!("{}@{}", self.salt, time.0);
        let hash = digest::digest(&digest::SHA256, told.as_bytes());
        let chance = hash.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        time.after(Duration::from_millis(chance % jitter))
    }

    /// The times after a moment that have gone off by `now`: the last `keep` of them, and how many were before these.
    #[must_use]
    pub fn passed(&self, after: Timestamp, now: Timestamp, keep: usize) -> Passed {
        let passed = self.count(after, now, keep);
        if !passed.is_more {
            return passed;
        }
        // Too many to go through one by one: the last ones are looked for from the end.
        let mut last = passed.last;
        for hours in [1, 24, 24 * 31, 24 * 366, 24 * 366 * 8] {
            let from = Timestamp(now.0.saturating_sub(hours * 3_600_000)).max(after);
            last = self.last_ones(from, now, keep);
            if last.len() >= keep {
                break;
            }
        }
        Passed { last, ..passed }
    }

    fn count(&self, after: Timestamp, now: Timestamp, keep: usize) -> Passed {
        let mut passed = Passed::default();
        for (counted, time) in self.between(after, now).enumerate() {
            if counted == MOST_COUNTED {
                passed.is_more = true;
                return passed;
            }
            passed.last.push_back(time);
            if passed.last.len() > keep {
                passed.last.pop_front();
                passed.before += 1;
            }
        }
        passed
    }

    fn last_ones(&self, after: Timestamp, now: Timestamp, keep: usize) -> VecDeque<Timestamp> {
        let mut last = VecDeque::new();
        for time in self.between(after, now) {
            last.push_back(time);
            if last.len() > keep {
                last.pop_front();
            }
        }
        last
    }

    /// The times after a moment up to the first that has not gone off by `now`.
    fn between(&self, after: Timestamp, now: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let mut from = after;
        std::iter::from_fn(move || {
            let time = self.next(from)?;
            from = time;
            (self.goes_off(time) <= now).then_some(time)
        })
    }
}

fn rule(trigger: &Trigger, local: &TimeZone) -> Result<Option<Rule>> {
    Ok(match trigger {
        Trigger::Cron(cron) => Some(Rule::Cron(Box::new(expression(cron, local)?))),
        Trigger::Every(every) => Some(Rule::Every(period(every)?)),
        Trigger::At(at) => Some(Rule::At(at.at)),
        _ => None,
    })
}

fn jitter(trigger: &Trigger) -> Duration {
    match trigger {
        Trigger::Cron(cron) => cron.jitter,
        Trigger::Every(every) => every.jitter,
        _ => Duration::ZERO,
    }
}

/// A time that is put off beyond the next one would be taken for one that was missed.
fn check_against(jitter: Duration, rule: &Rule) -> Result<()> {
    let wrong = |message: String| Err(Error::new(Code::TriggerTime, message));
    if jitter > LONGEST_JITTER {
        return wrong("a jitter is no longer than a day".to_owned());
    }
    if jitter.is_zero() {
        return Ok(());
    }
    match rule {
        Rule::Every(period) if jitter.as_millis() >= u128::from(period.unsigned_abs()) => {
            let period = Span(Duration::from_millis(period.unsigned_abs()));
            wrong(format!(
                "a jitter of {} is not shorter than the {period} from one time to the next",
                Span(jitter)
            ))
        }
        Rule::Cron(expression) => match expression.shortest_distance() {
            Some(shortest) if jitter > shortest => wrong(format!(
                "a jitter of {} is longer than the {} from one time to the next",
                Span(jitter),
                Span(shortest)
            )),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn expression(cron: &Cron, local: &TimeZone) -> Result<Expression> {
    let zone = match &cron.zone {
        None => local.clone(),
        Some(name) => TimeZone::get(name).map_err(|error| {
            Error::new(Code::ZoneUnknown, format!("there is no time zone `{}`", clip(name))).because(error)
        })?,
    };
    Expression::parse(&cron.expression, zone)
}

fn period(every: &Every) -> Result<i64> {
    let millis = i64::try_from(every.every.as_millis()).ok();
    millis.filter(|_| every.every >= SHORTEST).ok_or_else(|| {
        Error::new(Code::TriggerTime, "`every` is shorter than a second, or longer than anything lasts")
    })
}

/// Checks the times of a trigger, for whoever reads playbooks; the jitter by [`check_jitter`], as it is another field.
///
/// # Errors
/// As [`Times::of`].
pub fn check(trigger: &Trigger) -> Result<()> {
    rule(trigger, &TimeZone::UTC).map(drop)
}

/// Checks the jitter of a trigger whose times are right.
///
/// # Errors
/// `MC-L010` for one that reaches beyond the next time.
pub fn check_jitter(trigger: &Trigger) -> Result<()> {
    Times::of(trigger, "", &TimeZone::UTC).map(drop)
}

/// What is shown of a text that somebody else wrote.
pub(super) fn clip(text: &str) -> String {
    let mut shown: String = text.chars().filter(|letter| !letter.is_control()).take(64).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
