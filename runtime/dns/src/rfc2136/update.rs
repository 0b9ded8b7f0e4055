//! Owns changes: which lines an update has, in which order, under which preconditions, and the look whether it became so.
//!
//! Servers leave out silently what cannot stand (RFC 2136, section 3.4.2.2: a CNAME beside other records, or they beside
//! it) and carry out the rest, which is neither whole nor an error. Preconditions make it one, before anything is changed;
//! the look afterwards finds what they cannot say.

use std::collections::{BTreeMap, HashSet};

use domain::base::iana::{Class, Rcode, Rtype};
use effect::{Code, Error, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::denied;
use super::exchange::Exchange;
use super::message::{self, Line};
use super::{reading, transfer};
use crate::driver::Change;
use crate::exclusive;
use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// Sets that are looked at one by one; for more the whole zone is fetched.
const FEW: usize = 16;
/// Questions at once.
const AT_ONCE: usize = 4;

/// What may stand where a CNAME takes the place of something else. Nothing in the protocol says "and nothing beyond", so
/// these are named; what is not among them is noticed afterwards.
const NEIGHBOURS: [Rtype; 24] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::AFSDB,
    Rtype::CAA,
    Rtype::CERT,
    Rtype::DNAME,
    Rtype::DS,
    Rtype::HINFO,
    Rtype::HTTPS,
    Rtype::KX,
    Rtype::LOC,
    Rtype::MX,
    Rtype::NAPTR,
    Rtype::NS,
    Rtype::OPENPGPKEY,
    Rtype::PTR,
    Rtype::RP,
    Rtype::SMIMEA,
    Rtype::SRV,
    Rtype::SSHFP,
    Rtype::SVCB,
    Rtype::TLSA,
    Rtype::TXT,
    Rtype::URI,
];

/// A name server that nobody can be (RFC 6761, section 6.4).
const NOBODY: &[u8] = b"\x06nobody\x07invalid\0";

/// Makes `change` by one message, which is whole or nothing.
pub(super) async fn make(exchange: &Exchange, zone: &Name, change: &Change) -> Result<()> {
    check(zone, change)?;
    let mut present = BTreeMap::new();
    for set in &change.put {
        let is_servers = set.rtype == RecordType::NS && set.name == *zone;
        if is_servers || (set.rtype == RecordType::CNAME && !clears(change, &set.name)) {
            let found = reading::set(exchange, zone, &set.name, set.rtype).await?;
            present.insert((set.name.clone(), set.rtype), found);
        }
    }
    let plan = Plan::new(zone, change, &present);
    let what = format!("a change of the zone `{zone}`");
    let request = message::update(zone, &plan.preconditions, &plan.lines)?;
    let reply = exchange.ask_by_stream(&request, &what).await?;
    match reply.rcode {
        Rcode::NOERROR => verify(exchange, zone, change).await,
        Rcode::YXDOMAIN | Rcode::YXRRSET => Err(refusal(change)),
        rcode => Err(denied(exchange, zone, &what, rcode).await),
    }
}

/// Whether the change takes something away that may be in the way of a CNAME: then only the server knows what is left.
fn clears(change: &Change, name: &Name) -> bool {
    change.remove.iter().any(|(removed, rtype)| removed == name && *rtype != RecordType::CNAME)
}

/// Refuses what no server carries out.
fn check(zone: &Name, change: &Change) -> Result<()> {
    let never = |rtype: RecordType, name: &Name| {
        let message = format!("`{name}` {rtype} cannot be changed by an update");
        Error::new(Code::DnsRefused, message)
            .because("a zone keeps its SOA and its name servers (RFC 2136, section 3.4.2)")
            .hint("`dns.ensure` with other name servers replaces them")
    };
    let soa = change.put.iter().find(|set| set.rtype == RecordType::SOA);
    if let Some(set) = soa {
        return Err(never(set.rtype, &set.name));
    }
    for (name, rtype) in &change.remove {
        let is_replaced = change.put.iter().any(|set| set.name == *name && set.rtype == *rtype);
        if *rtype == RecordType::SOA || (*rtype == RecordType::NS && name == zone && !is_replaced) {
            return Err(never(*rtype, name));
        }
    }
    exclusive::check(change)
}

/// What is sent.
struct Plan<'a> {
    preconditions: Vec<Line<'a>>,
    lines: Vec<Line<'a>>,
}

type Present = BTreeMap<(Name, RecordType), Option<RecordSet>>;

impl<'a> Plan<'a> {
    fn new(zone: &'a Name, change: &'a Change, present: &'a Present) -> Self {
        let mut plan = Self { preconditions: Vec::new(), lines: Vec::new() };
        for set in &change.put {
            plan.guard(change, set, present);
        }
        let is_servers = |name: &Name, rtype: RecordType| rtype == RecordType::NS && name == zone;
        // What makes room comes first: a CNAME takes the place of an A only once that is gone.
        let removed = change.remove.iter().map(|(name, rtype)| (name, *rtype));
        for (name, rtype) in removed.chain(change.put.iter().map(|set| (&set.name, set.rtype))) {
            if !is_servers(name, rtype) {
                plan.lines.push(Line { name, class: Class::ANY, rtype, ttl: 0, data: &[] });
            }
        }
        for set in &change.put {
            let now = present.get(&(set.name.clone(), set.rtype)).and_then(Option::as_ref);
            plan.add(set, is_servers(&set.name, set.rtype), now);
        }
        plan
    }

