//! Owns what is watched and told of as events: containers of deployed services, their health, the engine, the clock, whether
//! each service still is what the registry says, and whether it can be reached. Told is what changes: how everything stood is
//! kept in records, in one commit with the events, so that neither a restart nor a kill repeats or loses one.
//!
//! Only one look of each kind is under way, each within a time: an engine that is slow has them come later, never pile up.

pub mod clock;
mod containers;
mod disks;
mod drift;
pub mod engine;
mod flapping;
mod health;
mod memory;
pub mod runs;
pub mod standing;
mod ways;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::containers::effects::World;
use ::containers::{Driver, Observed};
use async_trait::async_trait;
use effect::units::Span;
use effect::{Code, Error, Result};
use journal::Journal;
use routes::driver::Standing;
use routes::hops::Hop;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::Metrics;
use memory::Memory;

/// `[monitors]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How often containers, their health and the engine are looked at.
    pub every: Span,
    /// How often services are compared with the registry.
    pub drift_every: Span,
    /// The share of a disk in use, in per cent, beyond which it fills.
    pub disk_beyond: u8,
    /// By how much the clock may be wrong, or be set, before that is told.
    pub clock_beyond: Span,
    /// How long an engine may take to say what it has.
    pub patience: Span,
    /// What is not watched.
    pub off: Vec<Monitor>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every: Span::seconds(5),
            drift_every: Span::seconds(600),
            disk_beyond: 90,
            clock_beyond: Span::seconds(5),
            patience: Span::seconds(30),
            off: Vec::new(),
        }
    }
}

impl Settings {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self) -> Result<()> {
        let shortest = Duration::from_millis(100);
        let spans = [self.every, self.drift_every, self.clock_beyond, self.patience];
        if spans.iter().any(|span| span.0 < shortest) {
            let message = "[monitors] every, drift_every, clock_beyond and patience are at least 100ms";
            return Err(Error::new(Code::Config, message)
                .hint("`off = [\"containers\"]` leaves out what is not to be watched"));
        }
        if self.disk_beyond > 99 {
            return Err(Error::new(
                Code::Config,
                "[monitors] disk_beyond is a share in per cent, 99 at the most",
            )
            .hint("`off = [\"disks\"]` leaves them out"));
        }
        Ok(())
    }

    /// Whether something is watched.
    #[must_use]
    pub fn watches(&self, monitor: Monitor) -> bool {
        !self.off.contains(&monitor)
    }
}

/// What can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Monitor {
    /// The clock of this machine.
    Clock,
    /// Containers that exit or restart.
    Containers,
    /// Disks that fill.
    Disks,
    /// Services that are not what the registry says.
    Drift,
    /// The container engine.
    Engine,
    /// Services that do not answer.
    Health,
    /// Servers of names that do not answer.
    Resolvers,
    /// Routes that lead nowhere.
    Routes,
    /// Runs that fail.
    Runs,
}

/// A way in which a service is not what the registry says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The effect that would mend it, `containers.ensure`.
    pub effect: String,
    /// Its object.
    pub object: String,
    /// What it would do: `create`, `update`, `replace`.
    pub action: String,
    /// The fields that differ.
    pub fields: Vec<String>,
}

/// What a comparison has found.
#[derive(Debug, Default)]
pub struct Compared {
    /// In what the service differs.
    pub differences: Vec<Difference>,
    /// Why a part of it could not be compared.
    pub refused: Option<Error>,
}

/// What judges services: the command line's side fills it in.
#[async_trait(?Send)]
pub trait Judge {
    /// Probes the health check of a container once, within `patience`; why it is not well.
    ///
    /// # Errors
    /// What the probe found.
    async fn probe(
        &self,
        driver: &Arc<dyn Driver>,
        container: &Observed,
        patience: Duration,
    ) -> Result<(), String>;

    /// The routes of this machine.
    ///
    /// # Errors
    /// Where the proxy does not say.
    async fn routes(&self) -> Result<Vec<Standing>>;

    /// The ways of these routes, hop by hop.
    ///
    /// # Errors
    /// Where they cannot be tried at all.
    async fn ways(&self, routes: &[Standing]) -> Result<Vec<Vec<Hop>>>;

    /// The servers of names on which clients of this machine depend, and why one does not answer.
    ///
    /// # Errors
    /// Where they cannot be asked at all.
    async fn servers(&self) -> Result<Vec<(String, Option<String>)>>;

