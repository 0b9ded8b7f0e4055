//! Owns what callers that follow are told: the difference between what they know and what is so. Nothing waits for a slow
//! one; it is told of what became of a route in the meantime, once.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use api::v1;
use effect::Result;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::Status;

use super::Server;
use crate::driver::Standing;
use crate::remote::doorkeeper::Entry;
use crate::remote::failure;
use crate::remote::listen::{Caller, Over};
use crate::remote::watch::Change;
use crate::route::Key;

/// Between looks for what was changed by others than callers, of which nobody told.
const BETWEEN: Duration = Duration::from_secs(1);

pub(super) type Stream = Pin<Box<dyn futures_util::Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

struct Following {
    server: Server,
    caller: Option<Caller>,
    /// Asked about at every look: rules change.
    entry: Entry,
    over: Option<Over>,
    changes: watch::Receiver<u64>,
    /// What the caller was told.
    told: BTreeMap<Key, Standing>,
    next: VecDeque<Change>,
    is_synced: bool,
    _place: OwnedSemaphorePermit,
}

pub(super) fn follow(
    server: Server,
    (caller, entry): (Option<Caller>, Entry),
    over: Option<Over>,
    place: OwnedSemaphorePermit,
) -> Stream {
    let changes = server.0.changes.subscribe();
    let (told, next) = (BTreeMap::new(), VecDeque::new());
    let following =
        Following { server, caller, entry, over, changes, told, next, is_synced: false, _place: place };
    Box::pin(stream::unfold(Some(following), |following| async move {
        let mut following = following?;
        match following.next().await {
            Ok(Some(change)) => Some((Ok(change.into()), Some(following))),
            Ok(None) => None,
            Err(error) => Some((Err(failure::status(&error)), None)),
        }
    }))
}

impl Following {
    /// The next change; none when the end has come.
    async fn next(&mut self) -> Result<Option<Change>> {
        loop {
            if let Some(change) = self.next.pop_front() {
                return Ok(Some(change));
            }
            if self.is_synced && self.wait().await {
                return Ok(None);
            }
            self.changes.borrow_and_update();
            self.look().await?;
        }
    }

    /// Until there may be something; whether the end has come.
    async fn wait(&mut self) -> bool {
        let over = async {
            match &mut self.over {
                Some(over) => over.come().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => true,
            // The server itself holds the sender.
            _ = self.changes.changed() => false,
            () = tokio::time::sleep(BETWEEN) => false,
        }
    }

    async fn look(&mut self) -> Result<()> {
        let passed = self.entry.pass().await?;
        let grant = self.server.0.rules.grant(self.caller.as_ref(), Some(&passed))?;
        let seen = self.server.seen(&grant).await?;
        let now: BTreeMap<Key, Standing> =
            seen.into_iter().map(|standing| (standing.route.key(), standing)).collect();
        let gone = self.told.keys().filter(|key| !now.contains_key(key));
        self.next.extend(gone.cloned().map(Change::Removed));
        let changed = now.iter().filter(|(key, standing)| self.told.get(key) != Some(standing));
        self.next.extend(changed.map(|(_, standing)| Change::Put(Box::new(standing.clone()))));
        self.told = now;
        if !self.is_synced {
            self.next.push_back(Change::Synced);
            self.is_synced = true;
        }
        Ok(())
    }
}
