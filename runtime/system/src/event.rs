//! Owns events as scripts have them: `wait_for`, by which a run goes on once somebody tells that something happened, and
//! `notify.event`, which tells it.

mod tell;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Code, Context, Declared, Error, Need, Registry, Result, Timestamp, Wait};
use journal::{Journal, Open, RunId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::World;
use crate::clock::remaining;

/// How often it is looked whether the event has come.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
const LONGEST_NAME: usize = 128;

pub use tell::Tell;

/// Registers `wait_for` and `notify.event`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.wait::<WaitFor>(world);
    registry.act::<Tell>(world);
}

/// Waits until somebody tells that an event has happened, with `mcrun emit EVENT`.
///
/// Events count from the moment the run was made, each once: the next `wait_for` waits for the next one. A long wait
/// keeps no worker alive, and survives a reboot.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    /// The event's name, such as `"db.restored"`.
    event: String,
    /// How long it is waited; for ever unless given. Then the call fails.
    within: Option<Span>,
    /// Only events behind the one with this id; unless given, those that this run has not waited for before.
    #[serde(default)]
    after: u64,
}

/// An event that happened.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Happened {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub event: String,
    /// What was told with it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// When, in seconds since 1970.
    pub at: f64,
}

impl Declared for WaitFor {
    const NAME: &'static str = "wait_for";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "if args[1] == \"restore\" then\n    local restored = wait_for { event = \"db.restored\", within = \"2h\" }\n    log.info(\"restored\", { from = restored.data })\nend";
    type World = World;
    type Output = Happened;

    fn subject(&self) -> String {
        self.event.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        match check_name(&self.event) {
            Ok(()) => Ok(Vec::new()),
            Err(reason) => Err(Error::new(Code::Argument, format!("`event` of wait_for {reason}"))),
        }
    }
}

/// Whether `name` can be the name of an event.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> std::result::Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':');
    match name.len() {
        1..=LONGEST_NAME if name.chars().all(fits) => Ok(()),
        _ => Err(format!(
            "must have 1 to {LONGEST_NAME} letters, digits and `.`, `-`, `_`, `/`, `:`, such as `db.restored`"
        )),
    }
}

/// Whether a begun entry is a `wait_for`.
#[must_use]
pub fn is_wait_for(entry: &Open) -> bool {
    entry.identity.name == WaitFor::NAME
}

/// Whether what a begun `wait_for` of a run waits for has happened.
///
/// # Errors
/// When the journal cannot be read.
pub async fn has_happened(journal: &Journal, run: &RunId, entry: &Open) -> Result<bool> {
    let wait: WaitFor = serde_json::from_str(&entry.arguments).map_err(|error| {
        Error::new(Code::JournalBroken, "recorded arguments cannot be decoded").because(error)
    })?;
    Ok(journal.event(run, &wait.event, wait.after).await?.is_some())
}

impl WaitFor {
    async fn happened(&self, context: &Context) -> Result<Option<Happened>> {
        let Some(event) = context.journal.event(&context.run, &self.event, self.after).await? else {
            return Ok(None);
        };
        let data = serde_json::from_str(&event.data)
            .map_err(|error| Error::new(Code::JournalBroken, "an event cannot be decoded").because(error))?;
        Ok(Some(Happened { id: event.id, event: event.name, data, at: event.at.0 as f64 / 1000.0 }))
    }
}

#[async_trait]
impl Wait for WaitFor {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let millis = i64::try_from(self.within?.0.as_millis()).unwrap_or(i64::MAX);
        Some(Timestamp(now.0.saturating_add(millis)))
    }

    fn promise(&self) -> Happened {
        let data = serde_json::json!({ "$sealed": format!("the data of the event `{}`", self.event) });
        Happened { id: 0, event: self.event.clone(), data, at: 0.0 }
    }

    async fn wait(&self, _: &World, context: &Context, until: Option<Timestamp>) -> Result<Happened> {
        loop {
            if let Some(happened) = self.happened(context).await? {
                return Ok(happened);
            }
            let left = until.map_or(BETWEEN_LOOKS, |until| remaining(context.now(), until));
            if left.is_zero() {
                let message = format!("the event `{}` did not come", self.event);
                return Err(Error::new(Code::TimedOut, message).hint(format!(
                    "tell it with `mcrun emit {}`, or wait longer: `within = …`",
                    self.event
                )));
            }
            tokio::time::sleep(left.min(BETWEEN_LOOKS)).await;
        }
    }

    fn parks(&self) -> bool {
        true
    }

    async fn due(&self, _: &World, context: &Context, until: Option<Timestamp>) -> Result<bool> {
        let is_over = until.is_some_and(|until| until <= context.now());
        Ok(is_over || self.happened(context).await?.is_some())
    }
}
