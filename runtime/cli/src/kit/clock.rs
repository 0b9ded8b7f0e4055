//! Owns the time of a test: it stands still but for `sleep` and gates, which move it on at once.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use effect::units::Span;
use effect::{Code, Error, Result, Timestamp};
use journal::Clock;
use serde::Deserialize as _;
use serde_json::Value;
use system::health::Gate;

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
        self.pass(span.0);
        Ok(())
    }

    /// An attempt at a gate, and the pause behind it.
    pub(super) fn gate(&self, arguments: &Value) -> Result<Value> {
        let unreadable = |error| Error::new(Code::Internal, "a gate that cannot be read").because(error);
        let (gated, pause) = Gate::deserialize(arguments).map_err(unreadable)?.look(self.now())?;
        self.pass(pause);
        serde_json::to_value(gated).map_err(unreadable)
    }

    /// `span` passes at once.
    pub(super) fn pass(&self, span: Duration) {
        self.0.store(self.now().after(span).0, Ordering::SeqCst);
    }
}
