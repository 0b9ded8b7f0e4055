//! Owns the way of an `ensure`: read, begin with what was there before, apply, end.

use journal::{Open, Write};
use serde_json::{Value, json};

use super::records::driven;
use super::{Before, Ending, Request, Session, Stop};
use crate::erased::{EnsureCall, Made, Pending, Planned};
use crate::session::Answer;
use crate::{Action, Code, Context, Error, Kind, Result};

/// How often a write to our own records is tried again after another run was faster.
const RECORD_ATTEMPTS: usize = 8;

impl Session {
    pub(super) async fn ensure(
        &self,
        request: &Request,
        ensure: &dyn EnsureCall,
        context: &Context,
        open: Option<Open>,
    ) -> Result<(Action, Answer), Stop> {
        if ensure.own_records() {
            return self.ensure_records(request, ensure, context).await;
        }
        let compared =
            match compared(ensure, context).await.and_then(|pending| Ok((pending.planned()?, pending))) {
                Ok(compared) => compared,
                Err(error) => {
                    let answer = self.end(request, Kind::Ensure, Ending::unchanged(Err(error))).await?;
                    return Ok((Action::None, answer));
                }
            };
        let (planned, pending) = compared;
        match (planned.action, open) {
            (Action::None, None) => {
                let answer = self.end(request, Kind::Ensure, Ending::unchanged(Ok(planned.result))).await?;
                Ok((Action::None, answer))
            }
            (action, open) => {
                // What was cut may have been half done: the change that it began with was the planned one.
                if action != Action::None && open.is_none() {
                    self.hold_to_plan(request, action, &planned.fields)?;
                }
                self.apply(request, planned, &*pending, context, open.is_some()).await
            }
        }
    }

    async fn apply(
        &self,
        request: &Request,
        planned: Planned,
        pending: &dyn Pending,
        context: &Context,
        begun_before: bool,
    ) -> Result<(Action, Answer), Stop> {
        let notes = [&planned.notes[..], &planned.lost].concat();
        let change = json!({ "action": planned.action, "fields": planned.fields, "notes": notes });
        let before = Before { before: planned.before.clone(), change: Some(change), until: None };
        let begun = self.begin(request, Kind::Ensure, before).await?;
        // A resumed ensure keeps what its first begin found.
        let first = match &begun.before {
            Some(text) => Some(serde_json::from_str::<Value>(text).map_err(|error| {
                Stop::Broken(
                    Error::new(Code::JournalBroken, "a recorded state cannot be decoded").because(error),
                )
            })?),
            None => None,
        };
        let made = if planned.action == Action::None {
            // Cut after the world had changed: nothing is left to do but to say so.
            Ok((planned.result.get("after").cloned(), Vec::new()))
        } else {
            applied(pending, context).await.map(|made| (made.after, made.writes))
        };
        let ending = match made {
            Ok((after, writes)) => Ending {
                result: Ok(ensured(true, first.as_ref(), after.as_ref())),
                before: first,
                writes,
                changed: true,
                at_once: false,
            },
            // Cut in the middle of its work, it may have changed something.
            Err(error) => Ending { before: first, changed: true, ..Ending::unchanged(Err(error)) },
        };
        let action = match (planned.action, begun_before) {
            (Action::None, true) => Action::Update,
            (action, _) => action,
        };
        Ok((action, self.end(request, Kind::Ensure, ending).await?))
    }

    /// Records of our own database commit together with the end: no begin, never in doubt.
    async fn ensure_records(
        &self,
        request: &Request,
        ensure: &dyn EnsureCall,
        context: &Context,
    ) -> Result<(Action, Answer), Stop> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (action, ending) = match self.compare_records(ensure, context).await {
                Ok((planned, ending)) => {
                    if planned.action != Action::None {
                        self.hold_to_plan(request, planned.action, &planned.fields)?;
                    }
                    (planned.action, ending)
                }
                Err(error) => (Action::None, Ending::unchanged(Err(error))),
            };
            match self.record(request, Kind::Ensure, ending).await {
                Err(error @ journal::Error::Conflict { .. }) if attempt < RECORD_ATTEMPTS => {
                    tracing::debug!(%error, "another run was faster; comparing again");
                }
                recorded => return Ok((action, recorded?)),
            }
        }
    }

    async fn compare_records(&self, ensure: &dyn EnsureCall, context: &Context) -> Result<(Planned, Ending)> {
        let pending = compared(ensure, context).await?;
        let planned = pending.planned()?;
        if planned.action == Action::None {
            let ending = Ending::unchanged(Ok(planned.result.clone()));
            return Ok((planned, ending));
        }
        let made = applied(&*pending, context).await?;
        let writes: Vec<Write> = made.writes;
        let ending = Ending {
            result: Ok(ensured(true, planned.before.as_ref(), made.after.as_ref())),
            before: planned.before.clone(),
            writes,
            changed: true,
            at_once: false,
        };
        Ok((planned, ending))
    }
}

async fn compared<'a>(ensure: &'a dyn EnsureCall, context: &'a Context) -> Result<Box<dyn Pending + 'a>> {
    driven(("compare:before", "compare:after"), ensure.compare(context)).await
}

async fn applied(pending: &dyn Pending, context: &Context) -> Result<Made> {
    driven(("apply:before", "apply:after"), pending.apply(context)).await
}

fn ensured(changed: bool, before: Option<&Value>, after: Option<&Value>) -> Value {
    let mut result = serde_json::Map::new();
    result.insert("changed".into(), changed.into());
    for (name, state) in [("before", before), ("after", after)] {
        if let Some(state) = state.filter(|state| !state.is_null()) {
            result.insert(name.into(), state.clone());
        }
    }
    Value::Object(result)
}
