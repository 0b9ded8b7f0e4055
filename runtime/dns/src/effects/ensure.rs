//! Owns `dns.ensure`.

use async_trait::async_trait;
use effect::units::Span;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Records, Target, World, admit, check_node};
use crate::driver::{self, Feature, check_feature};
use crate::record::{LONGEST_TTL, RecordSet, RecordType};

/// Makes sure that a name has exactly these values of a type.
///
/// A name without a dot at its end lies in the zone, and `@` is the zone itself. Values are written as in a zone file,
/// but a name in one of them is whole where it has a dot, and TXT needs no quotes. Other types of the name stay as they
/// are; what cannot stand beside each other is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ensure {
    /// The zone.
    zone: String,
    /// The name within it; `@` is the zone itself, `*` stands for names that are not there.
    name: String,
    /// The type: `A`, `AAAA`, `CNAME`, `MX`, `TXT`, …, or `TYPE65280` for one without a name.
    #[serde(rename = "type")]
    rtype: RecordType,
    /// How long others may keep it.
    #[serde(default = "default_ttl")]
    ttl: Span,
    /// Every value that it has afterwards.
    #[schemars(length(min = 1))]
    values: Vec<String>,
    /// The node; this one unless given.
    node: Option<String>,
}

/// Short enough that a move is seen soon, long enough that nobody asks all the time.
fn default_ttl() -> Span {
    Span::seconds(300)
}

impl Ensure {
    fn target(&self) -> Result<Target> {
        Target::new(&self.zone, &self.name, self.rtype)
    }

    fn wanted(&self, target: &Target) -> Result<RecordSet> {
        let ttl = u32::try_from(self.ttl.0.as_secs()).ok().filter(|ttl| *ttl <= LONGEST_TTL);
        let ttl =
            ttl.ok_or_else(|| Error::new(Code::Argument, "`ttl`: it has at most 2147483647 seconds"))?;
        RecordSet::parse(&target.zone, &self.name, self.rtype, ttl, &self.values)
    }
}

impl Declared for Ensure {
    const NAME: &'static str = "dns.ensure";
    const CAPABILITY: &'static str = "dns:write:ZONE/NAME";
    const EXAMPLE: &'static str = "dns.zones.ensure { zone = \"mcrun.test\" }\ndns.ensure { zone = \"mcrun.test\", name = \"hello\", type = \"A\", values = { \"127.0.0.1\" } }";
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
impl effect::Ensure for Ensure {
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
        let target = self.target()?;
        let wanted = self.wanted(&target)?;
        if self.rtype.is_generic() {
            check_feature(&*world.driver(context)?, Feature::EveryType)?;
        }
        let after = Records::new(&target.zone, &wanted);
        match before {
            Some(before) if before.set()?.same_as(&wanted) => return Ok(Change::none(Some(before.clone()))),
            _ => admit(world, context, &target.zone, &driver::Change::putting(wanted)).await?,
        }
        let action = if before.is_some() { Action::Update } else { Action::Create };
        let fields = Records::differences(before, Some(&after));
        Ok(Change::to(action, Some(after), fields))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Records>,
        change: &Change<Records>,
    ) -> Result<Applied<Records>> {
        self.target()?.apply(world, context, before, change.after.as_ref()).await
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
