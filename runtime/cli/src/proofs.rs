//! Owns how names are proven to ACME authorities by the other rooms: records through the driver of names.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use certs::acme::driver::{Challenge, ChallengeKind, Responder, Settings};
use certs::effects::Means;
use dns::{Change, Driver, Name, RecordSet, RecordType, Value};
use effect::{Code, Error, Result};
use tokio::sync::Mutex;

/// Nobody shall keep a proof.
const TTL: u32 = 1;
/// Servers of a driver have a change within seconds; secondaries that are notified too.
const PATIENCE: Duration = Duration::from_secs(90);

/// Everything that can prove names here.
pub(crate) struct Proofs {
    names: Arc<dns::effects::World>,
}

impl Proofs {
    pub(crate) fn new(names: Arc<dns::effects::World>) -> Self {
        Self { names }
    }
}

impl certs::effects::Proofs for Proofs {
    fn responders(&self, settings: &Settings, means: &Means) -> Result<Vec<Arc<dyn Responder>>> {
        let mut responders: Vec<Arc<dyn Responder>> = Vec::new();
        if settings.challenges.contains(&ChallengeKind::Dns) {
            let driver = self.names.driver_with(|| dns::effects::Means {
                journal: means.journal.clone(),
                node: means.node.clone(),
                secrets: means.secrets.clone(),
                clock: means.clock.clone(),
            })?;
            responders.push(Arc::new(Records { driver, changing: Mutex::default() }));
        }
        Ok(responders)
    }
}

/// dns-01 (RFC 8555, section 8.4): values are added to what `_acme-challenge.NAME` has, as a name and its wildcard are
/// proven there side by side.
struct Records {
    driver: Arc<dyn Driver>,
    /// A change reads what is there before: two at once would lose one of the two.
    changing: Mutex<()>,
}

impl Records {
    /// The zone, the name within it, and the value.
    async fn place(&self, challenge: &Challenge) -> Result<(Name, Name, Value)> {
        let name = Name::absolute(&challenge.dns_name())?;
        let zone = dns::zone_of(&*self.driver, &name).await?.ok_or_else(|| {
            Error::new(Code::DnsZone, format!("the dns driver has no zone in which `{name}` lies"))
                .hint("make the zone, or prove names by http-01: `challenges` under [drivers.acme]")
        })?;
        let value = Value::parse(RecordType::TXT, &challenge.dns_value(), &zone)?;
        Ok((zone, name, value))
    }

    /// Makes of the values that are there what `change` says.
    async fn change(&self, zone: &Name, name: &Name, change: impl FnOnce(&mut Vec<Value>)) -> Result<()> {
        let _changing = self.changing.lock().await;
        let found = self.driver.get(zone, name, RecordType::TXT).await?;
        let before = found.map(|set| set.values).unwrap_or_default();
        let mut values = before.clone();
        change(&mut values);
        if values == before {
            return Ok(());
        }
        let change = match values.is_empty() {
            true => Change::removing(name.clone(), RecordType::TXT),
            false => Change::putting(RecordSet::new(name.clone(), RecordType::TXT, TTL, values)?),
        };
        self.driver.change(zone, &change).await
    }
}

#[async_trait]
impl Responder for Records {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Dns
    }

    async fn present(&self, challenge: &Challenge) -> Result<()> {
        let (zone, name, value) = self.place(challenge).await?;
        let added = value.clone();
        self.change(&zone, &name, |values| {
            if !values.contains(&added) {
                values.push(added);
            }
        })
        .await?;
        dns::seen(&*self.driver, &name, RecordType::TXT, &value, PATIENCE).await
    }

    async fn withdraw(&self, challenge: &Challenge) -> Result<()> {
        let (zone, name, value) = self.place(challenge).await?;
        self.change(&zone, &name, |values| values.retain(|there| *there != value)).await
    }
}
