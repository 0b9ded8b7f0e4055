//! Owns following routes: each look that finds something has the proxy serve what is recorded now.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use effect::Result;
use routes::embedded::{Changed, Feed, Look};

use super::known::Touched;
use super::{Routes, kept};
use crate::edge::follow::Follow;
use crate::edge::kept::Keeper;

/// Between attempts at ports that others hold.
const AGAIN: Duration = Duration::from_secs(1);

/// The routes that are served.
pub(in crate::edge) struct Follower {
    routes: Arc<Routes>,
    feed: Option<Feed>,
    keeper: Option<Keeper>,
    /// What was kept and is not served yet: the database may know better.
    recalled: Option<Touched>,
    tried: Instant,
    runtime: tokio::runtime::Handle,
}

impl Follower {
    /// Follows for `routes`, on a thread beside `runtime`.
    pub(in crate::edge) fn new(routes: &Arc<Routes>, runtime: tokio::runtime::Handle) -> Self {
        let (folder, known) = (routes.folder.clone(), routes.clone());
        let keeper = Keeper::start("route", move || {
            let rows = known.known().rows();
            kept::store(&folder, &rows);
        });
        let keeper = keeper
            .inspect_err(|error| tracing::error!(%error, "no route is kept for a start without the database"))
            .ok();
        let routes = routes.clone();
        Self { routes, feed: None, keeper, recalled: None, tried: Instant::now(), runtime }
    }

    fn take(&mut self) -> Result<Option<Touched>> {
        let feed = match &mut self.feed {
            Some(feed) => feed,
            None => self.feed.insert(Feed::open(&self.routes.state, &self.routes.node)?),
        };
        let changes = match feed.look()? {
            Look::Nothing => return Ok(None),
            Look::Some(changes) => changes,
            Look::All(mut changes) => {
                let gone = taken_away(&self.routes, feed, &changes)?;
                changes.extend(gone);
                changes
            }
        };
        let touched = self.routes.known().note(changes);
        Ok(Some(touched))
    }
}

/// What is known and no longer recorded. What this database never knew of was lost with another one, and stays.
fn taken_away(routes: &Routes, feed: &Feed, recorded: &[Changed]) -> Result<Vec<Changed>> {
    let mut keys = std::collections::HashSet::new();
    let mut ids = std::collections::HashSet::new();
    for change in recorded {
        match change {
            Changed::Route(key, _) => drop(keys.insert(key)),
            Changed::Certificate(id, _) => drop(ids.insert(id)),
            Changed::Proof(..) => {}
        }
    }
    let known = routes.known();
    let mut gone = Vec::new();
    for key in known.keys().filter(|key| !keys.contains(key)) {
        if feed.remembers(key)? {
            gone.push(Changed::Route(key.clone(), None));
        } else {
            tracing::warn!(route = %key, "a route is not in the database, which is another one than before; what is known of it is served");
        }
    }
    for id in known.certificates().filter(|id| !ids.contains(id)) {
        if feed.remembers_certificate(id)? {
            gone.push(Changed::Certificate(id.clone(), None));
        }
    }
    Ok(gone)
}

impl Follow for Follower {
    const WHAT: &'static str = "routes";

    fn recall(&mut self) {
        let kept = kept::load(&self.routes.folder);
        self.recalled = Some(self.routes.known().note(kept));
    }

    fn look(&mut self) -> Result<()> {
        let looked = self.take().inspect_err(|_| self.feed = None);
        let mut touched = self.recalled.take().unwrap_or_default();
        let found = looked.map(|found| {
            if let Some(found) = found {
                touched.routes.extend(found.routes);
                touched.proofs.extend(found.proofs);
                self.keeper.iter().for_each(Keeper::changed);
            }
        });
        if self.tried.elapsed() >= AGAIN || self.routes.is_hurried.load(Ordering::Relaxed) {
            touched.routes.extend(self.routes.known().waiting());
            self.tried = Instant::now();
        }
        if self.routes.is_back.swap(false, Ordering::Relaxed) {
            touched.routes.extend(self.routes.known().keys().cloned());
        }
        // Whatever begins there goes on in the runtime.
        let _inside = self.runtime.enter();
        self.routes.realize(&touched);
        found
    }
}
