//! Owns the reads: `containers.get` and `containers.list`.

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Container, World, check_node, key, sealed};

/// Looks at one container. Returns `nil` when there is none of this name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The container's name.
    name: String,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for Get {
    const NAME: &'static str = "containers.get";
    const CAPABILITY: &'static str = "containers:read:NAME";
    const EXAMPLE: &'static str = r#"local hello = containers.get { name = "hello" }
print(hello and hello.state or "absent")"#;
    type World = World;
    type Output = Option<Container>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("containers", &self.name)])
    }
}

#[async_trait]
impl Read for Get {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<Container>> {
        check_node(context, self.node.as_deref())?;
        if let Some(planned) = context.overlay.get(&key(context, self.node.as_deref(), &self.name)) {
            return Ok(planned);
        }
        let found = world.find(&self.name).await?;
        Ok(found.map(|(_, observed)| sealed(observed, &context.sealer)))
    }
}

/// Lists the containers that the script may see, by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Only those of this service.
    service: Option<String>,
    /// Foreign containers as well: those that mcrun did not make.
    #[serde(default)]
    all: bool,
    /// The node; the local one unless given.
    node: Option<String>,
}

impl Declared for List {
    const NAME: &'static str = "containers.list";
    const CAPABILITY: &'static str = "containers:read:NAME";
    const EXAMPLE: &'static str = r#"for _, container in containers.list {} do
    print(container.name, container.state)
end"#;
    type World = World;
    type Output = Vec<Container>;

    fn subject(&self) -> String {
        self.service.clone().unwrap_or_default()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _world: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for List {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Container>> {
        check_node(context, self.node.as_deref())?;
        let listed = world.list().await?;
        let mut containers: Vec<Container> =
            listed.into_iter().map(|observed| sealed(observed, &context.sealer)).collect();
        for (planned_key, planned) in
            context.overlay.beneath::<Container>(&key(context, self.node.as_deref(), ""))
        {
            containers.retain(|container| key(context, self.node.as_deref(), &container.name) != planned_key);
            containers.extend(planned);
        }
        containers.retain(|container| {
            (self.all || container.managed)
                && self.service.as_ref().is_none_or(|service| container.service.as_ref() == Some(service))
                && context.policy.allows(&Need::read("containers", &container.name))
        });
        containers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(containers)
    }
}
