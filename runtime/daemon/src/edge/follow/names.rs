//! Owns following zones: each look that finds something makes a new version of what is answered.

use std::path::PathBuf;
use std::sync::Arc;

use dns::embedded::Feed;
use dns::server::Service;
use dns::server::notify::Notifier;
use effect::Result;

use super::super::kept::{self, Keeper};
use super::Follow;

/// The zones that are answered.
pub(in super::super) struct Names {
    state: PathBuf,
    node: String,
    service: Arc<Service>,
    notifier: Arc<Notifier>,
    feed: Option<Feed>,
    keeper: Option<Keeper>,
}

impl Names {
    pub(in super::super) fn new(parts: &super::super::Parts) -> Self {
        let service = parts.service.clone();
        let folder = super::super::folder(&parts.state);
        let keeper = Keeper::start("dns", move || kept::store(&folder, &service.snapshot()))
            .inspect_err(|error| tracing::error!(%error, "no zone is kept for a start without the database"))
            .ok();
        Self {
            state: parts.state.clone(),
            node: parts.node.clone(),
            service: parts.service.clone(),
            notifier: parts.notifier.clone(),
            feed: None,
            keeper,
        }
    }

    fn take(&mut self) -> Result<()> {
        let feed = match &mut self.feed {
            Some(feed) => feed,
            None => self.feed.insert(Feed::open(&self.state, &self.node)?),
        };
        if let Some(snapshot) = feed.look(&self.service.snapshot())? {
            self.service.put(snapshot);
            self.notifier.look(&self.service.snapshot());
            self.keeper.iter().for_each(Keeper::changed);
        }
        Ok(())
    }
}

impl Follow for Names {
    const WHAT: &'static str = "names";

    fn recall(&mut self) {
        self.service.put(kept::load(&super::super::folder(&self.state)));
    }

    fn look(&mut self) -> Result<()> {
        self.take().inspect_err(|_| self.feed = None)
    }
}
