//! Playbooks in folders: what becomes active when files change, however they are changed, and what is kept.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod busy;
mod folders;
mod keeping;
mod modules;
mod names;
mod saving;
mod stage;
mod vim;
