//! Owns `pause`: the run stops and an operator resumes it.

use std::sync::Arc;

use async_trait::async_trait;
use effect::{Code, Context, Declared, Error, Need, Registry, Result, Timestamp, Wait};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::World;

/// Registers `pause`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.wait::<Pause>(world);
}

/// Pauses the run until `mcrun resume RUN`; the script goes on behind the call.
///
/// `retry` with `on_exhausted = "pause"` does it when its attempts are used up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Why: shown to whoever is to resume the run.
    reason: String,
    /// The error that led to it.
    error: Option<Cause>,
}

/// An error in short.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// Its code.
    code: Option<String>,
    /// What it says.
    message: Option<String>,
}

impl Declared for Pause {
    const NAME: &'static str = "pause";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str =
        "if args[1] == \"by-hand\" then\n    pause { reason = \"switch the old router off\" }\nend";
    type World = World;
    type Output = ();

    fn subject(&self) -> String {
        self.reason.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Wait for Pause {
    fn until(&self, _: Timestamp) -> Option<Timestamp> {
        None
    }

    fn promise(&self) {}

    async fn wait(&self, _: &World, context: &Context, _: Option<Timestamp>) -> Result<()> {
        if context.resumed {
            return Ok(());
        }
        let mut error = Error::new(Code::Paused, self.reason.clone())
            .hint(format!("mend the cause, then `mcrun resume {}`", context.run));
        error.cause = self.error.as_ref().map(|cause| {
            let parts = [cause.code.as_deref(), cause.message.as_deref()];
            parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
        });
        Err(error)
    }
}
