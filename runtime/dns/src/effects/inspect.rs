//! Owns the reads: `dns.get`, `dns.list`, `dns.zone_of`, `dns.zones.list` and `dns.zones.export`.

use async_trait::async_trait;
use effect::{Context, Declared, Need, Read, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Records, Target, World, ZoneState, capability, check_node, zone_key};
use crate::driver::{Feature, Zone, check_feature};
use crate::embedded::unknown;
use crate::file;
use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// Looks at what a name has of a type. Returns `nil` when that is nothing.
///
/// The records of the zone are read, not what a wildcard stands for; `dns.resolve` asks a server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
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

impl Declared for Get {
    const NAME: &'static str = "dns.get";
    const CAPABILITY: &'static str = "dns:read:ZONE/NAME";
    const EXAMPLE: &'static str = "dns.zones.ensure { zone = \"mcrun.test\" }\nlocal found = dns.get { zone = \"mcrun.test\", name = \"hello\", type = \"A\" }\nprint(if found then found.values[1] else \"nothing\")";
    type World = World;
    type Output = Option<Records>;

    fn subject(&self) -> String {
        format!("{}/{} {}", self.zone, self.name, self.rtype)
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        let target = Target::new(&self.zone, &self.name, self.rtype)?;
        Ok(vec![Need::read("dns", capability(&target.zone, &target.name))])
    }
}

#[async_trait]
impl Read for Get {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<Records>> {
        check_node(context, self.node.as_deref())?;
        let target = Target::new(&self.zone, &self.name, self.rtype)?;
        match context.overlay.get(&target.key(context)) {
            Some(planned) => Ok(planned),
            None => target.observe(world, context).await,
        }
    }
}

/// Lists the records of a zone that the script may see, by name and type.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The zone.
    zone: String,
    /// Only those of this name.
    name: Option<String>,
    /// Only those of this type.
    #[serde(rename = "type")]
    rtype: Option<RecordType>,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for List {
    const NAME: &'static str = "dns.list";
    const CAPABILITY: &'static str = "dns:read:ZONE/NAME";
    const EXAMPLE: &'static str = "dns.zones.ensure { zone = \"mcrun.test\" }\nfor _, records in dns.list { zone = \"mcrun.test\" } do\n    print(records.name, records.type, records.values[1])\nend";
    type World = World;
    type Output = Vec<Records>;

    fn subject(&self) -> String {
        self.zone.clone()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for List {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Records>> {
        check_node(context, self.node.as_deref())?;
        let zone = Name::absolute(&self.zone)?;
        let name = self.name.as_ref().map(|name| Name::within(name, &zone)).transpose()?;
        let mut records = listed(world, context, &zone).await?;
        records.retain(|set| {
            self.rtype.is_none_or(|rtype| set.rtype == rtype)
                && name.as_ref().is_none_or(|name| set.name == *name)
        });
        let may_see =
            |set: &RecordSet| context.policy.allows(&Need::read("dns", capability(&zone, &set.name)));
        Ok(records.iter().filter(|set| may_see(set)).map(|set| Records::new(&zone, set)).collect())
    }
}

/// The sets of a zone, as the plan's earlier effects will have left them.
async fn listed(world: &World, context: &Context, zone: &Name) -> Result<Vec<RecordSet>> {
    let planned_zone = context.overlay.get::<ZoneState>(&zone_key(context, zone));
    let mut sets = match planned_zone {
        Some(None) => return Err(unknown(zone)),
        Some(Some(planned)) if !planned.records.is_empty() => planned.kept()?,
        Some(Some(planned)) if planned.is_new => vec![planned.nameservers()?],
        _ => world.driver(context)?.list(zone).await?,
    };
    let prefix = context.key("dns", None, &format!("{zone}/"));
    for (key, planned) in context.overlay.beneath::<Records>(&prefix) {
        sets.retain(|set| {
            let target = Target { zone: zone.clone(), name: set.name.clone(), rtype: set.rtype };
            target.key(context) != key
        });
        sets.extend(planned.map(|planned| planned.set()).transpose()?);
    }
    sets.sort_by(|one, other| (&one.name, one.rtype).cmp(&(&other.name, other.rtype)));
    Ok(sets)
}

/// Finds the zone in which a name's records lie: of those that the driver has, the one that is nearest. Returns `nil` where
/// it has none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneOf {
    /// The whole name.
    name: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for ZoneOf {
    const NAME: &'static str = "dns.zone_of";
    const CAPABILITY: &'static str = "dns:read:NAME";
    const EXAMPLE: &'static str = "dns.zones.ensure { zone = \"mcrun.test\" }\nprint(dns.zone_of { name = \"hello.mcrun.test\" } or \"elsewhere\")";
    type World = World;
    type Output = Option<Name>;

    fn subject(&self) -> String {
        self.name.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("dns", Name::absolute(&self.name)?.to_string())])
    }
}

