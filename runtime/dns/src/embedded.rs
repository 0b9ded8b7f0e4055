//! The embedded driver: zones in the database of the state directory, answered by the edge.

mod exclusive;
mod feed;
mod rows;
mod store;

use std::net::SocketAddr;

use async_trait::async_trait;
use effect::{Code, Error, Result};

use crate::driver::{Change, Driver, Feature, Zone};
use crate::name::Name;
use crate::record::{RecordSet, RecordType};
use crate::server::update::Update;

pub(crate) use exclusive::Sets;
pub use feed::Feed;
pub use store::{Basis, Store};
pub(crate) use store::{next, unknown};

/// A change is made again when somebody else was faster.
const ATTEMPTS: usize = 16;

/// How a zone is wanted.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// With this change of its records.
    Change(&'a Change),
    /// There, with this SOA and these name servers.
    Zone(&'a Zone, &'a RecordSet),
    /// Not there.
    Gone,
}

/// The zones of this node.
#[derive(Debug, Clone)]
pub struct Embedded {
    store: Store,
    servers: Vec<SocketAddr>,
}

impl Embedded {
    /// The zones in `store`, which are answered at `servers`.
    #[must_use]
    pub fn new(store: Store, servers: Vec<SocketAddr>) -> Self {
        Self { store, servers }
    }

    /// The records.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes it so, from the zone as it stands.
    async fn write(&self, zone: &Name, wanted: Wanted<'_>) -> Result<()> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let store = &self.store;
            let writes = match wanted {
                Wanted::Change(change) => store.change_writes(zone, change, |_, _| true).await?,
                Wanted::Zone(soa, nameservers) => {
                    store.zone_writes(&store.basis(zone).await?, soa, nameservers).await?
                }
                Wanted::Gone => store.removal_writes(zone, &store.basis(zone).await?).await?,
            };
            if writes.is_empty() {
                return Ok(());
            }
            match self.store.journal().write(writes).await {
                Err(journal::Error::Conflict { .. }) if attempt < ATTEMPTS => {}
                Err(journal::Error::Conflict { .. }) => return Err(overtaken(zone)),
                written => return Ok(written?),
            }
        }
    }

    /// Makes what `update` comes to, worked out from the very records that it then changes; again from the new ones where
    /// somebody else was faster. The answer's code is the inner error.
    ///
    /// # Errors
    /// `MC-Q004` where there is no such zone, `MC-Q003` where records would stand beside each other that cannot.
    pub(crate) async fn update(&self, update: &Update) -> Result<Result<(), u8>> {
        let (zone, names) = (update.zone(), update.names());
        for _ in 0..ATTEMPTS {
            let (basis, sets) = self.store.around(zone, names.iter(), update.grafts()).await?;
            let soa = basis.known(zone)?;
            let revision = match update.revise(soa, &sets) {
                Ok(revision) => revision,
                Err(code) => return Ok(Err(code)),
            };
            let writes = self.store.revision_writes(zone, &basis, sets, &revision.change, revision.soa)?;
            if writes.is_empty() {
                return Ok(Ok(()));
            }
            match self.store.journal().write(writes).await {
                Err(journal::Error::Conflict { .. }) => {}
                written => return Ok(Ok(written?)),
            }
        }
        Err(overtaken(zone))
    }
}

fn overtaken(zone: &Name) -> Error {
    let message = format!("the zone `{zone}` was changed by others all the time");
    Error::new(Code::DnsRefused, message).retryable()
}

#[async_trait]
impl Driver for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }

    async fn zones(&self) -> Result<Vec<Zone>> {
        self.store.zones().await
    }

    async fn zone(&self, zone: &Name) -> Result<Option<Zone>> {
        Ok(self.store.basis(zone).await?.zone)
    }

    async fn get(&self, zone: &Name, name: &Name, rtype: RecordType) -> Result<Option<RecordSet>> {
        self.store.get(zone, name, rtype).await
    }

    async fn list(&self, zone: &Name) -> Result<Vec<RecordSet>> {
        self.store.list(zone).await
    }

    async fn change(&self, zone: &Name, change: &Change) -> Result<()> {
        self.write(zone, Wanted::Change(change)).await
    }

    async fn put_zone(&self, zone: &Zone, nameservers: &RecordSet) -> Result<()> {
        self.write(&zone.zone, Wanted::Zone(zone, nameservers)).await
    }

    async fn remove_zone(&self, zone: &Name) -> Result<()> {
        self.write(zone, Wanted::Gone).await
    }

    fn servers(&self) -> Vec<SocketAddr> {
        self.servers.clone()
    }
}
