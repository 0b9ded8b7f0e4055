//! Owns a proxy that keeps its routes in memory and serves nobody.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use effect::{Code, Error, Result};
use routes::route::Backend;
use routes::{Drained, Driver, Feature, Figures, Key, Standing};

pub(crate) struct Memory {
    pub(crate) routes: Mutex<BTreeMap<Key, Standing>>,
    features: Vec<Feature>,
    /// What every change is refused with.
    pub(crate) refusal: Mutex<Option<Error>>,
    /// What was drained, and within what time.
    pub(crate) drained: Mutex<Vec<(Key, Option<Backend>, Duration)>>,
    /// What was asked whether it may be served.
    pub(crate) admitted: Mutex<Vec<Standing>>,
}

impl Memory {
    pub(crate) fn with(features: &[Feature]) -> Self {
        Self {
            routes: Mutex::default(),
            features: features.to_vec(),
            refusal: Mutex::default(),
            drained: Mutex::default(),
            admitted: Mutex::default(),
        }
    }

    fn refuse(&self) -> Result<()> {
        self.refusal.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Driver for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn features(&self) -> &[Feature] {
        &self.features
    }

    async fn list(&self) -> Result<Vec<Standing>> {
        Ok(self.routes.lock().unwrap().values().cloned().collect())
    }

    async fn get(&self, key: &Key) -> Result<Option<Standing>> {
        Ok(self.routes.lock().unwrap().get(key).cloned())
    }

    async fn admit(&self, standing: &Standing) -> Result<()> {
        self.admitted.lock().unwrap().push(standing.clone());
        match standing.route.listen {
            1 => Err(Error::new(Code::RoutePort, "port 1 is held by `tcpmux`")),
            _ => Ok(()),
        }
    }

    async fn put(&self, standing: &Standing) -> Result<()> {
        self.refuse()?;
        self.routes.lock().unwrap().insert(standing.route.key(), standing.clone());
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.refuse()?;
        self.routes.lock().unwrap().remove(key);
        Ok(())
    }

    async fn drain(&self, key: &Key, backend: Option<Backend>, within: Duration) -> Result<Drained> {
        self.drained.lock().unwrap().push((key.clone(), backend, within));
        Ok(Drained { ended: 3, cut: 1 })
    }

    async fn figures(&self) -> Result<Vec<Figures>> {
        let routes = self.routes.lock().unwrap();
        Ok(routes.keys().map(|key| Figures { route: key.to_string(), ..Figures::default() }).collect())
    }
}
