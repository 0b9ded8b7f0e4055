//! Owns showing what is told of a run elsewhere by whatever shows runs here.

use daemon::runs::{Effect, Told};
use effect::{Action, Event, Kind};
use journal::Identity;
use script::{Level, Module};
use serde_json::Value;

use crate::render::Watch;

/// Shows one thing that happens. Questions and ends are their reader's own business.
pub(super) fn told(watch: &dyn Watch, told: Told) {
    match told {
        Told::Started(effect) => {
            let kind = kind(&effect);
            watch.event(Event::Started { identity: &identity(&effect), kind, subject: &effect.subject });
        }
        Told::Held(effect, reason) => {
            watch.event(Event::Held { identity: &identity(&effect), reason: &reason });
        }
        Told::Ended { effect, action, error, millis } => watch.event(Event::Ended {
            identity: &identity(&effect),
            kind: kind(&effect),
            subject: &effect.subject,
            action: serde_json::from_value(Value::String(action)).unwrap_or(Action::None),
            error: error.as_ref(),
            millis,
        }),
        Told::Log { level, scope, number, message, fields } => {
            watch.line(number, level_of(&level), &scope, &message, fields.as_deref());
        }
        Told::Progress { scope, value } => watch.progress(&scope, &value),
        Told::Module { name, source } => watch.module(&Module { name, source: source.to_string() }),
        Told::Interrupted { hard, cancelled } => watch.interrupted(hard, cancelled),
        Told::Question { .. } | Told::End(_) => {}
    }
}

fn identity(effect: &Effect) -> Identity {
    Identity { scope: effect.scope.clone(), counter: effect.counter, name: effect.name.clone() }
}

fn kind(effect: &Effect) -> Kind {
    effect.kind.parse().unwrap_or(Kind::Ensure)
}

fn level_of(word: &str) -> Level {
    match word {
        "debug" => Level::Debug,
        "print" => Level::Print,
        "warn" => Level::Warn,
        "error" => Level::Error,
        _ => Level::Info,
    }
}
