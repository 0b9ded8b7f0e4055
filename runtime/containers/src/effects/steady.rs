//! Owns when a container that answers also stays up: it has to have been up for a while in one life, and to answer at the
//! end of it. One that was restarted meanwhile has more to prove.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use effect::units::Span;
use effect::{Code, Context, Error, Result};
use tokio::time::Instant;

use super::World;
use crate::driver::{Driver, LogQuery};
use crate::observed::{Observed, State};
use crate::spec::Health;

/// As many times as long has one to stay up that was restarted while it was looked at.
const AFTER_RESTART: u32 = 5;
/// How long it is waited for unless anybody says.
const WITHIN: Duration = Duration::from_secs(30);
/// How many of its last lines follow an error.
const LAST_LINES: usize = 10;
/// The shortest pause between two looks: one that has just been restarted is not up at all.
const POLL: Duration = Duration::from_millis(50);

/// What has to stay up.
pub(super) struct Watched<'a> {
    pub(super) driver: &'a Arc<dyn Driver>,
    pub(super) found: Observed,
    /// Without one it only has to run.
    pub(super) health: Option<Health>,
    pub(super) address: Option<SocketAddr>,
    pub(super) within: Option<Span>,
    pub(super) steady: Duration,
}

/// A life of a container, and when it was first seen: the wall clock may be set while it lasts.
struct Life {
    started_at: Option<String>,
    seen: Instant,
}

impl Life {
    fn of(live: &Observed) -> Self {
        Self { started_at: live.started_at.clone(), seen: Instant::now() }
    }

    fn up(&self, context: &Context) -> Duration {
        let started = self.started_at.as_deref().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let since = started.map_or(0, |at| context.now().0.saturating_sub(at.as_millisecond()));
        self.seen.elapsed().max(Duration::from_millis(u64::try_from(since).unwrap_or_default()))
    }
}

impl Watched<'_> {
    /// Waits until it is healthy and has been up long enough.
    ///
    /// # Errors
    /// `MC-H001` when it never gets healthy, `MC-H005` when it is restarted again and again.
    pub(super) async fn wait(self, world: &World, context: &Context) -> Result<()> {
        let within = self.within.or(self.health.as_ref().and_then(|health| health.within));
        let within = within.map_or(WITHIN, |within| within.0);
        let deadline = Instant::now() + within;
        let before = self.found.restarts;
        let mut life = Life::of(&self.found);
        let mut left = within;
        loop {
            let probed = self.probe(world, left).await;
            let live = self.driver.inspect(&self.found.name).await?;
            let restarts = live.as_ref().map_or(0, |live| live.restarts.saturating_sub(before));
            match probed {
                Err(error) if error.code == Code::Unhealthy && restarts > 0 => {
                    return Err(self.flapping(restarts, within, error.cause).await);
                }
                probed => probed?,
            }
            let wanted = if restarts == 0 { self.steady } else { self.steady * AFTER_RESTART };
            let up = match live.filter(|live| live.state == State::Running) {
                Some(live) if live.started_at == life.started_at => life.up(context),
                Some(live) => {
                    life = Life::of(&live);
                    life.up(context)
                }
                None => Duration::ZERO,
            };
            if up >= wanted {
                return Ok(());
            }
            let pause = wanted.saturating_sub(up).max(POLL);
            world.prober.pause(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.flapping(restarts, within, None).await);
            }
        }
    }

    async fn probe(&self, world: &World, within: Duration) -> Result<()> {
        let Some(health) = &self.health else { return Ok(()) };
        let health = Health { within: Some(Span(within)), ..health.clone() };
        world.prober.wait_healthy(Arc::clone(self.driver), &self.found.name, &health, self.address).await
    }

    async fn flapping(&self, restarts: u32, within: Duration, cause: Option<String>) -> Error {
        let name = &self.found.name;
        let times = if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") };
        let message = match restarts {
            0 => format!(
                "`{name}` does not stay up: within {} it never ran for {}",
                Span(within),
                Span(self.steady)
            ),
            _ => format!("`{name}` does not stay up: it was restarted {times} within {}", Span(within)),
        };
        let mut error = Error::new(Code::Flapping, message).retryable();
        if let Some(cause) = cause {
            error = error.because(cause);
        }
        let lines = self.driver.logs(name, &LogQuery::tail(LAST_LINES)).await.unwrap_or_default();
        error.details = lines.into_iter().map(|line| line.line).collect();
        error
    }
}
