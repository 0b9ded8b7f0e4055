//! Drives the target that `MCRUN_FUZZ_TARGET` names, guided by coverage.
#![no_main]

use std::sync::LazyLock;

use fuzz_targets::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("MCRUN_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    found.map(|(_, target)| *target).unwrap_or_else(|| panic!("MCRUN_FUZZ_TARGET is none of {names:?}"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
