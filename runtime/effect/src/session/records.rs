//! Owns how an effect is written to the journal: its begin, its end, and what of it may be stored.

use std::sync::PoisonError;

use journal::{Begin, Begun, Timestamp};
use serde_json::Value;
use serde_json::value::RawValue;

use super::history::hash;
use super::outcome::{raw, recorded_form};
use super::{Answer, Request, Session, Stop};
use crate::{Action, Code, Error, FieldChange, Kind, Result};

impl Session {
    /// An effect that could not read or write our own records is no matter of the script: the run stops.
    pub(super) async fn check_journal(&self, answer: &Answer) -> Result<(), Stop> {
        match answer {
            Err(error) if matches!(error.code, Code::DiskFull | Code::JournalBroken) => {
                Ok(self.journal().barrier().await?)
            }
            _ => Ok(()),
        }
    }

    /// The error as it leaves the corridor: with the effect that failed, and no longer than an error may be.
    pub(super) fn attribute(&self, mut error: Error, request: &Request) -> Error {
        error.effect.get_or_insert_with(|| request.identity.name.clone());
        error.shortened()
    }

    /// Stops the run before an effect acts that its saved plan does not have like this.
    pub(super) fn hold_to_plan(
        &self,
        request: &Request,
        action: Action,
        fields: &[FieldChange],
    ) -> Result<(), Stop> {
        let Some(bound) = &self.bound else { return Ok(()) };
        let mask = |value: &Option<Value>| value.clone().map(|value| self.masked(value));
        let masked: Vec<FieldChange> = fields
            .iter()
            .map(|field| FieldChange {
                before: mask(&field.before),
                after: mask(&field.after),
                ..field.clone()
            })
            .collect();
        bound
            .check(&request.identity, &hash(&request.arguments), action, &masked)
            .map_err(|error| Stop::Pause(self.attribute(error, request)))
    }

    /// Makes a begin durable, together with every end before it.
    pub(super) async fn begin(&self, request: &Request, kind: Kind, before: Before) -> Result<Begun, Stop> {
        let begin = Begin {
            identity: request.identity.clone(),
            kind,
            arguments: request.arguments.get().into(),
            arguments_hash: hash(&request.arguments),
            place: request.place.clone(),
            before: before.before.map(|value| self.kept(value)),
            change: before.change.map(|value| self.masked(value).to_string()),
            until: before.until,
            fence: self.fence(&request.identity),
        };
        Ok(self.journal().begin(&self.shared.run, begin).await?)
    }

    /// Records an end. The answer may reach the script before the end is durable; the world may not see it earlier,
    /// which the next begin takes care of.
    pub(super) async fn end(&self, request: &Request, kind: Kind, ending: Ending) -> Result<Answer, Stop> {
        // What our own records had no room for is no matter of the script either: it is tried again when the run goes on.
        // An act is not, which may have been done.
        if let Err(error) = &ending.result
            && error.code == Code::DiskFull
            && kind != Kind::Act
        {
            return Err(Stop::Broken(self.attribute(error.clone(), request)));
        }
        Ok(self.record(request, kind, ending).await?)
    }

    pub(super) async fn record(
        &self,
        request: &Request,
        kind: Kind,
        ending: Ending,
    ) -> Result<Answer, journal::Error> {
        let answer = ending
            .result
            .and_then(|value| bounded(raw(&self.told(value))?))
            .map_err(|error| self.attribute(self.masked_error(error), request));
        if let (Some(bound), Err(_)) = (&self.bound, &answer) {
            bound.failed(&request.identity);
        }
        let outcome = match &answer {
            Ok(value) => journal::Outcome::Done(value.get().into()),
            Err(error) if error.code == Code::Cancelled => journal::Outcome::Cancelled,
            Err(error) => journal::Outcome::Failed(recorded_form(error)),
        };
        let entry = journal::End {
            identity: request.identity.clone(),
            kind,
            arguments: request.arguments.get().into(),
            arguments_hash: hash(&request.arguments),
            place: request.place.clone(),
            before: ending.before.map(|value| self.kept(value)),
            outcome,
            writes: ending.writes,
            fence: self.fence(&request.identity),
            changed: ending.changed,
        };
        let turn = self.turnstile.take();
        let recorded = if ending.at_once || !entry.writes.is_empty() {
            self.journal().end_now(&self.shared.run, entry).durable().await
        } else {
            self.watch_over(self.journal().end(&self.shared.run, entry));
            Ok(())
        };
        turn.pass().await;
        recorded.map(|()| answer)
    }

