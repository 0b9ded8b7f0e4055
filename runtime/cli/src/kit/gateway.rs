//! Owns the proxy in memory: a driver of routes that serves nobody, with everything that the embedded one has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use effect::Result;
use routes::driver::BackendFigures;
use routes::effects::{Maker, Means, Prober, World, unknown};
use routes::route::Backend;
use routes::{Certificates, Drained, Driver, Feature, Figures, Key, Route, Standing};

use crate::shown::Shown;

/// Every route of a test.
#[derive(Default)]
pub(super) struct Gateway {
    routes: Mutex<BTreeMap<Key, Standing>>,
}

impl Gateway {
    /// The world of the effects on routes.
    pub(super) fn world(self: &Arc<Self>) -> Arc<World> {
        Arc::new(World::new(Box::new(InMemory(self.clone()))))
    }

    fn routes(&self) -> MutexGuard<'_, BTreeMap<Key, Standing>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct InMemory(Arc<Gateway>);

impl Maker for InMemory {
    fn driver(&self, _: Means) -> Result<Arc<dyn Driver>> {
        Ok(self.0.clone())
    }

    fn certificates(&self, means: Means) -> Arc<dyn Certificates> {
        Arc::new(Shown::from(means))
    }

    fn prober(&self) -> Arc<dyn Prober> {
        Arc::new(Content)
    }
}

/// Every back end answers: a fault on `routes.ensure` says otherwise.
struct Content;

#[async_trait]
impl Prober for Content {
    async fn probe(&self, _: &Route, _: Backend) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl Driver for Gateway {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }

    async fn list(&self) -> Result<Vec<Standing>> {
        Ok(self.routes().values().cloned().collect())
    }

    async fn get(&self, key: &Key) -> Result<Option<Standing>> {
        Ok(self.routes().get(key).cloned())
    }

    async fn admit(&self, _: &Standing) -> Result<()> {
        Ok(())
    }

    async fn put(&self, standing: &Standing) -> Result<()> {
        self.routes().insert(standing.route.key(), standing.clone());
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.routes().remove(key);
        Ok(())
    }

    async fn drain(&self, key: &Key, _: Option<Backend>, _: Duration) -> Result<Drained> {
        self.routes().get(key).map(|_| Drained::default()).ok_or_else(|| unknown(key))
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        Ok(self.routes().values().map(figures).collect())
    }
}

/// Nobody ever comes.
fn figures(standing: &Standing) -> Figures {
    let backends = standing.route.backends.iter().map(|address| BackendFigures {
        address: *address,
        healthy: true,
        active: 0,
        requests: 0,
        failed: 0,
        problem: None,
    });
    Figures {
        route: standing.route.key().to_string(),
        paused: standing.paused,
        backends: backends.collect(),
        ..Figures::default()
    }
}
