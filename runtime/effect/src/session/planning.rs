//! Owns the plan's side of the corridor: the same decode, policy, read and diff, and nothing applied.

use serde_json::{Value, json};

use super::{Request, Session};
use crate::declaration::Declared as _;
use crate::erased::{Call, EnsureCall, Operation, Planned};
use crate::plan::{Answered, Seen, Step};
use crate::runs::Restore;
use crate::session::Answer;
use crate::{Action, Context, Error, Kind, Need, Result, Rewind};

impl Session {
    pub(super) async fn plan(
        &self,
        request: &Request,
        kind: Kind,
        call: &dyn Call,
        context: &Context,
        (needs, permitted): (&[Need], Result<()>),
    ) -> Answer {
        let mut step = step(request, kind, call.subject());
        step.needs = needs.iter().map(Need::to_string).collect();
        step.seen.lease = call.lease().filter(|_| kind != Kind::Read);
        if let Err(denied) = permitted {
            // Going on with a value nobody may look at collects what else is missing.
            step.error = Some(self.attribute(denied, request));
            self.progress().plan.steps.push(step);
            return sealed(&format!("the result of `{}`, which is not granted", request.identity.name));
        }
        let mut holds = false;
        let answer = match call.operation() {
            Operation::Read(read) => {
                holds = !read.is_passing();
                read.read(context).await
            }
            Operation::Ensure(ensure) => {
                let planned = plan_ensure(ensure, context, &mut step).await;
                self.mark(&mut step);
                planned
            }
            Operation::Act(act) => {
                step.action = Action::Act;
                self.mark(&mut step);
                step.notes.extend(act.summary());
                act.admit(context).map(|()| {
                    act.assume().unwrap_or_else(|| {
                        sealed_value(&format!("the result of `{}`", request.identity.name))
                    })
                })
            }
            Operation::Wait(wait) => {
                step.action = Action::Wait;
                wait.promise(context).await
            }
        };
        let answer = answer.map_err(|error| self.attribute(self.masked_error(error), request));
        step.error = answer.as_ref().err().cloned();
        for field in &mut step.fields {
            field.before = field.before.take().map(|value| self.masked(value));
            field.after = field.after.take().map(|value| self.masked(value));
        }
        let told = answer.map(|value| self.told(value));
        step.seen.answer = told.as_ref().ok().filter(|_| holds).map(|value| self.answered(value));
        self.progress().plan.steps.push(step);
        told.and_then(|value| super::bounded(super::raw(&value)?))
    }

    fn answered(&self, value: &Value) -> Answered {
        /// A larger answer is compared by its hash alone.
        const LARGEST_KEPT: usize = 16 << 10;
        let text = value.to_string();
        let tag = self.shared.sealer.tag(text.as_bytes());
        Answered { tag, value: (text.len() <= LARGEST_KEPT).then(|| value.clone()) }
    }

    /// Says of a step that changes something what undo could not take back.
    fn mark(&self, step: &mut Step) {
        let name = step.identity.name.as_str();
        // What undo itself does is not undone; what it loses is what its reader wants to know.
        if name == Restore::NAME {
            step.notes.append(&mut step.cannot_undo);
            return;
        }
        let rewind = self.registry.find(name).ok().and_then(|effect| effect.rewind());
        if step.action != Action::None && rewind == Some(Rewind::Refuse) {
            let what =
                if step.kind == Kind::Act { "what it did is left as it is" } else { "it has no way back" };
            step.cannot_undo.insert(0, what.to_owned());
        }
    }

    pub(super) fn plan_rejection(&self, request: &Request, kind: Kind, error: Error) -> Answer {
        let mut step = step(request, kind, String::new());
        step.error = Some(error.clone());
        self.progress().plan.steps.push(step);
        Err(error)
    }
}

async fn plan_ensure(ensure: &dyn EnsureCall, context: &Context, step: &mut Step) -> Result<Value> {
    let pending = ensure.compare(context).await?;
    let planned = pending.planned()?;
    if planned.action != Action::None {
        pending.overlay(context);
    }
    let Planned { action, fields, notes, lost, diff, unknown, mut result, .. } = planned;
    if let (false, Some(Value::Object(after))) = (unknown.is_empty(), result.get_mut("after")) {
        after.retain(|name, _| !unknown.contains(&name.as_str()));
        after.insert("$unknown".into(), json!(unknown));
    }
    step.action = action;
    step.fields = fields;
    step.notes = notes;
    step.cannot_undo = lost;
    step.diff = diff;
    Ok(result)
}

fn step(request: &Request, kind: Kind, subject: String) -> Step {
    Step {
        identity: request.identity.clone(),
        kind,
        action: if kind == Kind::Read { Action::Read } else { Action::None },
        subject,
        fields: Vec::new(),
        notes: Vec::new(),
        diff: None,
        cannot_undo: Vec::new(),
        place: request.place.clone(),
        needs: Vec::new(),
        error: None,
        seen: Seen { arguments: super::hash(&request.arguments), ..Seen::default() },
    }
}

fn sealed(what: &str) -> Answer {
    super::raw(&sealed_value(what))
}

fn sealed_value(what: &str) -> Value {
    json!({ "$sealed": what })
}
