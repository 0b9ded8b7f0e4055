//! Owns `dns.remove`.

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Records, Target, World, admit, check_node};
use crate::driver;
use crate::record::RecordType;

/// Makes sure that a name has nothing of a type.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The zone.
    zone: String,
    /// The name within it; `@` is the zone itself.
    name: String,
    /// The type.
    #[serde(rename = "type")]
    rtype: RecordType,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Remove {
    fn target(&self) -> Result<Target> {
        Target::new(&self.zone, &self.name, self.rtype)
    }
}

impl Declared for Remove {
    const NAME: &'static str = "dns.remove";
    const CAPABILITY: &'static str = "dns:write:ZONE/NAME";
    const EXAMPLE: &'static str = "dns.zones.ensure { zone = \"mcrun.test\" }\ndns.remove { zone = \"mcrun.test\", name = \"hello\", type = \"A\" }";
    type World = World;
    type Output = Ensured<Records>;

    fn subject(&self) -> String {
        self.target().map_or_else(|_| format!("{} {}", self.name, self.rtype), |target| target.subject())
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![self.target()?.need()])
    }
}

#[async_trait]
impl effect::Ensure for Remove {
    type State = Records;
    const UNDOABLE: bool = true;

    fn writes_own_records(&self, world: &World) -> bool {
        world.is_embedded()
    }

    fn key(&self, context: &Context) -> String {
        self.target().map(|target| target.key(context)).unwrap_or_default()
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Records>> {
        check_node(context, self.node.as_deref())?;
        self.target()?.observe(world, context).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Records>,
    ) -> Result<Change<Records>> {
        let Some(before) = before else { return Ok(Change::none(None)) };
        let target = self.target()?;
        let removal = driver::Change::removing(target.name.clone(), target.rtype);
        admit(world, context, &target.zone, &removal).await?;
        Ok(Change::to(Action::Remove, None, Records::differences(Some(before), None)))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Records>,
        _: &Change<Records>,
    ) -> Result<Applied<Records>> {
        self.target()?.apply(world, context, before, None).await
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&Records>,
        earlier: Option<&Records>,
    ) -> Result<Change<Records>> {
        Ok(self.target()?.rewound(now, earlier))
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&Records>,
        earlier: Option<&Records>,
        _: &Change<Records>,
    ) -> Result<Applied<Records>> {
        self.target()?.apply(world, context, now, earlier).await
    }
}
