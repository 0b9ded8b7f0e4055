//! Owns how `runs.restore` becomes a call: the recorded effect is decoded once more, and its ensure is turned round to
//! bring back the state that was found first. Policy, begin, apply and end are those of every ensure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use journal::{Entry, RunId};
use serde_json::{Value, json};

use super::records::MASKED;
use super::{Session, secrets_in};
use crate::declaration::{Declared, not_undoable};
use crate::erased::{Call, EnsureCall, Made, Operation, Pending, Planned, decode};
use crate::runs::Restore;
use crate::{Action, Code, Context, Error, Need, Result};

/// How many changes of later runs are looked through.
const MOST_LATER: usize = 1_000_000;

/// Stands for every object: nobody knows any more what was changed. No key is empty.
const ANYTHING: &str = "";

/// How the journal marks a change that a run has from the one that it was forked from.
const FORKED: &str = r#"{"forked":true}"#;

/// Which objects runs after a certain one have changed: key → the run and its effect.
pub(super) type Touched = HashMap<String, String>;

impl Session {
    /// The call that brings back what an effect of some run found, and the capabilities that it takes.
    pub(super) async fn restoration(
        &self,
        arguments: Value,
        context: &Context,
    ) -> Result<(Box<dyn Call>, Vec<Need>)> {
        let wanted: Restore = decode(self.registry.find(Restore::NAME)?.declaration(), arguments)?;
        let run = match &wanted.run {
            Some(run) => {
                let run = self.journal().run(run).await?;
                if run.imported {
                    let message = format!("run {} was recorded elsewhere", run.id);
                    return Err(Error::new(Code::NotUndoable, message).hint("undo it where it was made"));
                }
                run.id
            }
            None => self.shared.run,
        };
        let mut needs = match run == self.shared.run {
            true => Vec::new(),
            false => vec![Need::read("runs", run.to_string())],
        };
        let entry = self.journal().entry(&run, &wanted.scope, wanted.counter).await?;
        let Some(entry) = entry else {
            // Refused before it was begun, so that there is nothing to bring back.
            return Ok((
                Box::new(Restoring { subject: wanted.subject(), inner: None, ..Restoring::default() }),
                needs,
            ));
        };
        if entry.change.as_deref() == Some(FORKED) {
            let made = Error::new(
                Code::NotUndoable,
                format!("`{}` was done by the run that this one was forked from", entry.identity.name),
            );
            return Err(made.hint("`mcrun undo` of that run brings back what was there before"));
        }
        let (inner, arguments) = self.inner(&entry)?;
        needs.append(&mut inner.needs()?);
        needs.append(&mut secrets_in(&arguments));
        let later = match inner.operation() {
            Operation::Ensure(ensure) if ensure.undoable() && run != self.shared.run && !wanted.force => {
                let touched = self.touched_since(&run, context).await?;
                touched.get(&ensure.key(context)).or_else(|| touched.get(ANYTHING)).cloned()
            }
            Operation::Ensure(ensure) if ensure.undoable() => None,
            _ => return Err(not_undoable(&entry.identity.name)),
        };
        let earlier = entry.before.as_deref().map(serde_json::from_str).transpose().map_err(|error| {
            Error::new(Code::JournalBroken, "a recorded state cannot be decoded").because(error)
        })?;
        refuse_masked(&entry.identity.name, earlier.as_ref())?;
        // An effect that found everything right changed nothing, whatever it may look like now.
        let inner = (entry.changed || entry.order.is_none()).then_some(inner);
        let call = Restoring { subject: wanted.subject(), inner, earlier, later };
        Ok((Box::new(call), needs))
    }

    fn inner(&self, entry: &Entry) -> Result<(Box<dyn Call>, Value)> {
        self.decoded(&entry.identity.name, &entry.arguments)
    }

    fn decoded(&self, name: &str, arguments: &str) -> Result<(Box<dyn Call>, Value)> {
        let arguments: Value = serde_json::from_str(arguments).map_err(|error| {
            Error::new(Code::JournalBroken, "recorded arguments cannot be decoded").because(error)
        })?;
        Ok((self.registry.find(name)?.decode(arguments.clone())?, arguments))
    }

