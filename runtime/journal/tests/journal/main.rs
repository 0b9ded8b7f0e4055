//! What the journal promises, from outside.

#![allow(clippy::unwrap_used, reason = "a test helper that cannot go on fails the test")]

mod audit;
mod crash;
mod entries;
mod folds;
mod history;
mod leases;
mod logs;
mod opening;
mod records;
mod runs;
mod support;
mod sweep;
