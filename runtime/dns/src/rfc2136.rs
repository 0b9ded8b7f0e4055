//! The driver for name servers that take updates by RFC 2136 with TSIG: BIND, Knot, PowerDNS.
//!
//! Owns the settings, and which call becomes which messages. Reading is in `rfc2136/reading.rs`, whole zones in
//! `rfc2136/transfer.rs`, changes in `rfc2136/update.rs`; messages, signatures, sockets and errors have files of their own.
//!
//! What the server needs, where `mcrun` is the key that `tsig-keygen mcrun` prints:
//!
//! ```text
//! BIND      zone "example.org" { type primary; file "…";
//!               allow-update { key mcrun; }; allow-transfer { key mcrun; }; };
//! Knot      acl:  - id: mcrun
//!                   key: mcrun
//!                   action: [query, transfer, update]      # without `query` signed questions are refused
//!           zone: - domain: example.org
//!                   acl: mcrun
//! PowerDNS  dnsupdate=yes, allow-dnsupdate-from=…
//!           pdnsutil set-meta example.org TSIG-ALLOW-DNSUPDATE mcrun
//!           pdnsutil set-meta example.org TSIG-ALLOW-AXFR mcrun
//!           pdnsutil set-meta example.org SOA-EDIT-DNSUPDATE INCREASE
//! ```

mod exchange;
mod failure;
mod message;
mod reading;
mod settings;
mod sign;
mod transfer;
mod update;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::base::iana::Rcode;
use effect::{Code, Error, Result};
use journal::Clock;
use zeroize::Zeroizing;

pub use settings::Settings;
pub use sign::Algorithm;

use crate::Secrets;
use crate::driver::{Change, Driver, Feature, Zone};
use crate::name::Name;
use crate::record::{RecordSet, RecordType};
use exchange::Exchange;
use failure::Place;
use sign::Key;

/// Zones that are remembered as served: each is asked for once.
const MOST_REMEMBERED: usize = 10_000;

/// What every server of RFC 2136 has, and at the end what not all have.
const FEATURES: [Feature; 3] = [Feature::Listing, Feature::Transactions, Feature::EveryType];

/// What the driver is put together from.
pub struct Parts {
    /// The secrets that it may have: those for `dns:rfc2136`.
    pub secrets: Secrets,
    /// The time, which signatures bear.
    pub clock: Arc<dyn Clock>,
}

/// The way to one name server.
pub struct Client {
    settings: Settings,
    key: Name,
    zones: Vec<Name>,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
    served: Mutex<HashSet<Name>>,
}

impl Client {
    /// Puts it together; nothing is asked yet.
    ///
    /// # Errors
    /// `MC-U002` where the name of the key or of a zone is none.
    pub fn new(settings: Settings, parts: Parts) -> Result<Self> {
        let name = |field: &str, text: &str| {
            Name::absolute(text).map_err(|error| {
                Error::new(Code::Config, format!("[drivers.rfc2136] {field}: {}", error.message))
            })
        };
        let key = name("key", &settings.key)?;
        let zones = settings.zones.iter().map(|zone| name("zones", zone)).collect::<Result<_>>()?;
        let Parts { secrets, clock } = parts;
        Ok(Self { settings, key, zones, secrets, clock, served: Mutex::default() })
    }

    /// A way there that signs with the secret as it is now.
    async fn exchange(&self) -> Result<Exchange> {
        let value = self.secrets.value(&self.settings.secret).await?;
        let secret = STANDARD.decode(value.trim_ascii()).map(Zeroizing::new).map_err(|_| {
            Error::new(Code::Config, format!("the secret `{}` is no key for TSIG", self.settings.secret))
                .because("it is not base64")
                .hint(
                    "it holds what stands after `secret` in the output of `tsig-keygen`, without the quotes",
                )
        })?;
        let algorithm = self.settings.algorithm;
        Ok(Exchange {
            place: Place { server: self.settings.server.0, key: self.key.clone(), algorithm },
            key: Key::new(&self.key, algorithm, secret.to_vec())?,
            now: u64::try_from(self.clock.now().0 / 1000).unwrap_or_default(),
            patience: self.settings.timeout.0,
            loses_datagrams: AtomicBool::new(false),
        })
    }

