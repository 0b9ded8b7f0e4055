//! Owns `dns.zones.import`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use effect::{Action, Applied, Change, Context, Declared, Ensured, Need, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{World, ZoneState, check_node, field, zone_key};
use crate::driver::{self, is_further};
use crate::embedded::{Basis, Sets as Found, next, unknown};
use crate::file;
use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// Makes a zone what a zone file says, in one change.
///
/// The zone must be there. Its SOA stays as `dns.zones.ensure` has it, but the serial goes on from that of the file where
/// it is further. `$INCLUDE` is not followed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The zone.
    zone: String,
    /// The zone file's text.
    content: String,
    /// What mistakes in it are told of.
    #[serde(default = "default_file")]
    file: String,
    /// Whether records that the file does not have stay.
    #[serde(default)]
    merge: bool,
    /// The node; this one unless given.
    node: Option<String>,
}

fn default_file() -> String {
    "zone file".into()
}

type Sets = BTreeMap<(Name, RecordType), RecordSet>;

fn by_key(sets: Vec<RecordSet>) -> Sets {
    sets.into_iter().map(|set| ((set.name.clone(), set.rtype), set)).collect()
}

impl Import {
    /// The sets as the file wants them, and the serial that it has.
    fn wanted(&self, zone: &Name, before: &Sets) -> Result<(Sets, Option<u32>)> {
        let contents = file::read(self.content.as_bytes(), zone, &self.file)?;
        let mut wanted = by_key(contents.sets);
        let own = (zone.clone(), RecordType::NS);
        for (key, set) in before {
            // A file without name servers leaves those that the zone has.
            if self.merge || *key == own {
                wanted.entry(key.clone()).or_insert_with(|| set.clone());
            }
        }
        Ok((wanted, contents.soa.map(|soa| soa.serial)))
    }

    async fn make(
        world: &World,
        context: &Context,
        before: &ZoneState,
        after: &ZoneState,
    ) -> Result<Applied<ZoneState>> {
        let zone = &before.soa.zone;
        let mut made = after.clone();
        let change = difference(&by_key(before.kept()?), &by_key(after.kept()?));
        let writes = match world.embedded(context) {
            None => {
                world.driver(context)?.change(zone, &change).await?;
                Vec::new()
            }
            Some(embedded) => {
                let store = embedded.store();
                let is_still = |basis: &Basis, _: &Found| basis.zone.as_ref() == Some(&before.soa);
                let least = is_further(before.soa.serial, after.soa.serial).then_some(after.soa.serial);
                let writes = store.change_writes_from(zone, &change, least, is_still).await?;
                made.soa.serial = store.serial_in(&writes).unwrap_or(before.soa.serial);
                writes
            }
        };
        Ok(Applied::to(made).writing(writes))
    }
}

fn difference(before: &Sets, after: &Sets) -> driver::Change {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let changed =
        after.iter().filter(|(key, set)| !before.get(*key).is_some_and(|before| before.same_as(set)));
    driver::Change { put: changed.map(|(_, set)| set.clone()).collect(), remove: gone.cloned().collect() }
}

/// More fields than this are counted rather than shown.
const MOST_FIELDS: usize = 200;

