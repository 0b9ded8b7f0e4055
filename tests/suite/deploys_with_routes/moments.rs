//! Owns the moments of a deploy: each of its effects begun, applied and ended, as the program under test counts them.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::place::Served;

/// What has just happened to an effect, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    /// Its beginning is recorded.
    Begun,
    /// It took place.
    Applied,
    /// Its end is recorded.
    Ended,
}

/// A moment.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// The name of the effect.
    effect: String,
    when: When,
    /// How often what it waits for has been passed by then.
    nth: usize,
    /// Whether the effect has a beginning or an end of its own beside others, and is more than a look.
    matters: bool,
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?} ({})", self.effect, self.when, self.point())
    }
}

impl Moment {
    /// The point that the program passes then.
    pub(super) fn point(&self) -> String {
        let name = match self.when {
            When::Begun => "begin:after-commit",
            When::Applied => "apply:after",
            When::Ended => "end:after-commit",
        };
        format!("{name}@{}", self.nth)
    }

    /// The point at which the first thing of the effect that is recorded is about to be.
    pub(super) fn before(&self) -> String {
        let name = if self.when == When::Begun { "begin" } else { "end" };
        format!("{name}:before-commit@{}", self.nth)
    }
}

/// Every moment of a deploy, which is carried out for that.
#[track_caller]
pub(super) fn all(served: &Served, settings: &[&str]) -> Vec<Moment> {
    let log = served.at("points");
    // What was passed before belongs to another deploy.
    let _ = std::fs::remove_file(&log);
    let seen = served.deploying(settings, &[("MCRUN_CRASH_LOG", &log)]).end();
    assert_eq!(seen.code, Some(0), "{seen}");
    let passed = served.read("points");
    let times = |point: &str| {
        passed.lines().filter(|line| line.starts_with(&format!("{point}@")) && !line.contains('+')).count()
    };
    let run = served.newest_shown();
    let entries = run["entries"].as_array().expect("a list of entries");
    let of = |when: When, mut these: Vec<&Value>, by: &str| {
        these.sort_by_key(|entry| (entry[by].as_i64(), entry["order"].as_i64()));
        let moments = (1..).zip(these).map(move |(nth, entry)| Moment {
            effect: entry["identity"]["name"].as_str().expect("an effect has a name").to_owned(),
            when,
            nth,
            matters: !entry["begun_at"].is_null() || entry["changed"] == true,
        });
        moments.collect::<Vec<_>>()
    };
    let begun =
        of(When::Begun, entries.iter().filter(|entry| !entry["begun_at"].is_null()).collect(), "begun_at");
    let applied =
        of(When::Applied, entries.iter().filter(|entry| entry["changed"] == true).collect(), "order");
    let ended = of(When::Ended, entries.iter().collect(), "ended_at");
    let counted = ["begin:after-commit", "apply:after", "end:after-commit"].map(times);
    assert_eq!([begun.len(), applied.len(), ended.len()], counted, "{passed}");
    [begun, applied, ended].concat()
}

fn first_of_each(moments: Vec<Moment>, key: impl Fn(&Moment) -> (String, Option<When>)) -> Vec<Moment> {
    let mut seen = BTreeSet::new();
    moments.into_iter().filter(|moment| seen.insert(key(moment))).collect()
}

/// Those at which a deploy is killed: each kind of effect once begun, applied and ended; with `MCRUN_MOMENTS=all` every one.
#[track_caller]
pub(super) fn to_die_at(served: &Served, settings: &[&str]) -> Vec<Moment> {
    let mut moments = all(served, settings);
    if std::env::var_os("MCRUN_MOMENTS").is_some_and(|which| which == "all") {
        return moments;
    }
    moments.retain(|moment| moment.matters);
    first_of_each(moments, |moment| (moment.effect.clone(), Some(moment.when)))
}

/// Those at which the disk is full: the first thing that is recorded of each kind of effect.
#[track_caller]
pub(super) fn to_be_full_at(served: &Served, settings: &[&str]) -> Vec<Moment> {
    let mut moments = all(served, settings);
    moments.retain(|moment| moment.matters && moment.when != When::Applied);
    // Beginnings come first.
    first_of_each(moments, |moment| (moment.effect.clone(), None))
}
