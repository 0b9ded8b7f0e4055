//! Owns `containers.stats`: what a container uses.

use std::time::Duration;

use async_trait::async_trait;
use effect::units::{Size, Span};
use effect::{Code, Context, Declared, Error, Need, Read, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Container, World, check_node, key, unknown_container};
use crate::driver::Driver;
use crate::usage::Usage;

const USUAL_TIME: Span = Span(Duration::from_millis(200));
const LONGEST_TIME: Duration = Duration::from_secs(60);

/// Measures what a container uses: processors, memory, disks, processes. Returns `nil` when it does not run; in a plan
/// also for one that an earlier effect only will have started.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StatsOf")]
pub struct Stats {
    /// The container's name.
    name: String,
    /// For how long the use of processors is measured: 200 ms unless given, a minute at the most.
    over: Option<Span>,
    /// The node; the local one unless given.
    node: Option<String>,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Stats")]
pub struct Used {
    /// How many processors it kept busy while it was measured: `0.5` is half of one.
    pub cpus: f64,
    /// The processor time that it has used since it was started, in seconds.
    pub cpu_time: f64,
    /// The memory that it holds, in bytes.
    pub memory: u64,
    /// Its memory limit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// Bytes that it has read from disks.
    pub read: u64,
    /// Bytes that it has written to disks.
    pub written: u64,
    /// Its processes and threads.
    pub processes: u64,
}

impl Used {
    /// From two readings that lie `apart`.
    #[must_use]
    pub fn between(earlier: Usage, later: Usage, apart: Duration, memory_limit: Option<Size>) -> Self {
        let nanos = apart.as_nanos().max(1) as f64;
        Self {
            cpus: (later.cpu.saturating_sub(earlier.cpu) as f64 / nanos * 1000.0).round() / 1000.0,
            cpu_time: later.cpu as f64 / 1e9,
            memory: later.memory,
            memory_limit: memory_limit.map(|size| size.0),
            read: later.read,
            written: later.written,
            processes: later.processes,
        }
    }
}

impl Declared for Stats {
    const NAME: &'static str = "containers.stats";
    const CAPABILITY: &'static str = "containers:read:NAME";
    const EXAMPLE: &'static str = r#"local used = containers.stats { name = "hello" }
if used and used.memory > 100 * 1024 * 1024 then
    log.warn("hello grows", { memory = used.memory, cpus = used.cpus })
end"#;
    type World = World;
    type Output = Option<Used>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("containers", &self.name)])
    }
}

#[async_trait]
impl Read for Stats {
    const PASSING: bool = true;

    async fn read(&self, world: &World, context: &Context) -> Result<Option<Used>> {
        check_node(context, self.node.as_deref())?;
        let over = self.over.unwrap_or(USUAL_TIME).0;
        if over.is_zero() || over > LONGEST_TIME {
            return Err(Error::new(
                Code::Argument,
                "field `over`: it is more than nothing and at most a minute",
            ));
        }
        let planned = context.overlay.get::<Container>(&key(context, self.node.as_deref(), &self.name));
        let found = if let Some(None) = planned { None } else { world.find(&self.name).await? };
        match (found, planned) {
            (Some((driver, observed)), _) => {
                measured(driver.as_ref(), &self.name, over, observed.memory).await
            }
            (None, Some(Some(_))) => Ok(None),
            (None, _) => Err(unknown_container(&self.name)),
        }
    }
}

async fn measured(
    driver: &dyn Driver,
    name: &str,
    over: Duration,
    limit: Option<Size>,
) -> Result<Option<Used>> {
    let Some(earlier) = driver.stats(name).await? else { return Ok(None) };
    let started = tokio::time::Instant::now();
    tokio::time::sleep(over).await;
    let apart = started.elapsed();
    // One that was started again meanwhile counts from nothing.
    let Some(later) = driver.stats(name).await? else { return Ok(None) };
    Ok(Some(Used::between(earlier, later, apart, limit)))
}