    /// What runs after `run` have changed and not restored since. Looked up once for each run that is undone.
    async fn touched_since(&self, run: &RunId, context: &Context) -> Result<Arc<Touched>> {
        let known = self.progress().touched.get(run).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let later = self.journal().later_changes(run, MOST_LATER).await?;
        let restores: Vec<(String, Restore)> = later
            .iter()
            .filter(|later| later.identity.name == Restore::NAME)
            .filter_map(|later| Some((later.run.clone(), serde_json::from_str(&later.arguments).ok()?)))
            .collect();
        let restored: HashSet<(String, &str, u32)> = restores
            .iter()
            .map(|(by, restore)| {
                let run = restore.run.clone().unwrap_or_else(|| by.clone());
                (run, restore.scope.as_str(), restore.counter)
            })
            .collect();
        let own = self.shared.run.to_string();
        let mut touched = Touched::new();
        for later in &later {
            let identity = &later.identity;
            let is_restored =
                restored.contains(&(later.run.clone(), identity.scope.as_str(), identity.counter));
            if later.run == own || is_restored || identity.name == Restore::NAME {
                continue;
            }
            // An effect that this version no longer knows says nothing about objects that it does.
            let Ok((inner, _)) = self.decoded(&identity.name, &later.arguments) else { continue };
            if let Operation::Ensure(ensure) = inner.operation() {
                touched.insert(ensure.key(context), format!("run {}, {identity}", later.run));
            }
        }
        if self.journal().swept_after(run).await? {
            touched.insert(ANYTHING.to_owned(), "a run that `mcrun gc` has removed, perhaps".to_owned());
        }
        let touched = Arc::new(touched);
        self.progress().touched.insert(*run, touched.clone());
        Ok(touched)
    }
}

/// A state with a secret in it that was masked is not the one that was there.
fn refuse_masked(effect: &str, earlier: Option<&Value>) -> Result<()> {
    match earlier.and_then(|earlier| earlier.get(MASKED)) {
        None => Ok(()),
        Some(_) => {
            Err(not_undoable(effect)
                .because("what was there held a secret in plain text, which is not recorded"))
        }
    }
}

/// An ensure that is turned round.
#[derive(Default)]
struct Restoring {
    subject: String,
    /// The effect that made the change; none when it made none.
    inner: Option<Box<dyn Call>>,
    earlier: Option<Value>,
    /// Who has changed the object since.
    later: Option<String>,
}

impl Restoring {
    fn ensure(&self) -> Option<&dyn EnsureCall> {
        match self.inner.as_ref()?.operation() {
            Operation::Ensure(ensure) => Some(ensure),
            _ => None,
        }
    }
}

impl Call for Restoring {
    fn subject(&self) -> String {
        self.inner.as_ref().map_or_else(|| self.subject.clone(), |inner| inner.subject())
    }

    /// Found while the call was made, since that takes the journal.
    fn needs(&self) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }

    fn lease(&self) -> Option<String> {
        self.inner.as_ref().and_then(|inner| inner.lease())
    }

    fn operation(&self) -> Operation<'_> {
        Operation::Ensure(self)
    }
}

#[async_trait]
impl EnsureCall for Restoring {
    fn own_records(&self) -> bool {
        self.ensure().is_some_and(EnsureCall::own_records)
    }

    fn undoable(&self) -> bool {
        false
    }

    fn key(&self, context: &Context) -> String {
        self.ensure().map_or_else(|| self.subject.clone(), |ensure| ensure.key(context))
    }

    async fn compare<'a>(&'a self, context: &Context) -> Result<Box<dyn Pending + 'a>> {
        let Some(ensure) = self.ensure() else { return Ok(Box::new(Nothing)) };
        let pending = ensure.compare_earlier(context, self.earlier.clone()).await?;
        match &self.later {
            Some(later) if pending.planned()?.action != Action::None => Err(Error::new(
                Code::BuiltOnTop,
                format!("`{}` was changed again since", self.subject()),
            )
            .detail(format!("by {later}"))
            .hint("undo the later run first, or say `--force` to bring back the older state all the same")),
            _ => Ok(pending),
        }
    }

    async fn compare_earlier<'a>(&'a self, _: &Context, _: Option<Value>) -> Result<Box<dyn Pending + 'a>> {
        Err(not_undoable(Restore::NAME))
    }
}

/// There is nothing to bring back.
struct Nothing;

#[async_trait]
impl Pending for Nothing {
    fn planned(&self) -> Result<Planned> {
        Ok(Planned {
            action: Action::None,
            fields: Vec::new(),
            notes: Vec::new(),
            lost: Vec::new(),
            diff: None,
            unknown: Vec::new(),
            before: None,
            result: json!({ "changed": false }),
        })
    }

    fn overlay(&self, _: &Context) {}

    async fn apply(&self, _: &Context) -> Result<Made> {
        Ok(Made { after: None, writes: Vec::new() })
    }
}
