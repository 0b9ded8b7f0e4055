//! Owns the points at which a crash test may end the process.

use std::sync::OnceLock;

static PROBE: OnceLock<fn(&'static str)> = OnceLock::new();

/// Has `probe` called at every named point of the journal's work (`begin:before-commit`, `begin:after-commit`,
/// `end:enqueued`, …), on the thread that reaches it. The first call counts, for the whole process.
pub fn set_probe(probe: fn(&'static str)) {
    // A second call finds the first one's probe in place, which is the contract.
    let _ = PROBE.set(probe);
}

/// Marks that the named point has been reached. Costs one load unless a probe is set.
pub fn reached(point: &'static str) {
    if let Some(probe) = PROBE.get() {
        probe(point);
    }
}
