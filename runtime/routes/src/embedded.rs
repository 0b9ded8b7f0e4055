//! The embedded driver: routes in the database of the state directory, served by the edge.
//!
//! Owns that a change is recorded, and is live on return or not recorded at all. How the edge is spoken to is left to
//! whoever fills in [`Gateway`].

mod feed;
mod gateway;
mod proofs;
mod rows;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use journal::Journal;

use crate::driver::{Drained, Driver, Feature, Figures, Standing};
use crate::route::{Backend, Key};
use crate::settings::Settings;

pub use feed::{Changed, Feed, Look};
pub use gateway::Gateway;
pub use proofs::Proof;
use store::Store;

/// For the edge to do what takes no waiting for others.
const PROMPTLY: Duration = Duration::from_secs(15);

/// The routes of this node.
#[derive(Clone)]
pub struct Embedded {
    store: Store,
    settings: Settings,
    gateway: Arc<dyn Gateway>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Embedded").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Embedded {
    /// The routes of `node` in a journal, as `[routes]` has them served by the edge behind `gateway`.
    #[must_use]
    pub fn new(journal: Journal, node: &str, settings: Settings, gateway: Arc<dyn Gateway>) -> Self {
        Self { store: Store::new(journal, node), settings, gateway }
    }

    /// Refuses what no edge with these settings would serve.
    fn check_place(&self, key: &Key) -> Result<()> {
        if self.settings.addresses.is_empty() {
            return Err(Error::new(Code::Config, "there is no address at which routes are served")
                .hint("name some in mcrun.toml: `addresses = [\"192.168.88.181\"]` under [routes]"));
        }
        if !self.settings.may_serve(key.listen) {
            let message =
                format!("routes are not served at port {}: `ports` under [routes] leaves it out", key.listen);
            return Err(Error::new(Code::RoutePort, message).hint("choose another port, or add it there"));
        }
        Ok(())
    }

    /// Records what was there before `recorded` and has it served again.
    async fn put_back(&self, key: &Key, before: Option<&Standing>, recorded: &Standing) -> Result<()> {
        if self.store.replace(key, recorded, before).await? {
            self.gateway.settle(key, before, PROMPTLY).await?;
        }
        Ok(())
    }
}

/// How long the edge may take until nothing of an older version runs any more.
fn within<'a>(versions: impl IntoIterator<Item = &'a Standing>) -> Duration {
    let drains = versions.into_iter().map(|standing| standing.route.drain.0);
    drains.max().unwrap_or_default().saturating_add(PROMPTLY)
}

#[async_trait]
impl Driver for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }

    async fn list(&self) -> Result<Vec<Standing>> {
        self.store.list().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Standing>> {
        self.store.get(key).await
    }

    async fn admit(&self, standing: &Standing) -> Result<()> {
        self.check_place(&standing.route.key())?;
        if standing.route.access.asks_countries() && self.settings.geoip.is_none() {
            let message = "a route asks for countries, and there is no file to look them up in";
            return Err(
                Error::new(Code::Config, message).hint("name one in mcrun.toml: `geoip` under [routes]")
            );
        }
        self.gateway.admit(standing).await
    }

    async fn put(&self, standing: &Standing) -> Result<()> {
        self.admit(standing).await?;
        let key = standing.route.key();
        let before = self.store.put(standing).await?;
        let versions = before.iter().chain([standing]);
        let Err(error) = self.gateway.settle(&key, Some(standing), within(versions)).await else {
            return Ok(());
        };
        if before.as_ref() == Some(standing) {
            return Err(error);
        }
        match self.put_back(&key, before.as_ref(), standing).await {
            Ok(()) => Err(error),
            Err(trouble) => Err(error.detail(format!("it could not be put back as it was: {trouble}"))),
        }
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        let before = self.store.remove(key).await?;
        if !self.gateway.is_there().await {
            // Nothing is served that could be taken away.
            return Ok(());
        }
        self.gateway.settle(key, None, within(&before)).await
    }

    async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Result<Drained> {
        match self.gateway.drain(key, backend, within).await? {
            Some(drained) => Ok(drained),
            None => Err(Error::new(Code::RouteUnknown, format!("there is no route `{key}`"))),
        }
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        self.gateway.figures().await
    }
}
