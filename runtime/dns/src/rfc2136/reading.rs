//! Owns reading zones and single sets: a question to the server, and whether its answer is a record of the zone or what a
//! wildcard stands for.
//!
//! No answer says which of the two it is (RFC 4592 has no mark). What a wildcard stands for is what a wildcard above the
//! name has, so the wildcards are asked for, by their own names: most zones have none, and a question by UDP tells. Only
//! where one has the very same values the zone itself is asked, by an update that changes nothing and has a precondition,
//! which is evaluated on records alone (RFC 2136, section 3.2). That takes the right to update; questions do not.

use domain::base::iana::{Class, Rcode};
use domain::base::name::Name as WireName;
use domain::dep::octseq::Parser;
use effect::{Code, Error, Result};

use super::denied;
use super::exchange::Exchange;
use super::message::{self, Line, Record, Reply};
use super::transfer;
use crate::driver::Zone;
use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// How often a set is read again that was changed between the question and the look whether it is one.
const READINGS: u32 = 3;

/// What a question finds.
enum Found {
    Nothing,
    Set(RecordSet),
    /// The name lies in a part of the zone that was given to other servers: what this zone has there is no answer.
    Elsewhere,
}

/// The zone, as its SOA record says; none where the server does not have it.
pub(super) async fn zone(exchange: &Exchange, zone: &Name) -> Result<Option<Zone>> {
    let what = format!("a question about the zone `{zone}`");
    let reply = exchange.ask(&message::query(zone, RecordType::SOA)?, &what).await?;
    match reply.rcode {
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => return Ok(None),
        rcode => {
            let error = denied(exchange, zone, &what, rcode).await;
            return if error.code == Code::DnsZone { Ok(None) } else { Err(error) };
        }
    }
    if !reply.is_authoritative {
        return Ok(None);
    }
    let soa = Reply::of(&reply.answers, zone, RecordType::SOA).next();
    soa.map(|record| read(zone, record.value.wire()).map_err(|why| exchange.place.garbage(why))).transpose()
}

/// What an SOA record says (RFC 1035, section 3.3.13).
fn read(zone: &Name, wire: &[u8]) -> Result<Zone, String> {
    let short = |_| "its SOA record is too short".to_owned();
    let mut parser = Parser::from_ref(wire);
    let mut name = || {
        let name = WireName::<&[u8]>::parse(&mut parser).map_err(|error| error.to_string())?;
        Name::from_wire(name.as_slice()).map_err(|error| error.message)
    };
    let (primary, admin) = (name()?, name()?);
    let mut number = || parser.parse_u32_be().map_err(short);
    Ok(Zone {
        zone: zone.clone(),
        serial: number()?,
        primary,
        admin,
        refresh: number()?,
        retry: number()?,
        expire: number()?,
        minimum: number()?,
    })
}

/// What `name` has of `rtype`.
pub(super) async fn set(
    exchange: &Exchange,
    zone: &Name,
    name: &Name,
    rtype: RecordType,
) -> Result<Option<RecordSet>> {
    for _ in 0..READINGS {
        let set = match question(exchange, zone, name, rtype).await? {
            Found::Nothing => return Ok(None),
            Found::Set(set) => set,
            Found::Elsewhere => {
                let all = transfer::sets(exchange, zone).await?;
                return Ok(all.into_iter().find(|set| set.name == *name && set.rtype == rtype));
            }
        };
        if !may_be_a_wildcards(exchange, zone, &set).await? {
            return Ok(Some(set));
        }
        match stands(exchange, zone, &set).await? {
            Standing::So => return Ok(Some(set)),
            Standing::Otherwise => {}
            Standing::Not => return Ok(None),
        }
    }
    let message = format!("`{name}` {rtype} is changed all the time");
    Err(Error::new(Code::DnsRefused, message).because("each look found other values").retryable())
}

