//! Owns transfers of whole zones to secondaries (RFC 5936): who may have one, and its messages, made one by one as whoever
//! sends them asks for the next, all from one version of the zone. Part transfers (RFC 1995) are answered with the whole.

use std::net::IpAddr;
use std::sync::Arc;

use effect::{Code, Error, Result};
use ipnet::IpNet;
use journal::Clock;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::beyond::seconds;
use super::query::{HEADER, Query, rcode};
use super::records::Records;
use super::signed::Session;
use super::zone::{SOA, Zone};
use crate::driver::is_further;
use crate::name::{LONGEST, Name};
use crate::settings::Address;

/// Types of questions for zones.
pub(crate) const AXFR: u16 = 252;
pub(crate) const IXFR: u16 = 251;
/// Transfers under way at once: each holds one version of its zone.
pub const MOST_TRANSFERS: usize = 16;
/// Networks and secondaries that one zone lists.
pub const MOST_LISTED: usize = 64;
/// Octets after which a message is full: few enough that a slow reader holds little, enough that the head of each is
/// nothing beside it. One record may be larger and then has a message to itself.
const FULL: usize = 32 * 1024;
/// Records of a zone whose names are gathered without anybody noticing: 0.2 µs each.
const MOST_AT_ONCE: usize = 5_000;
/// The largest place that a pointer can lead to.
const FARTHEST: usize = 0x3FFF;

/// `[dns.zones."NAME"]` of mcrun.toml.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZoneSettings {
    /// Networks that may have the zone whole without a key.
    pub transfer: Vec<IpNet>,
    /// Secondaries that are told of every new version.
    pub notify: Vec<Address>,
    /// The key that what they are told is signed with.
    pub key: Option<String>,
}

impl ZoneSettings {
    /// Looks for what makes no sense.
    ///
    /// # Errors
    /// `MC-U002`.
    pub fn check(&self, zone: &str) -> Result<()> {
        if self.transfer.len() > MOST_LISTED || self.notify.len() > MOST_LISTED {
            let message =
                format!("[dns.zones.\"{zone}\"] lists more than {MOST_LISTED} networks or secondaries");
            return Err(Error::new(Code::Config, message));
        }
        Ok(())
    }

    /// Whether `peer` may have the zone without a key.
    #[must_use]
    pub fn may_transfer(&self, peer: IpAddr) -> bool {
        // A socket for both families sees IPv4 as a part of IPv6.
        let peer = peer.to_canonical();
        self.transfer.iter().any(|network| network.contains(&peer))
    }
}

/// Whether one message with the SOA is the whole answer: the client has this version or a later one (RFC 1995, section 2).
pub(crate) fn is_current(query: &Query<'_>, records: &Records, zone: &Zone) -> bool {
    let known = records.second.iter().find(|record| record.rtype == SOA).and_then(|record| {
        let value = record.value(query.message)?;
        let serial = value.wire().len().checked_sub(20)?;
        Some(u32::from_be_bytes(value.wire().get(serial..serial + 4)?.try_into().ok()?))
    });
    query.rtype == IXFR && known.is_some_and(|known| !is_further(known, zone.soa.serial))
}

/// The messages of one transfer.
pub(crate) struct Transfer {
    zone: Arc<Zone>,
    /// Header and question, the same in each.
    head: Vec<u8>,
    records: Remaining,
    session: Option<Session>,
    clock: Arc<dyn Clock>,
    _turn: OwnedSemaphorePermit,
}

/// What has not been sent yet.
struct Remaining {
    /// Names, each a reference to that of the zone.
    names: std::vec::IntoIter<Name>,
    /// Where it goes on: the name, and the number of the next value of all that it has.
    at: Option<(Name, usize)>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    First,
    Names,
    Last,
    Done,
}

