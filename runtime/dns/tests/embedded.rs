//! The embedded driver and what follows it: exclusivity on the final state, serials, and that a change is seen whole.

use std::sync::Arc;

use dns::embedded::{Embedded, Feed, Store};
use dns::server::Snapshot;
use dns::{Change, Driver, Name, RecordSet, RecordType, Zone};
use effect::Code;
use journal::{Journal, SystemClock};

struct Here {
    folder: tempfile::TempDir,
    driver: Embedded,
    zone: Name,
}

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn soa(zone: &Name) -> Zone {
    Zone {
        zone: zone.clone(),
        serial: 1,
        primary: name("ns.mcrun.test"),
        admin: name("hostmaster.mcrun.test"),
        refresh: 3600,
        retry: 600,
        expire: 604_800,
        minimum: 300,
    }
}

impl Here {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let here = Self {
            driver: Embedded::new(Store::new(journal, "rift"), Vec::new()),
            zone: name("mcrun.test"),
            folder,
        };
        let nameservers = here.set("@", "NS", &["ns"]);
        here.driver.put_zone(&soa(&here.zone), &nameservers).await.unwrap();
        here
    }

    fn set(&self, name: &str, rtype: &str, values: &[&str]) -> RecordSet {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        RecordSet::parse(&self.zone, name, rtype.parse().unwrap(), 300, &values).unwrap()
    }

    async fn put(&self, sets: Vec<RecordSet>, remove: &[(&str, RecordType)]) -> Result<(), Code> {
        let remove = remove.iter().map(|(text, rtype)| (Name::within(text, &self.zone).unwrap(), *rtype));
        let change = Change { put: sets, remove: remove.collect() };
        self.driver.change(&self.zone, &change).await.map_err(|error| error.code)
    }

    async fn serial(&self) -> u32 {
        self.driver.zone(&self.zone).await.unwrap().unwrap().serial
    }
}

#[tokio::test]
async fn a_change_goes_up_by_one_and_none_by_nothing() {
    let here = Here::new().await;
    let hello = here.set("hello", "A", &["192.0.2.1", "192.0.2.2"]);
    let before = here.serial().await;
    here.put(vec![hello.clone()], &[]).await.unwrap();
    assert_eq!(here.serial().await, before + 1);
    here.put(vec![hello.clone()], &[("nothing", RecordType::A)]).await.unwrap();
    assert_eq!(here.serial().await, before + 1);
    assert_eq!(here.driver.get(&here.zone, &hello.name, RecordType::A).await.unwrap().unwrap(), hello);
    here.put(Vec::new(), &[("hello", RecordType::A)]).await.unwrap();
    assert_eq!(here.driver.list(&here.zone).await.unwrap().len(), 1);
}

#[tokio::test]
async fn exclusivity_is_looked_at_for_the_final_state() {
    let here = Here::new().await;
    let (a, cname) = (here.set("www", "A", &["192.0.2.1"]), here.set("www", "CNAME", &["hello"]));
    here.put(vec![a.clone()], &[]).await.unwrap();
    assert_eq!(here.put(vec![cname.clone()], &[]).await, Err(Code::DnsExclusive));
    // Either order of the two parts of one change leads to the same.
    here.put(vec![cname.clone()], &[("www", RecordType::A)]).await.unwrap();
    assert_eq!(here.put(vec![a.clone()], &[]).await, Err(Code::DnsExclusive));
    // A time to live of 0 is no way around it.
    let zero = RecordSet { ttl: 0, ..cname };
    here.put(vec![zero], &[]).await.unwrap();
    assert_eq!(here.put(vec![a.clone()], &[]).await, Err(Code::DnsExclusive));
    here.put(vec![a], &[("www", RecordType::CNAME)]).await.unwrap();
    assert_eq!(here.put(vec![here.set("@", "CNAME", &["x"])], &[]).await, Err(Code::DnsExclusive));

    // An empty non-terminal is no record: a CNAME may stand there.
    here.put(vec![here.set("a.b", "TXT", &["x"])], &[]).await.unwrap();
    here.put(vec![here.set("b", "CNAME", &["x"])], &[]).await.unwrap();
    assert_eq!(here.put(vec![here.set("b", "DNAME", &["x.example"])], &[]).await, Err(Code::DnsExclusive));
    here.put(vec![here.set("tree", "DNAME", &["x.example"])], &[]).await.unwrap();
    assert_eq!(here.put(vec![here.set("a.tree", "TXT", &["x"])], &[]).await, Err(Code::DnsExclusive));
    assert_eq!(here.put(Vec::new(), &[("@", RecordType::NS)]).await, Err(Code::DnsExclusive));
    assert_eq!(here.put(vec![here.set("@", "NS", &["other"])], &[("@", RecordType::NS)]).await, Ok(()));
}

