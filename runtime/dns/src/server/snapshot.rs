//! Owns everything that is answered from, as one version of it: every zone. A new version takes the place of the old one
//! at once, and whoever answers from the old one finishes with it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::lookup::apex_label;
use super::query::Asked;
use super::zone::{DS, Zone};
use crate::name::Name;

/// Every zone.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    zones: HashMap<Name, (u32, Arc<Zone>), RandomState>,
    /// Labels of the zone with the most and of that with the fewest, the root's included.
    labels: (usize, usize),
    /// The number that the next zone gets, by which its questions are counted.
    next: u32,
}

impl Snapshot {
    /// The zone with this name.
    #[must_use]
    pub fn zone(&self, name: &Name) -> Option<&Arc<Zone>> {
        self.zones.get(name).map(|(_, zone)| zone)
    }

    /// Every zone, with the number by which its questions are counted.
    pub fn zones(&self) -> impl Iterator<Item = (u32, &Arc<Zone>)> {
        self.zones.values().map(|(number, zone)| (*number, zone))
    }

    /// The zone that holds `name`, if one does.
    #[must_use]
    pub fn zone_of(&self, name: &Name) -> Option<&Arc<Zone>> {
        std::iter::successors(Some(name.clone()), Name::parent).find_map(|name| self.zone(&name))
    }

    /// `zone` stands in the place of the version before it.
    pub fn put(&mut self, zone: Zone) {
        let name = zone.apex().clone();
        let number = self.zones.get(&name).map(|(number, _)| *number);
        let number = number.unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.zones.insert(name, (number, Arc::new(zone)));
        self.measure();
    }

    /// The zone is not served any more.
    pub fn remove(&mut self, name: &Name) {
        self.zones.remove(name);
        self.measure();
    }

    fn measure(&mut self) {
        let labels = || self.zones.keys().map(|name| name.labels() + 1);
        self.labels = (labels().max().unwrap_or(0), labels().min().unwrap_or(0));
    }

    /// The zone that answers for `name`, and the label at which it begins there. What says who signs a zone is asked of
    /// the zone above it.
    pub(crate) fn zone_for(&self, name: &Asked, rtype: u16) -> Option<(u32, &Zone, usize)> {
        let (most, fewest) = self.labels;
        let count = name.labels();
        if fewest == 0 || count < fewest {
            return None;
        }
        let found =
            |label: usize| self.zones.get(name.from(label)).map(|(number, zone)| (*number, &**zone, label));
        let mut labels = count.saturating_sub(most)..=count - fewest;
        let first = labels.by_ref().find_map(found)?;
        if rtype == DS && first.2 == 0 {
            return labels.find_map(found).or(Some(first));
        }
        debug_assert_eq!(first.2, apex_label(name, first.1.apex().wire()));
        Some(first)
    }
}
