//! Playbooks in folders: what becomes active when files change, however they are changed, and what is kept.

mod busy;
mod folders;
mod keeping;
mod modules;
mod names;
mod saving;
mod stage;
mod vim;
