//! Owns the check of times when a file is read: what is impossible is said then, and not when it should go off.

use croner::parser::{CronParser, Seconds};
use effect::{Code, Error, Result};

use super::Trigger;

/// Whether the times of a trigger can be.
pub(super) fn check(trigger: &Trigger) -> Result<()> {
    let Trigger::Cron(cron) = trigger else { return Ok(()) };
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    let wrong = |what: String| Error::new(Code::PlaybookField, what);
    parser
        .parse(&cron.expression)
        .map_err(|error| wrong(format!("`{}` is no cron expression", cron.expression)).because(error))?;
    if let Some(zone) = &cron.zone {
        jiff::tz::TimeZone::get(zone)
            .map_err(|error| wrong(format!("there is no time zone `{zone}`")).because(error))?;
    }
    Ok(())
}
