//! Owns `dns.zones.ensure` and `dns.zones.remove`.

use async_trait::async_trait;
use effect::units::Span;
use effect::{Action, Applied, Change, Code, Context, Declared, Ensured, Error, Need, Result};
use journal::Write;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{World, ZoneState, check_node, zone_key};
use crate::driver::{self, Feature, Zone, check_feature};
use crate::name::Name;
use crate::record::{LONGEST_TTL, RecordSet, RecordType};

/// Makes sure that there is a zone, with these name servers. Its other records stay as they are, and so does whatever is
/// left out here of a zone that is there already.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneEnsure {
    /// Its name.
    zone: String,
    /// Its name servers, as names within it or whole ones; the first is where changes are made. `ns` of a new zone unless
    /// given.
    #[schemars(length(min = 1))]
    nameservers: Option<Vec<String>>,
    /// Who is responsible: a mail address, or a name as the SOA has it; `hostmaster` of a new zone unless given.
    admin: Option<String>,
    /// How long others may keep the names of the name servers; an hour unless given.
    ttl: Option<Span>,
    /// After which time secondaries look for a new version; an hour unless given.
    refresh: Option<Span>,
    /// After which time they look again where that failed; ten minutes unless given.
    retry: Option<Span>,
    /// After which time without the primary they stop answering; two weeks unless given.
    expire: Option<Span>,
    /// For how long it is believed that there is no such record; a minute unless given.
    minimum: Option<Span>,
    /// The node; this one unless given.
    node: Option<String>,
}

/// What a zone has of which nothing is said: seconds of the name servers' TTL, refresh, retry, expire, and minimum. That
/// is short, so that a new record is seen soon, even by those who asked for it before.
const DEFAULTS: [u32; 5] = [3600, 3600, 600, 14 * 86_400, 60];

/// Takes a zone away, with all its records.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ZoneRemove {
    /// Its name.
    zone: String,
    /// The node; this one unless given.
    node: Option<String>,
}

impl ZoneEnsure {
    fn wanted(&self, before: Option<&ZoneState>) -> Result<ZoneState> {
        let zone = Name::absolute(&self.zone)?;
        let seconds = |name: &str, given: Option<Span>, otherwise: u32| match given {
            None => Ok(otherwise),
            Some(span) => {
                let seconds = u32::try_from(span.0.as_secs()).ok().filter(|seconds| *seconds <= LONGEST_TTL);
                seconds.ok_or_else(|| {
                    Error::new(Code::Argument, format!("`{name}`: it has at most 2147483647 seconds"))
                })
            }
        };
        let had = before.map_or(DEFAULTS, |before| {
            let ZoneState { soa, ttl, .. } = before;
            [*ttl, soa.refresh, soa.retry, soa.expire, soa.minimum]
        });
        let ttl = seconds("ttl", self.ttl, had[0])?;
        let (nameservers, primary) = match (&self.nameservers, before) {
            (None, Some(before)) => {
                let kept = RecordSet { ttl, ..before.nameservers()? };
                (kept, before.soa.primary.clone())
            }
            (given, _) => {
                let texts = given.clone().unwrap_or_else(|| vec!["ns".into()]);
                let all = RecordSet::parse(&zone, "@", RecordType::NS, ttl, &texts)?;
                let first = RecordSet::parse(&zone, "@", RecordType::NS, ttl, &texts[..1])?;
                (all, Name::from_wire(first.values[0].wire())?)
            }
        };
        let admin = match (&self.admin, before) {
            (None, Some(before)) => before.soa.admin.clone(),
            (given, _) => mailbox(given.as_deref(), &zone)?,
        };
        let soa = Zone {
            serial: before.map_or(0, |before| before.soa.serial),
            primary,
            admin,
            refresh: seconds("refresh", self.refresh, had[1])?,
            retry: seconds("retry", self.retry, had[2])?,
            expire: seconds("expire", self.expire, had[3])?,
            minimum: seconds("minimum", self.minimum, had[4])?,
            zone,
        };
        let mut wanted = ZoneState::new(soa, &[nameservers], false);
        wanted.sets = before.map_or(1, |before| before.sets);
        wanted.is_new = before.is_none();
        Ok(wanted)
    }
}

