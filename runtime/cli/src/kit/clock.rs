//! Owns the time of a test: it stands still but for `sleep`, which moves it on at once.

use std::sync::atomic::{AtomicI64, Ordering};

use effect::units::Span;
use effect::{Code, Error, Result, Timestamp};
use journal::Clock;
use serde::Deserialize as _;
use serde_json::Value;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

#[derive(Debug)]
pub(super) struct TestClock(AtomicI64);

impl Default for TestClock {
    fn default() -> Self {
        Self(AtomicI64::new(START))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl TestClock {
    /// `span` passes, as `sleep` takes it.
    pub(super) fn sleep(&self, span: &Value) -> Result<()> {
        let span = Span::deserialize(span)
            .map_err(|error| Error::new(Code::Internal, "a sleep without a length").because(error))?;
        self.0.store(self.now().after(span.0).0, Ordering::SeqCst);
        Ok(())
    }
}
