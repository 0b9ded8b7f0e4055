//! Owns time on connections: one timer each, and how long is waited without enough happening.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::route::Timeouts;

/// Rates are averages over so long.
const WINDOW: Duration = Duration::from_secs(30);

/// A timer that is seldom set anew: deadlines mostly move away before they are reached.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    is_set: bool,
}

impl Timer {
    /// Resolves at `deadline`.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !self.is_set || sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
            self.is_set = true;
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() >= deadline {
                self.is_set = false;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Has `future` end at `deadline`.
    pub(super) async fn by<T>(&mut self, deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll(context, deadline).map(|()| None),
        })
        .await
    }
}

/// Whether enough happens: something at all, and so much a second while it is the client's turn.
#[derive(Debug)]
pub(super) struct Watch {
    idle: Duration,
    minimum: u64,
    last: Instant,
    sends: bool,
    takes: bool,
    /// Since when it is the client's turn.
    since: Option<Instant>,
    /// How long it was before, and what went by since that began.
    waited: Duration,
    octets: u64,
}

impl Watch {
    pub(super) fn new(timeouts: &Timeouts, now: Instant) -> Self {
        Self {
            idle: timeouts.idle.0,
            minimum: u64::from(timeouts.minimum_rate),
            last: now,
            sends: false,
            takes: false,
            since: None,
            waited: Duration::ZERO,
            octets: 0,
        }
    }

    pub(super) fn client_sends(&mut self, is: bool) {
        self.sends = is;
    }

    pub(super) fn client_takes(&mut self, is: bool) {
        self.takes = is;
    }

    /// So much went by until `now`.
    pub(super) fn moved(&mut self, octets: u64, now: Instant) {
        if octets > 0 {
            self.last = now;
            self.octets += octets;
        }
        if self.sends || self.takes {
            self.since.get_or_insert(now);
        } else if let Some(since) = self.since.take() {
            self.waited += now - since;
        }
    }

    /// When it is to be looked at again.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        let idle = self.last + self.idle;
        match self.since {
            Some(since) if self.minimum > 0 => {
                idle.min(since.max(now) + WINDOW.saturating_sub(self.waited_at(now)))
            }
            _ => idle,
        }
    }

    fn waited_at(&self, now: Instant) -> Duration {
        self.waited + self.since.map_or(Duration::ZERO, |since| now - since)
    }

    /// Whether it is given up.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if now >= self.last + self.idle {
            return true;
        }
        let waited = self.waited_at(now);
        if waited < WINDOW || self.minimum == 0 {
            return false;
        }
        let is_slow = self.octets < self.minimum * waited.as_secs();
        self.since = self.since.map(|_| now);
        self.waited = Duration::ZERO;
        self.octets = 0;
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(now: Instant) -> Watch {
        let timeouts = Timeouts { minimum_rate: 10, ..Timeouts::default() };
        Watch::new(&timeouts, now)
    }

    #[test]
    fn what_stands_still_is_over() {
        let now = Instant::now();
        let mut watch = watch(now);
        watch.moved(1, now);
        assert_eq!(watch.deadline(now), now + Duration::from_secs(300));
        assert!(!watch.is_over(now + Duration::from_secs(299)));
        assert!(watch.is_over(now + Duration::from_secs(300)));
    }

    #[test]
    fn a_rate_counts_only_in_the_clients_turn() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = watch(start);
        watch.moved(1, at(200));
        assert!(!watch.is_over(at(200)), "the client was not asked for anything");
        watch.client_sends(true);
        watch.moved(0, at(200));
        assert_eq!(watch.deadline(at(200)), at(230));
        watch.moved(299, at(229));
        assert!(!watch.is_over(at(230)), "300 octets in 30 seconds are enough");
        watch.moved(299, at(259));
        assert!(watch.is_over(at(260)), "299 are not");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_keeps_deadlines_that_move() {
        let mut timer = Timer::default();
        let start = Instant::now();
        for seconds in [5, 3, 9] {
            let deadline = start + Duration::from_secs(seconds);
            assert_eq!(timer.by(deadline, std::future::pending::<()>()).await, None);
            assert!(Instant::now() >= deadline);
        }
    }
}
