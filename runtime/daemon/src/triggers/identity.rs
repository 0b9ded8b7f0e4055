//! Owns how triggers are called: for people, and by names under which they are recorded.

use std::time::Duration;

use aws_lc_rs::digest;
use effect::units::Span;

use crate::playbooks::{Forge, Trigger};

/// What people are shown: `cron 17 3 * * *`.
#[must_use]
pub fn text(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Cron(cron) => match &cron.zone {
            Some(zone) => format!("cron {} {zone}", cron.expression),
            None => format!("cron {}", cron.expression),
        },
        Trigger::Every(every) => format!("every {}", span(every.every)),
        Trigger::At(at) => format!("at {}", at.text),
        Trigger::Boot => "boot".to_owned(),
        Trigger::Event(event) => format!("event {}", event.pattern),
        Trigger::File(file) => format!("file {}", file.path.display()),
        Trigger::Webhook(webhook) => format!("webhook {}", webhook.path),
    }
}

/// The word for its kind.
#[must_use]
pub fn kind(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::Cron(_) => "cron",
        Trigger::Every(_) => "every",
        Trigger::At(_) => "at",
        Trigger::Boot => "boot",
        Trigger::Event(_) => "event",
        Trigger::File(_) => "file",
        Trigger::Webhook(_) => "webhook",
    }
}

/// The name of a playbook's trigger in records: another one as soon as it means something else, as what has passed of the
/// one says nothing of the other.
#[must_use]
pub(super) fn name(playbook: &str, trigger: &Trigger) -> String {
    let meaning = match trigger {
        Trigger::Cron(cron) => format!("{} {:?}", cron.expression, cron.zone),
        Trigger::Every(every) => every.every.as_millis().to_string(),
        Trigger::At(at) => at.at.0.to_string(),
        Trigger::Boot => String::new(),
        Trigger::Event(event) => {
            let filter = serde_json::to_string(&event.filter).unwrap_or_default();
            format!("{} {filter}", event.pattern)
        }
        Trigger::File(file) => file.path.display().to_string(),
        Trigger::Webhook(webhook) => format!("{} {}", webhook.path, forge(webhook.format)),
    };
    let hash = hex(digest::digest(&digest::SHA256, meaning.as_bytes()).as_ref());
    format!("{playbook}/{}-{}", kind(trigger), &hash[..8])
}

/// The word for a format.
pub(super) fn forge(format: Forge) -> &'static str {
    match format {
        Forge::Generic => "generic",
        Forge::Github => "github",
        Forge::Gitea => "gitea",
        Forge::Gitlab => "gitlab",
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `10m`.
pub(super) fn span(span: Duration) -> String {
    Span(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbooks::{Cron, Every};

    fn cron(expression: &str, zone: Option<&str>, jitter: u64) -> Trigger {
        let (expression, zone) = (expression.to_owned(), zone.map(str::to_owned));
        Trigger::Cron(Cron { expression, zone, jitter: Duration::from_secs(jitter) })
    }

    #[test]
    fn a_trigger_that_means_something_else_has_another_name() {
        let one = name("p", &cron("* * * * *", None, 0));
        assert_eq!(one, name("p", &cron("* * * * *", None, 5)));
        assert_ne!(one, name("p", &cron("1 * * * *", None, 0)));
        assert_ne!(one, name("p", &cron("* * * * *", Some("UTC"), 0)));
        assert_ne!(one, name("q", &cron("* * * * *", None, 0)));
        assert!(one.starts_with("p/cron-"), "{one}");
    }

    #[test]
    fn triggers_are_shown_as_they_are_written() {
        assert_eq!(text(&cron("17 3 * * *", Some("Europe/Berlin"), 0)), "cron 17 3 * * * Europe/Berlin");
        let every = Every { every: Duration::from_secs(600), jitter: Duration::ZERO };
        assert_eq!(text(&Trigger::Every(every)), "every 10m");
        assert_eq!(text(&Trigger::Boot), "boot");
    }
}
