//! Owns `now` and `sleep`: time as effects, so that a replay sees the same.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Context, Declared, Need, Read, Registry, Result, Wait};
use journal::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::World;

/// The clock is looked at again at least this often: it may be set, and the machine may have slept.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// Waits shorter than this do not change what the run is shown as.
const WORTH_PARKING: Duration = Duration::from_secs(1);

/// Registers `now` and `sleep`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.read::<Now>(world);
    registry.wait::<Sleep>(world);
}

/// Returns the current time in seconds since 1970, with milliseconds as fraction.
///
/// It is recorded: a resumed run sees the time that it saw before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Now {}

impl Declared for Now {
    const NAME: &'static str = "now";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "local started = now()\nlog.info(\"started\", { at = started })";
    type World = World;
    type Output = f64;

    fn subject(&self) -> String {
        String::new()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for Now {
    const PASSING: bool = true;

    async fn read(&self, _: &World, context: &Context) -> Result<f64> {
        Ok(context.now().0 as f64 / 1000.0)
    }
}

/// Waits for a length of time, such as `"30s"`, `"10m"` or `"3d"`.
///
/// The end is recorded at the beginning: a run that is resumed waits for what is left, not once more.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sleep(Span);

impl Declared for Sleep {
    const NAME: &'static str = "sleep";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "sleep(\"250ms\")";
    type World = World;
    type Output = ();

    fn subject(&self) -> String {
        self.0.to_string()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Wait for Sleep {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let millis = i64::try_from(self.0.0.as_millis()).unwrap_or(i64::MAX);
        Some(Timestamp(now.0.saturating_add(millis)))
    }

    fn promise(&self) {}

    async fn wait(&self, _: &World, context: &Context, until: Option<Timestamp>) -> Result<()> {
        let Some(until) = until.or_else(|| self.until(context.now())) else { return Ok(()) };
        let started = tokio::time::Instant::now();
        loop {
            // A clock that is set back must not make the wait longer than it was asked to be.
            let left = self.0.0.saturating_sub(started.elapsed()).min(remaining(context.now(), until));
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LONGEST_NAP)).await;
        }
    }

    fn parks(&self) -> bool {
        self.0.0 >= WORTH_PARKING
    }
}

/// How long it is from `now` to `until`.
pub(crate) fn remaining(now: Timestamp, until: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(until.0.saturating_sub(now.0)).unwrap_or(0))
}
