//! Owns whole zones: the transfer of every record (AXFR, RFC 5936), signed message by message, within bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use effect::Result;
use tokio::time::{Instant, timeout, timeout_at};

use super::denied;
use super::exchange::Exchange;
use super::message::{self, Record, Reply};
use crate::name::Name;
use crate::record::{RecordSet, RecordType, Value};

/// Records of one zone.
const MOST_RECORDS: usize = 1_000_000;
/// Octets of one transfer.
const LARGEST_TRANSFER: usize = 256 << 20;
/// For a whole transfer, however many messages it has and however slowly they come.
const LONGEST_TRANSFER: Duration = Duration::from_secs(300);

/// Every set of a zone, sorted by name and type, but its SOA and what the server makes itself when it signs the zone.
pub(super) async fn sets(exchange: &Exchange, zone: &Name) -> Result<Vec<RecordSet>> {
    let deadline = Instant::now() + LONGEST_TRANSFER;
    timeout_at(deadline, transfer(exchange, zone)).await.unwrap_or_else(|_| {
        Err(exchange.place.unavailable(format!("the transfer took longer than {LONGEST_TRANSFER:?}")))
    })
}

async fn transfer(exchange: &Exchange, zone: &Name) -> Result<Vec<RecordSet>> {
    let what = format!("the transfer of the zone `{zone}`");
    let request = message::transfer(zone)?;
    let opened = timeout(exchange.patience, exchange.open(&request)).await;
    let (mut stream, mut chain) = opened.unwrap_or_else(|_| Err(exchange.too_late()))?;
    let mut gathered = Gathered::default();
    loop {
        let message = timeout(exchange.patience, exchange.next(&mut stream)).await;
        let message = message.unwrap_or_else(|_| Err(exchange.too_late()))?;
        let is_signed = exchange.believe(&message, &request, &mut chain, &what)?;
        let reply = Reply::read(&message, request.expected).map_err(|why| exchange.place.garbage(why))?;
        match reply.rcode {
            Rcode::NOERROR => {}
            // That the server has the zone is known: what it says here is said of the key.
            Rcode::NOTAUTH => return Err(exchange.place.code(&what, Rcode::REFUSED)),
            rcode => return Err(denied(exchange, zone, &what, rcode).await),
        }
        gathered.octets += message.len();
        let is_over = gathered.take(zone, reply.answers).map_err(|why| exchange.place.garbage(why))?;
        if is_over && !is_signed {
            return Err(exchange.place.garbage("the end of the transfer is not signed"));
        }
        if is_over {
            return Ok(gathered.sets());
        }
    }
}

/// What came so far.
#[derive(Default)]
struct Gathered {
    sets: BTreeMap<(Name, RecordType), (u32, Vec<Value>)>,
    records: usize,
    octets: usize,
    has_begun: bool,
}

impl Gathered {
    /// Takes the records of one message. Says whether the zone is whole: it begins and ends with its SOA.
    fn take(&mut self, zone: &Name, records: Vec<Record>) -> Result<bool, String> {
        self.records += records.len();
        if self.records > MOST_RECORDS || self.octets > LARGEST_TRANSFER {
            return Err("the zone has more than 1,000,000 records or 256 MiB".into());
        }
        if records.is_empty() {
            return Err("a message of the transfer has no record".into());
        }
        let last = records.len() - 1;
        for (at, record) in records.into_iter().enumerate() {
            let is_soa = record.rtype == RecordType::SOA && record.name == *zone;
            match (self.has_begun, is_soa) {
                (false, false) => return Err("the transfer does not begin with the SOA of the zone".into()),
                (false, true) => self.has_begun = true,
                (true, true) if at == last => return Ok(true),
                (true, true) => return Err("the transfer goes on after its end".into()),
                (true, false) => self.add(zone, record)?,
            }
        }
        Ok(false)
    }

    fn add(&mut self, zone: &Name, record: Record) -> Result<(), String> {
        if !record.name.is_within(zone) {
            return Err(format!("`{}` lies outside of the zone", record.name));
        }
        if is_of_signing(record.rtype) {
            return Ok(());
        }
        let (ttl, values) =
            self.sets.entry((record.name, record.rtype)).or_insert_with(|| (record.ttl, Vec::new()));
        // RFC 2181, section 5.2: where they differ, the lowest counts.
        *ttl = (*ttl).min(record.ttl);
        values.push(record.value);
        Ok(())
    }

    fn sets(self) -> Vec<RecordSet> {
        let sets = self.sets.into_iter();
        sets.map(|((name, rtype), (ttl, values))| whole(name, rtype, ttl, values)).collect()
    }
}

/// What a server that signs a zone adds by itself, and changes by itself.
fn is_of_signing(rtype: RecordType) -> bool {
    matches!(rtype.0, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM)
}

/// A set as a server has it, where no bound of ours holds.
pub(super) fn whole(name: Name, rtype: RecordType, ttl: u32, mut values: Vec<Value>) -> RecordSet {
    values.sort_by_cached_key(|value| value.canonical(rtype));
    values.dedup_by_key(|value| value.canonical(rtype));
    RecordSet { name, rtype, ttl, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Name {
        Name::absolute("mcrun.test").unwrap()
    }

    fn record(owner: &str, kind: &str, ttl: u32, value: &str) -> Record {
        let rtype: RecordType = kind.parse().unwrap();
        let value = Value::parse(rtype, value, &zone()).unwrap();
        Record { name: Name::absolute(owner).unwrap(), rtype, ttl, value }
    }

    fn soa() -> Record {
        record("mcrun.test", "SOA", 300, "ns1. admin. 1 2 3 4 5")
    }

    fn taken(messages: Vec<Vec<Record>>) -> Result<Option<Vec<RecordSet>>, String> {
        let mut gathered = Gathered::default();
        for message in messages {
            if gathered.take(&zone(), message)? {
                return Ok(Some(gathered.sets()));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_zone_is_what_lies_between_its_two_soa_records() {
        let a = |owner: &str| record(owner, "A", 60, "192.0.2.1");
        let sets = taken(vec![
            vec![soa(), a("b.mcrun.test"), record("a.mcrun.test", "A", 30, "192.0.2.2")],
            vec![a("a.mcrun.test")],
            vec![record("a.mcrun.test", "NSEC", 30, "b.mcrun.test. A"), soa()],
        ]);
        let sets = sets.unwrap().unwrap();
        let told: Vec<String> =
            sets.iter().map(|set| format!("{} {} {:?}", set.name, set.ttl, set.texts())).collect();
        assert_eq!(
            told,
            ["a.mcrun.test 30 [\"192.0.2.1\", \"192.0.2.2\"]", "b.mcrun.test 60 [\"192.0.2.1\"]"]
        );
        assert_eq!(taken(vec![vec![soa()], vec![a("a.mcrun.test")]]).unwrap(), None);
        for (messages, words) in [
            (vec![vec![a("a.mcrun.test")]], "does not begin"),
            (vec![vec![soa(), a("a.example")]], "outside of the zone"),
            (vec![vec![soa(), soa(), a("a.mcrun.test")]], "after its end"),
            (vec![vec![soa()], vec![]], "no record"),
        ] {
            let why = taken(messages).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn a_transfer_has_bounds() {
        let mut gathered = Gathered { records: MOST_RECORDS, ..Gathered::default() };
        assert!(gathered.take(&zone(), vec![soa()]).unwrap_err().contains("1,000,000"));
        let mut gathered = Gathered { octets: LARGEST_TRANSFER + 1, ..Gathered::default() };
        assert!(gathered.take(&zone(), vec![soa()]).unwrap_err().contains("256 MiB"));
    }
}
