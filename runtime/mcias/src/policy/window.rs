//! Owns windows of time: hours of days of the week, in a zone.

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use journal::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }
}

/// Hours of days. A window that ends before it begins lasts until the next day, and belongs to the day of its begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// On which days; on every day unless given.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub days: BTreeSet<Day>,
    /// From when on, such as `"08:00"`; from midnight unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Until when, that minute not included; until midnight unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The zone in which the clock says so, such as `"Europe/Berlin"`; UTC unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = self.days.iter().map(|day| day.as_str()).collect();
        if !days.is_empty() {
            write!(formatter, "{} ", days.join("+"))?;
        }
        let (from, until) = (self.from.as_deref(), self.to.as_deref());
        write!(formatter, "{}–{}", from.unwrap_or("00:00"), until.unwrap_or("24:00"))?;
        match &self.zone {
            Some(zone) => write!(formatter, " {zone}"),
            None => formatter.write_str(" UTC"),
        }
    }
}

/// A window, ready to be asked.
#[derive(Debug)]
pub(super) struct Compiled {
    days: Vec<Weekday>,
    from: Time,
    /// None is the end of the day.
    until: Option<Time>,
    zone: TimeZone,
}

impl Window {
    pub(super) fn compile(&self) -> Result<Compiled, String> {
        let zone = match &self.zone {
            Some(name) if name.len() <= 64 => TimeZone::get(name)
                .map_err(|_| format!("there is no time zone `{}`", crate::name::shown(name)))?,
            Some(_) => return Err("the name of a time zone is that long nowhere".into()),
            None => TimeZone::UTC,
        };
        let from = self.from.as_deref().map(time).transpose()?.flatten();
        let until = self.to.as_deref().map(time).transpose()?.flatten();
        let from = from.unwrap_or(Time::midnight());
        if until == Some(from) && from != Time::midnight() {
            return Err("a window ends when it begins".into());
        }
        let until = until.filter(|until| *until != Time::midnight());
        Ok(Compiled { days: self.days.iter().map(|day| day.weekday()).collect(), from, until, zone })
    }
}

/// `HH:MM`; none is `24:00`.
fn time(text: &str) -> Result<Option<Time>, String> {
    let wrong = || format!("`{}` is no time such as 08:00", crate::name::shown(text));
    if text == "24:00" {
        return Ok(None);
    }
    let (hour, minute) = text.split_once(':').filter(|_| text.len() == 5).ok_or_else(wrong)?;
    let number = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i8>().ok()).flatten()
    };
    let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(wrong)?;
    Time::new(hour, minute, 0, 0).map(Some).map_err(|_| wrong())
}

impl Compiled {
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        let Ok(at) = jiff::Timestamp::from_millisecond(at.0) else { return false };
        let there = self.zone.to_datetime(at);
        let (time, today) = (there.time(), there.date().weekday());
        let is_on = |day: Weekday| self.days.is_empty() || self.days.contains(&day);
        match self.until {
            Some(until) if until < self.from => {
                (time >= self.from && is_on(today)) || (time < until && is_on(today.previous()))
            }
            Some(until) => time >= self.from && time < until && is_on(today),
            None => time >= self.from && is_on(today),
        }
    }
}
