//! Owns coarse time: milliseconds since the process began, and watching that octets go by.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// Nothing is looked at less often.
const LONGEST_TICK: Duration = Duration::from_secs(10);
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// Milliseconds since the first call.
pub(crate) fn now() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    millis(BEGAN.get_or_init(Instant::now).elapsed())
}

/// `span` in milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Watches the octets of one connection, without looking at the time for each of them.
#[derive(Debug)]
pub(crate) struct Pace {
    idle: Duration,
    moved: Cell<u64>,
}

impl Pace {
    /// Gives up where nothing goes by for `idle`.
    pub(crate) fn new(idle: Duration) -> Self {
        Self { idle, moved: Cell::new(0) }
    }

    /// Octets went by.
    pub(crate) fn moved(&self, octets: usize) {
        self.moved.set(self.moved.get().wrapping_add(octets as u64));
    }

    /// Resolves when the connection is to be given up.
    pub(crate) async fn given_up(&self) {
        let tick = (self.idle / 4).clamp(SHORTEST_TICK, LONGEST_TICK);
        let (mut before, mut still) = (self.moved.get(), Duration::ZERO);
        while still < self.idle {
            tokio::time::sleep(tick).await;
            let is_still = self.moved.get() == before;
            before = self.moved.get();
            still = if is_still { still + tick } else { Duration::ZERO };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_not_given_up_and_what_stands_still_is() {
        let pace = Pace::new(Duration::from_secs(8));
        let moving = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                pace.moved(1);
            }
            std::future::pending::<()>().await;
        };
        let began = Instant::now();
        tokio::select! {
            () = pace.given_up() => {}
            () = moving => unreachable!(),
        }
        assert!(began.elapsed() >= Duration::from_secs(66) && began.elapsed() < Duration::from_secs(75));
    }
}
