//! Owns what `checkpoint` is made of as effects: `runs.checkpoint` opens one and knows whether it was finished before,
//! `runs.fold` finishes it. Leaves what a history leaves out to the journal.

use std::sync::Arc;

use async_trait::async_trait;
use journal::{Fold, Identity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::declaration::{Declared, Read};
use crate::{Code, Context, Error, Need, Registry, Result};

/// Registers both.
pub(crate) fn register(registry: &mut Registry) {
    registry.read::<Opening>(&Arc::new(()));
    registry.read::<Folding>(&Arc::new(()));
}

/// Opens a checkpoint. Scripts call `checkpoint(name, fn)`, which does.
///
/// Once the checkpoint is finished, a resumed run finds its value here, and what was done within is not replayed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    /// The checkpoint's name.
    name: String,
}

/// What is known of a checkpoint when it is opened.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Opened {
    /// Whether an earlier attempt at the run has finished it.
    pub done: bool,
    /// What it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

impl Declared for Opening {
    const NAME: &'static str = "runs.checkpoint";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "local total = checkpoint(\"count\", function()\n    local sum = 0\n    for n = 1, 10 do\n        sum += n\n    end\n    return sum\nend)\nprint(total)";
    type World = ();
    type Output = Opened;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, (): &()) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for Opening {
    async fn read(&self, (): &(), _: &Context) -> Result<Opened> {
        Ok(Opened { done: false, value: None })
    }
}

/// Finishes a checkpoint: what was done within will not be replayed any more. Scripts call `checkpoint(name, fn)`, which
/// does.
///
/// Nothing is forgotten: `mcrun show` lists the effects, and `mcrun undo` takes them back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Folding {
    /// The number of `runs.checkpoint` in the scope around this one.
    opened: u32,
    /// What the checkpoint came to.
    #[serde(default)]
    value: Value,
}

impl Declared for Folding {
    const NAME: &'static str = "runs.fold";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "for day = 1, 3 do\n    checkpoint(\"day \" .. day, function()\n        log.info(\"a day\", { at = now() })\n        return day\n    end)\nend";
    type World = ();
    type Output = Value;

    fn subject(&self) -> String {
        format!("#{}", self.opened)
    }

    fn needs(&self, (): &()) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for Folding {
    async fn read(&self, (): &(), context: &Context) -> Result<Value> {
        let around = around(&context.identity.scope)?;
        match context.journal.entry(&context.run, around, self.opened).await? {
            Some(entry) if entry.identity.name == Opening::NAME && is_finished(entry.result.as_deref()) => {
                let message =
                    format!("the checkpoint around `{}` is finished already", context.identity.scope);
                Err(Error::new(Code::Argument, message)
                    .hint("call `checkpoint(name, fn)`, which finishes it"))
            }
            Some(entry) if entry.identity.name == Opening::NAME => Ok(self.value.clone()),
            _ => Err(no_checkpoint(&context.identity.scope)),
        }
    }
}

/// What the journal is told once the end of a `runs.fold` is recorded.
///
/// # Errors
/// When the arguments are none of `runs.fold`.
pub(crate) fn fold(identity: &Identity, arguments: &str, result: &str) -> Result<Fold> {
    let folding: Folding = serde_json::from_str(arguments)
        .map_err(|error| Error::new(Code::Internal, "a checkpoint cannot be decoded").because(error))?;
    let scope = around(&identity.scope)?.to_owned();
    Ok(Fold {
        opened: Identity { scope, counter: folding.opened, name: Opening::NAME.to_owned() },
        result: format!("{{\"done\":true,\"value\":{result}}}").into(),
        inner: identity.scope.clone(),
    })
}

/// Whether a recorded opening says that its checkpoint is finished.
fn is_finished(opening: Option<&str>) -> bool {
    opening.and_then(|text| serde_json::from_str::<Opened>(text).ok()).is_some_and(|opened| opened.done)
}

/// The scope around `scope`.
fn around(scope: &str) -> Result<&str> {
    match scope.rsplit_once('/') {
        Some((around, _)) => Ok(around),
        None if scope.is_empty() => Err(no_checkpoint(scope)),
        None => Ok(""),
    }
}

fn no_checkpoint(scope: &str) -> Error {
    Error::new(Code::Argument, format!("no checkpoint was opened around `{scope}`"))
        .hint("call `checkpoint(name, fn)`")
}
