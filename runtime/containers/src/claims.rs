//! Owns the claims on containers that mcrun did not make: what somebody recorded as taken over counts as ours, although no
//! label says so, for labels cannot be put on a live container. Who keeps the record is left to whoever wires the rooms.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use effect::Result;
use tokio::sync::mpsc;

use crate::attach::{Attach, Attached};
use crate::diff::FieldDiff;
use crate::driver::{Driver, Exec, ExecOutput, LogLine, LogQuery};
use crate::features::Feature;
use crate::images::Images;
use crate::observed::{ImageDefaults, Observed};
use crate::orphans::{End, Orphan};
use crate::spec::{Secrets, Spec};
use crate::usage::Usage;

/// A container that was taken over as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// The service that it belongs to.
    pub service: String,
}

/// What is recorded of containers that mcrun did not make.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Every claim, by the engine's id of the container: a name may meanwhile be that of another one.
    async fn claims(&self) -> Result<BTreeMap<String, Claim>>;
}

/// A driver whose foreign containers are looked up among the claims.
pub(crate) struct Claimed {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) claims: Arc<dyn Claims>,
}

impl Claimed {
    async fn marked(&self, mut containers: Vec<Observed>) -> Result<Vec<Observed>> {
        // Most machines have no foreign containers, and nobody is asked then.
        if containers.iter().all(|container| container.managed) {
            return Ok(containers);
        }
        let claims = self.claims.claims().await?;
        containers.iter_mut().for_each(|container| mark(container, &claims));
        Ok(containers)
    }

    async fn marked_one(&self, container: Observed) -> Result<Observed> {
        let name = container.name.clone();
        self.marked(vec![container]).await?.pop().ok_or_else(|| {
            effect::Error::new(effect::Code::Internal, format!("`{name}` was lost among the claims"))
        })
    }
}

/// Marks a container that is claimed: exactly this one, under the name that it was claimed by.
fn mark(container: &mut Observed, claims: &BTreeMap<String, Claim>) {
    if container.managed {
        return;
    }
    if let Some(claim) = claims.get(&container.id).filter(|claim| claim.name == container.name) {
        container.managed = true;
        container.adopted = true;
        container.service = Some(claim.service.clone());
    }
}

#[async_trait]
impl Driver for Claimed {
    fn name(&self) -> &'static str {
        self.driver.name()
    }

    fn place(&self) -> String {
        self.driver.place()
    }

    fn features(&self) -> &'static [Feature] {
        self.driver.features()
    }

    fn images(&self) -> Option<Arc<dyn Images>> {
        self.driver.images()
    }

    fn check(&self, spec: &Spec) -> Result<()> {
        self.driver.check(spec)
    }

    fn check_node(&self, spec: &Spec, is_planned: &(dyn Fn(&Path) -> bool + Sync)) -> Result<()> {
        self.driver.check_node(spec, is_planned)
    }

    async fn image_defaults(&self, image: &str) -> Result<Option<ImageDefaults>> {
        self.driver.image_defaults(image).await
    }

    async fn inspect(&self, name: &str) -> Result<Option<Observed>> {
        match self.driver.inspect(name).await? {
            Some(container) => self.marked_one(container).await.map(Some),
            None => Ok(None),
        }
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        self.marked(self.driver.list().await?).await
    }

    async fn glance(&self) -> Result<Vec<Observed>> {
        self.marked(self.driver.glance().await?).await
    }

    async fn unsaid(&self, name: &str) -> Result<Vec<String>> {
        self.driver.unsaid(name).await
    }

    async fn create(&self, spec: &Spec, image: Option<&ImageDefaults>, secrets: &Secrets) -> Result<()> {
        self.driver.create(spec, image, secrets).await
    }

    async fn update(&self, name: &str, fields: &[FieldDiff], spec: &Spec) -> Result<()> {
        self.driver.update(name, fields, spec).await
    }

    async fn start(&self, name: &str) -> Result<Observed> {
        self.marked_one(self.driver.start(name).await?).await
    }

    async fn stop(&self, name: &str, timeout: Option<Duration>) -> Result<()> {
        self.driver.stop(name, timeout).await
    }

    async fn pause(&self, name: &str) -> Result<()> {
        self.driver.pause(name).await
    }

    async fn restart(&self, name: &str, timeout: Option<Duration>) -> Result<()> {
        self.driver.restart(name, timeout).await
    }

    async fn remove(&self, name: &str, force: bool) -> Result<()> {
        self.driver.remove(name, force).await
    }

    async fn logs(&self, name: &str, query: &LogQuery) -> Result<Vec<LogLine>> {
        self.driver.logs(name, query).await
    }

    async fn follow(&self, name: &str, query: &LogQuery) -> Result<mpsc::Receiver<LogLine>> {
        self.driver.follow(name, query).await
    }

    async fn exec(&self, name: &str, exec: &Exec) -> Result<ExecOutput> {
        self.driver.exec(name, exec).await
    }

    async fn attach(&self, name: &str, attach: &Attach) -> Result<Attached> {
        self.driver.attach(name, attach).await
    }

    async fn stats(&self, name: &str) -> Result<Option<Usage>> {
        self.driver.stats(name).await
    }

    async fn orphans(&self) -> Result<Vec<Orphan>> {
        self.driver.orphans().await
    }

    async fn release(&self, orphan: &Orphan, end: &End<'_>) -> Result<()> {
        self.driver.release(orphan, end).await
    }

    async fn ping(&self) -> Result<String> {
        self.driver.ping().await
    }
}