    /// How a service differs from what the registry says, by the comparison that a plan makes.
    ///
    /// # Errors
    /// Where nothing of it can be compared.
    async fn compare(&self, service: &str) -> Result<Compared>;
}

/// What monitors work with.
pub struct Parts<'a> {
    /// Where services are recorded, and what was told.
    pub journal: &'a Journal,
    /// This machine.
    pub node: &'a str,
    /// The state directory.
    pub state: &'a Path,
    /// The drivers of containers.
    pub world: Arc<World>,
    /// What judges services.
    pub judge: &'a dyn Judge,
    /// What is counted.
    pub metrics: &'a Metrics,
    /// A number from 0 to 1, by which several machines do not stay in step.
    pub chance: fn() -> f64,
}

/// Watches until `shutdown` becomes true. `settings` is asked before every look.
pub async fn watch(parts: Parts<'_>, settings: &dyn Fn() -> Settings, shutdown: watch::Receiver<bool>) {
    tokio::join!(
        watch_containers(&parts, settings, shutdown.clone()),
        watch_drift(&parts, settings, shutdown.clone()),
        watch_ways(&parts, settings, shutdown)
    );
}

async fn watch_containers(
    parts: &Parts<'_>,
    settings: &dyn Fn() -> Settings,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut memory = Memory::new(parts);
    let (mut engine, mut health) = (engine::Watch::default(), health::Watch::default());
    let (mut disks, mut clock) = (disks::Watch::default(), clock::Watch::default());
    let mut exits = containers::Watch::default();
    loop {
        let now = settings();
        let begun = Instant::now();
        let looked = async {
            if now.watches(Monitor::Clock) {
                clock.compare(parts, &mut memory, now.clock_beyond.0).await?;
            }
            let seen = containers::Seen::look(parts, now.patience.0).await?;
            if now.watches(Monitor::Disks) {
                disks.compare(parts, &mut memory, (now.every.0, now.disk_beyond)).await?;
            }
            if now.watches(Monitor::Engine) {
                engine.compare(parts, &mut memory, &seen).await?;
            }
            if now.watches(Monitor::Containers) {
                exits.compare(parts, &mut memory, &seen).await?;
            }
            if now.watches(Monitor::Health) {
                health.compare(parts, &mut memory, &seen).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = looked.await {
            tracing::warn!(%error, "containers cannot be looked at");
        }
        parts.metrics.looked("containers", begun.elapsed());
        if is_over(&mut shutdown, jittered(now.every.0, (parts.chance)())).await {
            return;
        }
    }
}

async fn watch_drift(
    parts: &Parts<'_>,
    settings: &dyn Fn() -> Settings,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut memory = Memory::new(parts);
    let mut watch = drift::Watch::default();
    loop {
        let now = settings();
        // What has just come up is not compared at once: runs are gone on with first.
        if is_over(&mut shutdown, jittered(now.drift_every.0, (parts.chance)())).await {
            return;
        }
        if !settings().watches(Monitor::Drift) {
            continue;
        }
        let begun = Instant::now();
        if let Err(error) = watch.compare(parts, &mut memory, &shutdown).await {
            tracing::warn!(%error, "services cannot be compared");
        }
        parts.metrics.looked("drift", begun.elapsed());
    }
}

async fn watch_ways(parts: &Parts<'_>, settings: &dyn Fn() -> Settings, mut shutdown: watch::Receiver<bool>) {
    let mut memory = Memory::new(parts);
    let mut watch = ways::Watch::default();
    loop {
        let now = settings();
        // What has just come up is not reached at once.
        if is_over(&mut shutdown, jittered(watch.pause(now.every.0), (parts.chance)())).await {
            return;
        }
        let begun = Instant::now();
        let looked = async {
            if now.watches(Monitor::Routes) {
                watch.routes(parts, &mut memory).await?;
            }
            if now.watches(Monitor::Resolvers) {
                watch.resolvers(parts, &mut memory).await?;
            }
            Ok::<(), Error>(())
        };
        // Hops that answer nothing take their time: the end does not wait for them.
        let looked = tokio::select! {
            looked = looked => looked,
            _ = shutdown.wait_for(|is_over| *is_over) => return,
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "routes and servers of names cannot be looked at");
        }
        parts.metrics.looked("ways", begun.elapsed());
    }
}

/// Waits; says whether the end has come meanwhile.
async fn is_over(shutdown: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => false,
        _ = shutdown.wait_for(|is_over| *is_over) => true,
    }
}

/// Up to a tenth more or less.
fn jittered(every: Duration, chance: f64) -> Duration {
    every.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0))
}
