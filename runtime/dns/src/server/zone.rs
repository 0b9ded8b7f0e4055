//! Owns a zone as it is answered from: every name with what it has, those without records but with names beneath them
//! included (RFC 4592, section 2.2.2). A change makes a new version that shares with the old one all it did not touch.

use std::sync::Arc;

use foldhash::fast::RandomState;
use rpds::HashTrieMapSync;

use crate::driver;
use crate::name::{Name, suffixes};
use crate::record::{RecordSet, RecordType, Value};

pub(crate) const A: u16 = 1;
pub(crate) const NS: u16 = 2;
pub(crate) const CNAME: u16 = 5;
pub(crate) const SOA: u16 = 6;
pub(crate) const MX: u16 = 15;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;
pub(crate) const DNAME: u16 = 39;
pub(crate) const DS: u16 = 43;

/// What a name has of one type, as it goes over the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) rtype: u16,
    pub(crate) ttl: u32,
    pub(crate) values: Box<[Value]>,
}

/// A name of the zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    sets: Vec<Arc<Set>>,
    /// How many names lie one label beneath.
    children: u32,
}

impl Node {
    pub(crate) fn get(&self, rtype: u16) -> Option<&Set> {
        self.sets.iter().find(|set| set.rtype == rtype).map(|set| &**set)
    }

    /// What it has, by number of the type.
    pub(crate) fn sets(&self) -> &[Arc<Set>] {
        &self.sets
    }

    /// Whether answers for names beneath it come from elsewhere.
    fn cuts(&self) -> bool {
        self.sets.iter().any(|set| set.rtype == NS || set.rtype == DNAME)
    }
}

/// One version of a zone.
#[derive(Debug, Clone)]
pub struct Zone {
    /// What its SOA says.
    pub soa: driver::Zone,
    /// Hashed with a seed of this process, by what is quick for short names: every question does it once or twice.
    nodes: HashTrieMapSync<Name, Arc<Node>, RandomState>,
    /// Names, the zone's own included, whose NS or DNAME sends elsewhere: mostly only that of the zone itself.
    cuts: usize,
    /// Values of all sets.
    records: usize,
}

/// For names that are asked for a million times a second, hashed without being owned.
impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.wire()
    }
}

impl Zone {
    /// A zone without records but its SOA.
    #[must_use]
    pub fn new(soa: driver::Zone) -> Self {
        let mut zone = Self {
            nodes: HashTrieMapSync::new_with_hasher_and_ptr_kind(RandomState::default()),
            cuts: 0,
            records: 0,
            soa: soa.clone(),
        };
        zone.nodes.insert_mut(soa.zone.clone(), Arc::default());
        zone.set_soa(soa);
        zone
    }

    /// Another version of the SOA.
    pub fn set_soa(&mut self, soa: driver::Zone) {
        let value = Value(soa_value(&soa).into());
        // What says that there is nothing is kept no longer than the SOA itself (RFC 2308, section 5).
        self.put_wire(&soa.zone.clone(), Set { rtype: SOA, ttl: soa.minimum, values: [value].into() });
        self.soa = soa;
    }

    /// The zone's name.
    #[must_use]
    pub fn apex(&self) -> &Name {
        &self.soa.zone
    }

    /// How many records it has.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Whether names beneath some name of the zone, but the zone itself, are answered for elsewhere.
    pub(crate) fn has_cuts(&self) -> bool {
        let own = self
            .nodes
            .get(self.apex())
            .is_some_and(|node| node.get(NS).is_some() && node.get(DNAME).is_none());
        self.cuts > usize::from(own)
    }

    pub(crate) fn node(&self, wire: &[u8]) -> Option<&Node> {
        self.nodes.get(wire).map(|node| &**node)
    }

    /// Every name with what it has, in no order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter().map(|(name, node)| (name, &**node))
    }

    /// Every set but the SOA, by name and type.
    #[must_use]
    pub fn sets(&self) -> Vec<RecordSet> {
        let all = self.nodes().flat_map(|(name, node)| node.sets().iter().map(move |set| (name, set)));
        let mut sets: Vec<RecordSet> = all
            .filter(|(_, set)| set.rtype != SOA)
            .map(|(name, set)| RecordSet {
                name: name.clone(),
                rtype: RecordType::of(set.rtype),
                ttl: set.ttl,
                values: set.values.to_vec(),
            })
            .collect();
        sets.sort_by(|one, other| (&one.name, one.rtype).cmp(&(&other.name, other.rtype)));
        sets
    }

    /// `set` stands in the place of what the name had of the type.
    pub fn put(&mut self, set: &RecordSet) {
        let wire = Set { rtype: set.rtype.number(), ttl: set.ttl, values: set.values.clone().into() };
        self.put_wire(&set.name, wire);
    }

    fn put_wire(&mut self, name: &Name, set: Set) {
        self.make(name);
        self.change(name, |node| {
            node.sets.retain(|other| other.rtype != set.rtype);
            let at = node.sets.partition_point(|other| other.rtype < set.rtype);
            node.sets.insert(at, Arc::new(set));
        });
    }

    /// `name` has nothing of `rtype` any more.
    pub fn remove(&mut self, name: &Name, rtype: RecordType) {
        if self.nodes.get(name).is_none() {
            return;
        }
        self.change(name, |node| node.sets.retain(|set| set.rtype != rtype.number()));
        self.prune(name);
    }

    fn change(&mut self, name: &Name, how: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get(name) else { return };
        let count = |node: &Node| node.sets.iter().map(|set| set.values.len()).sum::<usize>();
        let mut changed = Node::clone(node);
        how(&mut changed);
        self.records = self.records + count(&changed) - count(node);
        self.cuts = self.cuts + usize::from(changed.cuts()) - usize::from(node.cuts());
        self.nodes.insert_mut(name.clone(), Arc::new(changed));
    }

    /// Makes the name, and those above it that are not there.
    fn make(&mut self, name: &Name) {
        if self.nodes.get(name).is_some() {
            return;
        }
        self.nodes.insert_mut(name.clone(), Arc::default());
        let mut below = name.clone();
        while let Some(parent) = below.parent() {
            let known = self.nodes.get(&parent).map(|node| Node::clone(node));
            let is_known = known.is_some();
            let mut node = known.unwrap_or_default();
            node.children += 1;
            self.nodes.insert_mut(parent.clone(), Arc::new(node));
            // The zone itself is always there.
            if is_known {
                return;
            }
            below = parent;
        }
    }

    /// Takes the name out where it has neither records nor names beneath it, and so on upwards.
    fn prune(&mut self, name: &Name) {
        let mut name = name.clone();
        while name != *self.apex() {
            let Some(node) = self.nodes.get(&name) else { return };
            if !node.sets.is_empty() || node.children > 0 {
                return;
            }
            self.nodes.remove_mut(&name);
            let Some(parent) = name.parent() else { return };
            let Some(above) = self.nodes.get(&parent) else { return };
            let above = Node { children: above.children.saturating_sub(1), ..Node::clone(above) };
            self.nodes.insert_mut(parent.clone(), Arc::new(above));
            name = parent;
        }
    }
}

