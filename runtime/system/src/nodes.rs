//! Owns `nodes.get`: what is known of a machine.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Registry, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::World;
use crate::node::only_local;

/// Registers `nodes.get`.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.read::<Get>(world);
}

/// Looks at what is known of a node.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The node; this one unless given.
    name: Option<String>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The address under which others reach it, as `[node]` in mcrun.toml says; none unless that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl Declared for Get {
    const NAME: &'static str = "nodes.get";
    const CAPABILITY: &'static str = "nodes:read:NAME";
    const EXAMPLE: &'static str =
        "local node = nodes.get {}\nprint(node.name, node.address or \"127.0.0.1\")";
    type World = World;
    type Output = Node;

    fn subject(&self) -> String {
        self.name.clone().unwrap_or_default()
    }

    /// `self` stands for the own machine, whatever it is called.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("nodes", self.name.as_deref().unwrap_or("self"))])
    }
}

#[async_trait]
impl Read for Get {
    async fn read(&self, world: &World, context: &Context) -> Result<Node> {
        only_local(context, self.name.as_deref())?;
        Ok(Node { name: context.node.clone(), address: world.address() })
    }
}
