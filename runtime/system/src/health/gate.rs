//! Owns `health.gate`: how long a stage may take until a function of the script says that it is ready.

use std::time::Duration;

use async_trait::async_trait;
use effect::units::Span;
use effect::{Context, Declared, Need, Result, Wait};
use journal::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Failure;
use crate::World;
use crate::clock::remaining;

/// The pause after the first attempt; it doubles up to the interval.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The clock is looked at again at least this often.
const LONGEST_NAP: Duration = Duration::from_secs(30);

/// Bounds how long a script waits for what only it can judge, such as the stage of a boot.
///
/// The first call, without `since`, opens the gate and says when. Each further one tells that an attempt has failed: it
/// waits a moment before the next, and fails itself once `within` is over since the gate was opened. In a plan the gate is
/// passed at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// What is waited for; a failure names it.
    name: String,
    /// When the gate was opened, as its first call said.
    since: Option<f64>,
    /// How many attempts there were.
    #[serde(default)]
    attempts: u32,
    /// What the last attempt found.
    answer: Option<String>,
    /// How long it may take altogether.
    #[serde(default = "default_within")]
    within: Span,
    /// The longest pause between two attempts.
    #[serde(default = "default_interval")]
    interval: Span,
}

/// How a gate stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gated {
    /// Whether it is passed without an attempt: a plan assumes so.
    pub passed: bool,
    /// When it was opened, in seconds since 1970.
    pub since: f64,
}

fn default_within() -> Span {
    Span::seconds(60)
}

fn default_interval() -> Span {
    Span::seconds(1)
}

impl Gate {
    fn pause(&self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.attempts.saturating_sub(1).min(16));
        doubled.min(self.interval.0.max(Duration::from_millis(10)))
    }

    /// How it stands at `now`, and how long to wait before the next attempt.
    ///
    /// # Errors
    /// `MC-H001` when its time is over.
    pub fn look(&self, now: Timestamp) -> Result<(Gated, Duration)> {
        let Some(since) = self.since else {
            return Ok((Gated { passed: false, since: now.0 as f64 / 1000.0 }, Duration::ZERO));
        };
        if self.end().is_some_and(|end| now >= end) {
            let last = self.answer.clone().unwrap_or_else(|| "it is not ready".into());
            let failure = Failure { last, attempts: self.attempts };
            return Err(failure.error(&format!("`{}`", self.name), self.within.0));
        }
        Ok((Gated { passed: false, since }, self.pause()))
    }

    /// When its time is over.
    fn end(&self) -> Option<Timestamp> {
        let since = self.since?;
        Some(after(Timestamp((since * 1000.0) as i64), self.within.0))
    }
}

fn after(start: Timestamp, length: Duration) -> Timestamp {
    Timestamp(start.0.saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
}

impl Declared for Gate {
    const NAME: &'static str = "health.gate";
    const CAPABILITY: &'static str = "";
    const EXAMPLE: &'static str = "local gate = health.gate { name = \"foundation\", within = \"60s\" }\n\
        log.info(\"waiting\", { since = gate.since })";
    type World = World;
    type Output = Gated;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Wait for Gate {
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.end().map_or(now, |end| end.min(after(now, self.pause()))))
    }

    fn promise(&self) -> Gated {
        Gated { passed: true, since: 0.0 }
    }

    async fn wait(&self, _: &World, context: &Context, until: Option<Timestamp>) -> Result<Gated> {
        let (gated, pause) = self.look(context.now())?;
        let until = until.unwrap_or_else(|| after(context.now(), pause));
        let started = tokio::time::Instant::now();
        loop {
            // A clock that is set back must not make the pause longer than it is.
            let left = pause.saturating_sub(started.elapsed()).min(remaining(context.now(), until));
            if left.is_zero() {
                return Ok(gated);
            }
            tokio::time::sleep(left.min(LONGEST_NAP)).await;
        }
    }
}