/// RFC 1035, section 3.3.13.
pub(crate) fn soa_value(zone: &driver::Zone) -> Vec<u8> {
    let numbers = [zone.serial, zone.refresh, zone.retry, zone.expire, zone.minimum];
    let mut wire = [zone.primary.wire(), zone.admin.wire()].concat();
    numbers.iter().for_each(|number| wire.extend(number.to_be_bytes()));
    wire
}

/// Where the name begins to which a value of this type leads whoever asked, if it does.
pub(crate) fn target(rtype: u16) -> Option<usize> {
    match rtype {
        NS | CNAME => Some(0),
        MX => Some(2),
        SRV => Some(6),
        _ => None,
    }
}

/// How many labels a name in wire form has, the root's included.
pub(crate) fn label_count(wire: &[u8]) -> usize {
    suffixes(wire).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::absolute(text).unwrap()
    }

    fn zone() -> Zone {
        Zone::new(driver::Zone {
            zone: name("mcrun.test"),
            serial: 1,
            primary: name("ns.mcrun.test"),
            admin: name("hostmaster.mcrun.test"),
            refresh: 3600,
            retry: 600,
            expire: 604_800,
            minimum: 300,
        })
    }

    fn set(text: &str) -> RecordSet {
        RecordSet::parse(&name("mcrun.test"), text, RecordType::A, 60, &["192.0.2.1".into()]).unwrap()
    }

    /// A name is there exactly where it has records or a name beneath it is there; the zone itself always is.
    fn check(zone: &Zone) {
        for (found, node) in zone.nodes() {
            let beneath = zone.nodes().filter(|(other, _)| other.parent().as_ref() == Some(found)).count();
            assert_eq!(node.children as usize, beneath, "{found}");
            assert!(!node.sets().is_empty() || beneath > 0 || found == zone.apex(), "{found}");
            let above = found.parent().filter(|_| found != zone.apex());
            assert!(above.is_none_or(|above| zone.node(above.wire()).is_some()), "{found}");
        }
    }

    #[test]
    fn names_above_a_record_are_there_as_long_as_it_is() {
        let mut zone = zone();
        zone.put(&set("a.b.c"));
        check(&zone);
        assert!(zone.node(name("b.c.mcrun.test").wire()).unwrap().sets().is_empty());
        zone.put(&set("b.c"));
        zone.remove(&name("a.b.c.mcrun.test"), RecordType::A);
        check(&zone);
        assert!(zone.node(name("a.b.c.mcrun.test").wire()).is_none());
        assert!(zone.node(name("c.mcrun.test").wire()).is_some());
        zone.remove(&name("b.c.mcrun.test"), RecordType::A);
        check(&zone);
        assert!(zone.node(name("c.mcrun.test").wire()).is_none());
        assert_eq!(zone.records(), 1);
    }

    #[test]
    fn a_change_leaves_the_version_before_it_as_it_was() {
        let mut after = zone();
        after.put(&set("a"));
        let before = after.clone();
        after.put(&set("b"));
        after.remove(&name("a.mcrun.test"), RecordType::A);
        assert!(before.node(name("a.mcrun.test").wire()).is_some());
        assert!(before.node(name("b.mcrun.test").wire()).is_none());
        assert!(after.node(name("a.mcrun.test").wire()).is_none());
    }

    #[test]
    fn any_order_of_changes_leaves_the_same_names() {
        use proptest::prelude::*;
        let names = ["a", "a.b", "x.a.b", "b", "c.b", "*.b", "@", "y.z.w"];
        let steps = proptest::collection::vec((0..names.len(), any::<bool>()), 1..60);
        proptest!(|(steps in steps)| {
            let (mut zone, mut kept) = (zone(), std::collections::BTreeSet::new());
            for (index, is_put) in steps {
                let set = set(names[index]);
                if is_put {
                    zone.put(&set);
                    kept.insert(set.name.clone());
                } else {
                    zone.remove(&set.name, RecordType::A);
                    kept.remove(&set.name);
                }
                check(&zone);
            }
            let with_records: std::collections::BTreeSet<Name> =
                zone.nodes().filter(|(_, node)| node.get(A).is_some()).map(|(name, _)| name.clone()).collect();
            prop_assert_eq!(with_records, kept);
        });
    }
}