#[tokio::test]
async fn a_refused_change_changes_nothing() {
    let here = Here::new().await;
    let before = (here.serial().await, here.driver.list(&here.zone).await.unwrap());
    let sets = vec![here.set("fine", "A", &["192.0.2.1"]), here.set("@", "CNAME", &["x"])];
    assert_eq!(here.put(sets, &[]).await, Err(Code::DnsExclusive));
    assert_eq!((here.serial().await, here.driver.list(&here.zone).await.unwrap()), before);
    let outside = RecordSet { name: name("x.example"), ..here.set("x", "A", &["192.0.2.1"]) };
    assert_eq!(here.put(vec![outside], &[]).await, Err(Code::DnsZone));
    let elsewhere = here.driver.change(&name("other.test"), &Change::default()).await;
    assert_eq!(elsewhere.unwrap_err().code, Code::DnsZone);
}

#[tokio::test]
async fn the_serial_of_a_zone_that_comes_back_goes_on() {
    let here = Here::new().await;
    for number in 0..3 {
        here.put(vec![here.set("x", "TXT", &[&number.to_string()])], &[]).await.unwrap();
    }
    let before = here.serial().await;
    here.driver.remove_zone(&here.zone).await.unwrap();
    assert_eq!(here.driver.zone(&here.zone).await.unwrap(), None);
    assert_eq!(here.driver.list(&here.zone).await.unwrap_err().code, Code::DnsZone);
    here.driver.put_zone(&soa(&here.zone), &here.set("@", "NS", &["ns"])).await.unwrap();
    assert_eq!(here.serial().await, before + 1);
    // One that others had further on is kept (RFC 1982, section 3.2).
    here.driver.remove_zone(&here.zone).await.unwrap();
    let further = Zone { serial: 0x7FFF_0000, ..soa(&here.zone) };
    here.driver.put_zone(&further, &here.set("@", "NS", &["ns"])).await.unwrap();
    assert_eq!(here.serial().await, 0x7FFF_0000);
}

#[tokio::test]
async fn many_at_once_each_change_the_zone_once() {
    let here = Arc::new(Here::new().await);
    let before = here.serial().await;
    let others: Vec<_> = (0..8)
        .map(|number| {
            let here = here.clone();
            tokio::spawn(async move {
                here.put(vec![here.set(&format!("n{number}"), "A", &["192.0.2.1"])], &[]).await
            })
        })
        .collect();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(here.serial().await, before + 8);
    assert_eq!(here.driver.list(&here.zone).await.unwrap().len(), 9);
}

#[tokio::test]
async fn who_answers_sees_what_is_recorded_after_any_changes() {
    let here = Here::new().await;
    let mut feed = Feed::open(here.folder.path(), "rift").unwrap();
    let mut snapshot = feed.look(&Snapshot::default()).unwrap().unwrap();
    assert!(feed.look(&snapshot).unwrap().is_none());
    let names = ["a", "b.a", "c", "@", "*.w", "d.e.f"];
    for round in 0..60_usize {
        let at = names[round * 7 % names.len()];
        if round % 3 == 2 {
            here.put(Vec::new(), &[(at, RecordType::TXT)]).await.unwrap();
        } else {
            here.put(vec![here.set(at, "TXT", &[&round.to_string()])], &[]).await.unwrap();
        }
        if round % 4 == 0 {
            snapshot = feed.look(&snapshot).unwrap().unwrap_or(snapshot);
        }
    }
    snapshot = feed.look(&snapshot).unwrap().unwrap_or(snapshot);
    let zone = snapshot.zone(&here.zone).unwrap();
    assert_eq!(zone.sets(), here.driver.list(&here.zone).await.unwrap());
    assert_eq!(zone.soa.serial, here.serial().await);
    let fresh = Feed::open(here.folder.path(), "rift").unwrap().look(&Snapshot::default()).unwrap().unwrap();
    assert_eq!(fresh.zone(&here.zone).unwrap().sets(), zone.sets());
    here.driver.remove_zone(&here.zone).await.unwrap();
    assert!(feed.look(&snapshot).unwrap().unwrap().zone(&here.zone).is_none());
}
