//! Owns the files of one trigger between two looks: what they were, and when they are looked at next.

use std::time::Duration;

use effect::{Code, Error};
use tokio::time::Instant;

use super::scan::Print;
use super::watching::Cover;
use crate::playbooks::OnFile;

/// What is quieter than this has not settled: a program writes a file in several steps.
const SHORTEST_SETTLE: Duration = Duration::from_millis(50);
/// Files that keep changing are told of all the same after so many times their settling.
const LONGEST_SETTLE: u32 = 20;

/// The files of one trigger.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) on: OnFile,
    /// What they were when they were last told of.
    pub(super) print: Print,
    /// Since when they change, and when they will have settled.
    pub(super) changing: Option<(Instant, Instant)>,
    /// Whether it was said that they cannot be watched.
    is_told: bool,
}

impl Followed {
    /// They are looked at at once: what changed while nobody watched is seen.
    pub(super) fn new(on: OnFile, print: Print, now: Instant) -> Self {
        Self { on, print, changing: Some((now, now)), is_told: false }
    }

    pub(super) fn changed(&mut self, now: Instant) {
        let settle = self.on.settle.max(SHORTEST_SETTLE);
        let since = self.changing.map_or(now, |(since, _)| since);
        self.changing = Some((since, (now + settle).min(since + settle * LONGEST_SETTLE)));
    }

    /// Takes in how they are watched. That they cannot be is told of once.
    pub(super) fn covered(&mut self, covered: notify::Result<Cover>) -> Cover {
        match covered {
            Ok(cover) => {
                self.is_told = false;
                cover
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    let shown = self.on.path.display();
                    let error =
                        Error::new(Code::FileWatch, format!("`{shown}` cannot be watched")).because(error);
                    tracing::warn!(%error, "changes are seen up to five seconds late");
                }
                Cover::Not
            }
        }
    }
}
