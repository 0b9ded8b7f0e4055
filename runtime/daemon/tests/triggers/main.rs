//! Triggers over a real journal: times, events, files and webhooks become occurrences, and these become runs, once each.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod catching_up;
mod events;
mod files;
mod overlap;
mod simulation;
mod stage;
mod webhooks;
