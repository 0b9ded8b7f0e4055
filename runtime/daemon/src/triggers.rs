//! Triggers: when playbooks start by themselves.
//!
//! Owns times, occurrences and what becomes of them, events, files and webhooks that start playbooks. Leaves what a
//! playbook is to `playbooks`, and to execute a run to whoever fills in `Runs`.
//!
//! An **occurrence** is a record of its own, written in the same transaction as the run that it starts: it is there once or
//! not at all, whatever is killed when. See docs/decisions/0020.

pub mod engine;
pub mod files;
mod identity;
mod matching;
pub mod occurrence;
pub mod schedule;
pub mod times;
mod wake;
pub mod webhook;

pub use self::engine::{Engine, Inbox, Means};
pub use self::identity::{kind, text};
pub use self::matching::is_named;
pub use self::occurrence::{Occurrence, Outcome, last, manual};
