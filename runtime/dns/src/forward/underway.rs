//! Owns questions that are under way: the same one is asked once, however many wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::stored::Stored;
use super::trace::Step;

/// Different questions under way at once; each holds a socket or two.
pub(super) const MOST_UNDER_WAY: usize = 1024;

/// What came of a question, for all who wait for it.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) stored: Arc<Stored>,
    pub(super) steps: Arc<[Step]>,
}

type Waiting = watch::Receiver<Option<Outcome>>;

/// Questions under way, by key.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashMap<Box<[u8]>, Waiting>>);

/// The part that one asker has in a question.
pub(super) enum Part {
    /// It asks for all.
    Lead(Lead, Waiting),
    /// Somebody asks already.
    Join(Waiting),
    /// Too many are under way.
    Crowded,
}

/// The duty to ask; given up by dropping it.
pub(super) struct Lead {
    under_way: Arc<UnderWay>,
    key: Box<[u8]>,
    sender: watch::Sender<Option<Outcome>>,
}

impl UnderWay {
    fn map(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>, key: &[u8]) -> Part {
        let mut map = self.map();
        if let Some(waiting) = map.get(key) {
            return Part::Join(waiting.clone());
        }
        if map.len() >= MOST_UNDER_WAY {
            return Part::Crowded;
        }
        let (sender, waiting) = watch::channel(None);
        map.insert(key.into(), waiting.clone());
        Part::Lead(Lead { under_way: Arc::clone(self), key: key.into(), sender }, waiting)
    }
}

impl Lead {
    /// Tells all who wait.
    pub(super) fn end(self, outcome: Outcome) {
        self.under_way.map().remove(&self.key);
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut map = self.under_way.map();
        // Another one may lead the same question by now.
        if map.get(&self.key).is_some_and(|waiting| waiting.same_channel(&self.sender.subscribe())) {
            map.remove(&self.key);
        }
    }
}

/// Waits for the outcome; `None` when whoever asked is gone.
pub(super) async fn outcome(mut waiting: Waiting) -> Option<Outcome> {
    waiting.wait_for(Option::is_some).await.ok()?.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(under_way: &Arc<UnderWay>) -> (Lead, Waiting) {
        match under_way.enter(b"key") {
            Part::Lead(lead, waiting) => (lead, waiting),
            _ => panic!("somebody else leads"),
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_lead_that_is_gone_is_told_and_may_lead_itself() {
        let under_way = Arc::<UnderWay>::default();
        let (first, waiting) = lead(&under_way);
        let Part::Join(joined) = under_way.enter(b"key") else { panic!("the question is under way") };
        drop(first);
        assert!(outcome(waiting).await.is_none() && outcome(joined).await.is_none());
        let (second, _) = lead(&under_way);
        drop(second);
        assert!(under_way.map().is_empty());
    }
}
