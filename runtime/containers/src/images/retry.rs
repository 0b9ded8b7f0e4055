//! Owns trying again: only what may pass by itself, a bounded number of times, later each time and not in step with others.

use std::future::Future;
use std::time::Duration;

use effect::Result;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Where randomness comes from: a number from 0 to 1.
pub type Jitter = dyn Fn() -> f64 + Send + Sync;

/// Calls `attempt` until it succeeds, fails for good, or was called `times` times.
pub(super) async fn retry<T, F>(
    times: u32,
    jitter: &Jitter,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut number = 1;
    loop {
        match attempt().await {
            Err(error) if error.retryable && number < times => {
                let pause = pause(number, jitter());
                tracing::info!(target: "images", %error, attempt = number, "{what}: trying again in {pause:?}");
                tokio::time::sleep(pause).await;
                number += 1;
            }
            Err(mut error) => {
                if number > 1 {
                    error.details.push(format!("it was tried {number} times"));
                }
                return Err(error);
            }
            done => return done,
        }
    }
}

/// Twice as long each time up to a bound, of which half is left to chance.
fn pause(number: u32, chance: f64) -> Duration {
    let full = FIRST.saturating_mul(1 << number.saturating_sub(1).min(16)).min(LONGEST);
    full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use effect::{Code, Error};

    use super::*;

    async fn attempts(times: u32, error: Error) -> (u32, Error) {
        let made = Cell::new(0);
        let failed = retry(times, &|| 0.0, "test", || {
            made.set(made.get() + 1);
            let error = error.clone();
            async move { Err::<(), _>(error) }
        });
        let error = failed.await.unwrap_err();
        (made.get(), error)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        let passing = Error::new(Code::RegistryUnavailable, "down").retryable();
        let (made, error) = attempts(4, passing).await;
        assert_eq!((made, error.details), (4, vec!["it was tried 4 times".to_owned()]));
        assert_eq!(attempts(4, Error::new(Code::RegistryRefused, "no")).await.0, 1);
    }

    #[test]
    fn pauses_grow_within_bounds() {
        for number in 1..100 {
            for chance in [-1.0, 0.0, 0.5, 1.0, 7.0, f64::NAN] {
                let pause = pause(number, if chance.is_nan() { 0.0 } else { chance });
                assert!(pause >= FIRST / 2 && pause <= LONGEST, "{number} {chance} {pause:?}");
            }
        }
        assert_eq!(pause(3, 1.0), Duration::from_secs(2));
    }
}
