//! Owns how it is recorded what a run was taken with, so that the next process goes on with it in the same way. Decisions
//! on what was in doubt are not: they were about that moment.

use std::time::Duration;

use daemon::runs::Wish;
use journal::Run;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Recorded {
    /// In milliseconds.
    patience: Option<u64>,
    asks: bool,
    limits: Vec<String>,
}

/// A wish as it is recorded; nothing where it is for nothing special.
pub(super) fn recorded(wish: &Wish) -> Option<Value> {
    let plain = Wish { doubts: Vec::new(), leave_plan: false, ..wish.clone() };
    (plain != Wish::default()).then(|| {
        let millis = |patience: Duration| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let patience = wish.patience.map(millis);
        json!(Recorded { patience, asks: wish.asks, limits: wish.limits.clone() })
    })
}

/// What a run was last taken with.
pub(super) fn of(run: &Run) -> Wish {
    let recorded = run.wish.clone().map(serde_json::from_value::<Recorded>).transpose();
    let Recorded { patience, asks, limits } = recorded.unwrap_or_default().unwrap_or_default();
    Wish { patience: patience.map(Duration::from_millis), asks, limits, ..Wish::default() }
}

/// Whether a run that goes on as `ours` says goes on as `theirs` says, too.
pub(super) fn are_alike(ours: &Wish, theirs: &Wish) -> bool {
    theirs.doubts.is_empty() && !theirs.leave_plan && recorded(ours) == recorded(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_for_something_special_is_recorded_without_what_was_about_a_moment() {
        let plain = Wish { doubts: vec![(None, "redo".into())], leave_plan: true, ..Wish::default() };
        assert_eq!(recorded(&plain), None);
        let special = Wish { patience: Some(Duration::from_secs(600)), asks: true, ..plain };
        assert_eq!(recorded(&special), Some(json!({ "patience": 600_000, "asks": true, "limits": [] })));
    }
}
