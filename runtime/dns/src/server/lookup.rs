//! Owns the way from a question to an answer: RFC 1034, section 4.3.2, as RFC 4592 (wildcards), RFC 6672 (DNAME) and RFC
//! 2308 (what is not there) have it since. Nothing here waits, allocates or locks.

use super::query::{Asked, HEADER, Query, rcode};
use super::reply::{Owner, Reply, Section};
use super::snapshot::Snapshot;
use super::zone::{A, AAAA, CNAME, DNAME, DS, MX, NS, Node, SOA, SRV, Set, Zone, label_count, target};
use crate::name::LONGEST;

/// Names that lead to each other, one after the other.
const MOST_ALIASES: usize = 16;
/// Addresses are added for so many targets of MX, SRV and NS: more than any answer has room for.
const MOST_TARGETS: usize = 32;
/// The type that asks for any record (RFC 8482).
const ANY: u16 = 255;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The answer is whole.
    Whole,
    /// The name lies in no zone of ours: the answer says REFUSED unless somebody else is asked.
    NotOurs,
    /// A name of ours leads to one that is not: the answer has what leads there.
    Leads(Box<[u8]>),
}

/// How a question is answered.
pub(crate) struct Answered {
    pub(crate) code: u8,
    /// The zone that had the answer.
    pub(crate) zone: Option<u32>,
    pub(crate) found: Found,
}

/// A name with records to add addresses for.
struct Target {
    place: usize,
    wire: [u8; LONGEST],
    length: usize,
}

struct Walk<'a, 'q> {
    snapshot: &'a Snapshot,
    reply: Reply<'a>,
    query: &'a Query<'q>,
    /// Names of other zones and of others are followed for those who want recursion only.
    follows: bool,
    targets: Vec<Target>,
}