/// The name by which a SOA speaks of a mailbox (RFC 1035, section 8).
fn mailbox(admin: Option<&str>, zone: &Name) -> Result<Name> {
    match admin {
        None => Name::within("hostmaster", zone),
        Some(mail) => match mail.split_once('@') {
            Some((user, host)) => Name::absolute(&format!("{}.{host}", user.replace('.', "\\."))),
            None => Name::absolute(mail),
        },
    }
}

/// The zone as it stands, with its records where `is_whole`.
async fn observe(world: &World, context: &Context, zone: &Name, is_whole: bool) -> Result<Option<ZoneState>> {
    let driver = world.driver(context)?;
    let Some(soa) = driver.zone(zone).await? else { return Ok(None) };
    let sets = driver.list(zone).await?;
    Ok(Some(ZoneState::new(soa, &sets, is_whole)))
}

/// What makes `after` of the zone, with the records that were kept with it; what comes back is written with the end.
async fn make(
    world: &World,
    context: &Context,
    zone: &Name,
    after: Option<&ZoneState>,
) -> Result<Vec<Write>> {
    let Some(embedded) = world.embedded(context) else {
        let driver = world.driver(context)?;
        check_feature(&*driver, Feature::Zones)?;
        match after {
            None => driver.remove_zone(zone).await?,
            Some(after) => {
                driver.put_zone(&after.soa, &after.nameservers()?).await?;
                let kept = driver::Change { put: after.kept()?, remove: Vec::new() };
                if !kept.is_empty() {
                    driver.change(zone, &kept).await?;
                }
            }
        }
        return Ok(Vec::new());
    };
    let store = embedded.store();
    let basis = store.basis(zone).await?;
    match after {
        None => store.removal_writes(zone, &basis).await,
        Some(after) => {
            let mut writes = store.zone_writes(&basis, &after.soa, &after.nameservers()?).await?;
            writes.extend(store.set_writes(zone, &after.kept()?));
            Ok(writes)
        }
    }
}

fn needs(zone: &str) -> Result<Vec<Need>> {
    Ok(vec![Need::write("dns", Name::absolute(zone)?.to_string())])
}

fn lease(zone: &str) -> Option<String> {
    Name::absolute(zone).ok().map(|zone| format!("dns-zone-{zone}"))
}

/// What bringing an earlier zone back changes.
fn rewound(now: Option<&ZoneState>, earlier: Option<&ZoneState>) -> Change<ZoneState> {
    match (now, earlier) {
        (None, None) => Change::none(None),
        (Some(now), None) => {
            let change = Change::to(Action::Remove, None, ZoneState::differences(Some(now), None));
            match now.sets {
                0 | 1 => change,
                sets => change.note(format!("with its {} other sets of records", sets - 1)),
            }
        }
        (now, Some(earlier)) => {
            let fields = ZoneState::differences(now, Some(earlier));
            if now.is_some() && fields.is_empty() {
                return Change::none(now.cloned());
            }
            let action = if now.is_some() { Action::Update } else { Action::Create };
            Change::to(action, Some(earlier.clone()), fields)
        }
    }
}

impl Declared for ZoneEnsure {
    const NAME: &'static str = "dns.zones.ensure";
    const CAPABILITY: &'static str = "dns:write:ZONE";
    const EXAMPLE: &'static str = "local zone = dns.zones.ensure { zone = \"mcrun.test\", nameservers = { \"ns1\", \"ns2.example.org.\" } }\nprint(zone.after.serial)";
    type World = World;
    type Output = Ensured<ZoneState>;

    fn subject(&self) -> String {
        self.zone.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        needs(&self.zone)
    }

    fn lease(&self) -> Option<String> {
        lease(&self.zone)
    }
}

#[async_trait]
impl effect::Ensure for ZoneEnsure {
    type State = ZoneState;
    const UNDOABLE: bool = true;

    fn writes_own_records(&self, world: &World) -> bool {
        world.is_embedded()
    }

    fn key(&self, context: &Context) -> String {
        Name::absolute(&self.zone).map(|zone| zone_key(context, &zone)).unwrap_or_default()
    }

