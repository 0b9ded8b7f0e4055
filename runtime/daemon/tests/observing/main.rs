//! What the daemon tells of itself, read by the programs of others: its figures by Prometheus's own parser, its telemetry by
//! OpenTelemetry's own messages.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod collector;
mod figures;
mod python;
mod telemetry;
