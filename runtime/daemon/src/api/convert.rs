//! Owns how runs and what happens in them are put into messages, and read from them.

use api::v1;
use api::v1::watch_run_response::Told as Message;
use effect::{Code, Error, Timestamp};
use journal::{Entry, Log, Run};
use peer::calls::{error_of, failure_of};
use serde_json::Value;

use crate::runs::{Effect, End, Told};

/// A run as it stands.
pub(super) fn run(run: &Run) -> v1::Run {
    v1::Run {
        id: run.id.to_string(),
        name: run.name.clone(),
        state: run.state.to_string(),
        playbook: run.playbook.clone(),
        cause: run.cause.as_ref().map(Value::to_string),
        args: run.args.clone(),
        params: run.params.to_string(),
        created: run.created.0,
        started: run.started.map(|at| at.0),
        ended: run.ended.map(|at| at.0),
        exit_code: run.exit_code,
        effects: run.effects,
        changed: run.changed,
        failure: failure(run),
        cancel_requested: run.cancel_requested,
    }
}

fn failure(run: &Run) -> Option<v1::Failure> {
    let error = run.outcome.as_ref()?.get("error").filter(|error| !error.is_null())?;
    let error = serde_json::from_value::<Error>(error.clone()).unwrap_or_else(|_| {
        // It was recorded by a newer version.
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        Error::new(Code::ApiVersion, format!("{}: {}", text("code"), text("message")))
    });
    Some(failure_of(&error))
}

/// An effect as recorded.
pub(super) fn effect(entry: &Entry) -> v1::RunEffect {
    v1::RunEffect {
        scope: entry.identity.scope.clone(),
        counter: entry.identity.counter,
        name: entry.identity.name.clone(),
        kind: entry.kind.to_string(),
        status: entry.status.to_string(),
        changed: entry.changed,
        begun: entry.begun_at.map(|at| at.0),
        ended: entry.ended_at.map(|at| at.0),
    }
}

/// What somebody who watches is told of an effect that is over, from what is recorded of it.
pub(super) fn ended(entry: &Entry) -> Message {
    let parsed = |text: Option<&str>| text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let planned = parsed(entry.change.as_deref())
        .and_then(|change| Some(change.get("action")?.as_str()?.to_owned()))
        .filter(|_| entry.changed);
    let action = planned.unwrap_or_else(|| match entry.kind {
        journal::Kind::Ensure if entry.changed => "update".to_owned(),
        journal::Kind::Ensure => "none".to_owned(),
        kind => kind.to_string(),
    });
    let failure = match entry.status {
        journal::Status::Failed => parsed(entry.result.as_deref())
            .and_then(|error| serde_json::from_value::<Error>(error).ok())
            .map(|error| failure_of(&error)),
        _ => None,
    };
    let millis = match (entry.begun_at, entry.ended_at) {
        (Some(Timestamp(begun)), Some(Timestamp(ended))) => ended.saturating_sub(begun),
        _ => 0,
    };
    Message::Ended(v1::EffectEnded {
        scope: entry.identity.scope.clone(),
        counter: entry.identity.counter,
        name: entry.identity.name.clone(),
        kind: entry.kind.to_string(),
        // Only the effect itself knows how its object is called.
        subject: String::new(),
        action,
        failure,
        millis,
    })
}

/// What somebody who watches is told of a line that is recorded.
pub(super) fn line(log: &Log) -> Message {
    Message::Log(v1::RunLog {
        level: log.line.level.to_string(),
        scope: log.line.scope.clone(),
        message: log.line.message.clone(),
        fields: log.line.fields.clone(),
        number: log.line.number,
    })
}

/// The last message.
pub(super) fn end(end: &End) -> Message {
    Message::End(v1::RunEnd {
        run: Some(run(&end.run)),
        exit_code: end.exit_code.into(),
        trouble: end.trouble.as_ref().map(Value::to_string),
    })
}

/// What happens, as a message.
pub(super) fn told(told: Told) -> Message {
    match told {
        Told::Started(Effect { scope, counter, name, kind, subject }) => {
            Message::Started(v1::EffectStarted { scope, counter, name, kind: kind.to_owned(), subject })
        }
        Told::Held(Effect { scope, counter, name, .. }, reason) => {
            Message::Held(v1::EffectHeld { scope, counter, name, reason })
        }
        Told::Ended { effect, action, error, millis } => Message::Ended(v1::EffectEnded {
            scope: effect.scope,
            counter: effect.counter,
            name: effect.name,
            kind: effect.kind.to_owned(),
            subject: effect.subject,
            action,
            failure: error.as_ref().map(failure_of),
            millis,
        }),
        Told::Log { level, scope, number, message, fields } => {
            Message::Log(v1::RunLog { level, scope, message, fields, number })
        }
        Told::Progress { scope, value } => Message::Progress(v1::RunProgress { scope, value }),
        Told::Module { name, source } => Message::Module(v1::RunModule { name, source: source.to_string() }),
        Told::Interrupted { hard, cancelled } => Message::Interrupted(v1::RunInterrupted { hard, cancelled }),
        Told::Question { id, effect, subject, place, missing } => {
            let (file, line) = place.unzip();
            Message::Question(v1::RunQuestion { id, effect, subject, file, line, missing })
        }
        Told::End(over) => end(&over),
    }
}

/// What a message tells somebody who watches; nothing for its first and last words, which are more than that.
pub(super) fn heard(message: Message) -> Option<Told> {
    Some(match message {
        Message::Standing(_) | Message::End(_) => return None,
        Message::Started(v1::EffectStarted { scope, counter, name, kind: word, subject }) => {
            Told::Started(Effect { scope, counter, name, kind: kind(&word), subject })
        }
        Message::Held(v1::EffectHeld { scope, counter, name, reason }) => {
            Told::Held(Effect { scope, counter, name, kind: "", subject: String::new() }, reason)
        }
        Message::Ended(v1::EffectEnded {
            scope,
            counter,
            name,
            kind: word,
            subject,
            action,
            failure,
            millis,
        }) => {
            let effect = Effect { scope, counter, name, kind: kind(&word), subject };
            let error = failure.map(|failure| error_of(failure, Code::ApiVersion));
            Told::Ended { effect, action, error, millis }
        }
        Message::Log(v1::RunLog { level, scope, message, fields, number }) => {
            Told::Log { level, scope, number, message, fields }
        }
        Message::Progress(v1::RunProgress { scope, value }) => Told::Progress { scope, value },
        Message::Module(v1::RunModule { name, source }) => Told::Module { name, source: source.into() },
        Message::Interrupted(v1::RunInterrupted { hard, cancelled }) => Told::Interrupted { hard, cancelled },
        Message::Question(v1::RunQuestion { id, effect, subject, file, line, missing }) => {
            Told::Question { id, effect, subject, place: file.zip(line), missing }
        }
    })
}

/// A kind as it is known here.
fn kind(word: &str) -> &'static str {
    word.parse::<journal::Kind>().map_or("", journal::Kind::as_str)
}
