//! Owns what becomes of effects whose outcome the script no longer wants because another branch of a `parallel` has
//! failed. Only those that change nothing are given up; a change under way comes to its end, so that nothing is in doubt.

use std::future::Future;
use std::sync::Arc;

use journal::Identity;
use tokio::sync::Notify;

use super::Session;
use crate::{Code, Error, Result};

impl Session {
    /// Gives up an effect that was asked for and not answered, when it only reads or waits.
    pub fn cancel(&self, scope: &str, counter: u32) {
        self.cancellation(scope, counter).notify_one();
    }

    /// What `work` comes to, unless it is given up first.
    pub(super) async fn unless_cancelled<T>(
        &self,
        identity: &Identity,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let cancelled = self.cancellation(&identity.scope, identity.counter);
        tokio::select! {
            biased;
            done = work => done,
            () = cancelled.notified() => Err(Error::new(Code::Cancelled, GIVEN_UP)),
        }
    }

    /// The effect has ended: nobody asks for its end any more.
    pub(super) fn uncancel(&self, identity: &Identity) {
        self.progress().cancels.remove(&(identity.scope.clone(), identity.counter));
    }

    fn cancellation(&self, scope: &str, counter: u32) -> Arc<Notify> {
        self.progress().cancels.entry((scope.to_owned(), counter)).or_default().clone()
    }
}

/// What an effect that was given up fails with, now and in every replay.
pub const GIVEN_UP: &str = "the effect was cancelled";