    async fn observe(&self, world: &World, context: &Context) -> Result<Option<ZoneState>> {
        check_node(context, self.node.as_deref())?;
        observe(world, context, &Name::absolute(&self.zone)?, false).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&ZoneState>,
    ) -> Result<Change<ZoneState>> {
        let after = self.wanted(before)?;
        let fields = ZoneState::differences(before, Some(&after));
        if let Some(before) = before.filter(|_| fields.is_empty()) {
            return Ok(Change::none(Some(before.clone())));
        }
        check_feature(&*world.driver(context)?, Feature::Zones)?;
        let action = if before.is_some() { Action::Update } else { Action::Create };
        let mut change = Change::to(action, Some(after), fields);
        change.unknown = vec!["serial"];
        Ok(change)
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&ZoneState>,
        _: &Change<ZoneState>,
    ) -> Result<Applied<ZoneState>> {
        let mut after = self.wanted(before)?;
        let writes = make(world, context, &after.soa.zone, Some(&after)).await?;
        after.is_new = false;
        after.soa.serial = match world.embedded(context) {
            Some(embedded) => embedded.store().serial_in(&writes).unwrap_or(after.soa.serial),
            None => world.driver(context)?.zone(&after.soa.zone).await?.map_or(0, |zone| zone.serial),
        };
        Ok(Applied::to(after).writing(writes))
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&ZoneState>,
        earlier: Option<&ZoneState>,
    ) -> Result<Change<ZoneState>> {
        Ok(rewound(now, earlier))
    }

    async fn observe_whole(&self, world: &World, context: &Context) -> Result<Option<ZoneState>> {
        observe(world, context, &Name::absolute(&self.zone)?, true).await
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        _: Option<&ZoneState>,
        earlier: Option<&ZoneState>,
        _: &Change<ZoneState>,
    ) -> Result<Applied<ZoneState>> {
        bring_back(world, context, &self.zone, earlier).await
    }
}

async fn bring_back(
    world: &World,
    context: &Context,
    zone: &str,
    earlier: Option<&ZoneState>,
) -> Result<Applied<ZoneState>> {
    let writes = make(world, context, &Name::absolute(zone)?, earlier).await?;
    let applied = earlier.map_or_else(Applied::gone, |earlier| Applied::to(earlier.clone()));
    Ok(applied.writing(writes))
}

impl Declared for ZoneRemove {
    const NAME: &'static str = "dns.zones.remove";
    const CAPABILITY: &'static str = "dns:write:ZONE";
    const EXAMPLE: &'static str = "dns.zones.remove { zone = \"mcrun.test\" }";
    type World = World;
    type Output = Ensured<ZoneState>;

    fn subject(&self) -> String {
        self.zone.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        needs(&self.zone)
    }

    fn lease(&self) -> Option<String> {
        lease(&self.zone)
    }
}

#[async_trait]
impl effect::Ensure for ZoneRemove {
    type State = ZoneState;
    const UNDOABLE: bool = true;

    fn writes_own_records(&self, world: &World) -> bool {
        world.is_embedded()
    }

    fn key(&self, context: &Context) -> String {
        Name::absolute(&self.zone).map(|zone| zone_key(context, &zone)).unwrap_or_default()
    }

    /// With every record, as undo brings them back.
    async fn observe(&self, world: &World, context: &Context) -> Result<Option<ZoneState>> {
        check_node(context, self.node.as_deref())?;
        observe(world, context, &Name::absolute(&self.zone)?, true).await
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&ZoneState>,
    ) -> Result<Change<ZoneState>> {
        let Some(before) = before else { return Ok(Change::none(None)) };
        check_feature(&*world.driver(context)?, Feature::Zones)?;
        Ok(rewound(Some(before), None))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        _: Option<&ZoneState>,
        _: &Change<ZoneState>,
    ) -> Result<Applied<ZoneState>> {
        bring_back(world, context, &self.zone, None).await
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&ZoneState>,
        earlier: Option<&ZoneState>,
    ) -> Result<Change<ZoneState>> {
        Ok(rewound(now, earlier))
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        _: Option<&ZoneState>,
        earlier: Option<&ZoneState>,
        _: &Change<ZoneState>,
    ) -> Result<Applied<ZoneState>> {
        bring_back(world, context, &self.zone, earlier).await
    }
}