/// Where a name leads in its zone.
enum Step<'a> {
    /// It is there.
    Node(&'a Node),
    /// A wildcard stands for it.
    Wild(&'a Node),
    /// Answers come from the servers of a zone beneath; the label at which it begins.
    Elsewhere(usize, &'a Set),
    /// The tree at this label stands elsewhere.
    Tree(usize, &'a Set),
    /// It is not there.
    Missing,
}

/// Answers `query` into `out`, in at most `limit` octets.
pub(crate) fn answer(
    snapshot: &Snapshot,
    query: &Query<'_>,
    out: &mut Vec<u8>,
    limit: usize,
    recursion: bool,
) -> Answered {
    let reply = Reply::to(query, out, limit, recursion);
    let follows = recursion && query.wants_recursion();
    let walk = Walk { snapshot, reply, query, follows, targets: Vec::new() };
    walk.run()
}

/// Answers with nothing but a code.
pub(crate) fn refuse(query: &Query<'_>, out: &mut Vec<u8>, code: u8, recursion: bool) {
    let mut reply = Reply::to(query, out, usize::from(u16::MAX), recursion);
    reply.set_code(code);
    reply.finish();
}

impl Walk<'_, '_> {
    fn run(mut self) -> Answered {
        let asked = &self.query.name;
        let Some((number, zone, apex)) = self.snapshot.zone_for(asked, self.query.rtype) else {
            self.reply.set_code(rcode::REFUSED);
            self.reply.finish();
            return Answered { code: rcode::REFUSED, zone: None, found: Found::NotOurs };
        };
        let (code, found) = self.resolve(asked.clone(), zone, apex);
        self.reply.set_code(code);
        if self.reply.is_truncated() {
            // Whoever comes back over TCP throws this away: it is as small as can be, of no use to amplify.
            self.reply.clear_records(self.query.end);
        }
        self.reply.finish();
        Answered { code, zone: Some(number), found }
    }

    fn resolve<'z>(&mut self, mut name: Asked, mut zone: &'z Zone, mut apex: usize) -> (u8, Found)
    where
        Self: 'z,
    {
        let mut place = HEADER;
        for hop in 0..MOST_ALIASES {
            let step = step(zone, &name, apex, self.query.rtype);
            let aliased = match step {
                Step::Elsewhere(label, servers) => {
                    self.refer(&name, place, label, servers, zone, hop == 0);
                    return (rcode::NOERROR, Found::Whole);
                }
                Step::Missing => {
                    self.reply.set_authoritative();
                    self.deny(zone, &name, place, apex);
                    return (rcode::NXDOMAIN, Found::Whole);
                }
                Step::Node(node) | Step::Wild(node) => {
                    self.reply.set_authoritative();
                    match self.take(node, &name, place) {
                        Taken::Answered => {
                            self.add_addresses(zone);
                            return (rcode::NOERROR, Found::Whole);
                        }
                        Taken::Nothing => {
                            self.deny(zone, &name, place, apex);
                            return (rcode::NOERROR, Found::Whole);
                        }
                        Taken::Alias(alias) => alias,
                    }
                }
                Step::Tree(label, set) => {
                    self.reply.set_authoritative();
                    match self.graft(&name, place, label, set) {
                        // The alias that was made is what was asked for.
                        Some(_) if matches!(self.query.rtype, CNAME | ANY) => {
                            return (rcode::NOERROR, Found::Whole);
                        }
                        Some(alias) => alias,
                        None => return (rcode::YXDOMAIN, Found::Whole),
                    }
                }
            };
            let Some((next, at)) = aliased else { return (rcode::NOERROR, Found::Whole) };
            // An alias to the zone's own name stays in it, also for what the zone above it is asked for otherwise.
            if next.wire() == zone.apex().wire() {
                (name, apex, place) = (next, 0, at);
                continue;
            }
            match self.snapshot.zone_for(&next, self.query.rtype) {
                Some((_, next_zone, next_apex)) if self.follows || next_zone.apex() == zone.apex() => {
                    (name, zone, apex, place) = (next, next_zone, next_apex, at);
                }
                Some(_) => return (rcode::NOERROR, Found::Whole),
                None => return (rcode::NOERROR, Found::Leads(next.wire().into())),
            }
        }
        // A circle, or too long a way: what was found so far is what BIND and Knot answer too.
        (rcode::NOERROR, Found::Whole)
    }

    /// Takes what was asked for from a name that is there.
    fn take(&mut self, node: &Node, name: &Asked, place: usize) -> Taken {
        let rtype = self.query.rtype;
        let owner = Owner::at(place, name.wire());
        if let Some(set) = node.get(rtype) {
            self.add(owner, set);
            return Taken::Answered;
        }
        if let Some(set) = node.get(CNAME) {
            if rtype == ANY {
                self.add(owner, set);
                return Taken::Answered;
            }
            let Some(value) = set.values.first() else { return Taken::Nothing };
            let Some(at) = self.reply.add_one(Section::Answer, owner, (CNAME, set.ttl), value.wire()) else {
                self.reply.set_truncated();
                return Taken::Alias(None);
            };
            return Taken::Alias(Asked::of(value.wire()).map(|next| (next, at)));
        }
        match node.sets().first() {
            // One of them is enough for whoever asks for any (RFC 8482, section 4.1).
            Some(set) if rtype == ANY => {
                self.add(owner, set);
                Taken::Answered
            }
            _ => Taken::Nothing,
        }
    }

    fn add(&mut self, owner: Owner<'_>, set: &Set) {
        let mut places = [0; MOST_TARGETS];
        let mut count = 0;
        let is_added = self.reply.add(Section::Answer, owner, set, |place| {
            if count < MOST_TARGETS {
                places[count] = place;
            }
            count += 1;
        });
        if !is_added {
            self.reply.set_truncated();
        } else if let (MX | SRV | NS, Some(skipped)) = (set.rtype, target(set.rtype)) {
            // The places came last first.
            for (value, place) in set.values.iter().rev().zip(&places[..count.min(MOST_TARGETS)]) {
                self.targets.push(Target::new(place + skipped, &value.wire()[skipped..]));
            }
        }
    }

    /// A DNAME stands for the name (RFC 6672, section 3): the alias that it makes, or nothing where that is too long.
    #[allow(clippy::option_option)]
    fn graft(
        &mut self,
        name: &Asked,
        place: usize,
        label: usize,
        set: &Set,
    ) -> Option<Option<(Asked, usize)>> {
        let value = set.values.first()?;
        let owner = Owner::at(place + name.offset(label), name.from(label));
        // The name stands whole only where it was not itself reached by a pointer into a value: there it does too.
        if self.reply.add_one(Section::Answer, owner, (DNAME, set.ttl), value.wire()).is_none() {
            self.reply.set_truncated();
            return Some(None);
        }
        let before = &name.wire()[..name.offset(label)];
        let mut target = Vec::with_capacity(LONGEST);
        target.extend_from_slice(before);
        target.extend_from_slice(value.wire());
        if target.len() > LONGEST {
            return None;
        }
        let owner = Owner::at(place, name.wire());
        match self.reply.add_one(Section::Answer, owner, (CNAME, set.ttl), &target) {
            Some(at) => Some(Asked::of(&target).map(|next| (next, at))),
            None => {
                self.reply.set_truncated();
                Some(None)
            }
        }
    }

    /// Sends whoever asks to the servers of a zone beneath, with their addresses where we have them (RFC 9471).
    fn refer(
        &mut self,
        name: &Asked,
        place: usize,
        label: usize,
        servers: &Set,
        zone: &Zone,
        is_first: bool,
    ) {
        let owner = Owner::at(place + name.offset(label), name.from(label));
        let mut places = [0; MOST_TARGETS];
        let mut count = 0;
        let is_added = self.reply.add(Section::Authority, owner, servers, |place| {
            if count < MOST_TARGETS {
                places[count] = place;
            }
            count += 1;
        });
        if !is_added {
            self.reply.set_truncated();
            return;
        }
        for (value, place) in servers.values.iter().rev().zip(&places[..count.min(MOST_TARGETS)]) {
            let target = Target::new(*place, value.wire());
            let is_beneath = target.name().ends_with(name.from(label));
            if !self.add_address(zone, &target) && is_beneath && is_first {
                // Without the address nobody could go on.
                self.reply.set_truncated();
            }
        }
    }

    /// There is no such record: the SOA says how long that may be believed.
    fn deny(&mut self, zone: &Zone, name: &Asked, place: usize, apex: usize) {
        let Some(soa) = zone.node(zone.apex().wire()).and_then(|node| node.get(SOA)) else { return };
        let owner = Owner::at(place + name.offset(apex), name.from(apex));
        if !self.reply.add(Section::Authority, owner, soa, |_| {}) {
            self.reply.set_truncated();
        }
    }

    fn add_addresses(&mut self, zone: &Zone) {
        for target in std::mem::take(&mut self.targets).into_iter().rev() {
            self.add_address(zone, &target);
        }
    }

    /// Adds the addresses of a host of the zone; false where they have no room.
    fn add_address(&mut self, zone: &Zone, target: &Target) -> bool {
        let Some(node) = zone.node(target.name()) else { return true };
        let owner = Owner::at(target.place, target.name());
        [A, AAAA]
            .into_iter()
            .filter_map(|rtype| node.get(rtype))
            .all(|set| self.reply.add(Section::Additional, owner, set, |_| {}))
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "one lives on the stack at a time, where an allocation for each alias would cost more"
)]
enum Taken {
    Answered,
    Nothing,
    /// It is another name, which stands at this place; none where that has no room.
    Alias(Option<(Asked, usize)>),
}

impl Target {
    fn new(place: usize, name: &[u8]) -> Self {
        let mut wire = [0; LONGEST];
        let length = name.len().min(LONGEST);
        wire[..length].copy_from_slice(&name[..length]);
        wire[..length].make_ascii_lowercase();
        Self { place, wire, length }
    }

    fn name(&self) -> &[u8] {
        &self.wire[..self.length]
    }
}

/// Where `name` leads in `zone`, which begins at its label `apex`.
fn step<'a>(zone: &'a Zone, name: &Asked, apex: usize, rtype: u16) -> Step<'a> {
    if zone.has_cuts()
        && let Some(cut) = cut(zone, name, apex, rtype)
    {
        return cut;
    }
    if let Some(node) = zone.node(name.wire()) {
        return Step::Node(node);
    }
    // The closest name above that is there; the zone itself always is.
    let encloser = (1..=apex).find(|label| zone.node(name.from(*label)).is_some()).unwrap_or(apex);
    let above = name.from(encloser);
    let mut wild = [0; LONGEST + 2];
    wild[..2].copy_from_slice(b"\x01*");
    wild[2..2 + above.len()].copy_from_slice(above);
    zone.node(&wild[..2 + above.len()]).map_or(Step::Missing, Step::Wild)
}

/// The uppermost name on the way whose records send elsewhere.
fn cut<'a>(zone: &'a Zone, name: &Asked, apex: usize, rtype: u16) -> Option<Step<'a>> {
    for label in (0..=apex).rev() {
        let node = zone.node(name.from(label))?;
        // What lies at the cut itself and belongs to the zone above it is answered by that (RFC 4035, section 3.1.4.1).
        let is_own = label == apex || label == 0 && rtype == DS;
        if let Some(set) = node.get(NS).filter(|_| !is_own) {
            return Some(Step::Elsewhere(label, set));
        }
        if let Some(set) = node.get(DNAME).filter(|_| label > 0) {
            return Some(Step::Tree(label, set));
        }
    }
    None
}

/// The label at which the name of `zone` begins in `name`, if it lies there.
pub(crate) fn apex_label(name: &Asked, zone: &[u8]) -> usize {
    name.labels() - label_count(zone)
}

#[cfg(test)]
mod tests;