    /// What has to hold so that the server leaves nothing of `set` out.
    fn guard(&mut self, change: &Change, set: &'a RecordSet, present: &Present) {
        let line = |class, rtype| Line { name: &set.name, class, rtype, ttl: 0, data: &[] };
        let any = RecordType(Rtype::ANY);
        let precondition = match (set.rtype, present.get(&(set.name.clone(), set.rtype))) {
            (RecordType::CNAME, Some(Some(_))) => line(Class::ANY, RecordType::CNAME),
            (RecordType::CNAME, Some(None)) => line(Class::NONE, any),
            (RecordType::CNAME, None) => {
                let is_left = |rtype: &RecordType| !change.remove.contains(&(set.name.clone(), *rtype));
                let left = NEIGHBOURS.iter().map(|rtype| RecordType(*rtype)).filter(is_left);
                self.preconditions.extend(left.map(|rtype| line(Class::NONE, rtype)));
                return;
            }
            (rtype, _) if exclusive::stands_by_a_cname(rtype) => return,
            _ if change.remove.contains(&(set.name.clone(), RecordType::CNAME)) => return,
            _ => line(Class::NONE, RecordType::CNAME),
        };
        if self.preconditions.last() != Some(&precondition) {
            self.preconditions.push(precondition);
        }
    }

    /// Adds the values of `set`. A zone is never without a name server: those that go do so after the others have come, one
    /// by one, since a server takes no other order for them (RFC 2136, section 3.4.2.4).
    fn add(&mut self, set: &'a RecordSet, is_servers: bool, now: Option<&'a RecordSet>) {
        let line = |class, ttl, data| Line { name: &set.name, class, rtype: set.rtype, ttl, data };
        let added = set.values.iter().map(|value| line(Class::IN, set.ttl, value.wire()));
        let (true, Some(now)) = (is_servers, now) else { return self.lines.extend(added) };
        let has = |set: &RecordSet| -> HashSet<Vec<u8>> {
            set.values.iter().map(|value| value.canonical(set.rtype)).collect()
        };
        let (wanted, there) = (has(set), has(now));
        self.lines.extend(added);
        // Knot takes another time to live with a new value alone; one that comes and goes unseen is one.
        if set.ttl != now.ttl && wanted.is_subset(&there) {
            self.lines.push(line(Class::IN, set.ttl, NOBODY));
            self.lines.push(line(Class::NONE, 0, NOBODY));
        }
        let gone = now.values.iter().filter(|value| !wanted.contains(&value.canonical(set.rtype)));
        self.lines.extend(gone.map(|value| line(Class::NONE, 0, value.wire())));
    }
}

/// Whether every set became what was asked for.
async fn verify(exchange: &Exchange, zone: &Name, change: &Change) -> Result<()> {
    if change.put.len() > FEW {
        let all = transfer::sets(exchange, zone).await?;
        let all: BTreeMap<(&Name, RecordType), &RecordSet> =
            all.iter().map(|set| ((&set.name, set.rtype), set)).collect();
        return change
            .put
            .iter()
            .try_for_each(|set| compare(exchange, set, all.get(&(&set.name, set.rtype)).copied()));
    }
    let looks: Vec<_> = change.put.iter().map(|set| look(exchange, zone, set)).collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
}

async fn look(exchange: &Exchange, zone: &Name, wanted: &RecordSet) -> Result<()> {
    let found = reading::set(exchange, zone, &wanted.name, wanted.rtype).await?;
    compare(exchange, wanted, found.as_ref())
}

fn compare(exchange: &Exchange, wanted: &RecordSet, found: Option<&RecordSet>) -> Result<()> {
    match found {
        Some(found) if found.same_as(wanted) => Ok(()),
        Some(found) => {
            let side = |set: &RecordSet| format!("{} {}", set.ttl, set.texts().join(", "));
            let cause =
                format!("`{}` {} does not have the values that it was given", wanted.name, wanted.rtype);
            Err(exchange
                .place
                .garbage(cause)
                .hint("somebody else may have changed it at the same time; ask again")
                .detail(format!("wanted: {}", side(wanted)))
                .detail(format!("there:  {}", side(found)))
                .retryable())
        }
        None => {
            let message = format!("`{}` {} was left out by the name server", wanted.name, wanted.rtype);
            Err(Error::new(Code::DnsExclusive, message)
                .because("it stands beside a CNAME or beneath a DNAME, which the server does not say"))
        }
    }
}

/// A precondition failed: the server does not say which.
fn refusal(change: &Change) -> Error {
    let mut names: Vec<String> = change.put.iter().map(|set| format!("`{}`", set.name)).collect();
    names.dedup();
    names.truncate(FEW);
    Error::new(
        Code::DnsExclusive,
        format!("other records would stand beside a CNAME at {}", names.join(" or ")),
    )
    .because("a CNAME is alone at its name (RFC 1034, section 3.6.2); nothing was changed")
}
