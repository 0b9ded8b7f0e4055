//! Owns the time of a health check: at once, then soon, then at its interval, until it passes or its time is over.

use std::time::Duration;

use effect::units::Span;
use effect::{Code, Error};
use tokio::time::Instant;

use super::probe::Probe;

/// The shortest pause between two probes. What starts fast is found healthy fast.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// A pause is such a part of the time waited so far: what has become healthy is found soon, by what it took.
const PART_OF_WAIT: u32 = 16;
/// A pause is so many times what the last probe took: one that costs much is made seldom.
const TIMES_PROBE: u32 = 4;

/// When a health check probes.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long it may take altogether.
    pub within: Duration,
    /// The longest pause between two probes.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// How many probes in a row must pass.
    pub successes: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(30),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            successes: 1,
        }
    }
}

/// A health check that did not pass in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the last probe found.
    pub last: String,
    /// How many probes there were.
    pub attempts: u32,
}

impl Failure {
    /// The error under its code, naming what was probed.
    #[must_use]
    pub fn error(&self, target: &str, within: Duration) -> Error {
        let within = Span(Duration::from_millis(u64::try_from(within.as_millis()).unwrap_or(u64::MAX)));
        let tried =
            if self.attempts == 1 { "1 probe".to_owned() } else { format!("{} probes", self.attempts) };
        let message = format!("{target} did not become healthy within {within} ({tried})");
        Error::new(Code::Unhealthy, message).because(&self.last).retryable()
    }
}

/// Probes until the check passes; returns what the last probe found and how many there were.
///
/// # Errors
/// The last answer when time is over.
pub async fn wait_until_healthy(probe: &Probe, timing: Timing) -> Result<(String, u32), Failure> {
    wait_until(timing, || probe.once(timing.timeout)).await
}

/// The same for any probe: `attempt` tells what it found, as an error when that is not healthy. Its own time-out is
/// the caller's; it is dropped when the whole time is over.
///
/// # Errors
/// The last answer when time is over.
pub async fn wait_until<F>(timing: Timing, mut attempt: impl FnMut() -> F) -> Result<(String, u32), Failure>
where
    F: Future<Output = Result<String, String>>,
{
    let begun = Instant::now();
    let deadline = begun + timing.within;
    let (mut attempts, mut passed) = (0, 0);
    let mut last = "no probe was finished".to_owned();
    loop {
        attempts += 1;
        let asked = Instant::now();
        // The first probe is never cut: a check whose time was over before a resume still looks once.
        let end = if attempts == 1 { deadline.max(asked + timing.timeout) } else { deadline };
        let Ok(found) = tokio::time::timeout_at(end, attempt()).await else {
            return Err(Failure { last, attempts });
        };
        match found {
            Ok(answer) => {
                passed += 1;
                last = answer;
                if passed >= timing.successes {
                    return Ok((last, attempts));
                }
            }
            Err(answer) => {
                passed = 0;
                last = answer;
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure { last, attempts });
        }
        let pause = (begun.elapsed() / PART_OF_WAIT).max(asked.elapsed() * TIMES_PROBE);
        let pause = pause.max(SHORTEST_PAUSE).min(timing.interval);
        // The last probe comes just before the limit, with time enough to be answered by what is near.
        let until_last = left.saturating_sub(LAST_PROBE.min(left / 2));
        tokio::time::sleep(pause.min(until_last)).await;
        if until_last < pause {
            attempts += 1;
            return last_probe(deadline, attempt(), (last, attempts, passed), timing.successes).await;
        }
    }
}

/// What is left of the time when the last probe starts.
const LAST_PROBE: Duration = Duration::from_millis(100);

async fn last_probe(
    deadline: Instant,
    attempt: impl Future<Output = Result<String, String>>,
    (last, attempts, passed): (String, u32, u32),
    successes: u32,
) -> Result<(String, u32), Failure> {
    match tokio::time::timeout_at(deadline, attempt).await {
        Ok(Ok(answer)) if passed + 1 >= successes => Ok((answer, attempts)),
        Ok(Ok(answer) | Err(answer)) => Err(Failure { last: answer, attempts }),
        Err(_) => Err(Failure { last, attempts }),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn timing(successes: u32) -> Timing {
        Timing { successes, ..Timing::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_between_successes_starts_counting_anew() {
        let count = Cell::new(0);
        let attempt = || {
            count.set(count.get() + 1);
            let healthy = count.get() != 2;
            async move { if healthy { Ok("up".to_owned()) } else { Err("down".to_owned()) } }
        };
        assert_eq!(wait_until(timing(2), attempt).await, Ok(("up".to_owned(), 4)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_probe_is_at_once_and_the_next_soon() {
        let start = Instant::now();
        let times = std::cell::RefCell::new(Vec::<u128>::new());
        let attempt = || {
            times.borrow_mut().push((Instant::now() - start).as_millis());
            async { Err("down".to_owned()) }
        };
        let failure = wait_until(timing(1), attempt).await.unwrap_err();
        assert_eq!(failure.last, "down");
        assert_eq!(times.borrow()[..4], [0, 50, 100, 150]);
        // Who answers is found before a sixteenth more of the time is over, and nobody is asked too often for that.
        let is_soon = |pair: &[u128]| (50..=50.max(pair[0] / 16 + 2)).contains(&(pair[1] - pair[0]));
        assert!(times.borrow()[..60].windows(2).all(is_soon), "{times:?}");
        assert_eq!(failure.attempts as usize, times.borrow().len());
    }
}