    /// A way there for `zone`, which the server has.
    async fn exchange_for(&self, zone: &Name) -> Result<Exchange> {
        let exchange = self.exchange().await?;
        if !self.zones.is_empty() && !self.zones.contains(zone) {
            return Err(Error::new(
                Code::DnsZone,
                format!("`{zone}` is none of the zones of [drivers.rfc2136]"),
            )
            .hint("add it to `zones` there, or leave `zones` out where the server decides"));
        }
        if self.served().contains(zone) {
            return Ok(exchange);
        }
        match reading::zone(&exchange, zone).await? {
            Some(_) => {
                let mut served = self.served();
                if served.len() < MOST_REMEMBERED {
                    served.insert(zone.clone());
                }
                drop(served);
                Ok(exchange)
            }
            None => Err(exchange.place.no_zone(zone)),
        }
    }

    fn served(&self) -> std::sync::MutexGuard<'_, HashSet<Name>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lacks(&self, feature: Feature) -> Error {
        crate::driver::check_feature(self, feature)
            .err()
            .unwrap_or_else(|| Error::new(Code::Internal, "a feature is declared and not there"))
    }
}

#[async_trait]
impl Driver for Client {
    fn name(&self) -> &'static str {
        "rfc2136"
    }

    fn features(&self) -> &[Feature] {
        if self.settings.every_type { &FEATURES } else { &FEATURES[..2] }
    }

    async fn zones(&self) -> Result<Vec<Zone>> {
        Err(self.lacks(Feature::ZoneList))
    }

    async fn zone(&self, zone: &Name) -> Result<Option<Zone>> {
        if !self.zones.is_empty() && !self.zones.contains(zone) {
            return Ok(None);
        }
        reading::zone(&self.exchange().await?, zone).await
    }

    async fn get(&self, zone: &Name, name: &Name, rtype: RecordType) -> Result<Option<RecordSet>> {
        let exchange = self.exchange_for(zone).await?;
        reading::set(&exchange, zone, name, rtype).await
    }

    async fn list(&self, zone: &Name) -> Result<Vec<RecordSet>> {
        let exchange = self.exchange_for(zone).await?;
        transfer::sets(&exchange, zone).await
    }

    async fn change(&self, zone: &Name, change: &Change) -> Result<()> {
        let exchange = self.exchange_for(zone).await?;
        if change.is_empty() {
            return Ok(());
        }
        update::make(&exchange, zone, change).await
    }

    async fn put_zone(&self, _: &Zone, _: &RecordSet) -> Result<()> {
        Err(self.lacks(Feature::Zones))
    }

    async fn remove_zone(&self, _: &Name) -> Result<()> {
        Err(self.lacks(Feature::Zones))
    }

    fn servers(&self) -> Vec<SocketAddr> {
        match self.settings.servers.as_slice() {
            [] => vec![self.settings.server.0],
            servers => servers.iter().map(|server| server.0).collect(),
        }
    }
}

/// Why a server does not answer about a zone: it has none, or it does not let this key. To a question both are `REFUSED`;
/// to an update that changes nothing a server without the zone says `NOTAUTH` (RFC 2136, section 3.1.1). To anything else
/// that code is about the signature (RFC 8945, section 5.2), which PowerDNS says without more.
async fn denied(exchange: &Exchange, zone: &Name, what: &str, rcode: Rcode) -> Error {
    if rcode == Rcode::NOTZONE {
        return exchange.place.no_zone(zone);
    }
    if rcode != Rcode::REFUSED {
        return exchange.place.code(what, rcode);
    }
    let probe = async {
        let request = message::update(zone, &[], &[])?;
        exchange.ask_by_stream(&request, what).await
    };
    match probe.await {
        Ok(reply) if matches!(reply.rcode, Rcode::NOTAUTH | Rcode::NOTZONE) => exchange.place.no_zone(zone),
        _ => exchange.place.code(what, rcode),
    }
}

/// Fills `bytes` with what nobody can guess.
fn random(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .expect("getrandom without flags fails only where the kernel lacks it");
    }
}
