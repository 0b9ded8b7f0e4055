//! Owns coarse time: milliseconds since the process began, and watching that octets go by fast enough.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// Rates are averages over so long.
const WINDOW: Duration = Duration::from_secs(30);
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

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slow {
    /// Nothing went by.
    Idle,
    /// The client sent or took less than it must.
    Rate,
}

/// Watches the octets of one connection, without looking at the time for each of them.
#[derive(Debug)]
pub(crate) struct Pace {
    idle: Duration,
    minimum: u32,
    moved: Cell<u64>,
    clients_turn: Cell<bool>,
    was_ours: Cell<bool>,
}

impl Pace {
    /// Gives up where nothing goes by for `idle`, or where it is the client's turn and fewer than `minimum` octets a second
    /// do.
    pub(crate) fn new(idle: Duration, minimum: u32) -> Self {
        Self { idle, minimum, moved: Cell::new(0), clients_turn: Cell::new(false), was_ours: Cell::new(true) }
    }

    /// Octets went by.
    pub(crate) fn moved(&self, octets: usize) {
        self.moved.set(self.moved.get().wrapping_add(octets as u64));
    }

    /// Whether it is the client that must send or take octets now.
    pub(crate) fn clients_turn(&self, is: bool) {
        self.clients_turn.set(is);
        if !is {
            self.was_ours.set(true);
        }
    }

    /// Resolves when the connection is to be given up.
    pub(crate) async fn given_up(&self) -> Slow {
        let tick = (self.idle / 4).clamp(SHORTEST_TICK, LONGEST_TICK);
        let (mut before, mut still, mut slow_for, mut slow_octets) =
            (self.moved.get(), Duration::ZERO, Duration::ZERO, 0);
        loop {
            tokio::time::sleep(tick).await;
            let octets = self.moved.get().wrapping_sub(before);
            before = self.moved.get();
            still = if octets == 0 { still + tick } else { Duration::ZERO };
            if still >= self.idle {
                return Slow::Idle;
            }
            if self.was_ours.replace(!self.clients_turn.get()) || self.minimum == 0 {
                (slow_for, slow_octets) = (Duration::ZERO, 0);
                continue;
            }
            slow_for += tick;
            slow_octets += octets;
            if slow_for >= WINDOW {
                if slow_octets < u64::from(self.minimum) * slow_for.as_secs() {
                    return Slow::Rate;
                }
                (slow_for, slow_octets) = (Duration::ZERO, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_not_given_up_and_what_stands_still_is() {
        let pace = Pace::new(Duration::from_secs(8), 0);
        let moving = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                pace.moved(1);
            }
            std::future::pending::<()>().await;
        };
        let began = Instant::now();
        tokio::select! {
            slow = pace.given_up() => assert_eq!(slow, Slow::Idle),
            () = moving => unreachable!(),
        }
        assert!(began.elapsed() >= Duration::from_secs(66) && began.elapsed() < Duration::from_secs(75));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_counts_only_in_the_clients_turn() {
        let pace = Pace::new(Duration::from_secs(300), 64);
        let trickle = async {
            for second in 0_u64.. {
                pace.clients_turn(second > 100);
                tokio::time::sleep(Duration::from_secs(1)).await;
                pace.moved(10);
            }
        };
        let began = Instant::now();
        tokio::select! {
            slow = pace.given_up() => assert_eq!(slow, Slow::Rate),
            () = trickle => unreachable!(),
        }
        assert!(began.elapsed() > Duration::from_secs(100) && began.elapsed() < Duration::from_secs(160));
    }
}
