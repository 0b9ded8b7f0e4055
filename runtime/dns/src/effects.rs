//! Owns the effects of the primitive: the glue between the corridor and the drivers. Drivers stay free of it.

mod ensure;
mod import;
mod inspect;
mod remove;
mod resolve;
mod state;
mod world;
mod zones;

use std::sync::Arc;

use effect::{Action, Applied, Change, Code, Context, Error, FieldChange, Need, Registry, Result};
pub use ensure::Ensure;
pub use import::Import;
pub use inspect::{Export, Get, List, ZoneList, ZoneOf};
pub use remove::Remove;
pub use resolve::{Resolve, WaitFor};
pub use state::{Records, ZoneState};
pub use world::{Means, Parts, World};
pub use zones::{ZoneEnsure, ZoneRemove};

use crate::driver;
use crate::embedded::Sets;
use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// Adds every effect of the primitive.
pub fn register(registry: &mut Registry, world: &Arc<World>) {
    registry.ensure::<Ensure>(world);
    registry.ensure::<Remove>(world);
    registry.read::<Get>(world);
    registry.read::<List>(world);
    registry.read::<ZoneOf>(world);
    registry.ensure::<ZoneEnsure>(world);
    registry.ensure::<ZoneRemove>(world);
    registry.ensure::<Import>(world);
    registry.read::<Export>(world);
    registry.read::<ZoneList>(world);
    registry.read::<Resolve>(world);
    registry.wait::<WaitFor>(world);
}

/// The object of an effect on records: what a name has of a type.
#[derive(Debug, Clone)]
struct Target {
    zone: Name,
    name: Name,
    rtype: RecordType,
}

impl Target {
    fn new(zone: &str, name: &str, rtype: RecordType) -> Result<Self> {
        let zone = Name::absolute(zone)?;
        if rtype == RecordType::SOA {
            let error =
                Error::new(Code::DnsValue, format!("the SOA of `{zone}` is not set like other records"));
            return Err(error.hint("`dns.zones.ensure` says what it has"));
        }
        Ok(Self { name: Name::within(name, &zone)?, zone, rtype })
    }

    /// `hello.mcrun.test A`.
    fn subject(&self) -> String {
        format!("{} {}", self.name, self.rtype)
    }

    fn key(&self, context: &Context) -> String {
        context.key("dns", None, &format!("{}{}", records_prefix(&self.zone, &self.name), self.rtype))
    }

    fn need(&self) -> Need {
        Need::write("dns", capability(&self.zone, &self.name))
    }

    /// What the name has of the type.
    async fn observe(&self, world: &World, context: &Context) -> Result<Option<Records>> {
        if is_planned(context, &self.zone) {
            return Ok(None);
        }
        let found = world.driver(context)?.get(&self.zone, &self.name, self.rtype).await?;
        Ok(found.map(|set| Records::new(&self.zone, &set)))
    }

    /// Makes `after` of what was found before; what comes back is written together with the end.
    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&Records>,
        after: Option<&Records>,
    ) -> Result<Applied<Records>> {
        let change = match after {
            Some(after) => driver::Change::putting(after.set()?),
            None => driver::Change::removing(self.name.clone(), self.rtype),
        };
        let before = before.map(Records::set).transpose()?;
        let writes = match world.embedded(context) {
            None => {
                world.driver(context)?.change(&self.zone, &change).await?;
                Vec::new()
            }
            Some(embedded) => {
                let now = |sets: &Sets| sets.get(&self.name).and_then(|own| own.get(&self.rtype)).cloned();
                embedded.store().change_writes(&self.zone, &change, |_, sets| now(sets) == before).await?
            }
        };
        let applied = after.map_or_else(Applied::gone, |after| Applied::to(after.clone()));
        Ok(applied.writing(writes))
    }

    /// What bringing back `earlier` changes.
    fn rewound(&self, now: Option<&Records>, earlier: Option<&Records>) -> Change<Records> {
        match (now, earlier) {
            (now, earlier) if now == earlier => Change::none(now.cloned()),
            (now, None) => Change::to(Action::Remove, None, Records::differences(now, None)),
            (None, Some(earlier)) => {
                Change::to(Action::Create, Some(earlier.clone()), Records::differences(None, Some(earlier)))
            }
            (now, Some(earlier)) => {
                Change::to(Action::Update, Some(earlier.clone()), Records::differences(now, Some(earlier)))
            }
        }
    }
}

/// How the names of a name's records begin among the objects of a plan.
fn records_prefix(zone: &Name, name: &Name) -> String {
    format!("{zone}/{} ", name.in_zone(zone))
}

/// The name by which a capability speaks of records: `ZONE/NAME`.
fn capability(zone: &Name, name: &Name) -> String {
    format!("{zone}/{}", name.in_zone(zone))
}

fn zone_key(context: &Context, zone: &Name) -> String {
    context.key("dns-zone", None, &zone.to_string())
}

/// Whether the zone will be made by an earlier effect of the plan, and is not there yet.
fn is_planned(context: &Context, zone: &Name) -> bool {
    let planned = context.overlay.get::<ZoneState>(&zone_key(context, zone));
    planned.flatten().is_some_and(|zone| zone.is_new)
}

/// Refuses a change that could not be made, as far as a plan can tell.
async fn admit(world: &World, context: &Context, zone: &Name, change: &driver::Change) -> Result<()> {
    if let Some(None) = context.overlay.get::<ZoneState>(&zone_key(context, zone)) {
        return Err(crate::embedded::unknown(zone));
    }
    let Some(embedded) = world.embedded(context) else { return Ok(()) };
    let beneath = context.overlay.beneath::<Records>(&context.key("dns", None, &format!("{zone}/")));
    let planned = beneath.into_iter().filter_map(|(key, records)| {
        let (_, name) = key.split_once('/')?.1.split_once('/')?;
        let (name, rtype) = name.rsplit_once(' ')?;
        let set = records.map(|records| records.set()).transpose().ok()?;
        Some((Name::within(name, zone).ok()?, rtype.parse().ok()?, set))
    });
    let planned: Vec<(Name, RecordType, Option<RecordSet>)> = planned.collect();
    let is_new = is_planned(context, zone);
    embedded.store().admit(zone, is_new, &planned, change).await
}

fn check_node(context: &Context, node: Option<&str>) -> Result<()> {
    match node {
        Some(node) if node != context.node => Err(Error::new(
            Code::NodeUnknown,
            format!("`{node}` is another node; this one is `{}`", context.node),
        )
        .hint("leave `node` out, or run the script there")),
        _ => Ok(()),
    }
}

/// A field that differs.
fn field(path: &str, before: Option<serde_json::Value>, after: Option<serde_json::Value>) -> FieldChange {
    FieldChange { path: path.into(), before, after, replaces: false }
}

/// Where a field lies, and how it is read.
type Field<T> = (&'static str, fn(&T) -> serde_json::Value);

/// The fields that differ between two states, of which either may be missing.
fn differences<T>(before: Option<&T>, after: Option<&T>, fields: &[Field<T>]) -> Vec<FieldChange> {
    let differing = fields.iter().filter_map(|(path, of)| {
        let (before, after) = (before.map(of), after.map(of));
        (before != after).then(|| field(path, before, after))
    });
    differing.collect()
}
