//! Owns `registry.get`, `registry.list` and `registry.releases`.

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Release, SERVICE, Service, decode, releases, services};
use crate::World;
use crate::node::only_local;
use crate::ports::check_service_name;

/// Returns the desired state of a service, or nil when the registry does not have it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The service.
    service: String,
    /// The node; this one unless given.
    node: Option<String>,
}

/// Lists the desired state of every service, ordered by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The node; this one unless given.
    node: Option<String>,
}

/// Lists the releases of a service, newest first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Releases {
    /// The service.
    service: String,
    /// How many at most.
    #[serde(default = "default_limit")]
    limit: u32,
    /// The node; this one unless given.
    node: Option<String>,
}

fn default_limit() -> u32 {
    20
}

impl Declared for Get {
    const NAME: &'static str = "registry.get";
    const CAPABILITY: &'static str = "registry:read:SERVICE";
    const EXAMPLE: &'static str = "local found = registry.get { service = \"hello\" }\nprint(if found then found.version else \"not deployed\")";
    type World = World;
    type Output = Option<Service>;

    fn subject(&self) -> String {
        self.service.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        check_service_name("service", &self.service)?;
        Ok(vec![Need::read("registry", &self.service)])
    }
}

#[async_trait]
impl Read for Get {
    async fn read(&self, _: &World, context: &Context) -> Result<Option<Service>> {
        only_local(context, self.node.as_deref())?;
        if let Some(planned) =
            context.overlay.get(&context.key("registry", self.node.as_deref(), &self.service))
        {
            return Ok(planned);
        }
        let node = self.node.as_deref().unwrap_or(&context.node);
        let record = context.journal.record(SERVICE, node, &self.service).await?;
        record.map(|record| decode(&record.value)).transpose()
    }
}

impl Declared for List {
    const NAME: &'static str = "registry.list";
    const CAPABILITY: &'static str = "registry:read";
    const EXAMPLE: &'static str =
        "for _, found in registry.list {} do print(found.service, found.version) end";
    type World = World;
    type Output = Vec<Service>;

    fn subject(&self) -> String {
        String::new()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        // Who sees the list sees every service.
        Ok(vec![Need::read("registry", "")])
    }
}

#[async_trait]
impl Read for List {
    async fn read(&self, _: &World, context: &Context) -> Result<Vec<Service>> {
        only_local(context, self.node.as_deref())?;
        let node = self.node.as_deref().unwrap_or(&context.node);
        services(context, node).await
    }
}

impl Declared for Releases {
    const NAME: &'static str = "registry.releases";
    const CAPABILITY: &'static str = "registry:read:SERVICE";
    const EXAMPLE: &'static str = "for _, release in registry.releases { service = \"hello\" } do print(release.number, release.version) end";
    type World = World;
    type Output = Vec<Release>;

    fn subject(&self) -> String {
        self.service.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        check_service_name("service", &self.service)?;
        Ok(vec![Need::read("registry", &self.service)])
    }
}

#[async_trait]
impl Read for Releases {
    async fn read(&self, _: &World, context: &Context) -> Result<Vec<Release>> {
        only_local(context, self.node.as_deref())?;
        let node = self.node.as_deref().unwrap_or(&context.node);
        let mut found = releases(context, node, &self.service).await?;
        found.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        Ok(found)
    }
}