    /// A value without literal copies of secrets: what a program printed may contain one.
    #[must_use]
    pub fn masked(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.shared.secrets.mask(&text).into_owned()),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.masked(item)).collect()),
            Value::Object(fields) => {
                Value::Object(fields.into_iter().map(|(name, field)| (name, self.masked(field))).collect())
            }
            other => other,
        }
    }

    /// A state as the journal keeps it. Where a literal copy of a secret was masked the state cannot be brought back, and
    /// says so.
    fn kept(&self, value: Value) -> String {
        let mut kept = self.masked(value.clone());
        if let Value::Object(fields) = &mut kept
            && value.as_object() != Some(fields)
        {
            fields.insert(MASKED.to_owned(), true.into());
        }
        kept.to_string()
    }

    /// What a script gets of a result: without secrets, and without what only undo can open or is to know.
    pub(super) fn told(&self, value: Value) -> Value {
        let mut told = crate::secret::without_boxes(self.masked(value));
        let is_absent = |before: &Value| before.get(ABSENT).is_some();
        if let Value::Object(fields) = &mut told
            && fields.get("before").is_some_and(is_absent)
        {
            fields.remove("before");
        }
        told
    }

    pub(super) fn masked_error(&self, mut error: Error) -> Error {
        let mask = |text: &str| self.shared.secrets.mask(text).into_owned();
        error.message = mask(&error.message);
        error.cause = error.cause.as_deref().map(mask);
        error.details = error.details.iter().map(|line| mask(line)).collect();
        error
    }

    /// The next begin, or the group's delay, commits the end; nobody waits for it, but a script must not go on for long
    /// when it could not be recorded.
    fn watch_over(&self, ticket: journal::Ticket) {
        let lost = self.lost.clone();
        tokio::spawn(async move {
            if let Err(error) = ticket.await {
                lost.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
    }

    pub(super) fn check_ends(&self) -> Result<(), Stop> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.clone().map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Marks the record of an object that was not there: it holds what undo takes away.
const ABSENT: &str = "$absent";

/// Marks a recorded state that is not whole.
pub(super) const MASKED: &str = "$masked";
/// A call of an effect's own, between two points at which a crash test may end the process.
pub(super) async fn driven<T>(points: (&'static str, &'static str), call: impl Future<Output = T>) -> T {
    journal::reached(points.0);
    let done = call.await;
    journal::reached(points.1);
    done
}

/// What a begin records.
#[derive(Default)]
pub(super) struct Before {
    pub(super) before: Option<Value>,
    pub(super) change: Option<Value>,
    pub(super) until: Option<Timestamp>,
}

/// What an end records.
pub(super) struct Ending {
    pub(super) result: Result<Value>,
    pub(super) before: Option<Value>,
    pub(super) writes: Vec<journal::Write>,
    pub(super) changed: bool,
    /// Commit without waiting for company.
    pub(super) at_once: bool,
}

impl Ending {
    pub(super) fn unchanged(result: Result<Value>) -> Self {
        Self { result, before: None, writes: Vec::new(), changed: false, at_once: false }
    }
}

/// What is recorded is what the script gets, so a result that cannot reach it is an error on both sides.
pub(super) fn bounded(result: Box<RawValue>) -> Result<Box<RawValue>> {
    const GREATEST_RESULT: usize = 16 << 20;
    if result.get().len() <= GREATEST_RESULT {
        return Ok(result);
    }
    let message = format!(
        "the result has {} bytes, more than the {GREATEST_RESULT} that an effect may return",
        result.get().len()
    );
    Err(Error::new(Code::TooLarge, message).hint("ask for less, or put it into a file"))
}