async fn question(exchange: &Exchange, zone: &Name, name: &Name, rtype: RecordType) -> Result<Found> {
    let what = format!("a question for `{name}` {rtype}");
    let reply = exchange.ask(&message::query(name, rtype)?, &what).await?;
    match reply.rcode {
        Rcode::NOERROR => {}
        // Also at the end of a chain of CNAMEs that begins here: then this name has nothing else.
        Rcode::NXDOMAIN if rtype != RecordType::CNAME => return Ok(Found::Nothing),
        Rcode::NXDOMAIN => {}
        rcode => return Err(denied(exchange, zone, &what, rcode).await),
    }
    // What is beneath a DNAME is made up from it.
    let is_beneath = |record: &Record| {
        record.rtype == RecordType::DNAME && record.name != *name && name.is_within(&record.name)
    };
    if reply.answers.iter().any(is_beneath) {
        return Ok(Found::Nothing);
    }
    let own: Vec<&Record> = Reply::of(&reply.answers, name, rtype).collect();
    if !own.is_empty() && reply.is_authoritative {
        return Ok(Found::Set(together(&own)));
    }
    let cut = reply.authority.iter().find(|record| {
        record.rtype == RecordType::NS && record.name != *zone && name.is_within(&record.name)
    });
    match cut {
        // Of a delegation the answer says all that the zone has.
        Some(cut) if !reply.is_authoritative && cut.name == *name && rtype == RecordType::NS => {
            let servers: Vec<&Record> = Reply::of(&reply.authority, name, rtype).collect();
            Ok(Found::Set(together(&servers)))
        }
        Some(_) if !reply.is_authoritative => Ok(Found::Elsewhere),
        _ if !own.is_empty() => {
            Err(exchange.place.garbage("it does not have the zone itself, and answers from what it heard"))
        }
        _ => Ok(Found::Nothing),
    }
}

/// The set of records of one name and type. It is what the server has, so no bound of ours holds.
fn together(records: &[&Record]) -> RecordSet {
    let (name, rtype) = (records[0].name.clone(), records[0].rtype);
    // RFC 2181, section 5.2: where they differ, the lowest counts.
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    let values = records.iter().map(|record| record.value.clone()).collect();
    transfer::whole(name, rtype, ttl, values)
}

/// Whether a wildcard above the name has the same values.
async fn may_be_a_wildcards(exchange: &Exchange, zone: &Name, set: &RecordSet) -> Result<bool> {
    let above =
        std::iter::successors(set.name.parent(), Name::parent).take_while(|name| name.is_within(zone));
    for parent in above {
        let Ok(wildcard) = Name::from_wire(&[b"\x01*", parent.wire()].concat()) else { continue };
        if wildcard == set.name {
            continue;
        }
        match question(exchange, zone, &wildcard, set.rtype).await? {
            Found::Set(other) if other.same_values(set) => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// How a set stands in the zone.
enum Standing {
    So,
    Otherwise,
    Not,
}

async fn stands(exchange: &Exchange, zone: &Name, set: &RecordSet) -> Result<Standing> {
    let what = format!("a look whether `{}` {} is a record or a wildcard's", set.name, set.rtype);
    let line = |class, data| Line { name: &set.name, class, rtype: set.rtype, ttl: 0, data };
    let values: Vec<Line<'_>> = set.values.iter().map(|value| line(Class::IN, value.wire())).collect();
    for (preconditions, standing) in
        [(values, Standing::So), (vec![line(Class::ANY, &[])], Standing::Otherwise)]
    {
        let request = message::update(zone, &preconditions, &[])?;
        let reply = exchange.ask_by_stream(&request, &what).await?;
        match reply.rcode {
            Rcode::NOERROR => return Ok(standing),
            Rcode::NXRRSET | Rcode::NXDOMAIN => {}
            rcode => return Err(denied(exchange, zone, &what, rcode).await),
        }
    }
    Ok(Standing::Not)
}