/// What importing changes about a zone, set by set. Where `serial` is further than that of the zone, this goes on from it.
fn compared(before: &ZoneState, after: Sets, serial: Option<u32>) -> Result<Change<ZoneState>> {
    let zone = &before.soa.zone;
    let had = by_key(before.kept()?);
    let change = difference(&had, &after);
    let mut state = ZoneState::new(before.soa.clone(), &after.into_values().collect::<Vec<_>>(), true);
    // One that is only planned will begin with 1.
    let had_serial = if before.is_new { before.soa.serial.max(1) } else { before.soa.serial };
    let ahead = serial.filter(|serial| is_further(had_serial, *serial));
    // Whoever has that version of the zone from elsewhere is to take this one.
    let least = ahead.map(next);
    state.soa.serial = least.unwrap_or(before.soa.serial);
    if change.is_empty() && least.is_none() {
        return Ok(Change::none(Some(before.clone())));
    }
    let values = |set: Option<&RecordSet>| -> Option<Value> {
        set.map(|set| json!({ "ttl": set.ttl, "values": set.texts() }))
    };
    let path = |name: &Name, rtype: RecordType| format!("{} {rtype}", name.in_zone(zone));
    let put = change.put.iter().map(|set| {
        let before = values(had.get(&(set.name.clone(), set.rtype)));
        field(&path(&set.name, set.rtype), before, values(Some(set)))
    });
    let removed = change
        .remove
        .iter()
        .map(|(name, rtype)| field(&path(name, *rtype), values(had.get(&(name.clone(), *rtype))), None));
    // The zone may have been made a moment ago, and nobody knew its serial before.
    let serial = least.map(|least| field("serial", None, Some(json!(least))));
    let mut fields: Vec<_> = put.chain(removed).chain(serial).collect();
    let count = fields.len();
    fields.truncate(MOST_FIELDS);
    let mut made = Change::to(Action::Update, Some(state), fields);
    made.unknown = vec!["serial"];
    match count {
        0..=MOST_FIELDS => Ok(made),
        _ => Ok(made.note(format!("and {} further sets", count - MOST_FIELDS))),
    }
}

impl Declared for Import {
    const NAME: &'static str = "dns.zones.import";
    const CAPABILITY: &'static str = "dns:write:ZONE/**";
    const EXAMPLE: &'static str = "dns.zones.ensure { zone = \"mcrun.test\" }\ndns.zones.import { zone = \"mcrun.test\", content = \"@ NS ns\\nns A 192.0.2.1\\n\" }";
    type World = World;
    type Output = Ensured<ZoneState>;

    fn subject(&self) -> String {
        self.zone.clone()
    }

    fn needs(&self, _: &World) -> Result<Vec<Need>> {
        Ok(vec![Need::write("dns", Name::absolute(&self.zone)?.to_string()).and_beneath()])
    }

    fn lease(&self) -> Option<String> {
        Name::absolute(&self.zone).ok().map(|zone| format!("dns-zone-{zone}"))
    }
}

#[async_trait]
impl effect::Ensure for Import {
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
        let zone = Name::absolute(&self.zone)?;
        let driver = world.driver(context)?;
        let Some(soa) = driver.zone(&zone).await? else { return Ok(None) };
        Ok(Some(ZoneState::new(soa, &driver.list(&zone).await?, true)))
    }

    async fn change(
        &self,
        world: &World,
        context: &Context,
        before: Option<&ZoneState>,
    ) -> Result<Change<ZoneState>> {
        let zone = Name::absolute(&self.zone)?;
        let before = before.ok_or_else(|| unknown(&zone))?;
        let (wanted, serial) = self.wanted(&zone, &by_key(before.kept()?))?;
        // Other servers count by themselves.
        compared(before, wanted, serial.filter(|_| world.embedded(context).is_some()))
    }

    async fn apply(
        &self,
        world: &World,
        context: &Context,
        before: Option<&ZoneState>,
        change: &Change<ZoneState>,
    ) -> Result<Applied<ZoneState>> {
        let zone = Name::absolute(&self.zone)?;
        match (before, &change.after) {
            (Some(before), Some(after)) => Self::make(world, context, before, after).await,
            _ => Err(unknown(&zone)),
        }
    }

    async fn rewind(
        &self,
        _: &World,
        _: &Context,
        now: Option<&ZoneState>,
        earlier: Option<&ZoneState>,
    ) -> Result<Change<ZoneState>> {
        match (now, earlier) {
            (Some(now), Some(earlier)) => compared(now, by_key(earlier.kept()?), None),
            // The zone itself is what another effect made or took away.
            _ => Ok(Change::none(now.cloned())),
        }
    }

    async fn apply_rewind(
        &self,
        world: &World,
        context: &Context,
        now: Option<&ZoneState>,
        earlier: Option<&ZoneState>,
        _: &Change<ZoneState>,
    ) -> Result<Applied<ZoneState>> {
        match (now, earlier) {
            (Some(now), Some(earlier)) => Self::make(world, context, now, earlier).await,
            _ => Err(unknown(&Name::absolute(&self.zone)?)),
        }
    }
}
