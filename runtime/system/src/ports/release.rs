//! Owns `ports.release`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensure, Ensured, FieldChange, Need, Result};
use journal::Expect;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Allocation, allocations, check_service_name};
use crate::World;
use crate::node::only_local;

/// Takes ports back from a service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The service.
    service: String,
    /// Which of its ports; all of them unless given.
    name: Option<String>,
    /// The node; this one unless given.
    node: Option<String>,
}

/// The ports that a service has, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// The service.
    pub service: String,
    /// Its ports by name.
    pub ports: BTreeMap<String, u16>,
}

impl Declared for Release {
    const NAME: &'static str = "ports.release";
    const CAPABILITY: &'static str = "ports:write:SERVICE";
    const EXAMPLE: &'static str = "ports.release { service = \"hello\" }";
    type World = World;
    type Output = Ensured<Held>;

    fn subject(&self) -> String {
        match &self.name {
            Some(name) => format!("{}/{name}", self.service),
            None => self.service.clone(),
        }
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        check_service_name("service", &self.service)?;
        Ok(vec![Need::write("ports", &self.service)])
    }

    fn lease(&self) -> Option<String> {
        Some(self.service.clone())
    }
}

impl Release {
    fn node<'a>(&'a self, context: &'a Context) -> &'a str {
        self.node.as_deref().unwrap_or(&context.node)
    }

    fn allocations<'a>(&'a self, held: &'a Held) -> impl Iterator<Item = Allocation> + 'a {
        held.ports.iter().map(|(name, port)| Allocation {
            service: self.service.clone(),
            name: name.clone(),
            port: *port,
        })
    }
}

#[async_trait]
impl Ensure for Release {
    type State = Held;
    const OWN_RECORDS: bool = true;
    const UNDOABLE: bool = true;

    /// A key of this very call: what it is about are the keys of single allocations, which `observe` and `change` look
    /// up and enter themselves.
    fn key(&self, context: &Context) -> String {
        context.key("ports-release", self.node.as_deref(), &context.identity.to_string())
    }

    async fn observe(&self, _: &World, context: &Context) -> Result<Option<Held>> {
        only_local(context, self.node.as_deref())?;
        let all = allocations(context, self.node(context)).await?;
        let ports: BTreeMap<String, u16> = all
            .into_iter()
            .filter(|held| {
                held.service == self.service && self.name.as_ref().is_none_or(|name| *name == held.name)
            })
            .map(|held| (held.name, held.port))
            .collect();
        Ok((!ports.is_empty()).then(|| Held { service: self.service.clone(), ports }))
    }

    async fn change(&self, _: &World, context: &Context, before: Option<&Held>) -> Result<Change<Held>> {
        let Some(before) = before else { return Ok(Change::none(None)) };
        if context.planning() {
            for allocation in self.allocations(before) {
                context.overlay.set::<Allocation>(&allocation.key(context, self.node(context)), None);
            }
        }
        let fields = before.ports.iter().map(|(name, port)| FieldChange {
            path: format!("ports.{name}"),
            before: Some(json!(port)),
            after: None,
            replaces: false,
        });
        Ok(Change::to(Action::Remove, None, fields.collect()))
    }

    async fn apply(
        &self,
        _: &World,
        context: &Context,
        before: Option<&Held>,
        _: &Change<Held>,
    ) -> Result<Applied<Held>> {
        let node = self.node(context);
        let held = before.into_iter().flat_map(|before| self.allocations(before));
        let writes = held.flat_map(|held| held.writes(node, &Expect::Any, false));
        Ok(Applied::gone().writing(writes.collect()))
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&Held>,
        earlier: Option<&Held>,
    ) -> Result<Change<Held>> {
        let held = |held: Option<&Held>| held.map(|held| held.ports.clone()).unwrap_or_default();
        let (now_held, earlier_held) = (held(now), held(earlier));
        let missing = earlier_held.iter().filter(|(name, _)| !now_held.contains_key(*name));
        let fields: Vec<FieldChange> = missing
            .map(|(name, port)| FieldChange {
                path: format!("ports.{name}"),
                before: None,
                after: Some(json!(port)),
                replaces: false,
            })
            .collect();
        if fields.is_empty() {
            return Ok(Change::none(now.cloned()));
        }
        let ports = earlier_held.into_iter().chain(now_held).collect();
        let after = Held { service: self.service.clone(), ports };
        Ok(Change::to(Action::Create, Some(after), fields))
    }

    async fn apply_rewind(
        &self,
        _: &World,
        context: &Context,
        now: Option<&Held>,
        _: Option<&Held>,
        change: &Change<Held>,
    ) -> Result<Applied<Held>> {
        let after = change.after.clone();
        let is_new = |held: &Allocation| now.is_none_or(|now| !now.ports.contains_key(&held.name));
        let wanted = after.iter().flat_map(|after| self.allocations(after)).filter(is_new);
        // A number that somebody else has taken since is theirs: the conflict is told.
        let writes = wanted.flat_map(|held| held.writes(self.node(context), &Expect::Absent, true));
        Ok(Applied { writes: writes.collect(), after })
    }
}