impl Transfer {
    /// The records of `zone` at `names` for whoever asked `query`; only its SOA where there are none.
    pub(crate) fn new(
        query: &Query<'_>,
        zone: Arc<Zone>,
        names: Option<Vec<Name>>,
        session: Option<Session>,
        clock: Arc<dyn Clock>,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        let mut head = query.id().to_vec();
        // An answer, authoritative.
        head.extend_from_slice(&[0x84 | query.message[2] & 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        head.extend_from_slice(query.question());
        let state = if names.is_some() { State::First } else { State::Last };
        let records = Remaining { names: names.unwrap_or_default().into_iter(), at: None, state };
        Self { zone, head, records, session, clock, _turn: turn }
    }

    /// Adds records until the message is full.
    fn fill(&mut self, message: &mut Message) {
        let Some(soa) = self.zone.node(self.zone.apex().wire()).and_then(|node| node.get(SOA)) else {
            return;
        };
        let apex = self.zone.apex().wire();
        if self.records.state == State::First {
            soa.values.iter().for_each(|value| message.add(apex, apex.len(), (SOA, soa.ttl), value.wire()));
            self.records.state = State::Names;
        }
        while self.records.state == State::Names {
            let next = self.records.at.take().or_else(|| self.records.names.next().map(|name| (name, 0)));
            let Some((name, skipped)) = next else {
                self.records.state = State::Last;
                break;
            };
            let sets = self.zone.node(name.wire()).map(|node| node.sets()).unwrap_or_default();
            let values = sets
                .iter()
                .filter(|set| set.rtype != SOA)
                .flat_map(|set| set.values.iter().map(move |value| ((set.rtype, set.ttl), value.wire())));
            for (index, (kind, value)) in values.enumerate().skip(skipped) {
                if !message.has_room(name.wire().len(), value.len()) {
                    self.records.at = Some((name, index));
                    return;
                }
                message.add(name.wire(), apex.len(), kind, value);
            }
        }
        if message.has_room(apex.len(), 2 * LONGEST + 20) {
            soa.values.iter().for_each(|value| message.add(apex, apex.len(), (SOA, soa.ttl), value.wire()));
            self.records.state = State::Done;
        }
    }
}

impl Iterator for Transfer {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.records.state == State::Done {
            return None;
        }
        let mut message = Message { out: self.head.clone(), count: 0, apex: None };
        self.fill(&mut message);
        let mut out = message.out;
        out[6..8].copy_from_slice(&message.count.to_be_bytes());
        if let Some(session) = &mut self.session {
            // The time of each message, since a slow reader takes its own.
            session.sign(&mut out, seconds(&*self.clock));
        }
        Some(out)
    }
}

/// One message while it is filled.
struct Message {
    out: Vec<u8>,
    count: u16,
    /// Where the zone's own name stands.
    apex: Option<u16>,
}

impl Message {
    /// Whether a record with this name and value still fits; the first one always does.
    fn has_room(&self, name: usize, value: usize) -> bool {
        self.count == 0 || self.out.len() + name + 10 + value <= FULL && self.count < u16::MAX
    }

    /// Adds a record, whose name ends with that of the zone, `apex` octets.
    fn add(&mut self, name: &[u8], apex: usize, (rtype, ttl): (u16, u32), value: &[u8]) {
        let own = name.len() - apex;
        match self.apex {
            Some(at) if apex > 2 => {
                self.out.extend_from_slice(&name[..own]);
                self.out.extend_from_slice(&(0xC000 | at).to_be_bytes());
            }
            _ => {
                let at = self.out.len() + own;
                self.apex = u16::try_from(at).ok().filter(|at| usize::from(*at) <= FARTHEST);
                self.out.extend_from_slice(name);
            }
        }
        self.out.extend_from_slice(&rtype.to_be_bytes());
        self.out.extend_from_slice(&[0, 1]);
        self.out.extend_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.out.extend_from_slice(value);
        self.count += 1;
    }
}

/// Every name of `zone`; none where this process is about to end.
pub(crate) async fn names(zone: &Arc<Zone>) -> Option<Vec<Name>> {
    let collected = |zone: &Zone| zone.nodes().map(|(name, _)| name.clone()).collect();
    if zone.records() <= MOST_AT_ONCE {
        return Some(collected(zone));
    }
    let zone = zone.clone();
    tokio::task::spawn_blocking(move || collected(&zone)).await.ok()
}

/// Who may have `zone` whole.
pub(crate) fn check(
    zone: &Zone,
    settings: Option<&ZoneSettings>,
    session: Option<&Session>,
    peer: IpAddr,
) -> Result<(), u8> {
    let by_key = session.is_some_and(|session| session.key().may_transfer(zone.apex()));
    let by_address = settings.is_some_and(|settings| settings.may_transfer(peer));
    if by_key || by_address { Ok(()) } else { Err(rcode::REFUSED) }
}

const _: () = assert!(FULL > 2 * HEADER + 4 * LONGEST);

#[cfg(test)]
#[path = "transfer/tests.rs"]
mod tests;
