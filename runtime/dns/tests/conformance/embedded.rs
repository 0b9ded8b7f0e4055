//! Owns the embedded driver as one of the peers: zones in the database of a state directory.

use std::sync::Arc;

use dns::embedded::{Embedded, Store};
use dns::{Change, Driver, Zone};
use journal::{Journal, SystemClock};
use tempfile::TempDir;

use crate::bench::{Peer, name, set, zone};

pub(crate) struct Here {
    driver: Arc<Embedded>,
    _folder: TempDir,
}

impl Here {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Arc::new(SystemClock)).unwrap();
        let driver = Embedded::new(Store::new(journal, "rift"), Vec::new());
        let soa = Zone {
            zone: zone(),
            serial: 1,
            primary: name("ns1"),
            admin: name("hostmaster"),
            refresh: 3600,
            retry: 600,
            expire: 604_800,
            minimum: 300,
        };
        driver.put_zone(&soa, &set("@", "NS", 300, &["ns1", "ns2"])).await.unwrap();
        let address = set("ns1", "A", 300, &["192.0.2.53"]);
        driver.change(&zone(), &Change::putting(address)).await.unwrap();
        Self { driver: Arc::new(driver), _folder: folder }
    }
}

impl Peer for Here {
    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.clone()
    }
}