#[async_trait]
impl Read for ZoneOf {
    async fn read(&self, world: &World, context: &Context) -> Result<Option<Name>> {
        check_node(context, self.node.as_deref())?;
        let driver = world.driver(context)?;
        let mut candidate = Some(Name::absolute(&self.name)?);
        while let Some(zone) = candidate.filter(|name| name.labels() > 0) {
            let is_there = match context.overlay.get::<ZoneState>(&zone_key(context, &zone)) {
                Some(planned) => planned.is_some(),
                None => driver.zone(&zone).await?.is_some(),
            };
            if is_there {
                return Ok(Some(zone));
            }
            candidate = zone.parent();
        }
        Ok(None)
    }
}

/// Lists the zones that the script may see.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneList {
    /// The node; this one unless given.
    node: Option<String>,
}

impl Declared for ZoneList {
    const NAME: &'static str = "dns.zones.list";
    const CAPABILITY: &'static str = "dns:read:ZONE";
    const EXAMPLE: &'static str =
        "for _, zone in dns.zones.list {} do\n    print(zone.zone, zone.serial)\nend";
    type World = World;
    type Output = Vec<Zone>;

    fn subject(&self) -> String {
        String::new()
    }

    /// The list shows what may be read, so it needs nothing by itself.
    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Read for ZoneList {
    async fn read(&self, world: &World, context: &Context) -> Result<Vec<Zone>> {
        check_node(context, self.node.as_deref())?;
        let driver = world.driver(context)?;
        check_feature(&*driver, Feature::ZoneList)?;
        let mut zones = driver.zones().await?;
        for (_, planned) in context.overlay.beneath::<ZoneState>(&context.key("dns-zone", None, "")) {
            if let Some(planned) = planned {
                zones.retain(|zone| zone.zone != planned.soa.zone);
                zones.push(planned.soa);
            }
        }
        zones.retain(|zone| {
            let gone = context.overlay.get::<ZoneState>(&zone_key(context, &zone.zone));
            !matches!(gone, Some(None)) && context.policy.allows(&Need::read("dns", zone.zone.to_string()))
        });
        zones.sort_by(|one, other| one.zone.cmp(&other.zone));
        Ok(zones)
    }
}

/// Writes a zone as a zone file that other servers read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The zone.
    zone: String,
    /// The node; this one unless given.
    node: Option<String>,
}

/// A zone as a file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    /// The zone file's text.
    pub content: String,
    /// The version that it has.
    pub serial: u32,
    /// How many sets of records it has.
    pub sets: usize,
}

impl Declared for Export {
    const NAME: &'static str = "dns.zones.export";
    const CAPABILITY: &'static str = "dns:read:ZONE/**";
    const EXAMPLE: &'static str = "dns.zones.ensure { zone = \"mcrun.test\" }\nprint(dns.zones.export({ zone = \"mcrun.test\" }).content)";
    type World = World;
    type Output = Exported;

    fn subject(&self) -> String {
        self.zone.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::read("dns", Name::absolute(&self.zone)?.to_string()).and_beneath()])
    }
}

#[async_trait]
impl Read for Export {
    async fn read(&self, world: &World, context: &Context) -> Result<Exported> {
        check_node(context, self.node.as_deref())?;
        let zone = Name::absolute(&self.zone)?;
        let sets = listed(world, context, &zone).await?;
        let planned = context.overlay.get::<ZoneState>(&zone_key(context, &zone)).flatten();
        let soa = match planned {
            Some(planned) => planned.soa,
            None => world.driver(context)?.zone(&zone).await?.ok_or_else(|| unknown(&zone))?,
        };
        Ok(Exported { content: file::write(&soa, &sets), serial: soa.serial, sets: sets.len() })
    }
}
